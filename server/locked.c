#include "server/locked.h"

#include "base/text.h"
#include "server/batch.h"
#include "server/coord.h"
#include "server/merge_parts.h"
#include "server/server.h"
#include "server/sort_external.h"
#include "server/worker.h"
#include "shard/cmd/families.h"
#include "shard/cmd/sort_args.h"
#include "shard/cmd/stream_read.h"

static void round_send(struct locked *op);
static void round_resume(struct stuck *stuck);

/* ---- memory ---- */

void locked_free(struct locked *op)
{
    struct mem *mem = op->mem;
    gather_release_parts(&op->gather);
    mem_free(mem, op->gather.parts, op->gather.part_count * sizeof *op->gather.parts);
    if (op->input) payload_unref(op->input);
    mem_free(mem, op->keys, op->key_capacity * sizeof *op->keys);
    mem_free(mem, op->participants, op->participant_capacity * sizeof *op->participants);
    mem_free(mem, op->lock_argv, op->lock_argv_count * sizeof *op->lock_argv);
    mem_free(mem, op->effects, op->effect_capacity * sizeof *op->effects);
    buf_clear(&op->reports);
    buf_clear(&op->departures);
    buf_clear(&op->events);
    if (op->events_argv)
        mem_free(mem, op->events_argv, op->events_argv_count * sizeof *op->events_argv);
    buf_clear(&op->reply);
    buf_clear(&op->names);
    buf_clear(&op->move_mode);
    if (op->read_argv) mem_free(mem, op->read_argv, op->read_argv_count * sizeof *op->read_argv);
    op->gather.netloop->errands--;
    mem_free(mem, op, sizeof *op);
}

void parts_set(struct locked *op, uint32_t count, void (*on_complete)(struct gather *))
{
    struct gather *g = &op->gather;
    gather_release_parts(g);
    mem_free(op->mem, g->parts, g->part_count * sizeof *g->parts);
    g->parts = count ? mem_alloc_zeroed(op->mem, count * sizeof *g->parts) : NULL;
    g->part_count = g->waiting = count;
    g->on_complete = on_complete;
}

struct effect *effect_add(struct locked *op, uint16_t shard, const struct command *command)
{
    if (op->effect_count == op->effect_capacity) {
        uint32_t grown = op->effect_capacity ? 2 * op->effect_capacity : 8;
        op->effects =
            mem_try_realloc(op->mem, op->effects, op->effect_capacity * sizeof *op->effects,
                            grown * sizeof *op->effects);
        CHECK(op->effects);
        op->effect_capacity = grown;
    }
    struct effect *e = &op->effects[op->effect_count++];
    *e = (struct effect){.shard = shard, .db = op->db, .resp = 2, .command = command};
    return e;
}

const struct command *internal_row(enum internal_command row)
{
    return &internal_family.commands[row];
}

/* ---- rounds: effects that are sent, and awaited together ---- */

void round_begin(struct locked *op, void (*on_complete)(struct gather *))
{
    uint32_t count = op->effect_count - op->round_start;
    parts_set(op, count, on_complete);
    op->next_effect = op->round_start;
    if (count > 0)
        round_send(op);
    else
        on_complete(&op->gather); /* under a holding there may be nothing to give back */
}

/* Effects of one shard arrive in the order in which they are added, whatever turns they are spread
 * over: the locks hide what is half done. The last one may complete the round at once, in a turn
 * that runs in place, so nothing may follow it. */
static uint8_t round_flags(const struct locked *op)
{
    return op->is_held ? REQUEST_COMMIT | REQUEST_IN_EXEC : REQUEST_COMMIT;
}

static void effect_send(struct locked *op, bool commits)
{
    struct effect *e = &op->effects[op->next_effect];
    uint32_t part = op->next_effect++ - op->round_start;
    turn_add_part(op->gather.netloop, e->shard, &op->gather, part,
                  &(struct turn_request){.command = e->command,
                                         .argv = e->argv ? e->argv : e->inline_argv,
                                         .argc = e->argc,
                                         .command_id = op->route->id,
                                         .db = e->db,
                                         .hash = e->hash,
                                         .hashed_index = e->hash ? 1 : 0,
                                         .resp = e->resp,
                                         .flags = e->flags | round_flags(op),
                                         .commits = commits,
                                         .argv_is_stable = true});
}

/* The unlocks, which are the last effects of a round, go in one turn: for the append-only log it is
 * the one that commits. */
static bool is_unlock(const struct locked *op)
{
    return op->effects[op->next_effect].command == internal_row(INTERNAL_UNLOCK);
}

static bool try_unlock(struct locked *op)
{
    if (!reserve_participants(op)) return false;
    bool commits = op->route->command->flags & CMD_WRITE;
    for (uint32_t count = op->effect_count; op->next_effect < count;) effect_send(op, commits);
    return true;
}

static void round_send(struct locked *op)
{
    uint32_t count = op->effect_count;
    while (op->next_effect < count) {
        bool unlocks = is_unlock(op);
        bool has_room =
            unlocks ? try_unlock(op)
                    : turn_reserve_one(op->gather.netloop, op->effects[op->next_effect].shard);
        if (!has_room) {
            stuck_wait(op->worker, &op->stuck, round_resume);
            return;
        }
        if (unlocks) return;
        effect_send(op, false);
    }
}

static void round_resume(struct stuck *stuck)
{
    round_send(container_of(stuck, struct locked, stuck));
}

/* ---- values as bytes ---- */

static bool report_is_null(struct bytes report)
{
    return report.data[0] == '_' || report.data[1] == '-';
}

static bool report_is_value(struct bytes report)
{
    return report.data[0] == '*' && report.data[1] != '-';
}

/* "*2\r\n$8\r\n<deadline>\r\n$n\r\n<frozen>\r\n". */
static void value_report_read(struct bytes report, struct bytes *deadline, struct bytes *frozen)
{
    const size_t header = sizeof("*2\r\n$8\r\n") - 1;
    *deadline = bytes_make(report.data + header, sizeof(uint64_t));
    const char *at = report.data + header + sizeof(uint64_t) + 2;
    const char *end = memchr(at, '\r', report.size - (size_t)(at - report.data));
    int64_t size = 0;
    CHECK(end && text_to_i64(bytes_make(at + 1, (size_t)(end - at - 1)), &size));
    *frozen = bytes_make(end + 2, (size_t)size);
}

static void effect_thaw(struct locked *op, uint16_t shard, const struct locked_key *k,
                        struct bytes report)
{
    struct effect *e = effect_add(op, shard, internal_row(INTERNAL_THAW));
    e->db = k->db;
    e->hash = k->hash;
    e->argc = shard == k->shard ? 4 : 5;
    e->inline_argv[0] = BYTES_LITERAL("thaw");
    e->inline_argv[1] = op->argv[k->argv_index];
    value_report_read(report, &e->inline_argv[2], &e->inline_argv[3]);
    e->inline_argv[4] = BYTES_LITERAL("g");
}

static void effect_depart(struct locked *op, uint16_t shard, const struct locked_key *k)
{
    struct effect *e = effect_add(op, shard, internal_row(INTERNAL_DEPART));
    e->db = k->db;
    e->hash = k->hash;
    e->argc = 3;
    e->inline_argv[0] = BYTES_LITERAL("depart");
    e->inline_argv[1] = op->argv[k->argv_index];
    e->inline_argv[2] =
        k->is_written && shard != k->shard ? BYTES_LITERAL("d") : BYTES_LITERAL("-");
}

void effects_unlock(struct locked *op)
{
    if (op->is_held) return;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct participant *p = &op->participants[i];
        struct effect *e = effect_add(op, p->shard, internal_row(INTERNAL_UNLOCK));
        e->argc = 2;
        e->inline_argv[0] = BYTES_LITERAL("unlock");
        e->inline_argv[1] = bytes_make(&p->token, sizeof p->token);
    }
}

bool is_guest(const struct locked *op, const struct locked_key *k)
{
    return k->shard != op->host && !k->is_repeated;
}

/* ---- keyspace events of guests ---- */

/* What has happened to the guests is fetched behind the command, if anybody may want to know. */
static void effect_events(struct locked *op)
{
    op->events_effect = 0;
    if (op->worker->config->notify_keyspace_events == 0) return;
    op->events_argv_count = 1 + 2 * op->key_count;
    op->events_argv = mem_alloc(op->mem, op->events_argv_count * sizeof *op->events_argv);
    uint32_t argc = 0;
    op->events_argv[argc++] = BYTES_LITERAL("events");
    for (uint32_t i = 0; i < op->key_count; i++) {
        const struct locked_key *k = &op->keys[i];
        if (!is_guest(op, k)) continue;
        op->events_argv[argc++] = op->argv[k->argv_index];
        op->events_argv[argc++] = bytes_make(&k->db, sizeof k->db);
    }
    op->events_effect = op->effect_count;
    struct effect *e = effect_add(op, op->host, internal_row(INTERNAL_EVENTS));
    e->argv = op->events_argv;
    e->argc = argc;
}

/* They are published where the keys live, before anybody else comes to these keys. */
static void effects_emit(struct locked *op)
{
    const char *at = op->events.size ? memchr(op->events.data, '\n', op->events.size) : NULL;
    if (!at || op->events.data[1] == '0') return; /* not fetched, or none */
    const char *end = op->events.data + op->events.size - 2;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        if (op->participants[i].shard == op->host) continue;
        struct effect *e = effect_add(op, op->participants[i].shard, internal_row(INTERNAL_EMIT));
        e->argc = 2;
        e->inline_argv[0] = BYTES_LITERAL("emit");
        e->inline_argv[1] = bytes_make(at + 1, (size_t)(end - at - 1));
    }
}

/* ---- give back ---- */

void gave_back(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    struct netloop *nl = g->netloop;
    if (op->on_reply) {
        op->on_reply(op);
        locked_free(op);
        return;
    }
    struct conn *c = netloop_conn(nl, g->conn_index, g->conn_generation);
    if (c && !c->is_closing) {
        struct reply out = netloop_reply(nl, op->resp);
        reply_raw(&out, op->reply.data, op->reply.size);
        conn_fill_slot(c, g->slot, &out);
        netloop_reply_drop(nl, &out);
    }
    op->worker->should_resume = true;
    locked_free(op);
}

static void part_copy(struct locked *op, uint32_t effect, struct buf *out)
{
    struct gather *g = &op->gather;
    struct bytes part = gather_part_bytes(g, effect - op->round_start, &g->netloop->flatten);
    buf_append(out, part.data, part.size);
}

/* The run is over: its reply is the client's; what the guests have become goes home. */
static void ran(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    part_copy(op, op->command_effect, &op->reply);
    if (op->events_effect) part_copy(op, op->events_effect, &op->events);
    size_t *offsets = mem_alloc(op->mem, op->key_count * sizeof *offsets);
    for (uint32_t i = 0; i < op->key_count; i++) {
        offsets[i] = op->departures.size;
        if (is_guest(op, &op->keys[i])) part_copy(op, op->keys[i].departure, &op->departures);
    }
    op->round_start = op->effect_count;
    for (uint32_t i = 0; i < op->key_count; i++) {
        const struct locked_key *k = &op->keys[i];
        if (!is_guest(op, k) || !k->is_written) continue;
        struct bytes departure =
            bytes_make(op->departures.data + offsets[i], op->departures.size - offsets[i]);
        if (report_is_value(departure))
            effect_thaw(op, k->shard, k, departure);
        else if (departure.data[0] == '*' || departure.data[0] == '$')
            effect_depart(op, k->shard, k); /* gone: without a value to report */
    }
    mem_free(op->mem, offsets, op->key_count * sizeof *offsets);
    effects_emit(op);
    effects_unlock(op);
    round_begin(op, gave_back);
}

/* ---- run ---- */

void effects_run(struct locked *op)
{
    for (uint32_t i = 0; i < op->key_count; i++)
        if (is_guest(op, &op->keys[i]) && report_is_value(op->keys[i].report))
            effect_thaw(op, op->host, &op->keys[i], op->keys[i].report);
    op->command_effect = op->effect_count;
    struct effect *e = effect_add(op, op->host, op->route->command);
    e->argv = op->argv;
    e->argc = op->argc;
    e->resp = op->resp;
    effect_events(op);
    for (uint32_t i = 0; i < op->key_count; i++) {
        if (!is_guest(op, &op->keys[i])) continue;
        op->keys[i].departure = op->effect_count;
        effect_depart(op, op->host, &op->keys[i]);
    }
    round_begin(op, ran);
}

/* Nothing happens but the unlocks. */
void effects_fail(struct locked *op, struct bytes error)
{
    buf_append(&op->reply, error.data, error.size);
    effects_unlock(op);
    round_begin(op, gave_back);
}

/* ---- moving one element ---- */

static void put_done(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    bool has_failed = gather_part_kind(g, 0) == '-';
    if (has_failed) {
        op->reply.size = 0;
        part_copy(op, op->round_start, &op->reply);
    }
    op->round_start = op->effect_count;
    if (!has_failed) op->move->take(op);
    effects_unlock(op);
    round_begin(op, gave_back);
}

/* The element is put before it is taken away, because only the first can fail. */
static void move_begin(struct locked *op)
{
    op->round_start = op->effect_count;
    if (op->move->put(op)) {
        round_begin(op, put_done);
        return;
    }
    effects_unlock(op);
    round_begin(op, gave_back);
}

void locked_effect_command(struct locked *op, const struct locked_key *k, const char *name,
                           struct bytes argument)
{
    const struct route *route = router_find_row(&op->worker->server->router, name);
    struct effect *e = effect_add(op, k->shard, route->command);
    e->hash = k->hash;
    e->argc = argument.data ? 3 : 2;
    e->inline_argv[0] = bytes_of(name);
    e->inline_argv[1] = op->argv[k->argv_index];
    e->inline_argv[2] = argument;
}

/* ---- the first key that is there ---- */

static void first_run(struct locked *op, uint32_t from);

static void first_ran(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    part_copy(op, op->command_effect, &op->reply);
    gave_back(g);
}

/* The locks are still held: the key may have expired since it was there. */
static void first_tried(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    part_copy(op, op->command_effect, &op->reply);
    op->round_start = op->effect_count;
    if (!report_is_null(buf_view(&op->reply))) {
        effects_unlock(op);
        round_begin(op, gave_back);
        return;
    }
    op->reply.size = 0;
    first_run(op, op->first_key + 1);
}

/* From `from` on; key_count if there is none. */
static uint32_t next_there(const struct locked *op, uint32_t from)
{
    while (from < op->key_count && op->keys[from].report.data[0] != ':') from++;
    return from;
}

/* Where none is there, any shard will say so; and a key of the wrong type is there. */
static void first_run(struct locked *op, uint32_t from)
{
    uint32_t first = next_there(op, from);
    if (first == op->key_count) first = 0;
    bool is_volatile = op->keys[first].report.data[1] == '2';
    bool is_certain = !is_volatile || next_there(op, first + 1) == op->key_count;
    op->first_key = first;
    op->command_effect = op->effect_count;
    struct effect *e = effect_add(op, op->keys[first].shard, op->route->command);
    e->argv = op->argv;
    e->argc = op->argc;
    e->resp = op->resp;
    if (is_certain) effects_unlock(op);
    round_begin(op, is_certain ? first_ran : first_tried);
}

/* ---- reports ---- */

/* Every participant's reply is an array: the token, whether a watch is dirty, then a report per key
 * in the order in which they were sent. */
static void reports_split(struct locked *op, struct participant *p, struct bytes part)
{
    const size_t token_header = sizeof("$8\r\n") - 1;
    const char *line_end = memchr(part.data, '\n', part.size);
    const char *token = line_end + 1 + token_header;
    memcpy(&p->token, token, sizeof p->token);
    size_t at = (size_t)(token - part.data) + sizeof p->token + 2;
    at += reply_value_bytes(bytes_make(part.data + at, part.size - at)); /* nothing was watched */
    for (uint32_t k = 0; k < op->key_count; k++) {
        if (op->keys[k].shard != p->shard) continue;
        size_t size = reply_value_bytes(bytes_make(part.data + at, part.size - at));
        op->keys[k].report = bytes_make(part.data + at, size);
        at += size;
    }
}

void reports_read(struct locked *op)
{
    struct gather *g = &op->gather;
    size_t *ends = mem_alloc(op->mem, g->part_count * sizeof *ends);
    uint32_t count = g->part_count;
    for (uint32_t i = 0; i < count; i++) {
        struct bytes part = gather_part_bytes(g, i, &g->netloop->flatten);
        buf_append(&op->reports, part.data, part.size);
        ends[i] = op->reports.size;
    }
    size_t start = 0;
    for (uint32_t i = 0; i < count; i++) {
        reports_split(op, &op->participants[i],
                      bytes_make(op->reports.data + start, ends[i] - start));
        start = ends[i];
    }
    mem_free(op->mem, ends, count * sizeof *ends);
}

static void locked_now(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    reports_read(op);
    if (op->move) {
        move_begin(op);
        return;
    }
    if (op->takes_first) {
        first_run(op, 0);
        return;
    }
    if (op->is_read) {
        locked_read_run(op);
        return;
    }
    for (uint32_t k = 0; k < op->key_count; k++) {
        if (op->keys[k].report.data[0] != '-') continue;
        effects_fail(op, op->keys[k].report);
        return;
    }
    effects_run(op);
}

static void fetched(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    op->round_start = op->effect_count;
    locked_now(g);
}

/* ---- lock turn ---- */

static const uint64_t no_watch = 0;

/* The arguments of each participant's LOCK or FETCH, one behind the other. */
static void lock_arguments(struct locked *op)
{
    op->lock_argv_count = 2 * op->participant_count + 2 * op->key_count;
    op->lock_argv = mem_alloc(op->mem, op->lock_argv_count * sizeof *op->lock_argv);
    struct bytes *at = op->lock_argv;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct participant *p = &op->participants[i];
        p->argv = at;
        *at++ = BYTES_LITERAL("lock");
        *at++ = bytes_make(&no_watch, sizeof no_watch);
        for (uint32_t k = 0; k < op->key_count; k++) {
            if (op->keys[k].shard != p->shard) continue;
            *at++ = op->argv[op->keys[k].argv_index];
            *at++ = op->keys[k].mode;
        }
        p->argc = (uint32_t)(at - p->argv);
    }
}

static void lock_turn(struct locked *op)
{
    struct netloop *nl = op->gather.netloop;
    lock_arguments(op);
    parts_set(op, op->participant_count, locked_now);
    for (uint16_t i = 0; i < op->participant_count; i++)
        turn_add_part(nl, op->participants[i].shard, &op->gather, i,
                      &(struct turn_request){.command = internal_row(INTERNAL_LOCK),
                                             .argv = op->participants[i].argv,
                                             .argc = op->participants[i].argc,
                                             .command_id = op->route->id,
                                             .db = op->db,
                                             .resp = 2,
                                             .flags = op->tracked_flag,
                                             .argv_is_stable = true,
                                             .is_same_command = i > 0});
}

/* Under a holding: the same reports, in a round. */
static void effects_fetch(struct locked *op)
{
    lock_arguments(op);
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct effect *e = effect_add(op, op->participants[i].shard, internal_row(INTERNAL_FETCH));
        e->argv = op->participants[i].argv;
        e->argc = op->participants[i].argc;
        e->flags = op->tracked_flag;
    }
    round_begin(op, fetched);
}

/* ---- which keys, and who is the host ---- */

void key_found(void *context, uint32_t index, const struct key_spec *spec)
{
    struct locked *op = context;
    if (op->key_count == op->key_capacity) {
        uint32_t grown = op->key_capacity ? 2 * op->key_capacity : 4;
        op->keys = mem_try_realloc(op->mem, op->keys, op->key_capacity * sizeof *op->keys,
                                   grown * sizeof *op->keys);
        CHECK(op->keys);
        op->key_capacity = grown;
    }
    struct locked_key *k = &op->keys[op->key_count++];
    *k = (struct locked_key){.argv_index = index,
                             .db = op->db,
                             .is_written = !(spec->flags & KEY_RO) || spec->flags & KEY_CHANGED};
    k->shard = router_shard(&op->worker->server->router, op->argv[index], &k->hash);
}

/* COPY src dst DB n: the only command whose keys live in two databases. `*db` stays without the
 * option. */
static bool copy_database(const struct worker *w, const struct bytes *argv, uint32_t argc,
                          uint16_t *db)
{
    for (uint32_t i = 3; i + 1 < argc; i++) {
        int64_t n;
        if (!bytes_equal_nocase(argv[i], "db")) continue;
        if (!text_to_i64(argv[i + 1], &n) || n < 0 || n >= w->server->database_count) return false;
        *db = (uint16_t)n;
    }
    return true;
}

static bool is_copy(const struct command *c)
{
    return strcmp(c->name, "copy") == 0;
}

bool locked_arguments_fit(const struct worker *w, const struct command *c, const struct bytes *argv,
                          uint32_t argc)
{
    const struct locked_move *move = locked_move_find(c);
    uint16_t db;
    if (is_copy(c)) return copy_database(w, argv, argc, &db);
    return !move || move->fits(argv, argc);
}

/* A name that stands twice is one guest; it is written if any of its places is. */
void keys_merge_repeated(struct locked *op)
{
    uint32_t mask = 1;
    while (mask < 2 * op->key_count) mask *= 2;
    uint32_t *slots = mem_alloc_zeroed(op->mem, mask * sizeof *slots);
    for (uint32_t i = 0; i < op->key_count; i++) {
        struct locked_key *k = &op->keys[i];
        uint32_t at = (uint32_t)k->hash & (mask - 1);
        while (slots[at]) {
            struct locked_key *other = &op->keys[slots[at] - 1];
            if (other->db == k->db &&
                bytes_equal(op->argv[other->argv_index], op->argv[k->argv_index]))
                break;
            at = (at + 1) & (mask - 1);
        }
        if (slots[at]) {
            k->is_repeated = true;
            op->keys[slots[at] - 1].is_written |= k->is_written;
        } else {
            slots[at] = i + 1;
        }
    }
    mem_free(op->mem, slots, mask * sizeof *slots);
}

static bool is_participant(const struct locked *op, uint16_t shard)
{
    for (uint16_t i = 0; i < op->participant_count; i++)
        if (op->participants[i].shard == shard) return true;
    return false;
}

/* False: everything lives on one shard, or the arguments are wrong, which the handler will say. */
static bool locked_plan(struct locked *op)
{
    if (!command_each_key(op->route->command, op->argv, op->argc, key_found, op) ||
        op->key_count < 2)
        return false;
    const struct command *c = op->route->command;
    if (!locked_arguments_fit(op->worker, c, op->argv, op->argc)) return false;
    if (is_copy(c)) CHECK(copy_database(op->worker, op->argv, op->argc, &op->keys[1].db));
    op->participant_capacity = op->key_count;
    op->participants = mem_alloc_zeroed(op->mem, op->key_count * sizeof *op->participants);
    for (uint32_t k = 0; k < op->key_count; k++)
        if (!is_participant(op, op->keys[k].shard))
            op->participants[op->participant_count++].shard = op->keys[k].shard;
    if (op->participant_count == 1) return false;
    keys_merge_repeated(op);
    op->takes_first = strcmp(c->name, "lmpop") == 0 || strcmp(c->name, "zmpop") == 0;
    uint32_t first_written = 0;
    while (first_written < op->key_count && !op->keys[first_written].is_written) first_written++;
    op->host = op->keys[first_written < op->key_count ? first_written : 0].shard;
    for (uint32_t k = 0; k < op->key_count; k++) {
        struct locked_key *key = &op->keys[k];
        key->mode_text[0] = op->takes_first ? 'e' : is_guest(op, key) ? 'd' : '-';
        memcpy(key->mode_text + 1, &key->db, sizeof key->db);
        key->mode = bytes_make(key->mode_text, LOCK_MODE_BYTES);
    }
    op->move = locked_move_find(c);
    if (op->move) op->move->plan(op);
    op->is_read = locked_read_fits(c, op->argv, op->argc);
    if (op->is_read) locked_read_plan(op);
    return true;
}

/* ---- entry ---- */

bool reserve_participants(struct locked *op)
{
    uint16_t shards[ROUTER_SHARDS_MAX];
    for (uint16_t i = 0; i < op->participant_count; i++) shards[i] = op->participants[i].shard;
    return turn_reserve(op->gather.netloop, shards, op->participant_count);
}

static struct locked *locked_create(struct worker *w, const struct batch_command *c)
{
    struct mem *mem = &w->net.mem;
    struct locked *op = mem_alloc_zeroed(mem, sizeof *op);
    op->mem = op->reports.mem = op->departures.mem = op->reply.mem = op->names.mem =
        op->move_mode.mem = op->events.mem = mem;
    op->worker = w;
    op->route = c->route;
    op->gather.netloop = &w->net;
    w->net.errands++;
    op->argv = c->argv;
    op->argc = c->argc;
    op->db = c->db;
    op->resp = c->resp;
    op->tracked_flag = c->flags;
    return op;
}

struct locked *locked_create_for(struct session *s, const struct route *route)
{
    return locked_create(session_worker(s),
                         &(struct batch_command){.route = route,
                                                 .argv = s->conn.reader.argv,
                                                 .argc = s->conn.reader.argc,
                                                 .db = (uint16_t)s->db,
                                                 .resp = s->resp,
                                                 .flags = session_tracked_flag(s, route->command)});
}

/* Takes over the request's arguments. */
enum err locked_hold(struct locked *op, struct session *s)
{
    struct input_ref input;
    enum err e = conn_hold_request(&s->conn, op->argc, &input);
    if (e != OK) return e;
    op->input = input.payload;
    memcpy(op->input->argv, s->conn.reader.argv, op->argc * sizeof *op->argv);
    op->argv = op->input->argv;
    op->gather.conn_index = s->conn.index;
    op->gather.conn_generation = s->conn.generation;
    op->gather.slot = conn_push_slot(&s->conn);
    return OK;
}

/* What changes nothing and can only fail for a type needs no locks. */
static bool is_xread(const struct command *c, const struct bytes *argv, uint32_t argc,
                     struct stream_reader *r)
{
    return c->merge == MERGE_FOUND && !(c->flags & CMD_WRITE) &&
           stream_read_is_plain(argv, argc, false, r);
}

bool coord_locked(struct session *s, const struct route *route)
{
    struct stream_reader reader;
    if (session_worker(s)->server->router.shard_count == 1)
        return session_dispatch_to_shard_of_key(s, route);
    if (sort_has_external_keys(route->command, s->conn.reader.argv, s->conn.reader.argc))
        return coord_sort_external(s, route);
    if (is_xread(route->command, s->conn.reader.argv, s->conn.reader.argc, &reader))
        return coord_fan_out_found(s, route, reader.first_key);
    struct locked *op = locked_create_for(s, route);
    if (!locked_plan(op)) {
        locked_free(op);
        return session_dispatch_to_shard_of_key(s, route);
    }
    if (coord_reject_full(s, route)) {
        locked_free(op);
        return true;
    }
    if (!reserve_participants(op)) {
        locked_free(op);
        return false;
    }
    enum err e = locked_hold(op, s);
    if (e != OK) {
        locked_free(op);
        session_reject(s, route, e);
        return true;
    }
    lock_turn(op);
    return true;
}

void locked_run(const struct batch *b, void *caller, void (*on_reply)(struct locked *op))
{
    const struct batch_command *c = b->commands;
    struct locked *op = locked_create(b->worker, c);
    op->gather.conn_index = b->conn_index;
    op->gather.conn_generation = b->conn_generation;
    op->is_held = true;
    op->caller = caller;
    op->on_reply = on_reply;
    if (sort_has_external_keys(c->route->command, c->argv, c->argc)) {
        sort_external_run(op);
        return;
    }
    CHECK(locked_plan(op)); /* batch_is_across said so */
    effects_fetch(op);
}

bool locked_run_alone(struct worker *w, const struct batch_command *c, struct payload *input,
                      const struct locked_caller *caller)
{
    struct locked *op = locked_create(w, c);
    op->caller = caller->who;
    op->on_reply = caller->on_reply;
    op->on_nothing = caller->on_nothing;
    CHECK(locked_plan(op));
    if (!reserve_participants(op)) {
        locked_free(op);
        return false;
    }
    input->refs++;
    op->input = input;
    lock_turn(op);
    return true;
}
