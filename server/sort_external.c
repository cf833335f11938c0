#include "server/sort_external.h"

#include "base/text.h"
#include "server/locked.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/families.h"
#include "shard/cmd/sort_args.h"

/* Nothing has changed yet: the locks are given back, and that is all. */
static void fail_for_memory(struct locked *op)
{
    struct netloop *nl = op->gather.netloop;
    struct reply out = netloop_reply(nl, op->resp);
    reply_err(&out, ERR_ALLOC);
    struct bytes text =
        bytes_make(out.last->data, (size_t)(out.cursor - (const char *)out.last->data));
    op->round_start = op->effect_count;
    effects_fail(op, text);
    netloop_reply_drop(nl, &out);
}

static bool try_append(struct buf *to, struct bytes text)
{
    if (!buf_try_reserve(to, text.size)) return false;
    buf_append(to, text.data, text.size);
    return true;
}

/* ---- report ---- */

static void reported(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    uint32_t count = op->effect_count - op->round_start, part = 0;
    size_t *ends = mem_try_alloc(op->mem, count * sizeof *ends);
    bool fits = ends != NULL;
    op->reports.size = 0;
    for (uint32_t i = 0; fits && i < count; i++) {
        fits = try_append(&op->reports, gather_part_bytes(g, i, &g->netloop->flatten));
        ends[i] = op->reports.size;
    }
    if (!fits) {
        mem_free(op->mem, ends, count * sizeof *ends);
        fail_for_memory(op);
        return;
    }
    struct bytes error = {0};
    for (uint32_t k = 0; k < op->key_count; k++) {
        if (!is_guest(op, &op->keys[k])) continue;
        size_t start = part ? ends[part - 1] : 0;
        op->keys[k].report = bytes_make(op->reports.data + start, ends[part] - start);
        if (op->keys[k].report.data[0] == '-') error = op->keys[k].report;
        part++;
    }
    mem_free(op->mem, ends, count * sizeof *ends);
    op->round_start = op->effect_count;
    if (error.data) {
        effects_fail(op, error);
    } else {
        effects_run(op);
    }
}

static void ask_for_reports(struct locked *op)
{
    op->round_start = op->effect_count;
    for (uint32_t k = 0; k < op->key_count; k++) {
        const struct locked_key *key = &op->keys[k];
        if (!is_guest(op, key)) continue;
        struct effect *e = effect_add(op, key->shard, internal_row(INTERNAL_REPORT));
        e->hash = key->hash;
        e->argc = 2;
        e->inline_argv[0] = BYTES_LITERAL("report");
        e->inline_argv[1] = op->argv[key->argv_index];
    }
    if (op->effect_count == op->round_start) {
        effects_run(op);
    } else {
        round_begin(op, reported);
    }
}

/* ---- names ---- */

/* One line of RESP behind its sign; `*at` is moved past it. */
static uint64_t read_number(const char **at)
{
    const char *end = strchr(*at, '\r');
    uint64_t n = 0;
    CHECK(end && text_to_u64(bytes_make(*at + 1, (size_t)(end - *at - 1)), &n));
    *at = end + 2;
    return n;
}

/* The command's arguments, and the names behind them. False: no memory. */
static bool try_append_names(struct locked *op)
{
    const char *at = op->names.data;
    uint64_t count = read_number(&at);
    uint32_t argc = op->argc + (uint32_t)count;
    op->lock_argv = mem_try_alloc(op->mem, argc * sizeof *op->lock_argv);
    if (!op->lock_argv) return false;
    op->lock_argv_count = argc;
    memcpy(op->lock_argv, op->argv, op->argc * sizeof *op->argv);
    for (uint64_t i = 0; i < count; i++) {
        size_t size = (size_t)read_number(&at);
        op->lock_argv[op->argc + i] = bytes_make(at, size);
        at += size + 2;
    }
    op->argv = op->lock_argv;
    return true;
}

static void named(struct gather *g)
{
    static const struct key_spec found = {.flags = KEY_RO | KEY_ACCESS};
    struct locked *op = container_of(g, struct locked, gather);
    if (!try_append(&op->names, gather_part_bytes(g, 0, &g->netloop->flatten))) {
        fail_for_memory(op);
        return;
    }
    if (op->names.data[0] == '-') {
        op->round_start = op->effect_count;
        effects_fail(op, buf_view(&op->names));
        return;
    }
    if (!try_append_names(op)) {
        fail_for_memory(op);
        return;
    }
    (void)command_each_key(op->route->command, op->argv, op->argc, key_found, op);
    for (uint32_t i = op->argc; i < op->lock_argv_count; i++) key_found(op, i, &found);
    keys_merge_repeated(op);
    ask_for_reports(op);
}

/* ---- hold ---- */

static void everybody_takes_part(struct locked *op)
{
    op->participant_count = op->worker->server->router.shard_count;
    op->participant_capacity = op->participant_count;
    op->participants =
        mem_alloc_zeroed(op->mem, op->participant_capacity * sizeof *op->participants);
    for (uint16_t i = 0; i < op->participant_count; i++) op->participants[i].shard = i;
}

void sort_external_run(struct locked *op)
{
    if (op->is_held) everybody_takes_part(op);
    uint64_t hash;
    op->host = router_shard(&op->worker->server->router, op->argv[1], &hash);
    op->round_start = op->effect_count;
    struct effect *e = effect_add(op, op->host, internal_row(INTERNAL_SORT_KEYS));
    e->hash = hash;
    e->argv = op->argv;
    e->argc = op->argc;
    round_begin(op, named);
}

static void held(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    reports_read(op);
    sort_external_run(op);
}

static void hold_turn(struct locked *op)
{
    static const uint64_t no_watch = 0;
    static const struct bytes argv[] = {{"lockall", sizeof "lockall" - 1},
                                        {(const char *)&no_watch, sizeof no_watch}};
    parts_set(op, op->participant_count, held);
    for (uint16_t i = 0; i < op->participant_count; i++) {
        turn_add_part(op->gather.netloop, i, &op->gather, i,
                      &(struct turn_request){.command = internal_row(INTERNAL_LOCK_ALL),
                                             .argv = (struct bytes *)(uintptr_t)argv,
                                             .argc = ARRAY_LEN(argv),
                                             .command_id = op->route->id,
                                             .db = op->db,
                                             .resp = 2,
                                             .argv_is_stable = true});
    }
}

bool coord_sort_external(struct session *s, const struct route *route)
{
    struct locked *op = locked_create_for(s, route);
    everybody_takes_part(op);
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
    hold_turn(op);
    return true;
}
