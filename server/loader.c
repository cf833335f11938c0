#include "server/loader.h"

#include <stdio.h>

#include "base/log.h"
#include "base/text.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/dump.h"
#include "shard/type/hash.h"

#define READ_ROUND 64 /* items between two looks at the clock */

/* One key on its way to its shard; name and value follow. */
struct load_record {
    struct rdb_file_key key; /* without the name */
    uint64_t name_size, value_size, offset;
    uint32_t db;
};

struct load_batch {
    struct call call;
    struct server *server;
    uint16_t shard;
    bool may_replace;
    struct buf records;
    /* ---- written by the shard ---- */
    uint64_t loaded, expired, empty;
    const char *error; /* NULL: none */
    uint64_t error_offset;
};

/* ---- on the shard ---- */

/* NULL, or what is wrong. */
static const char *load_record(struct shard *sh, struct load_batch *b, const struct load_record *r,
                               struct bytes name, struct bytes value)
{
    struct key k = {.name = name, .hash = bytes_hash(name, sh->keys.seed), .db = r->db};
    if (r->key.deadline_ms && r->key.deadline_ms < sh->now_ms) {
        b->expired++;
        return NULL;
    }
    struct entry *e = dump_try_read(&sh->mem, value, name, r->key.deadline_ms, sh->now_ms);
    if (!e && dump_is_empty(&sh->mem, value)) { /* of a server that had a defect once */
        b->empty++;
        return NULL;
    }
    if (!e) return "a value is malformed, of a type that is not known here, or there is no memory";
    if (entry_type(e) == TYPE_HASH) {
        struct hash h = hash_of(e);
        if (hash_length(&h) == 0) { /* all fields had expired */
            object_free(&sh->mem, e);
            b->expired++;
            return NULL;
        }
    }
    if (!b->may_replace && keyspace_peek(sh, &k)) {
        object_free(&sh->mem, e);
        return "a key is there twice";
    }
    keyspace_put_entry(sh, &k, e);
    if (r->key.idle_s >= 0 || r->key.frequency >= 0)
        keyspace_set_access(sh, e, r->key.idle_s, r->key.frequency);
    b->loaded++;
    return NULL;
}

static void batch_is_back(struct thread *at, struct call *c);

static void batch_arrives(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct shard *sh = &w->shard;
    struct load_batch *b = container_of(c, struct load_batch, call);
    struct bytes rest = buf_view(&b->records);
    sh->is_quiet = true; /* nobody asked for that */
    journal_mute(sh, true);
    while (rest.size > 0 && !b->error) {
        struct load_record r;
        memcpy(&r, rest.data, sizeof r);
        const char *name = rest.data + sizeof r;
        b->error = load_record(sh, b, &r, bytes_make(name, r.name_size),
                               bytes_make(name + r.name_size, r.value_size));
        b->error_offset = r.offset;
        size_t size = sizeof r + r.name_size + r.value_size;
        rest = bytes_make(rest.data + size, rest.size - size);
    }
    journal_mute(sh, false);
    sh->is_quiet = false;
    c->run = batch_is_back;
    thread_call(at, w->server->thread.id, c);
}

/* ---- batches ---- */

static void fail(struct loader *l, const char *what, uint64_t offset)
{
    if (l->has_failed) return;
    l->has_failed = true;
    snprintf(l->why, sizeof l->why, "%.200s: at offset %llu: %s", l->path,
             (unsigned long long)offset, what);
}

static void load_batch_free(struct server *srv, struct load_batch *b)
{
    buf_clear(&b->records);
    mem_free(&srv->mem, b, sizeof *b);
}

static void batch_is_back(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct loader *l = &srv->loader;
    struct load_batch *b = container_of(c, struct load_batch, call);
    l->away_bytes -= b->records.size;
    l->away_count--;
    counter_add(&l->keys_loaded, b->loaded);
    counter_add(&l->keys_expired, b->expired);
    l->keys_empty += b->empty;
    if (b->error) fail(l, b->error, b->error_offset);
    load_batch_free(srv, b);
}

static void load_batch_send(struct server *srv, uint16_t shard)
{
    struct loader *l = &srv->loader;
    struct load_batch *b = l->filling[shard];
    if (!b) return;
    l->filling[shard] = NULL;
    l->away_bytes += b->records.size;
    l->away_count++;
    b->call.run = batch_arrives;
    thread_call(&srv->thread, srv->shard_workers[shard]->thread.id, &b->call);
}

static struct load_batch *batch_for(struct server *srv, uint16_t shard)
{
    struct load_batch **b = &srv->loader.filling[shard];
    if (*b) return *b;
    *b = mem_alloc(&srv->mem, sizeof **b);
    **b = (struct load_batch){.server = srv,
                              .shard = shard,
                              .may_replace = srv->loader.may_replace,
                              .records = {.mem = &srv->mem}};
    return *b;
}

static void add_key(struct server *srv, const struct rdb_item *item)
{
    struct loader *l = &srv->loader;
    uint64_t hash;
    uint16_t shard = router_shard(&srv->router, item->name, &hash);
    struct load_batch *b = batch_for(srv, shard);
    struct load_record r = {.key = item->key,
                            .name_size = item->name.size,
                            .value_size = item->value.size,
                            .offset = item->offset,
                            .db = l->db};
    char *at = buf_try_reserve(&b->records, sizeof r + r.name_size + r.value_size);
    if (!at) {
        fail(l, "there is no memory for a value", item->offset);
        return;
    }
    memcpy(at, &r, sizeof r);
    if (r.name_size) memcpy(at + sizeof r, item->name.data, r.name_size);
    memcpy(at + sizeof r + r.name_size, item->value.data, r.value_size);
    b->records.size += sizeof r + r.name_size + r.value_size;
    if (b->records.size >= LOADER_BATCH_BYTES) load_batch_send(srv, shard);
}

/* ---- libraries of functions ---- */

/* The text without its code, "ERR". */
static void fail_library(struct loader *l, struct buf *error, uint64_t offset)
{
    buf_append(error, "", 1);
    fail(l, error->data + 4, offset);
}

static void add_library(struct server *srv, const struct rdb_item *item)
{
    struct loader *l = &srv->loader;
    struct buf error = {.mem = &srv->mem};
    if (!l->has_vm) {
        l->vm = (struct lua_vm){0};
        CHECK(lua_vm_try_init(&l->vm, NULL)); /* of a file */
        l->has_vm = l->vm.is_patient = true;
        l->libraries = (struct library_batch){.functions = &srv->scripts.functions, .vm = &l->vm};
    }
    if (!library_batch_add(&l->libraries, item->value, &error))
        fail_library(l, &error, item->offset);
    buf_clear(&error);
}

static void publish_libraries(struct server *srv)
{
    struct loader *l = &srv->loader;
    struct buf error = {.mem = &srv->mem};
    enum functions_policy policy = l->may_replace ? FUNCTIONS_REPLACE : FUNCTIONS_ADD;
    bool has_any = l->has_vm;
    if (!l->has_failed && has_any && !library_batch_publish(&l->libraries, policy, &error))
        fail_library(l, &error, l->read_bytes);
    buf_clear(&error);
    if (!has_any) return;
    library_batch_deinit(&l->libraries);
    lua_vm_deinit(&l->vm);
    l->has_vm = false;
}

/* ---- reading ---- */

static bool read_bytes(void *context, char *to, size_t room, size_t *size)
{
    struct loader *l = context;
    bool done = env_file_read(l->input, l->read_bytes, to, room, size) == OK;
    l->read_bytes += *size;
    counter_set(&l->loaded_bytes, l->read_bytes);
    return done;
}

static void take_used_mem(struct loader *l, struct bytes text)
{
    int64_t bytes = 0;
    if (text_to_i64(text, &bytes) && bytes > 0) counter_set(&l->used_mem, (uint64_t)bytes);
}

static void take_item(struct server *srv, const struct rdb_item *item)
{
    struct loader *l = &srv->loader;
    switch (item->kind) {
    case RDB_ITEM_KEY:
        add_key(srv, item);
        return;
    case RDB_ITEM_DATABASE:
        if (item->db >= srv->database_count)
            fail(l, "a database has a higher number than `databases` allows", item->offset);
        l->db = (uint32_t)item->db;
        return;
    case RDB_ITEM_FUNCTION:
        add_library(srv, item);
        return;
    case RDB_ITEM_END:
        l->has_read_all = true;
        l->end_offset = rdb_file_end_offset(&l->reader);
        return;
    case RDB_ITEM_ERROR:
        fail(l, item->error, item->offset);
        return;
    case RDB_ITEM_AUX:
        if (bytes_equal(item->name, BYTES_LITERAL("used-mem"))) take_used_mem(l, item->value);
        return;
    case RDB_ITEM_SIZES:
        return;
    }
}

static void read_slice(struct server *srv)
{
    struct loader *l = &srv->loader;
    bool is_slow = srv->config->key_load_delay_us > 0;
    unsigned round = is_slow ? 1 : READ_ROUND;
    uint64_t end_ns = is_slow ? 0 : env_now_ns() + LOADER_SLICE_US * 1000ULL;
    while (!l->has_failed && !l->has_read_all && l->away_bytes < LOADER_AWAY_BYTES_MAX) {
        struct rdb_item item;
        for (unsigned i = 0; i < round && !l->has_failed && !l->has_read_all; i++) {
            (void)rdb_file_next(&l->reader, &item);
            take_item(srv, &item);
        }
        if (env_now_ns() >= end_ns) break;
    }
    for (uint16_t i = 0; l->has_read_all && i < srv->mesh.shard_count; i++) load_batch_send(srv, i);
}

/* ---- the end ---- */

static void tell(const struct loader *l)
{
    double seconds = (double)(env_now_ns() - l->started_ns) / 1e9;
    log_notice("DB loaded from disk: %.3f seconds: %llu keys, %llu expired, %llu bytes of %s",
               seconds, (unsigned long long)counter_read(&l->keys_loaded),
               (unsigned long long)counter_read(&l->keys_expired),
               (unsigned long long)l->read_bytes, l->path);
    if (l->keys_empty)
        log_warning("%llu keys without elements were left out", (unsigned long long)l->keys_empty);
}

static void finish(struct server *srv)
{
    struct loader *l = &srv->loader;
    publish_libraries(srv);
    uint16_t shard_count = srv->mesh.shard_count;
    for (uint16_t i = 0; i < shard_count; i++)
        if (l->filling[i]) load_batch_free(srv, l->filling[i]);
    mem_free(&srv->mem, l->filling, shard_count * sizeof(struct load_batch *));
    rdb_file_reader_deinit(&l->reader);
    env_file_close(l->input);
    mem_free(&srv->mem, l->input, sizeof *l->input);
    l->is_loading = false;
    counter_set(&l->is_shown, 0);
    if (l->has_failed)
        log_warning("Loading failed: %s", l->why);
    else
        tell(l);
    l->done(srv, !l->has_failed);
}

/* key-load-delay: one item after the other, for tests. */
static bool is_held_back(struct server *srv)
{
    struct loader *l = &srv->loader;
    if (likely(srv->config->key_load_delay_us <= 0) || l->has_failed || l->has_read_all)
        return false;
    if (srv->thread.now_ns < l->next_ns) return true;
    l->next_ns = srv->thread.now_ns + (uint64_t)srv->config->key_load_delay_us * 1000;
    return false;
}

bool loader_step(struct server *srv)
{
    struct loader *l = &srv->loader;
    if (likely(!l->is_loading)) return false;
    if (is_held_back(srv)) return true;
    if (!l->has_failed && !l->has_read_all) read_slice(srv);
    bool is_through = l->has_failed || l->has_read_all;
    if (is_through && l->away_count == 0) {
        finish(srv);
        return true;
    }
    return !is_through && l->away_bytes < LOADER_AWAY_BYTES_MAX;
}

void loader_cancel(struct server *srv)
{
    struct loader *l = &srv->loader;
    if (!l->is_loading) return;
    l->is_cancelled = true;
    fail(l, "it was given up", l->read_bytes);
}

/* ---- the beginning ---- */

static enum loader_begin open_file(struct server *srv, const char *path, uint64_t *size)
{
    struct loader *l = &srv->loader;
    bool exists = false;
    snprintf(l->path, sizeof l->path, "%s", path);
    snprintf(l->why, sizeof l->why, "cannot find out whether there is a file %.200s", path);
    if (env_file_exists(path, &exists) != OK) return LOADER_FAILED;
    if (!exists) return LOADER_NO_FILE;
    struct env_file *f = mem_alloc(&srv->mem, sizeof *f);
    l->input = f;
    if (env_file_open(f, path, ENV_OPEN_READ) == OK && env_file_size(f, size) == OK)
        return LOADER_STARTED;
    snprintf(l->why, sizeof l->why, "cannot open %.200s: %s", path, env_file_why(f));
    env_file_close(f);
    mem_free(&srv->mem, f, sizeof *f);
    return LOADER_FAILED;
}

static enum loader_begin start(struct server *srv, const char *path, bool may_replace,
                               loader_done_fn *done)
{
    struct loader *l = &srv->loader;
    CHECK(!l->is_loading);
    uint64_t size;
    enum loader_begin begin = open_file(srv, path, &size);
    if (begin != LOADER_STARTED) return begin;
    rdb_file_reader_init(&l->reader, &srv->mem, read_bytes, l);
    l->filling = mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof(struct load_batch *));
    l->is_cancelled = l->has_failed = l->has_read_all = false;
    l->is_loading = true;
    l->may_replace = may_replace;
    l->done = done;
    l->read_bytes = l->db = 0;
    l->started_ns = env_now_ns();
    counter_set(&l->total_bytes, size);
    counter_set(&l->loaded_bytes, 0);
    counter_set(&l->start_s, (uint64_t)(env_wall_us() / 1000000));
    counter_set(&l->keys_loaded, 0);
    counter_set(&l->used_mem, 0);
    counter_set(&l->keys_expired, 0);
    l->keys_empty = 0;
    counter_set(&l->is_shown, 1);
    return LOADER_STARTED;
}

enum loader_begin loader_start(struct server *srv, bool may_replace, loader_done_fn *done)
{
    return start(srv, saver_path(srv), may_replace, done);
}

enum loader_begin loader_start_file(struct server *srv, const char *path, loader_done_fn *done)
{
    return start(srv, path, false, done);
}
