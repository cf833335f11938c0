#include "shard/big_value.h"

#include "base/env.h"
#include "base/text.h"
#include "shard/lazyfree.h"
#include "shard/object.h"
#include "shard/shard.h"

/* A command is ended when it has so many arguments, or bytes. */
#define COMMAND_ARGUMENTS_MAX 1000
#define COMMAND_BYTES_MAX (16 * 1024)
/* Longer text is not compressed: that alone would take longer than a slice. */
#define COMPRESS_BYTES_MAX (32 * 1024)
/* Of a string, at a time. */
#define PIECE_BYTES (16 * 1024)

static const struct big_value_ops *ops_of(const struct big_value *v)
{
    const struct type_ops *ops = object_ops(v->type);
    CHECK(ops);
    return ops->big;
}

bool big_value_is_command(const struct big_value *v)
{
    return v->sh->snapshot.form == SNAPSHOT_COMMANDS;
}

static bool is_abandoned(const struct big_value *v)
{
    return v->sh->snapshot.is_abandoned;
}

bool big_value_may_go_on(struct big_value *v)
{
    return v->is_rushed || snapshot_slice_may_go_on(v->sh);
}

/* ---- where it goes ---- */

static void settle(const struct big_value *v, bool done)
{
    if (!done) snapshot_abandon(v->sh);
}

/* A record before its turn, and the payload that a stream becomes, wait in `early`. */
static struct buf *target(struct big_value *v)
{
    return v->is_open ? snapshot_main_buffer(v->sh, v->db) : &v->early;
}

struct rdb_writer *big_value_writer(struct big_value *v)
{
    if (is_abandoned(v)) return NULL;
    struct rdb_writer *w = &v->sh->snapshot.writer;
    bool compress = v->sh->config->rdb_compression && !v->is_rushed;
    w->out = target(v);
    w->packing = compress ? RDB_PACK_ALL : RDB_PACK_INTEGERS;
    return w;
}

void big_value_put_raw(struct big_value *v, const void *data, size_t size)
{
    struct rdb_writer *w = big_value_writer(v);
    if (w) settle(v, rdb_try_append_raw(w, data, size));
}

void big_value_put_length(struct big_value *v, uint64_t length)
{
    struct rdb_writer *w = big_value_writer(v);
    if (w) settle(v, rdb_try_append_length(w, length));
}

void big_value_put(struct big_value *v, struct bytes text)
{
    struct rdb_writer *w = big_value_writer(v);
    if (!w) return;
    if (big_value_is_command(v)) {
        settle(v, snapshot_form_try_argument(&v->args, text));
        v->arg_count++;
        return;
    }
    if (text.size > COMPRESS_BYTES_MAX) w->packing = RDB_PACK_INTEGERS;
    settle(v, rdb_try_append_string(w, text));
}

/* ---- commands ---- */

static const char *verb_of(const struct big_value *v)
{
    static const char *const verbs[TYPE_COUNT] = {
        [TYPE_STRING] = "APPEND", [TYPE_LIST] = "RPUSH", [TYPE_SET] = "SADD",
        [TYPE_ZSET] = "ZADD",     [TYPE_HASH] = "HSET",  [TYPE_STREAM] = NULL,
    };
    return verbs[v->type];
}

/* The name of a command and the key, before `more` other arguments. */
static bool try_begin_command(const struct big_value *v, struct buf *out, const char *name,
                              uint64_t more)
{
    return snapshot_form_try_array(out, 2 + more) &&
           snapshot_form_try_argument(out, bytes_of(name)) &&
           snapshot_form_try_argument(out, buf_view(&v->key));
}

static void end_command(struct big_value *v)
{
    if (v->arg_count == 0) return;
    if (!is_abandoned(v)) {
        struct buf *out = snapshot_main_buffer(v->sh, v->db);
        bool done =
            try_begin_command(v, out, verb_of(v), v->arg_count) &&
            rdb_try_append_raw(&(struct rdb_writer){.out = out}, v->args.data, v->args.size);
        settle(v, done);
    }
    v->args.size = 0;
    v->arg_count = 0;
    snapshot_main_settle(v->sh, false);
}

void big_value_end_element(struct big_value *v)
{
    if (is_abandoned(v)) return;
    if (!big_value_is_command(v)) {
        if (v->is_open) snapshot_main_settle(v->sh, true);
    } else if (v->arg_count >= COMMAND_ARGUMENTS_MAX || v->args.size >= COMMAND_BYTES_MAX) {
        end_command(v);
    }
}

void big_value_put_deadline(struct big_value *v, struct bytes field, int64_t deadline_ms)
{
    end_command(v);
    if (is_abandoned(v)) return;
    struct buf *out = snapshot_main_buffer(v->sh, v->db);
    settle(v, try_begin_command(v, out, "HPEXPIREAT", 4) &&
                  snapshot_form_try_integer(out, deadline_ms) &&
                  snapshot_form_try_argument(out, BYTES_LITERAL("FIELDS")) &&
                  snapshot_form_try_integer(out, 1) && snapshot_form_try_argument(out, field));
}

static void put_key_deadline(struct big_value *v)
{
    if (v->deadline_ms == 0) return;
    struct buf *out = snapshot_main_buffer(v->sh, v->db);
    settle(v, try_begin_command(v, out, "PEXPIREAT", 1) &&
                  snapshot_form_try_integer(out, v->deadline_ms));
}

/* ---- the beginning ---- */

bool big_value_is_big(const struct entry *e)
{
    if (likely(entry_type(e) == TYPE_STRING))
        return e->flags & ENTRY_POINTER && entry_big_string(e).size > BIG_VALUE_STRING_BYTES;
    const struct type_ops *ops = object_ops(entry_type(e));
    CHECK(ops);
    return ops->big->slot(entry_root(e), entry_encoding(e)) &&
           ops->effort(entry_root(e), entry_encoding(e)) > ops->big->effort_max;
}

/* All the same: what stands before the elements. */
static void put_head(struct big_value *v, const struct entry *e)
{
    if (!big_value_is_command(v)) {
        settle(v, snapshot_form_try_append_head(v->sh, e, v->rdb_type, &v->early));
    } else if (v->type == TYPE_STREAM) {
        big_value_put_raw(v, &v->rdb_type, sizeof v->rdb_type);
    } else {
        return;
    }
    if (v->base_ms) big_value_put_raw(v, &v->base_ms, sizeof v->base_ms);
    big_value_put_length(v, v->count);
}

static void begin_string(struct big_value *v, const struct entry *e)
{
    v->text = entry_string(e, NULL);
    v->rdb_type = RDB_TYPE_STRING;
    v->count = v->text.size;
}

/* Where the root notes its walk; NULL: nowhere. */
static struct big_value **slot_of(void *root, enum type type, enum encoding encoding)
{
    const struct type_ops *ops = object_ops(type);
    CHECK(ops);
    return ops->big->slot(root, encoding);
}

static void note_walk(const struct big_value *v, struct big_value *walk)
{
    struct big_value **slot = slot_of(v->root, v->type, v->encoding);
    CHECK(slot);
    *slot = walk;
}

static void begin_collection(struct big_value *v, const struct entry *e)
{
    v->root = entry_root(e);
    ops_of(v)->begin(v);
    note_walk(v, v);
}

void big_value_begin(struct shard *sh, const struct database *db, const struct entry *e)
{
    struct big_value *v = mem_alloc(&sh->mem, sizeof *v);
    *v = (struct big_value){.sh = sh,
                            .type = entry_type(e),
                            .encoding = entry_encoding(e),
                            .db = db->snapshot_number,
                            .deadline_ms = entry_deadline_ms(e),
                            .key.mem = &sh->mem,
                            .early.mem = &sh->mem,
                            .args.mem = &sh->mem,
                            .aside.mem = &sh->mem};
    dlist_push_back(&sh->snapshot.big_values, &v->link);
    if (v->type == TYPE_STRING)
        begin_string(v, e);
    else
        begin_collection(v, e);
    struct bytes key = entry_key(e);
    if (big_value_is_command(v)) buf_append(&v->key, key.data, key.size);
    put_head(v, e);
}

/* ---- elements ---- */

void big_value_save_element(struct big_value *v, struct entry *element)
{
    entry_set_colour(element, entry_colour(element) ^ ENTRY_COLOUR);
    if (is_abandoned(v)) return;
    ops_of(v)->put(v, element);
    big_value_end_element(v);
}

struct table_walk {
    struct big_value *value;
    unsigned colour;
};

static void walk_element(void *context, struct entry *e, UNUSED uint64_t position)
{
    const struct table_walk *w = context;
    if (entry_colour(e) != w->colour) big_value_save_element(w->value, e);
}

bool big_value_step_table(struct big_value *v, const struct dict *elements,
                          const struct big_mark *mark)
{
    struct table_walk w = {v, mark->colour};
    do {
        v->cursor = dict_scan(elements, v->cursor, walk_element, &w);
        if (v->cursor == 0) return true;
    } while (big_value_may_go_on(v));
    return false;
}

/* One of many megabytes must not be copied again and again as the buffer grows. */
static void reserve_rest(struct big_value *v)
{
    if (v->is_rushed && !big_value_is_command(v) && !v->is_open)
        settle(v, buf_try_reserve(&v->early, v->text.size - v->cursor) != NULL);
}

/* A big string has a length of its own in front of its pieces. */
static bool step_string(struct big_value *v)
{
    reserve_rest(v);
    while (v->cursor < v->text.size && !is_abandoned(v)) {
        size_t size = MIN((size_t)PIECE_BYTES, v->text.size - v->cursor);
        struct bytes piece = bytes_make(v->text.data + v->cursor, size);
        if (big_value_is_command(v))
            big_value_put(v, piece);
        else
            big_value_put_raw(v, piece.data, piece.size);
        big_value_end_element(v);
        v->cursor += size;
        if (!big_value_may_go_on(v)) return false;
    }
    return true;
}

static bool step(struct big_value *v)
{
    return v->type == TYPE_STRING ? step_string(v) : ops_of(v)->step(v);
}

/* ---- the end ---- */

static void drop_buffers(struct big_value *v)
{
    buf_clear(&v->key);
    buf_clear(&v->early);
    buf_clear(&v->args);
    buf_clear(&v->aside);
}

static void detach(struct big_value *v)
{
    if (!v->is_through && v->root) note_walk(v, NULL);
    v->is_through = true;
    v->text = (struct bytes){0};
}

static void dispose(struct big_value *v)
{
    struct shard *sh = v->sh;
    struct entry *kept = v->kept;
    detach(v);
    dlist_remove(&v->link);
    drop_buffers(v);
    mem_free(&sh->mem, v, sizeof *v);
    if (kept) free_list_entry(sh, kept);
    if (dlist_is_empty(&sh->snapshot.big_values)) snapshot_big_values_are_through(sh);
}

static void put_restore(struct big_value *v)
{
    struct buf *out = snapshot_main_buffer(v->sh, v->db);
    settle(v, snapshot_form_try_restore(buf_view(&v->key), v->deadline_ms, &v->early, out));
}

/* Nothing is left of the value. As a record it may still have to wait for its turn. */
static void complete(struct big_value *v)
{
    detach(v);
    if (big_value_is_command(v)) {
        end_command(v);
        if (is_abandoned(v)) return;
        if (v->type == TYPE_STREAM)
            put_restore(v);
        else
            put_key_deadline(v);
        v->is_open = true;
    }
}

static void leave(struct big_value *v)
{
    struct shard *sh = v->sh;
    if (!is_abandoned(v)) snapshot_main_count(sh, v->db);
    snapshot_main_settle(sh, false);
    dispose(v);
}

void big_value_finish(struct big_value *v)
{
    v->is_rushed = true;
    while (!step(v)) {
    }
    v->is_rushed = false;
    complete(v);
    if (v->is_open) leave(v);
}

/* ---- the queue ---- */

/* What has been waiting goes first. True when it is through. */
static bool feed_early(struct big_value *v)
{
    while (v->early_at < v->early.size) {
        if (is_abandoned(v)) return false;
        size_t size = MIN((size_t)PIECE_BYTES, v->early.size - v->early_at);
        struct rdb_writer w = {.out = snapshot_main_buffer(v->sh, v->db)};
        settle(v, rdb_try_append_raw(&w, v->early.data + v->early_at, size));
        v->early_at += size;
        snapshot_main_settle(v->sh, true);
        if (!big_value_may_go_on(v)) return false;
    }
    buf_clear(&v->early);
    v->early_at = 0;
    v->is_open = true;
    return true;
}

/* Only what has colours must be walked on. */
static void step_abandoned(struct big_value *v)
{
    drop_buffers(v);
    bool has_colours = v->type != TYPE_STRING && v->type != TYPE_STREAM;
    if (v->is_through || v->kept || !has_colours || step(v)) dispose(v);
}

void big_value_step(struct shard *sh)
{
    struct big_value *v = container_of(sh->snapshot.big_values.next, struct big_value, link);
    if (is_abandoned(v)) {
        step_abandoned(v);
        return;
    }
    if (!big_value_is_command(v) && !v->is_open && !feed_early(v)) return;
    if (!v->is_through) {
        if (!step(v)) return;
        complete(v);
    }
    leave(v);
}

static struct big_value *find_text(const struct shard *sh, struct bytes text)
{
    for (struct dlist *at = sh->snapshot.big_values.next; at != &sh->snapshot.big_values;
         at = at->next) {
        struct big_value *v = container_of(at, struct big_value, link);
        if (v->text.data && v->text.data == text.data) return v;
    }
    return NULL;
}

static struct big_value *value_of(const struct shard *sh, const struct entry *e)
{
    if (entry_type(e) == TYPE_STRING)
        return e->flags & ENTRY_POINTER ? find_text(sh, entry_string(e, NULL)) : NULL;
    struct big_value **slot = slot_of(entry_root(e), entry_type(e), entry_encoding(e));
    return slot ? *slot : NULL;
}

bool big_value_keep(struct shard *sh, struct entry *e)
{
    struct big_value *v = value_of(sh, e);
    if (!v || v->kept) return false;
    v->kept = e;
    return true;
}

void big_value_settle(struct shard *sh, const struct entry *e)
{
    if (entry_type(e) != TYPE_STRING && entry_type(e) != TYPE_STREAM) return;
    struct big_value *v = value_of(sh, e);
    if (v) big_value_finish(v);
}

void big_value_deinit(struct shard *sh)
{
    while (!dlist_is_empty(&sh->snapshot.big_values))
        dispose(container_of(sh->snapshot.big_values.next, struct big_value, link));
}
