#include "server/replay_reader.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "server/function_log.h"
#include "server/replay.h"
#include "server/server.h"
#include "server/worker.h"

#define RECORD_ROUND 32 /* records between two looks at the clock */
#define KEY_STEP_MAX 2  /* a key and its value */

/* Commands on their way to another shard, and back to be freed. */
struct replay_batch {
    struct call call;
    struct replay_reader *reader;
    uint16_t shard;
    struct buf packs;
    /* ---- written by the shard ---- */
    bool has_failed;
    unsigned file;
    uint64_t offset;
    char error[REPLAY_ERROR_BYTES];
};

/* No limits: who wrote the log had them. */
static const struct resp_limits limits = {
    .bulk_bytes_max = INT64_MAX, .args_max = INT32_MAX, .authenticated = true};

static struct replay *replay_of(const struct replay_reader *r)
{
    return &r->server->replay;
}

static struct shard *shard_of(const struct replay_reader *r)
{
    return &r->server->shard_workers[r->shard]->shard;
}

static bool must_end(const struct replay_reader *r)
{
    return atomic_load_explicit(&replay_of(r)->must_end, memory_order_relaxed);
}

/* ---- failures ---- */

static void fail_with(struct replay_reader *r, const char *why)
{
    if (!r->has_failed) snprintf(r->why, sizeof r->why, "%s", why);
    r->has_failed = true;
    atomic_store_explicit(&replay_of(r)->must_end, true, memory_order_relaxed);
}

static void fail_at(struct replay_reader *r, unsigned file, uint64_t offset, const char *what)
{
    char name[MANIFEST_FILE_NAME_BYTES], why[sizeof r->why];
    const struct recovery *log = replay_of(r)->recovery;
    manifest_file_name(&log->manifest.files[file], name);
    snprintf(why, sizeof why, "%s/%s cannot be loaded: the record at offset %" PRIu64 " %s",
             log->options.directory, name, offset, what);
    fail_with(r, why);
}

static void fail_command(struct replay_reader *r, unsigned file, uint64_t offset, const char *error)
{
    char what[REPLAY_ERROR_BYTES + 64];
    snprintf(what, sizeof what, "has a command that fails: %s", error);
    fail_at(r, file, offset, what);
}

/* ---- batches ---- */

static void go_on(struct thread *at, struct replay_reader *r);

static void drop_batch(struct shard *sh, struct replay_batch *b)
{
    buf_clear(&b->packs);
    mem_free(&sh->mem, b, sizeof *b);
}

static void batch_is_back(struct thread *at, struct call *c)
{
    struct replay_batch *b = container_of(c, struct replay_batch, call);
    struct replay_reader *r = b->reader;
    r->away_bytes -= b->packs.size;
    r->away_count--;
    if (b->has_failed) fail_command(r, b->file, b->offset, b->error);
    drop_batch(shard_of(r), b);
    if (r->is_waiting) go_on(at, r);
}

static void batch_arrives(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct replay_batch *b = container_of(c, struct replay_batch, call);
    struct bytes packs = buf_view(&b->packs);
    w->shard.is_quiet = true;
    while (packs.size > 0 && !b->has_failed) {
        struct replay_command command = replay_command_unpack(&packs);
        b->has_failed = !replay_command_run(&w->shard, &command, b->error);
        b->file = command.file;
        b->offset = command.offset;
    }
    w->shard.is_quiet = false;
    c->run = batch_is_back;
    thread_call(at, w->server->mesh.shard_threads[b->reader->shard]->id, c);
}

static void send_batch(struct replay_reader *r, uint16_t shard)
{
    struct replay_batch *b = r->filling[shard];
    if (!b) return;
    r->filling[shard] = NULL;
    r->away_bytes += b->packs.size;
    r->away_count++;
    b->call.run = batch_arrives;
    thread_call(thread_here, r->server->mesh.shard_threads[shard]->id, &b->call);
}

static void add_to_batch(struct replay_reader *r, uint16_t shard, const struct replay_command *c)
{
    struct shard *sh = shard_of(r);
    struct replay_batch *b = r->filling[shard];
    if (!b) {
        b = r->filling[shard] = mem_alloc(&sh->mem, sizeof *b);
        *b = (struct replay_batch){.reader = r, .shard = shard, .packs = {.mem = &sh->mem}};
    }
    if (!replay_command_try_pack(&b->packs, c))
        fail_command(r, c->file, c->offset, err_text(ERR_ALLOC));
    if (b->packs.size >= REPLAY_BATCH_BYTES) send_batch(r, shard);
}

static void drop_batches(struct replay_reader *r)
{
    for (uint16_t i = 0; i < r->server->mesh.shard_count; i++) {
        if (r->filling[i]) drop_batch(shard_of(r), r->filling[i]);
        r->filling[i] = NULL;
    }
}

/* ---- commands ---- */

static void dispatch(struct replay_reader *r, uint16_t shard, const struct replay_command *c)
{
    struct shard *sh = shard_of(r);
    char error[REPLAY_ERROR_BYTES];
    if (shard != r->shard) {
        add_to_batch(r, shard, c);
        return;
    }
    sh->is_quiet = true;
    if (!replay_command_run(sh, c, error)) fail_command(r, c->file, c->offset, error);
    sh->is_quiet = false;
}

static void dispatch_everywhere(struct replay_reader *r, const struct replay_command *c)
{
    for (uint16_t i = 0; i < r->server->mesh.shard_count; i++) dispatch(r, i, c);
}

static bool read_db(const struct server *srv, struct bytes text, uint32_t *db)
{
    int64_t value;
    if (!text_to_i64(text, &value) || value < 0 || value >= srv->database_count) return false;
    *db = (uint32_t)value;
    return true;
}

/* FUNCTION RESTORE payload FLUSH: once, here, as all shards share them. NULL, or what is wrong. */
static const char *take_functions(struct replay_reader *r, const struct replay_command *c)
{
    struct worker *w = r->server->shard_workers[r->shard];
    char error[REPLAY_ERROR_BYTES];
    if (function_log_replay(w, c->argv[2], error, sizeof error)) return NULL;
    fail_command(r, c->file, c->offset, error);
    return NULL;
}

/* SELECT, and what concerns whole databases. NULL, or what is wrong. */
static const char *take_keyless(struct replay_reader *r, struct replay_command *c)
{
    const char *name = c->route->command->name;
    struct bytes *argv = c->argv;
    static const char too_high[] = "has a higher database than `databases` allows";
    if (strcmp(name, "select") == 0)
        return c->argc == 2 && read_db(r->server, argv[1], &c->db) ? NULL : too_high;
    if (strcmp(c->route->full_name, "function|restore") == 0) return take_functions(r, c);
    if (strcmp(name, "flushall") == 0) {
        c->kind = REPLAY_FLUSH_ALL;
    } else if (strcmp(name, "flushdb") == 0) {
        c->kind = REPLAY_FLUSH;
    } else if (strcmp(name, "swapdb") == 0) {
        c->kind = REPLAY_SWAP;
        bool ok = c->argc == 3 && read_db(r->server, argv[1], &c->db) &&
                  read_db(r->server, argv[2], &c->other_db);
        if (!ok) return too_high;
    } else {
        return "has a command that is no effect on a key";
    }
    c->argc = 0;
    dispatch_everywhere(r, c);
    return NULL;
}

struct found_keys {
    const struct replay_reader *reader;
    const struct bytes *argv;
    uint32_t first, count;
    uint16_t shard; /* of the first */
    uint64_t hash;
    bool is_apart; /* they live on several shards now */
};

static void find_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct found_keys *keys = context;
    uint64_t hash;
    uint16_t shard = router_shard(&keys->reader->server->router, keys->argv[index], &hash);
    if (keys->count++ == 0) {
        keys->first = index;
        keys->shard = shard;
        keys->hash = hash;
    }
    keys->is_apart |= shard != keys->shard;
}

/* A command that is split by keys anyway: MSET, DEL. */
static void dispatch_split(struct replay_reader *r, const struct replay_command *c)
{
    const struct key_spec *spec = &c->route->command->keys[0];
    uint32_t step = (uint32_t)spec->step;
    struct bytes argv[1 + KEY_STEP_MAX];
    for (uint32_t i = (uint32_t)spec->begin; i + step <= c->argc; i += step) {
        struct replay_command one = *c;
        argv[0] = c->argv[0];
        memcpy(&argv[1], &c->argv[i], step * sizeof *argv);
        one.argv = argv;
        one.argc = 1 + step;
        one.hashed_index = 1;
        dispatch(r, router_shard(&r->server->router, argv[1], &one.hash), &one);
    }
}

static bool can_split(const struct command *row)
{
    return row->plan == PLAN_FAN_OUT && row->keys[0].begin == 1 && row->keys[0].last == -1 &&
           row->keys[0].step <= KEY_STEP_MAX && !row->keys[1].flags;
}

/* NULL, or what is wrong. */
static const char *take_keys(struct replay_reader *r, struct replay_command *c)
{
    const struct command *row = c->route->command;
    struct found_keys keys = {.reader = r, .argv = c->argv};
    command_each_key(row, c->argv, c->argc, find_key, &keys);
    if (keys.count == 0) return take_keyless(r, c);
    if (keys.count > 1 && !c->may_fail) return "has a command with several keys";
    if (!row->on_shard) return "has a command that is no effect on a key";
    c->hashed_index = keys.first;
    c->hash = keys.hash;
    if (!keys.is_apart)
        dispatch(r, keys.shard, c);
    else if (can_split(row))
        dispatch_split(r, c);
    else
        return "has an unfinished transaction whose keys live on several shards now: start once "
               "with as many shards as before";
    return NULL;
}

/* NULL, or what is wrong. */
static const char *take_effect(struct replay_reader *r, struct replay_command *c)
{
    if (unlikely(!c->route->is_single_key)) return take_keys(r, c);
    c->hashed_index = 1;
    uint16_t shard = router_shard(&r->server->router, c->argv[1], &c->hash);
    dispatch(r, shard, c);
    return NULL;
}

/* ---- announcements ---- */

struct later {
    struct dlist link;
    uint64_t number;
    struct buf pack;
};

static void later_free(struct shard *sh, struct later *l)
{
    dlist_remove(&l->link);
    buf_clear(&l->pack);
    mem_free(&sh->mem, l, sizeof *l);
}

static void drop_announced(struct replay_reader *r)
{
    while (!dlist_is_empty(&r->later))
        later_free(shard_of(r), container_of(r->later.next, struct later, link));
}

/* SHOAL.LATER number command argument … */
static const char *announce(struct replay_reader *r, struct replay_command *c, uint64_t number)
{
    struct shard *sh = shard_of(r);
    c->argv += 2;
    c->argc -= 2;
    c->may_fail = true;
    c->route = router_find_logged(&r->server->router, c->argv, c->argc);
    if (!c->route || !route_arity_fits(c->route, c->argc)) return "has an unknown command";
    struct later *l = mem_alloc(&sh->mem, sizeof *l);
    *l = (struct later){.number = number, .pack = {.mem = &sh->mem}};
    dlist_push_back(&r->later, &l->link);
    return replay_command_try_pack(&l->pack, c) ? NULL : "needs more memory than there is";
}

/* SHOAL.DONE number: all that was announced under it. */
static void forget_announced(struct replay_reader *r, uint64_t number)
{
    dlist_each_safe (link, &r->later) {
        struct later *l = container_of(link, struct later, link);
        if (l->number == number) later_free(shard_of(r), l);
    }
}

static const char *take_announcement(struct replay_reader *r, struct replay_command *c)
{
    uint64_t number;
    if (c->argc < 2 || !text_to_u64(c->argv[1], &number)) return "has an unknown command";
    bool is_later = bytes_equal_nocase(c->argv[0], "shoal.later");
    if (is_later && c->argc > 2) return announce(r, c, number);
    if (is_later || !bytes_equal_nocase(c->argv[0], "shoal.done")) return "has an unknown command";
    forget_announced(r, number);
    return NULL;
}

/* At the end of a stream, what was never done is: in its order, as it would have been. */
static void resume_announced(struct replay_reader *r)
{
    while (!dlist_is_empty(&r->later) && !r->has_failed) {
        struct later *l = container_of(r->later.next, struct later, link);
        struct bytes pack = buf_view(&l->pack);
        struct replay_command c = replay_command_unpack(&pack);
        uint32_t flags = c.route->command->flags;
        r->needs_base |= !(flags & CMD_EFFECT) && !can_split(c.route->command) &&
                         command_has_keys(c.route->command);
        const char *fault = take_effect(r, &c);
        if (fault) fail_at(r, c.file, c.offset, fault);
        counter_add(&r->resumed, 1);
        later_free(shard_of(r), l);
    }
}

/* *db is the database of this command, and then of the next. NULL, or what is wrong. */
static const char *take_command(struct replay_reader *r, const struct recovery_record *record,
                                uint32_t *db)
{
    const struct resp_reader *resp = &r->resp;
    struct replay_command c = {.slice = r->slice,
                               .db = *db,
                               .argv = resp->argv,
                               .argc = resp->argc,
                               .file = record->file,
                               .offset = record->offset};
    counter_add(&r->commands, 1);
    c.route = router_find_logged(&r->server->router, c.argv, c.argc);
    if (unlikely(!c.route)) return take_announcement(r, &c);
    if (!route_arity_fits(c.route, c.argc)) return "has an unknown command";
    const char *fault = take_effect(r, &c);
    if (c.kind == REPLAY_EFFECT) *db = c.db;
    return fault;
}

static void take_record(struct replay_reader *r, const struct recovery_record *record)
{
    const char *fault = NULL;
    uint32_t db = record->db;
    if (db >= r->server->database_count) fault = "has a higher database than `databases` allows";
    resp_feed(&r->resp, record->payload.data, record->payload.size);
    while (!fault && resp_unread_bytes(&r->resp) > 0) {
        if (resp_next(&r->resp, &limits) == RESP_REQUEST)
            fault = take_command(r, record, &db);
        else
            fault = "has no complete command where one should be";
    }
    counter_add(&r->records, 1);
    if (fault) fail_at(r, record->file, record->offset, fault);
}

/* ---- streams ---- */

/* Of its generation. */
static uint16_t shard_count_of(const struct recovery *log, uint32_t generation)
{
    const struct manifest *m = &log->manifest;
    for (unsigned i = 0; i < m->generation_count; i++)
        if (m->generations[i].number == generation) return m->generations[i].shard_count;
    return 0; /* the manifest has been checked */
}

/* The next of this reader's, from next_stream on. */
static void stream_choose(struct replay_reader *r)
{
    const struct recovery *log = replay_of(r)->recovery;
    while (r->next_stream < r->end_stream &&
           log->streams[r->next_stream].shard % r->server->mesh.shard_count != r->shard)
        r->next_stream++;
}

static void stream_open(struct replay_reader *r)
{
    struct recovery *log = replay_of(r)->recovery;
    const struct recovery_stream *s = &log->streams[r->next_stream];
    r->slice = (struct slice){s->shard, shard_count_of(log, s->generation)};
    r->cursor = recovery_cursor_create(log, r->next_stream, &shard_of(r)->mem);
}

static void stream_close(struct replay_reader *r)
{
    if (r->cursor) recovery_cursor_destroy(r->cursor);
    r->cursor = NULL;
    drop_announced(r);
    r->next_stream++;
    stream_choose(r);
}

/* One record, or the step to the next stream. */
static void read_one(struct replay_reader *r)
{
    struct recovery_record record;
    bool more;
    if (!r->cursor) stream_open(r);
    if (recovery_cursor_next(r->cursor, &record, &more) != OK) {
        fail_with(r, replay_of(r)->recovery->streams[r->next_stream].why);
    } else if (!more) {
        resume_announced(r);
        stream_close(r);
    } else if (record.begins_base) {
        dispatch_everywhere(r, &(struct replay_command){.kind = REPLAY_FLUSH_ALL,
                                                        .slice = r->slice,
                                                        .file = record.file,
                                                        .offset = record.offset});
    } else {
        take_record(r, &record);
    }
}

static bool is_through(const struct replay_reader *r)
{
    return must_end(r) || r->next_stream >= r->end_stream;
}

static bool is_over_credit(const struct replay_reader *r)
{
    return r->away_bytes >= REPLAY_AWAY_BYTES_MAX;
}

static void read_slice(struct thread *at, struct call *c)
{
    struct replay_reader *r = container_of(c, struct replay_reader, call);
    uint64_t end_ns = env_now_ns() + REPLAY_SLICE_US * 1000ULL;
    for (bool goes_on = true; goes_on; goes_on = goes_on && env_now_ns() < end_ns)
        for (unsigned i = 0; goes_on && i < RECORD_ROUND; i++) {
            goes_on = !is_over_credit(r) && !is_through(r);
            if (goes_on) read_one(r);
        }
    go_on(at, r);
}

static void go_home(struct thread *at, struct replay_reader *r)
{
    r->call.run = r->home;
    thread_call(at, r->server->thread.id, &r->call);
}

/* After a slice, or when a batch has come back that it waited for. */
static void go_on(struct thread *at, struct replay_reader *r)
{
    r->is_waiting = false;
    if (is_through(r)) {
        if (must_end(r)) {
            if (r->cursor) stream_close(r);
            drop_batches(r);
        }
        for (uint16_t i = 0; i < r->server->mesh.shard_count; i++) send_batch(r, i);
        r->is_waiting = r->away_count > 0;
        if (!r->is_waiting) go_home(at, r);
    } else if (is_over_credit(r)) {
        r->is_waiting = true;
    } else {
        r->call.run = read_slice;
        thread_call(at, at->id, &r->call);
    }
}

/* ---- phases ---- */

static void arrives(struct thread *at, struct call *c)
{
    struct replay_reader *r = container_of(c, struct replay_reader, call);
    struct shard *sh = shard_of(r);
    size_t filling_bytes = r->server->mesh.shard_count * sizeof(struct replay_batch *);
    switch (r->phase) {
    case REPLAY_BEGIN:
        shard_set_replaying(sh, true);
        journal_mute(sh, true); /* DEBUG LOADAOF: the log has it */
        resp_reader_init(&r->resp, &sh->mem);
        dlist_init(&r->later);
        r->filling = mem_alloc_zeroed(&sh->mem, filling_bytes);
        break;
    case REPLAY_READ:
        r->next_stream = r->first_stream;
        stream_choose(r);
        read_slice(at, c);
        return;
    case REPLAY_END:
        mem_free(&sh->mem, r->filling, filling_bytes);
        resp_reader_deinit(&r->resp);
        journal_mute(sh, false);
        shard_set_replaying(sh, false);
        break;
    }
    go_home(at, r);
}

void replay_reader_send(struct replay_reader *r)
{
    r->call.run = arrives;
    thread_call(&r->server->thread, r->server->mesh.shard_threads[r->shard]->id, &r->call);
}
