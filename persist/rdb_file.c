#include "persist/rdb_file.h"

#include <stdio.h>

#include "base/text.h"
#include "persist/crc64.h"
#include "persist/rdb_skip.h"

#define MAGIC "REDIS"
#define MAGIC_BYTES 5
#define VERSION_DIGITS 4
#define VERSION_WITH_CHECKSUM 5
#define CHECKSUM_BYTES 8
#define PENDING_BYTES (64 * 1024)
#define READ_BYTES_MIN (64 * 1024)

enum {
    OPCODE_SLOT_INFO = 0xf4, /* of clusters: slot, keys, expires */
    OPCODE_FUNCTION_2 = RDB_OPCODE_FUNCTION_2,
    OPCODE_FUNCTION_PRE_GA = RDB_OPCODE_FUNCTION_PRE_GA, /* of release candidates of Redis 7.0 */
    OPCODE_MODULE_AUX,
    OPCODE_IDLE,
    OPCODE_FREQUENCY,
    OPCODE_AUX,
    OPCODE_RESIZE_DB,
    OPCODE_EXPIRE_MS,
    OPCODE_EXPIRE_SECONDS, /* 4 bytes: old */
    OPCODE_SELECT_DB,
    OPCODE_EOF,
};
_Static_assert(OPCODE_EOF == 0xff, "the opcodes are counted down from 255");

/* ---- writing ---- */

void rdb_file_writer_init(struct rdb_file_writer *w, struct mem *mem, rdb_sink_fn *sink,
                          void *context, const struct rdb_file_options *options)
{
    *w = (struct rdb_file_writer){
        .sink = sink,
        .context = context,
        .options = *options,
        .pending = {.mem = mem},
    };
    w->out = (struct rdb_writer){
        .out = &w->pending,
        .packing = options->compress ? RDB_PACK_ALL : RDB_PACK_INTEGERS,
    };
    if (w->options.version == 0) w->options.version = RDB_VERSION;
}

void rdb_file_writer_deinit(struct rdb_file_writer *w)
{
    rdb_writer_deinit(&w->out);
    buf_clear(&w->pending);
}

static void flush(struct rdb_file_writer *w)
{
    struct bytes bytes = buf_view(&w->pending);
    if (w->failed || bytes.size == 0) return;
    if (w->options.with_checksum) w->crc = crc64(w->crc, bytes);
    w->written += bytes.size;
    w->failed = !w->sink(w->context, bytes);
    w->pending.size = 0;
}

/* After each item: `done` says whether there was memory for it. */
static void settle(struct rdb_file_writer *w, bool done)
{
    if (!done) w->failed = true;
    if (w->pending.size >= PENDING_BYTES) flush(w);
}

void rdb_file_begin(struct rdb_file_writer *w)
{
    char magic[MAGIC_BYTES + VERSION_DIGITS + 1];
    snprintf(magic, sizeof magic, MAGIC "%04u", (unsigned)w->options.version % 10000);
    settle(w, rdb_try_append_raw(&w->out, magic, sizeof magic - 1));
}

void rdb_file_put_aux(struct rdb_file_writer *w, struct bytes name, struct bytes value)
{
    settle(w, rdb_try_append_type(&w->out, OPCODE_AUX) && rdb_try_append_string(&w->out, name) &&
                  rdb_try_append_string(&w->out, value));
}

void rdb_file_put_function(struct rdb_file_writer *w, struct bytes code)
{
    settle(w,
           rdb_try_append_type(&w->out, OPCODE_FUNCTION_2) && rdb_try_append_string(&w->out, code));
}

void rdb_file_put_database(struct rdb_file_writer *w, uint32_t db, uint64_t key_count,
                           uint64_t expires_count)
{
    settle(w, rdb_try_append_type(&w->out, OPCODE_SELECT_DB) &&
                  rdb_try_append_length(&w->out, db) &&
                  rdb_try_append_type(&w->out, OPCODE_RESIZE_DB) &&
                  rdb_try_append_length(&w->out, key_count) &&
                  rdb_try_append_length(&w->out, expires_count));
}

static bool append_access(struct rdb_writer *out, const struct rdb_file_key *key)
{
    if (key->idle_s >= 0) {
        return rdb_try_append_type(out, OPCODE_IDLE) &&
               rdb_try_append_length(out, (uint64_t)key->idle_s);
    }
    if (key->frequency < 0) return true;
    return rdb_try_append_type(out, OPCODE_FREQUENCY) &&
           rdb_try_append_type(out, (uint8_t)key->frequency);
}

bool rdb_try_append_key(struct rdb_writer *out, const struct rdb_file_key *key,
                        struct rdb_key_mark *mark)
{
    if (key->deadline_ms &&
        !(rdb_try_append_type(out, OPCODE_EXPIRE_MS) && rdb_try_append_ms(out, key->deadline_ms)))
        return false;
    if (!append_access(out, key)) return false;
    mark->name = out->out->size;
    bool done = rdb_try_append_string(out, key->name);
    mark->type = out->out->size;
    return done;
}

void rdb_finish_key(struct rdb_writer *out, const struct rdb_key_mark *mark)
{
    char *name = out->out->data + mark->name, type = out->out->data[mark->type];
    memmove(name + 1, name, mark->type - mark->name);
    *name = type;
}

/* A lot goes on its way without being copied. */
static void put_raw(struct rdb_file_writer *w, struct bytes bytes)
{
    if (bytes.size < PENDING_BYTES) {
        settle(w, rdb_try_append_raw(&w->out, bytes.data, bytes.size));
        return;
    }
    flush(w);
    if (w->failed) return;
    if (w->options.with_checksum) w->crc = crc64(w->crc, bytes);
    w->written += bytes.size;
    w->failed = !w->sink(w->context, bytes);
}

void rdb_file_put_key(struct rdb_file_writer *w, const struct rdb_file_key *key, struct bytes value)
{
    struct rdb_key_mark mark;
    CHECK(value.size > 0);
    bool done =
        rdb_try_append_key(&w->out, key, &mark) && rdb_try_append_raw(&w->out, value.data, 1);
    if (done) rdb_finish_key(&w->out, &mark);
    settle(w, done);
    put_raw(w, bytes_make(value.data + 1, value.size - 1));
}

void rdb_file_put_records(struct rdb_file_writer *w, struct bytes records)
{
    put_raw(w, records);
}

bool rdb_file_end(struct rdb_file_writer *w)
{
    settle(w, rdb_try_append_type(&w->out, OPCODE_EOF));
    flush(w);
    /* Without a checksum eight zeros stand in its place. */
    uint64_t crc = w->crc;
    settle(w, rdb_try_append_raw(&w->out, &crc, sizeof crc));
    flush(w);
    return !w->failed;
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the checksum is written as it is");

/* ---- reading ---- */

static const struct rdb_file_key nothing_known = {.idle_s = -1, .frequency = -1};

void rdb_file_reader_init(struct rdb_file_reader *r, struct mem *mem, rdb_source_fn *source,
                          void *context)
{
    *r = (struct rdb_file_reader){
        .source = source,
        .context = context,
        .window = {.mem = mem},
        .name = {.mem = mem},
        .next = nothing_known,
    };
}

static void forget_texts(struct rdb_file_reader *r)
{
    for (unsigned i = 0; i < ARRAY_LEN(r->text); i++) rdb_string_free(r->window.mem, &r->text[i]);
}

void rdb_file_reader_deinit(struct rdb_file_reader *r)
{
    forget_texts(r);
    buf_clear(&r->window);
    buf_clear(&r->name);
}

/* What has been read and not yet taken. */
static struct bytes unread(const struct rdb_file_reader *r)
{
    if (!r->window.data) return BYTES_LITERAL("");
    return bytes_make(r->window.data + r->at, r->window.size - r->at);
}

/* False, with the error set, when nothing more comes. */
static bool read_more(struct rdb_file_reader *r)
{
    if (r->at_end) {
        r->error = "the file ends too soon";
        return false;
    }
    struct bytes rest = unread(r);
    if (rest.size) memmove(r->window.data, rest.data, rest.size);
    r->offset += r->at;
    r->at = 0;
    r->window.size = rest.size;
    size_t room = MAX(rest.size, (size_t)READ_BYTES_MIN), size = 0;
    char *to = buf_try_reserve(&r->window, room);
    if (!to) {
        r->error = "there is no memory for a value";
    } else if (!r->source(r->context, to, room, &size)) {
        r->error = "it cannot be read";
    }
    r->window.size += size;
    r->at_end = size == 0;
    return !r->error;
}

/* Takes everything up to `in` off, and adds it to the checksum. */
static void take_up_to(struct rdb_file_reader *r, struct bytes in)
{
    struct bytes whole = unread(r);
    r->crc = crc64(r->crc, bytes_make(whole.data, whole.size - in.size));
    r->at = r->window.size - in.size;
}

/* ---- items: each reads from `*in`, which is the window behind the opcode ---- */

static enum rdb_extent read_text(struct rdb_file_reader *r, struct bytes *in, unsigned index,
                                 struct bytes *out)
{
    struct bytes end = *in;
    enum rdb_extent e = rdb_skip_string(&end);
    if (e != RDB_WHOLE) return e;
    rdb_string_free(r->window.mem, &r->text[index]);
    if (!rdb_take_string(r->window.mem, in, &r->text[index])) return RDB_MALFORMED;
    *out = r->text[index].text;
    return RDB_WHOLE;
}

static enum rdb_extent read_aux(struct rdb_file_reader *r, struct bytes *in, struct rdb_item *out)
{
    out->kind = RDB_ITEM_AUX;
    enum rdb_extent e = read_text(r, in, 0, &out->name);
    return e == RDB_WHOLE ? read_text(r, in, 1, &out->value) : e;
}

static enum rdb_extent read_lengths(struct bytes *in, uint64_t *a, uint64_t *b)
{
    enum rdb_extent e = rdb_skip_length(in, a);
    return e == RDB_WHOLE ? rdb_skip_length(in, b) : e;
}

static enum rdb_extent read_number(struct bytes *in, unsigned byte_count, int64_t *out)
{
    return rdb_take_integer(in, byte_count, out) ? RDB_WHOLE : RDB_PARTIAL;
}

/* The name is copied, so that the type byte can be put in front of the value, where the name's last
 * byte stands, once that has been added to the checksum: they go on their way as one view. */
static enum rdb_extent read_key(struct rdb_file_reader *r, uint8_t type, struct bytes *in,
                                struct rdb_item *out)
{
    enum rdb_extent e = read_text(r, in, 0, &out->name);
    if (e != RDB_WHOLE) return e;
    struct bytes value = *in;
    e = rdb_skip_value(type, in);
    if (e != RDB_WHOLE) return e;
    r->name.size = 0;
    char *name = buf_try_reserve(&r->name, MAX(out->name.size, (size_t)1));
    if (!name) return RDB_MALFORMED;
    if (out->name.size) memcpy(name, out->name.data, out->name.size);
    out->kind = RDB_ITEM_KEY;
    r->type = (char)type;
    out->key = r->next;
    out->key.name = out->name = bytes_make(name, out->name.size);
    out->value = bytes_make(value.data - 1, (size_t)(in->data - value.data) + 1);
    r->next = nothing_known;
    return RDB_WHOLE;
}

/* An opcode that says something of the key that follows, or nothing to us. `*out` stays as it is.
 */
static enum rdb_extent read_note(struct rdb_file_reader *r, uint8_t opcode, struct bytes *in)
{
    int64_t number = 0;
    uint64_t a = 0, b = 0;
    enum rdb_extent e;
    switch (opcode) {
    case OPCODE_EXPIRE_MS:
        e = read_number(in, 8, &r->next.deadline_ms);
        return e == RDB_WHOLE && r->next.deadline_ms < 0 ? RDB_MALFORMED : e;
    case OPCODE_EXPIRE_SECONDS:
        e = read_number(in, 4, &number);
        r->next.deadline_ms = number * 1000;
        return e == RDB_WHOLE && number < 0 ? RDB_MALFORMED : e;
    case OPCODE_IDLE:
        e = rdb_skip_length(in, &a);
        r->next.idle_s = (int64_t)MIN(a, (uint64_t)INT64_MAX);
        return e;
    case OPCODE_FREQUENCY:
        e = read_number(in, 1, &number);
        r->next.frequency = number & 0xff;
        return e;
    case OPCODE_MODULE_AUX:
        return rdb_skip_module_aux(in);
    default:
        e = rdb_skip_length(in, &a);
        return e == RDB_WHOLE ? read_lengths(in, &a, &b) : e;
    }
}

static bool is_note(uint8_t opcode)
{
    return opcode == OPCODE_EXPIRE_MS || opcode == OPCODE_EXPIRE_SECONDS || opcode == OPCODE_IDLE ||
           opcode == OPCODE_FREQUENCY || opcode == OPCODE_MODULE_AUX || opcode == OPCODE_SLOT_INFO;
}

/* One opcode and what belongs to it; `is_item` unless it was a note. */
static enum rdb_extent read_step(struct rdb_file_reader *r, struct bytes *in, struct rdb_item *out,
                                 bool *is_item)
{
    int64_t byte;
    if (!rdb_take_integer(in, 1, &byte)) return RDB_PARTIAL;
    uint8_t opcode = (uint8_t)byte;
    *is_item = !is_note(opcode);
    if (!*is_item) return read_note(r, opcode, in);
    switch (opcode) {
    case OPCODE_AUX:
        return read_aux(r, in, out);
    case OPCODE_FUNCTION_2:
        out->kind = RDB_ITEM_FUNCTION;
        return read_text(r, in, 0, &out->value);
    case OPCODE_SELECT_DB:
        out->kind = RDB_ITEM_DATABASE;
        return rdb_skip_length(in, &out->db);
    case OPCODE_RESIZE_DB:
        out->kind = RDB_ITEM_SIZES;
        return read_lengths(in, &out->key_count, &out->expires_count);
    case OPCODE_EOF:
        out->kind = RDB_ITEM_END;
        return RDB_WHOLE;
    default:
        return read_key(r, opcode, in, out);
    }
}

/* ---- the ends of the file ---- */

static bool has_bytes(struct rdb_file_reader *r, size_t size)
{
    while (unread(r).size < size) {
        if (!read_more(r)) return false;
    }
    return true;
}

static void read_header(struct rdb_file_reader *r)
{
    if (!has_bytes(r, MAGIC_BYTES + VERSION_DIGITS)) return;
    struct bytes in = unread(r), magic, digits;
    CHECK(rdb_take(&in, MAGIC_BYTES, &magic) && rdb_take(&in, VERSION_DIGITS, &digits));
    bool is_ours = bytes_equal(magic, bytes_make(MAGIC, MAGIC_BYTES));
    uint64_t version = 0;
    for (unsigned i = 0; i < VERSION_DIGITS; i++) {
        is_ours = is_ours && digits.data[i] >= '0' && digits.data[i] <= '9';
        version = version * 10 + (uint64_t)(digits.data[i] - '0');
    }
    if (!is_ours) {
        r->error = "this is no RDB file";
    } else if (version == 0 || version > RDB_VERSION_MAX) {
        r->error = "the version of the RDB file is not known here";
    } else {
        r->version = (uint16_t)version;
        take_up_to(r, in);
    }
}

/* Zeros say that whoever wrote the file did not compute it. */
static void check_end(struct rdb_file_reader *r)
{
    r->is_done = true;
    if (r->version < VERSION_WITH_CHECKSUM || !has_bytes(r, CHECKSUM_BYTES)) return;
    uint64_t crc;
    memcpy(&crc, unread(r).data, sizeof crc);
    if (crc != 0 && crc != r->crc) r->error = "the checksum is wrong";
    r->at += CHECKSUM_BYTES;
}

static enum rdb_item_kind fail(struct rdb_file_reader *r, struct rdb_item *out)
{
    *out = (struct rdb_item){.kind = RDB_ITEM_ERROR, .error = r->error, .offset = out->offset};
    return RDB_ITEM_ERROR;
}

enum rdb_item_kind rdb_file_next(struct rdb_file_reader *r, struct rdb_item *out)
{
    bool is_item = false;
    *out = (struct rdb_item){.offset = r->offset + r->at};
    if (!r->error && r->version == 0) read_header(r);
    while (!r->error && !is_item && !r->is_done) {
        struct bytes in = unread(r);
        out->offset = r->offset + r->at;
        enum rdb_extent e = read_step(r, &in, out, &is_item);
        if (e == RDB_WHOLE) {
            take_up_to(r, in);
        } else if (e == RDB_MALFORMED) {
            r->error = "what stands there is malformed";
        } else {
            is_item = false;
            (void)read_more(r);
        }
    }
    if (!r->error && !r->is_done && out->kind == RDB_ITEM_END) check_end(r);
    if (r->error) return fail(r, out);
    if (r->is_done) out->kind = RDB_ITEM_END;
    if (out->kind == RDB_ITEM_KEY) r->window.data[out->value.data - r->window.data] = r->type;
    return out->kind;
}
