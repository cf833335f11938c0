#include "shard/snapshot_form.h"

#include "base/text.h"
#include "persist/rdb_file.h"
#include "shard/dump.h"
#include "shard/object.h"
#include "shard/shard.h"

/* "*" or "$", a number, CR LF. */
#define HEAD_BYTES_MAX (1 + TEXT_I64_BYTES_MAX + 2)

/* ---- records ---- */

static struct rdb_file_key key_of(const struct shard *sh, const struct entry *e)
{
    struct rdb_file_key key = {
        .name = entry_key(e), .deadline_ms = entry_deadline_ms(e), .idle_s = -1, .frequency = -1};
    if (sh->config->evict_policy == EVICT_LRU)
        key.idle_s = (int64_t)(keyspace_idle_ms(sh, e) / 1000);
    if (sh->config->evict_policy == EVICT_LFU) key.frequency = keyspace_frequency(sh, e);
    return key;
}

static struct rdb_writer *writer_for(struct shard *sh, struct buf *out)
{
    struct rdb_writer *w = &sh->snapshot.writer;
    w->out = out;
    w->packing = sh->config->rdb_compression ? RDB_PACK_ALL : RDB_PACK_INTEGERS;
    return w;
}

static bool try_append_record(struct shard *sh, const struct entry *e, struct buf *out)
{
    struct rdb_writer *w = writer_for(sh, out);
    struct rdb_key_mark mark;
    struct rdb_file_key key = key_of(sh, e);
    if (!rdb_try_append_key(w, &key, &mark) || !object_try_freeze(e, w)) return false;
    out->data[mark.type] = (char)object_plain_type((uint8_t)out->data[mark.type]);
    rdb_finish_key(w, &mark);
    return true;
}

bool snapshot_form_try_append_head(struct shard *sh, const struct entry *e, uint8_t type,
                                   struct buf *out)
{
    struct rdb_writer *w = writer_for(sh, out);
    struct rdb_key_mark mark;
    struct rdb_file_key key = key_of(sh, e);
    if (!rdb_try_append_key(w, &key, &mark) || !rdb_try_append_type(w, type)) return false;
    rdb_finish_key(w, &mark);
    return true;
}

/* ---- commands ---- */

static size_t put_head(char *out, char sign, uint64_t number)
{
    size_t size = 1;
    out[0] = sign;
    size += text_from_i64(out + size, (int64_t)number);
    out[size++] = '\r';
    out[size++] = '\n';
    return size;
}

bool snapshot_form_try_array(struct buf *out, uint64_t count)
{
    char *p = buf_try_reserve(out, HEAD_BYTES_MAX);
    if (!p) return false;
    out->size += put_head(p, '*', count);
    return true;
}

bool snapshot_form_try_argument(struct buf *out, struct bytes argument)
{
    if (argument.size > SIZE_MAX - HEAD_BYTES_MAX - 2) return false;
    char *p = buf_try_reserve(out, HEAD_BYTES_MAX + argument.size + 2);
    if (!p) return false;
    size_t size = put_head(p, '$', argument.size);
    if (argument.size) memcpy(p + size, argument.data, argument.size);
    memcpy(p + size + argument.size, "\r\n", 2);
    out->size += size + argument.size + 2;
    return true;
}

bool snapshot_form_try_integer(struct buf *out, int64_t argument)
{
    char text[TEXT_I64_BYTES_MAX];
    return snapshot_form_try_argument(out, bytes_make(text, text_from_i64(text, argument)));
}

static bool try_append_word(struct buf *out, const char *word)
{
    return snapshot_form_try_argument(out, bytes_of(word));
}

static bool try_append_payload(struct bytes key, int64_t deadline_ms, struct bytes payload,
                               struct buf *out)
{
    return snapshot_form_try_array(out, 6) && try_append_word(out, "RESTORE") &&
           snapshot_form_try_argument(out, key) && snapshot_form_try_integer(out, deadline_ms) &&
           snapshot_form_try_argument(out, payload) && try_append_word(out, "REPLACE") &&
           try_append_word(out, "ABSTTL");
}

bool snapshot_form_try_restore(struct bytes key, int64_t deadline_ms, struct buf *value,
                               struct buf *out)
{
    bool is_new = (uint8_t)value->data[0] == RDB_TYPE_HASH_METADATA;
    return dump_try_seal(value, 0, is_new ? RDB_VERSION_HASH_DEADLINES : RDB_VERSION) &&
           try_append_payload(key, deadline_ms, buf_view(value), out);
}

static bool try_append_string(const struct entry *e, struct buf *out)
{
    char scratch[TEXT_I64_BYTES_MAX];
    int64_t deadline_ms = entry_deadline_ms(e);
    if (!snapshot_form_try_array(out, deadline_ms ? 5 : 3) || !try_append_word(out, "SET") ||
        !snapshot_form_try_argument(out, entry_key(e)) ||
        !snapshot_form_try_argument(out, entry_string(e, scratch)))
        return false;
    return !deadline_ms ||
           (try_append_word(out, "PXAT") && snapshot_form_try_integer(out, deadline_ms));
}

static bool try_append_commands(struct shard *sh, const struct entry *e, struct buf *out)
{
    if (entry_type(e) == TYPE_STRING) return try_append_string(e, out);
    struct buf *payload = &sh->snapshot.payload;
    payload->mem = &sh->mem;
    payload->size = 0;
    if (!object_try_freeze(e, writer_for(sh, payload))) return false;
    payload->data[0] = (char)object_plain_type((uint8_t)payload->data[0]);
    return snapshot_form_try_restore(entry_key(e), entry_deadline_ms(e), payload, out);
}

bool snapshot_form_try_append(struct shard *sh, const struct entry *e, struct buf *out)
{
    bool as_commands = sh->snapshot.form == SNAPSHOT_COMMANDS;
    return as_commands ? try_append_commands(sh, e, out) : try_append_record(sh, e, out);
}
