#include "server/sort_external.h"

#include "base/text.h"
#include "server/locked.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/families.h"
#include "shard/cmd/sort_args.h"

/* ---- report ---- */

static void reported(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    uint32_t part = 0;
    bool fits = true;
    op->reports.size = 0;
    for (uint32_t i = 0; fits && i < g->part_count; i++)
        fits = gather_part_try_append(g, i, &op->reports);
    if (!fits) {
        effects_fail_for_memory(op);
        return;
    }
    struct bytes error = {0};
    size_t start = 0;
    for (uint32_t k = 0; k < op->key_count; k++) {
        if (!is_guest(op, &op->keys[k])) continue;
        size_t size = g->parts[part].end - g->parts[part].start;
        op->keys[k].report = bytes_make(op->reports.data + start, size);
        if (op->keys[k].report.data[0] == '-') error = op->keys[k].report;
        start += size;
        part++;
    }
    effects_restart(op);
    if (error.data)
        effects_fail(op, error);
    else
        effects_run(op);
}

static void ask_for_reports(struct locked *op)
{
    effects_restart(op);
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
    op->names.size = 0;
    if (!gather_part_try_append(g, 0, &op->names)) {
        effects_fail_for_memory(op);
        return;
    }
    if (op->names.data[0] == '-') {
        op->round_start = op->effect_count;
        effects_fail(op, buf_view(&op->names));
        return;
    }
    if (!try_append_names(op)) {
        effects_fail_for_memory(op);
        return;
    }
    (void)command_each_key(op->route->command, op->argv, op->argc, key_found, op);
    for (uint32_t i = op->argc; i < op->lock_argv_count; i++) key_found(op, i, &found);
    if (op->lacks_memory || !keys_merge_repeated(op) || !locked_reserve(op)) {
        effects_fail_for_memory(op);
        return;
    }
    op->host = locked_host(op);
    ask_for_reports(op);
}

/* ---- hold ---- */

/* False: no memory. */
static bool everybody_takes_part(struct locked *op)
{
    op->participant_count = op->worker->server->router.shard_count;
    op->participant_capacity = op->participant_count;
    op->participants =
        mem_alloc_zeroed(op->mem, op->participant_capacity * sizeof *op->participants);
    for (uint16_t i = 0; i < op->participant_count; i++) op->participants[i].shard = i;
    return locked_reserve(op);
}

void sort_external_run(struct locked *op)
{
    if (op->is_held && !everybody_takes_part(op)) {
        effects_fail_for_memory(op);
        return;
    }
    uint64_t hash;
    op->host = router_shard(&op->worker->server->router, op->argv[1], &hash);
    effects_restart(op);
    struct effect *e = effect_add(op, op->host, internal_row(INTERNAL_SORT_KEYS));
    e->hash = hash;
    e->argv = op->argv;
    e->argc = op->argc;
    round_begin(op, named);
}

static void held(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    if (reports_read(op)) sort_external_run(op);
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
    bool fits = everybody_takes_part(op);
    if (fits && !reserve_participants(op)) {
        locked_free(op);
        return false;
    }
    enum err e = fits ? locked_hold(op, s) : ERR_ALLOC;
    if (e != OK) {
        locked_free(op);
        session_refuse(s, route, e);
        return true;
    }
    hold_turn(op);
    return true;
}
