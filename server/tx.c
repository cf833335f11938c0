#include "server/tx.h"

#include "base/log.h"
#include "server/batch.h"
#include "server/coord.h"
#include "server/exec.h"
#include "server/families.h"
#include "server/script.h"
#include "server/server.h"
#include "server/session.h"
#include "server/stuck.h"
#include "server/worker.h"
#include "shard/cmd/families.h"

#define CAPACITY_FIRST 8

/* ---- arrays that grow together ---- */

/* False: no memory, and both are as before. */
static bool grow_two(struct mem *mem, uint32_t *capacity, void **a, size_t a_size, void **b,
                     size_t b_size)
{
    uint32_t old = *capacity, grown = old ? 2 * old : CAPACITY_FIRST;
    if (grown < old) return false;
    void *more_a = mem_try_alloc(mem, grown * a_size), *more_b = mem_try_alloc(mem, grown * b_size);
    if (!more_a || !more_b) {
        mem_free(mem, more_a, grown * a_size);
        mem_free(mem, more_b, grown * b_size);
        return false;
    }
    if (old) {
        memcpy(more_a, *a, old * a_size);
        memcpy(more_b, *b, old * b_size);
        mem_free(mem, *a, old * a_size);
        mem_free(mem, *b, old * b_size);
    }
    *a = more_a;
    *b = more_b;
    *capacity = grown;
    return true;
}

/* ---- errands: keys that go to their shards ---- */

/* MARK or FORGET, one request for each shard. */
struct errand {
    struct gather gather;
    struct stuck stuck;
    struct worker *worker;
    unsigned row; /* of internal_family */
    uint16_t db;
    uint64_t id;
    bool has_slot; /* somebody waits for the reply */
    uint8_t resp;
    uint16_t part_count;
    uint16_t *shards;   /* by part */
    uint32_t *argcs;    /* by part */
    struct bytes *argv; /* of the parts, one behind the other */
    uint64_t argv_count;
    struct batch_key *keys; /* FORGET: they end with it */
    uint32_t key_count, key_capacity;
};

static void keys_free(struct mem *mem, struct batch_key *keys, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        if (keys[i].name.size)
            mem_free(mem, (void *)(uintptr_t)keys[i].name.data, keys[i].name.size);
}

static void errand_free(struct errand *e)
{
    struct mem *mem = &e->worker->net.mem;
    uint16_t shard_count = e->worker->server->router.shard_count;
    mem_free(mem, e->gather.parts, e->part_count * sizeof *e->gather.parts);
    mem_free(mem, e->shards, shard_count * sizeof *e->shards);
    mem_free(mem, e->argcs, shard_count * sizeof *e->argcs);
    if (e->argv) mem_free(mem, e->argv, e->argv_count * sizeof *e->argv);
    keys_free(mem, e->keys, 0, e->key_count);
    if (e->keys) mem_free(mem, e->keys, e->key_capacity * sizeof *e->keys);
    mem_free(mem, e, sizeof *e);
}

static void errand_done(struct gather *g)
{
    struct errand *e = container_of(g, struct errand, gather);
    struct netloop *nl = g->netloop;
    struct conn *c = e->has_slot ? netloop_conn(nl, g->conn_index, g->conn_generation) : NULL;
    if (c && !c->is_closing) {
        struct reply out = netloop_reply(nl, e->resp);
        uint32_t failed = 0;
        while (failed < g->part_count && gather_part_kind(g, failed) != '-') failed++;
        if (failed < g->part_count) {
            struct bytes text = gather_part_bytes(g, failed, &nl->flatten);
            reply_raw(&out, text.data, text.size);
        } else {
            reply_ok(&out);
        }
        conn_fill_slot(c, g->slot, &out);
        netloop_reply_drop(nl, &out);
        e->worker->should_resume = true;
    }
    gather_release_parts(g);
    nl->errands--;
    errand_free(e);
}

static void errand_fill(struct errand *e, const struct batch_key *keys, uint32_t count)
{
    struct bytes *at = e->argv;
    for (uint16_t part = 0; part < e->part_count; part++) {
        struct bytes *first = at;
        *at++ = BYTES_LITERAL("watch");
        *at++ = bytes_make(&e->id, sizeof e->id);
        for (uint32_t i = 0; i < count; i++)
            if (keys[i].shard == e->shards[part]) *at++ = keys[i].name;
        e->argcs[part] = (uint32_t)(at - first);
    }
}

/* NULL: no memory. */
static struct errand *errand_try_make(struct worker *w, unsigned row, uint64_t id,
                                      const struct batch_key *keys, uint32_t count)
{
    struct mem *mem = &w->net.mem;
    uint16_t shard_count = w->server->router.shard_count;
    struct errand *e = mem_alloc_zeroed(mem, sizeof *e);
    e->worker = w;
    e->row = row;
    e->id = id;
    e->shards = mem_alloc(mem, shard_count * sizeof *e->shards);
    e->argcs = mem_alloc_zeroed(mem, shard_count * sizeof *e->argcs);
    for (uint32_t i = 0; i < count; i++) e->argcs[keys[i].shard]++;
    for (uint16_t shard = 0; shard < shard_count; shard++)
        if (e->argcs[shard]) e->shards[e->part_count++] = shard;
    e->gather.parts = mem_alloc_zeroed(mem, e->part_count * sizeof *e->gather.parts);
    e->argv_count = 2ULL * e->part_count + count;
    e->argv = mem_try_alloc(mem, e->argv_count * sizeof *e->argv);
    if (!e->argv) {
        errand_free(e);
        return NULL;
    }
    errand_fill(e, keys, count);
    return e;
}

static void errand_send(struct errand *e)
{
    struct netloop *nl = &e->worker->net;
    e->gather.netloop = nl;
    e->gather.on_complete = errand_done;
    e->gather.part_count = e->gather.waiting = e->part_count;
    nl->errands++;
    struct bytes *argv = e->argv;
    for (uint16_t i = 0; i < e->part_count; i++) {
        turn_add_part(nl, e->shards[i], &e->gather, i,
                      &(struct turn_request){.command = &internal_family.commands[e->row],
                                             .argv = argv,
                                             .argc = e->argcs[i],
                                             .db = e->db,
                                             .resp = 2,
                                             .argv_is_stable = true});
        argv += e->argcs[i];
    }
}

static void errand_resume(struct stuck *stuck)
{
    struct errand *e = container_of(stuck, struct errand, stuck);
    struct netloop *nl = &e->worker->net;
    if (!turn_reserve(nl, e->shards, e->part_count)) {
        stuck_wait(e->worker, &e->stuck, errand_resume);
        return;
    }
    nl->errands--;
    errand_send(e);
}

/* ---- watches ---- */

static size_t places_count(const struct tx *tx)
{
    return 2 * (size_t)tx->watched_capacity;
}

static void watched_clear(struct mem *mem, struct tx *tx)
{
    keys_free(mem, tx->watched, 0, tx->watched_count);
    mem_free(mem, tx->watched, tx->watched_capacity * sizeof *tx->watched);
    mem_free(mem, tx->watched_in, tx->watched_capacity * sizeof *tx->watched_in);
    mem_free(mem, tx->watched_places, places_count(tx) * sizeof *tx->watched_places);
    tx->watched = NULL;
    tx->watched_in = NULL;
    tx->watched_places = NULL;
    tx->watched_count = tx->watched_capacity = 0;
    tx->watch = 0;
}

void tx_stop_watching(struct worker *w, const struct tx *tx)
{
    if (tx->watch) counter_set(&w->watching_clients, counter_read(&w->watching_clients) - 1);
}

/* The marks go when there is credit to say so; nobody waits for that. Without memory to say it they
 * stay, and cost their own. */
static void watches_forget(struct session *s)
{
    struct tx *tx = &s->tx;
    struct worker *w = session_worker(s);
    if (tx->watch == 0) return;
    tx_stop_watching(w, tx);
    struct errand *e =
        errand_try_make(w, INTERNAL_FORGET, tx->watch, tx->watched, tx->watched_count);
    if (e) {
        e->keys = tx->watched;
        e->key_count = tx->watched_count;
        e->key_capacity = tx->watched_capacity;
        tx->watched = NULL;
        tx->watched_count = 0;
        w->net.errands++; /* until it is sent */
        stuck_wait(w, &e->stuck, errand_resume);
    }
    watched_clear(&w->net.mem, tx);
}

/* Where that key stands among the places, or would stand: the one that it finds free. */
static uint32_t *watched_place(const struct tx *tx, uint32_t db, uint64_t hash, struct bytes name)
{
    size_t at = hash & (places_count(tx) - 1);
    while (tx->watched_places[at] != 0) {
        uint32_t i = tx->watched_places[at] - 1;
        if (tx->watched_in[i].hash == hash && tx->watched_in[i].db == db &&
            bytes_equal(tx->watched[i].name, name))
            break;
        at = (at + 1) & (places_count(tx) - 1);
    }
    return &tx->watched_places[at];
}

static uint32_t *place_of_watched(const struct tx *tx, uint32_t i)
{
    return watched_place(tx, tx->watched_in[i].db, tx->watched_in[i].hash, tx->watched[i].name);
}

/* False: no memory, and all is as before. */
static bool watched_grow(struct mem *mem, struct tx *tx)
{
    size_t old = places_count(tx) * sizeof *tx->watched_places;
    size_t grown = old ? 2 * old : 2 * CAPACITY_FIRST * sizeof *tx->watched_places;
    uint32_t *places = mem_try_alloc(mem, grown);
    if (!places) return false;
    if (!grow_two(mem, &tx->watched_capacity, (void **)&tx->watched, sizeof *tx->watched,
                  (void **)&tx->watched_in, sizeof *tx->watched_in)) {
        mem_free(mem, places, grown);
        return false;
    }
    mem_free(mem, tx->watched_places, old);
    tx->watched_places = memset(places, 0, grown);
    for (uint32_t i = 0; i < tx->watched_count; i++) *place_of_watched(tx, i) = i + 1;
    return true;
}

/* False: no memory. */
static bool watched_add(struct session *s, struct bytes name)
{
    struct tx *tx = &s->tx;
    struct mem *mem = &s->conn.netloop->mem;
    uint64_t hash;
    uint16_t shard = router_shard(&session_worker(s)->server->router, name, &hash);
    if (tx->watched_count > 0 && *watched_place(tx, s->db, hash, name) != 0) return true;
    if (tx->watched_count == tx->watched_capacity && !watched_grow(mem, tx)) return false;
    char *copy = name.size ? mem_try_alloc(mem, name.size) : NULL;
    if (name.size && !copy) return false;
    if (copy) memcpy(copy, name.data, name.size);
    tx->watched[tx->watched_count] =
        (struct batch_key){.name = bytes_make(copy ? copy : "", name.size), .shard = shard};
    tx->watched_in[tx->watched_count] = (struct tx_watched_in){.hash = hash, .db = s->db};
    *watched_place(tx, s->db, hash, name) = tx->watched_count + 1;
    tx->watched_count++;
    return true;
}

/* What came last goes first: nothing that stays was placed behind it. */
static void watched_cut(struct session *s, uint32_t count)
{
    struct tx *tx = &s->tx;
    for (uint32_t i = tx->watched_count; i > count; i--) *place_of_watched(tx, i - 1) = 0;
    keys_free(&s->conn.netloop->mem, tx->watched, count, tx->watched_count);
    tx->watched_count = count;
    if (count == 0) watched_clear(&s->conn.netloop->mem, tx);
}

/* Ids of all net threads interleave. */
static uint64_t next_watch_id(struct worker *w)
{
    return ++w->watch_ids << 16 | w->net.id;
}

static void watch_send(struct session *s, struct errand *e)
{
    e->db = (uint16_t)s->db;
    e->has_slot = true;
    e->resp = s->resp;
    e->gather.conn_index = s->conn.index;
    e->gather.conn_generation = s->conn.generation;
    e->gather.slot = conn_push_slot(&s->conn);
    s->is_deferred = true;
    errand_send(e);
    session_record(s);
}

static enum err cmd_watch(struct session *s, struct request *rq, struct reply *out)
{
    struct tx *tx = &s->tx;
    struct worker *w = session_worker(s);
    if (tx->is_open) {
        reply_error(out, "ERR WATCH inside MULTI is not allowed");
        return OK;
    }
    uint32_t before = tx->watched_count;
    bool ok = true;
    for (uint32_t i = 1; i < rq->argc && ok; i++) ok = watched_add(s, rq->argv[i]);
    if (ok && tx->watched_count == before) {
        reply_ok(out);
        return OK;
    }
    uint64_t id = tx->watch ? tx->watch : next_watch_id(w);
    struct errand *e = !ok ? NULL
                           : errand_try_make(w, INTERNAL_MARK, id, tx->watched + before,
                                             tx->watched_count - before);
    if (!e) {
        watched_cut(s, before);
        return ERR_ALLOC;
    }
    if (!turn_reserve(&w->net, e->shards, e->part_count)) {
        errand_free(e);
        watched_cut(s, before);
        session_stall(s);
        return OK;
    }
    if (tx->watch == 0) counter_add(&w->watching_clients, 1);
    tx->watch = id;
    watch_send(s, e);
    return OK;
}

static enum err cmd_unwatch(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    watches_forget(s);
    reply_ok(out);
    return OK;
}

/* ---- the queue ---- */

void tx_free(struct mem *mem, struct tx *tx)
{
    for (uint32_t i = 0; i < tx->count; i++) payload_unref(tx->payloads[i]);
    if (tx->commands) {
        mem_free(mem, tx->commands, tx->capacity * sizeof *tx->commands);
        mem_free(mem, tx->payloads, tx->capacity * sizeof *tx->payloads);
    }
    watched_clear(mem, tx);
    *tx = (struct tx){0};
}

void tx_discard(struct session *s)
{
    watches_forget(s);
    tx_free(&s->conn.netloop->mem, &s->tx);
}

uint64_t tx_memory_bytes(const struct tx *tx)
{
    return tx->bytes + tx->capacity * (sizeof *tx->commands + sizeof *tx->payloads) +
           tx->watched_capacity * (sizeof *tx->watched + sizeof *tx->watched_in) +
           places_count(tx) * sizeof *tx->watched_places;
}

void tx_on_reject(struct session *s)
{
    if (s->tx.is_open) s->tx.is_dirty = true;
}

/* Big arguments have been gathered in memory of their own, which is taken over; others are copied,
 * so that a transaction does not hold the kernel's buffers. */
static struct payload *arguments_try_take(struct session *s, uint64_t *bytes)
{
    struct resp_reader *r = &s->conn.reader;
    struct mem *mem = &s->conn.netloop->mem;
    struct payload *p = payload_try_create(mem, r->argc);
    if (!p) return NULL;
    size_t size = 0;
    for (uint32_t i = 0; i < r->argc; i++) size += r->argv[i].size;
    *bytes = mem_class_bytes(sizeof *p) + mem_class_bytes(r->argc * sizeof *p->argv);
    p->bytes.mem = mem;
    if (r->gathered) {
        p->bytes = resp_take_gathered(r);
        memcpy(p->argv, r->argv, r->argc * sizeof *p->argv);
        *bytes += mem_class_bytes(p->bytes.capacity);
        return p;
    }
    size_t capacity = size + 1; /* so that there is something to point to */
    char *at = mem_try_alloc(mem, capacity);
    if (!at) {
        payload_unref(p);
        return NULL;
    }
    p->bytes = (struct buf){.data = at, .capacity = capacity, .mem = mem};
    *bytes += mem_class_bytes(capacity);
    for (uint32_t i = 0; i < r->argc; i++) {
        if (r->argv[i].size) memcpy(at, r->argv[i].data, r->argv[i].size);
        p->argv[i] = bytes_make(at, r->argv[i].size);
        at += r->argv[i].size;
    }
    return p;
}

static bool queue_add(struct session *s, const struct route *route)
{
    struct tx *tx = &s->tx;
    struct mem *mem = &s->conn.netloop->mem;
    uint64_t bytes;
    uint32_t argc = s->conn.reader.argc;
    if (tx->count == tx->capacity &&
        !grow_two(mem, &tx->capacity, (void **)&tx->commands, sizeof *tx->commands,
                  (void **)&tx->payloads, sizeof *tx->payloads))
        return false;
    struct payload *p = arguments_try_take(s, &bytes);
    if (!p) return false;
    tx->payloads[tx->count] = p;
    tx->commands[tx->count++] =
        (struct batch_command){.route = route, .argv = p->argv, .argc = argc};
    tx->bytes += bytes;
    tx->command_flags |= route->command->flags;
    const struct command *c = route->command;
    if (c->plan != PLAN_SCRIPT) return true;
    uint32_t needs = script_needs(session_worker(s), c, p->argv);
    tx->has_script |= !(c->flags & CMD_READ) && needs & CMD_WRITE;
    tx->command_flags |= needs & CMD_DENY_OOM;
    return true;
}

void tx_queue(struct session *s, const struct route *route)
{
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    uint64_t limit = s->conn.netloop->config->query_bytes_max;
    if (route->command->flags & CMD_NO_MULTI) {
        reply_error(&out, "ERR Command not allowed inside a transaction");
        session_reject_with(s, route, &out);
        return;
    }
    /* Whatever is queued takes memory. */
    if (coord_is_full(session_worker(s))) {
        session_reject(s, route, ERR_NO_MEM);
        return;
    }
    if (!queue_add(s, route)) {
        session_reject(s, route, ERR_ALLOC);
        return;
    }
    if (s->tx.bytes > limit) {
        log_warning("Closing client id=%llu whose transaction reached the query buffer limit of "
                    "%llu bytes",
                    (unsigned long long)s->conn.id, (unsigned long long)limit);
        conn_close(&s->conn);
        return;
    }
    reply_status(&out, "QUEUED");
    conn_reply(&s->conn, &out);
    netloop_reply_drop(s->conn.netloop, &out);
}

static enum err cmd_multi(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    if (s->tx.is_open) {
        reply_error(out, "ERR MULTI calls can not be nested");
        return OK;
    }
    s->tx.is_open = true;
    reply_ok(out);
    return OK;
}

static enum err cmd_discard(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    if (!s->tx.is_open) {
        reply_error(out, "ERR DISCARD without MULTI");
        return OK;
    }
    tx_discard(s);
    reply_ok(out);
    return OK;
}

/* clang-format off */
#define TX_FLAGS (CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE)
#define TX_ROW(row_name, row_handler, row_arity, row_flags) \
    .name = row_name, .on_net = row_handler, .arity = row_arity, .plan = PLAN_NET, .flags = TX_FLAGS | (row_flags), .acl = ACL_TRANSACTION, .group = "transactions"
static const struct command commands[] = {
    {TX_ROW("multi", cmd_multi, 1, CMD_FAST | CMD_ALLOW_BUSY | CMD_NOT_QUEUED), .keys = KEYS_NONE,
     .since = "1.2.0", .complexity = "O(1)", .summary = "Begins a transaction: what follows is queued."},
    {TX_ROW("exec", cmd_exec, 1, CMD_SKIP_SLOWLOG | CMD_NOT_QUEUED), .keys = KEYS_NONE,
     .since = "1.2.0", .complexity = "That of the queued commands", .summary = "Runs everything that was queued since MULTI, as one."},
    {TX_ROW("discard", cmd_discard, 1, CMD_FAST | CMD_ALLOW_BUSY | CMD_NOT_QUEUED), .keys = KEYS_NONE,
     .since = "2.0.0", .complexity = "O(N) for N queued commands", .summary = "Drops what was queued since MULTI."},
    {TX_ROW("watch", cmd_watch, -2, CMD_FAST | CMD_ALLOW_BUSY | CMD_NOT_QUEUED), .keys = KEYS_ALL(KEY_RO),
     .since = "2.2.0", .complexity = "O(1) for each key", .summary = "Lets the next EXEC run nothing if one of the keys has changed by then."},
    {TX_ROW("unwatch", cmd_unwatch, 1, CMD_FAST | CMD_ALLOW_BUSY), .keys = KEYS_NONE,
     .since = "2.2.0", .complexity = "O(1)", .summary = "Forgets all keys that the connection watches."},
};
/* clang-format on */
const struct command_family transaction_family = {"transactions", commands, ARRAY_LEN(commands)};
