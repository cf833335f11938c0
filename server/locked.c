#include "server/locked.h"

#include <stdio.h>

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

/* Besides those of keys and participants. */
#define EFFECTS_BESIDES 8
/* Room for an error in place of the reply. */
#define ERROR_BYTES_MAX 256

static void round_send(struct locked *op);
static void round_resume(struct stuck *stuck);

/* ---- memory ---- */

void locked_free(struct locked *op)
{
    struct mem *mem = op->mem;
    gather_release_parts(&op->gather);
    mem_free(mem, op->gather.parts, op->effect_capacity * sizeof *op->gather.parts);
    if (op->input) payload_unref(op->input);
    mem_free(mem, op->keys, op->key_capacity * sizeof *op->keys);
    mem_free(mem, op->participants, op->participant_capacity * sizeof *op->participants);
    mem_free(mem, op->lock_argv, op->lock_argv_count * sizeof *op->lock_argv);
    mem_free(mem, op->effects, op->effect_capacity * sizeof *op->effects);
    buf_clear(&op->reports);
    buf_clear(&op->events);
    if (op->events_argv)
        mem_free(mem, op->events_argv, op->events_argv_count * sizeof *op->events_argv);
    buf_clear(&op->reply);
    buf_clear(&op->names);
    buf_clear(&op->move_mode);
    if (op->read_key_parts)
        mem_free(mem, op->read_key_parts, op->key_count * sizeof *op->read_key_parts);
    if (op->read_argv) mem_free(mem, op->read_argv, op->read_argv_count * sizeof *op->read_argv);
    op->gather.netloop->errands--;
    mem_free(mem, op, sizeof *op);
}

void parts_set(struct locked *op, uint32_t count, void (*on_complete)(struct gather *))
{
    struct gather *g = &op->gather;
    CHECK(count <= op->effect_capacity);
    gather_release_parts(g);
    if (count) memset(g->parts, 0, count * sizeof *g->parts);
    g->part_count = g->waiting = count;
    g->on_complete = on_complete;
}

/* A round has at most two effects for each key and each participant, besides the command. */
bool locked_reserve(struct locked *op)
{
    uint64_t needed = EFFECTS_BESIDES + 2ULL * op->key_count + 2ULL * op->participant_count;
    struct gather *g = &op->gather;
    if (needed > UINT32_MAX || !buf_try_reserve(&op->reply, ERROR_BYTES_MAX)) return false;
    if (needed <= op->effect_capacity) return true;
    struct effect *effects = mem_try_alloc(op->mem, needed * sizeof *effects);
    struct gather_part *parts = mem_try_alloc(op->mem, needed * sizeof *parts);
    if (!effects || !parts) {
        mem_free(op->mem, effects, needed * sizeof *effects);
        mem_free(op->mem, parts, needed * sizeof *parts);
        return false;
    }
    if (op->effect_count) memcpy(effects, op->effects, op->effect_count * sizeof *effects);
    if (g->part_count) memcpy(parts, g->parts, g->part_count * sizeof *parts);
    mem_free(op->mem, op->effects, op->effect_capacity * sizeof *effects);
    mem_free(op->mem, g->parts, op->effect_capacity * sizeof *parts);
    op->effects = effects;
    g->parts = parts;
    op->effect_capacity = (uint32_t)needed;
    return true;
}

struct effect *effect_add(struct locked *op, uint16_t shard, const struct command *command)
{
    CHECK(op->effect_count < op->effect_capacity);
    struct effect *e = &op->effects[op->effect_count++];
    *e = (struct effect){.shard = shard, .db = op->db, .resp = 2, .command = command};
    return e;
}

void effects_restart(struct locked *op)
{
    op->round_start = op->effect_count = 0;
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
static uint16_t round_flags(const struct locked *op)
{
    uint16_t flags = REQUEST_COMMIT | (op->client_flags & REQUEST_NO_TOUCH);
    return op->is_held ? flags | REQUEST_IN_EXEC : flags;
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

/* ---- the reply ---- */

static bool part_try_copy(struct locked *op, uint32_t effect, struct buf *out)
{
    return gather_part_try_append(&op->gather, effect - op->round_start, out);
}

static bool writes_keys(const struct locked *op)
{
    for (uint32_t i = 0; i < op->key_count; i++)
        if (op->keys[i].is_written) return true;
    return false;
}

static void reply_with_error(struct locked *op, enum err e)
{
    op->reply.size = 0;
    buf_printf(&op->reply, "-%s\r\n", err_text(e));
}

/* The reply of the command. One that finds no memory is an error where nothing was written; else
 * it is lost. */
static void result_take(struct locked *op)
{
    op->reply.size = 0;
    if (part_try_copy(op, op->command_effect, &op->reply)) return;
    op->is_lost = writes_keys(op);
    reply_with_error(op, op->is_lost ? ERR_REPLY_LOST : ERR_ALLOC);
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

/* A key of the operation that lives on the host and so is locked there. */
static struct bytes host_key(const struct locked *op)
{
    uint32_t i = 0;
    while (op->keys[i].shard != op->host) i++;
    return op->argv[op->keys[i].argv_index];
}

static struct effect *effect_thaw(struct locked *op, uint16_t shard, const struct locked_key *k,
                                  struct bytes report)
{
    struct effect *e = effect_add(op, shard, internal_row(INTERNAL_THAW));
    e->db = k->db;
    e->hash = k->hash;
    e->inline_argv[0] = BYTES_LITERAL("thaw");
    e->inline_argv[1] = op->argv[k->argv_index];
    value_report_read(report, &e->inline_argv[2], &e->inline_argv[3]);
    e->argc = 4;
    return e;
}

void effect_put_value(struct locked *op, const struct locked_key *from, const struct locked_key *to)
{
    (void)effect_thaw(op, to->shard, to, from->report);
}

static void effect_invite(struct locked *op, const struct locked_key *k)
{
    struct effect *e = effect_thaw(op, op->host, k, k->report);
    e->inline_argv[4] = host_key(op);
    e->argc = 5;
}

static void effect_depart(struct locked *op, const struct locked_key *k)
{
    struct effect *e = effect_add(op, op->host, internal_row(INTERNAL_DEPART));
    e->db = k->db;
    e->hash = k->hash;
    e->argc = 2;
    e->inline_argv[0] = BYTES_LITERAL("depart");
    e->inline_argv[1] = op->argv[k->argv_index];
}

void effects_unlock(struct locked *op)
{
    if (op->is_held) return;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct participant *p = &op->participants[i];
        if (p->token == 0) continue;
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

/* What has happened to the guests is fetched behind the command, if anybody may want to know.
 * Without memory for that the events are lost. */
static void effect_events(struct locked *op)
{
    op->events_effect = 0;
    if (op->worker->config->notify_keyspace_events == 0) return;
    op->events_argv_count = 1 + 2 * op->key_count;
    op->events_argv = mem_try_alloc(op->mem, op->events_argv_count * sizeof *op->events_argv);
    if (!op->events_argv) return;
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

/* ---- the end ---- */

static void reply_send(struct locked *op)
{
    struct gather *g = &op->gather;
    struct conn *c = netloop_conn(g->netloop, g->conn_index, g->conn_generation);
    if (!c || c->is_closing) return;
    struct reply out = netloop_reply(g->netloop, op->resp);
    bool fits = !op->is_lost && reply_try_reserve(&out, op->reply.size) != NULL;
    if (fits) {
        reply_raw(&out, op->reply.data, op->reply.size);
        if (writes_keys(op)) /* an error would tell that nothing was done */
            conn_fill_slot_done(c, g->slot, &out);
        else
            conn_fill_slot(c, g->slot, &out);
    }
    netloop_reply_drop(g->netloop, &out);
    if (!fits) conn_close(c); /* It is done, so an error would be wrong. */
}

void gave_back(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    if (op->on_reply) {
        op->on_reply(op);
        locked_free(op);
        return;
    }
    reply_send(op);
    op->worker->should_resume = true;
    locked_free(op);
}

/* The run is over: its reply is the client's. */
static void ran(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    result_take(op);
    op->events.size = 0;
    if (op->events_effect) (void)!part_try_copy(op, op->events_effect, &op->events);
    effects_restart(op);
    effects_emit(op);
    effects_unlock(op);
    round_begin(op, gave_back);
}

/* ---- run ---- */

void effects_run(struct locked *op)
{
    for (uint32_t i = 0; i < op->key_count; i++)
        if (is_guest(op, &op->keys[i]) && report_is_value(op->keys[i].report))
            effect_invite(op, &op->keys[i]);
    op->command_effect = op->effect_count;
    struct effect *e = effect_add(op, op->host, op->route->command);
    e->argv = op->argv;
    e->argc = op->argc;
    e->resp = op->resp;
    effect_events(op);
    for (uint32_t i = 0; i < op->key_count; i++)
        if (is_guest(op, &op->keys[i])) effect_depart(op, &op->keys[i]);
    round_begin(op, ran);
}

/* Nothing happens but the unlocks. */
static void effects_end(struct locked *op)
{
    effects_restart(op);
    effects_unlock(op);
    round_begin(op, gave_back);
}

void effects_fail(struct locked *op, struct bytes error)
{
    buf_append(&op->reply, error.data, error.size);
    effects_end(op);
}

void effects_fail_reported(struct locked *op, struct bytes report)
{
    struct netloop *nl = &op->worker->net;
    nl->hooks->on_error(nl, op->route->id, bytes_make(report.data + 1, report.size - 1));
    effects_fail(op, report);
}

void effects_fail_for_memory(struct locked *op)
{
    reply_with_error(op, ERR_ALLOC);
    effects_end(op);
}

/* ---- moving an element or a value ---- */

static void taken(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    op->round_start = op->effect_count;
    op->move->tell(op);
    effects_unlock(op);
    round_begin(op, gave_back);
}

static void put_done(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    bool has_failed = gather_part_kind(g, 0) == '-';
    op->command_effect = op->round_start;
    if (has_failed) result_take(op);
    op->round_start = op->effect_count;
    if (!has_failed) op->move->take(op);
    if (!has_failed && op->move->tell && op->worker->config->notify_keyspace_events != 0) {
        round_begin(op, taken);
        return;
    }
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

/* ---- the first key that is there ---- */

static void first_run(struct locked *op, uint32_t from);

static void first_ran(struct gather *g)
{
    result_take(container_of(g, struct locked, gather));
    gave_back(g);
}

/* The locks are still held: the key may have expired since it was there. */
static void first_tried(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    result_take(op);
    if (!report_is_null(buf_view(&op->reply))) {
        effects_end(op);
        return;
    }
    effects_restart(op);
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

#define TOKEN_HEADER "$8\r\n"

/* Every participant's reply is an array: the token, whether a watch is dirty, then a report per key
 * in the order in which they were sent. One that has found no memory holds nothing; or, where it is
 * the reports that found none, is an array of the token alone. */
bool tokens_read(struct locked *op)
{
    bool all = true;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        char head[64] = "";
        size_t size = gather_part_head(&op->gather, i, head, sizeof head);
        const char *line_end = head[0] == '*' ? memchr(head, '\n', size) : NULL;
        struct participant *p = &op->participants[i];
        p->token = 0;
        if (line_end) memcpy(&p->token, line_end + sizeof TOKEN_HEADER, sizeof p->token);
        if (!line_end || memcmp(head, "*1\r", 3) == 0) all = false;
    }
    return all;
}

static void reports_split(struct locked *op, uint16_t shard, struct bytes part)
{
    const char *line_end = memchr(part.data, '\n', part.size);
    size_t at = (size_t)(line_end - part.data) + sizeof TOKEN_HEADER + sizeof(uint64_t) + 2;
    at += reply_value_bytes(bytes_make(part.data + at, part.size - at)); /* nothing was watched */
    for (uint32_t k = 0; k < op->key_count; k++) {
        if (op->keys[k].shard != shard) continue;
        size_t size = reply_value_bytes(bytes_make(part.data + at, part.size - at));
        op->keys[k].report = bytes_make(part.data + at, size);
        at += size;
    }
}

bool reports_read(struct locked *op)
{
    struct gather *g = &op->gather;
    bool fits = tokens_read(op);
    for (uint16_t i = 0; fits && i < op->participant_count; i++)
        fits = gather_part_try_append(g, i, &op->reports);
    if (!fits) {
        effects_fail_for_memory(op);
        return false;
    }
    size_t start = 0;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        size_t size = g->parts[i].end - g->parts[i].start;
        reports_split(op, op->participants[i].shard, bytes_make(op->reports.data + start, size));
        start += size;
    }
    return true;
}

static void locked_now(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    if (!reports_read(op)) return;
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
        effects_fail_reported(op, op->keys[k].report);
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

static void lock_turn(struct locked *op)
{
    struct netloop *nl = op->gather.netloop;
    parts_set(op, op->participant_count, locked_now);
    for (uint16_t i = 0; i < op->participant_count; i++)
        turn_add_part(nl, op->participants[i].shard, &op->gather, i,
                      &(struct turn_request){.command = internal_row(INTERNAL_LOCK),
                                             .argv = op->participants[i].argv,
                                             .argc = op->participants[i].argc,
                                             .command_id = op->route->id,
                                             .db = op->db,
                                             .resp = 2,
                                             .flags = op->client_flags,
                                             .argv_is_stable = true,
                                             .is_same_command = i > 0});
}

/* Under a holding: the same reports, in a round. */
static void effects_fetch(struct locked *op)
{
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct effect *e = effect_add(op, op->participants[i].shard, internal_row(INTERNAL_FETCH));
        e->argv = op->participants[i].argv;
        e->argc = op->participants[i].argc;
        e->flags = op->client_flags;
    }
    round_begin(op, fetched);
}

/* ---- entry ---- */

bool reserve_participants(struct locked *op)
{
    uint16_t shards[ROUTER_SHARDS_MAX];
    for (uint16_t i = 0; i < op->participant_count; i++) shards[i] = op->participants[i].shard;
    return turn_reserve(op->gather.netloop, shards, op->participant_count);
}

struct locked *locked_create(struct worker *w, const struct batch_command *c)
{
    struct mem *mem = &w->net.mem;
    struct locked *op = mem_alloc_zeroed(mem, sizeof *op);
    op->mem = op->reports.mem = op->reply.mem = op->names.mem = op->move_mode.mem = op->events.mem =
        mem;
    op->worker = w;
    op->route = c->route;
    op->gather.netloop = &w->net;
    w->net.errands++;
    op->argv = c->argv;
    op->argc = c->argc;
    op->db = c->db;
    op->resp = c->resp;
    op->client_flags = c->flags;
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
                                                 .flags = session_client_flags(s, route->command)});
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
    if (coord_is_msetnx(route->command)) return coord_fan_out(s, route);
    struct locked *op = locked_create_for(s, route);
    enum spread spread = locked_plan(op);
    if (spread != SPREAD_OVER_SHARDS) {
        locked_free(op);
        if (spread == SPREAD_NOT) return session_dispatch_to_shard_of_key(s, route);
        session_refuse(s, route, ERR_ALLOC);
        return true;
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
        session_refuse(s, route, e);
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
    if (c->route->command->plan == PLAN_FAN_OUT || coord_is_msetnx(c->route->command)) {
        locked_mset_run(op);
        return;
    }
    if (sort_has_external_keys(c->route->command, c->argv, c->argc)) {
        sort_external_run(op);
        return;
    }
    enum spread spread = locked_plan(op);
    CHECK(spread != SPREAD_NOT); /* it is_across */
    if (spread == SPREAD_OVER_SHARDS)
        effects_fetch(op);
    else
        effects_fail_for_memory(op);
}

bool locked_run_alone(struct worker *w, const struct batch_command *c, struct payload *input,
                      const struct locked_caller *caller)
{
    struct locked *op = locked_create(w, c);
    op->caller = caller->who;
    op->on_reply = caller->on_reply;
    op->on_nothing = caller->on_nothing;
    enum spread spread = locked_plan(op);
    CHECK(spread != SPREAD_NOT);
    if (spread == SPREAD_UNKNOWN || !reserve_participants(op)) {
        locked_free(op);
        return false;
    }
    input->refs++;
    op->input = input;
    lock_turn(op);
    return true;
}
