#include "persist/rdb.h"

#include <math.h>

#include "base/text.h"
#include "persist/lzf.h"

enum {
    RDB_LENGTH_6,
    RDB_LENGTH_14,
    RDB_LENGTH_LONG,
    RDB_LENGTH_SPECIAL
}; /* top 2 bits of a byte */
enum { RDB_LENGTH_32 = 0x80, RDB_LENGTH_64 = 0x81 };

#define INT32_TEXT_BYTES_MAX 11 /* "-2147483648" */
#define LZF_TEXT_BYTES_MIN 20   /* only longer text is packed */
#define LZF_GAIN_BYTES_MIN 4    /* and only if that saves so much */
#define LZF_HEAD_BYTES_MAX (1 + 2 * RDB_LENGTH_BYTES_MAX)
#define DOUBLE_NAN 253
#define DOUBLE_INFINITE 254
#define DOUBLE_MINUS_INFINITE 255

static size_t put_big_endian(char *out, uint64_t value, unsigned byte_count)
{
    for (unsigned i = 0; i < byte_count; i++) out[i] = (char)(value >> (8 * (byte_count - 1 - i)));
    return byte_count;
}

size_t rdb_put_length(char *out, uint64_t size)
{
    if (size < 1 << 6) return put_big_endian(out, size, 1);
    if (size < 1 << 14) return put_big_endian(out, 0x4000 | size, 2);
    bool is_long = size > UINT32_MAX;
    out[0] = (char)(is_long ? RDB_LENGTH_64 : RDB_LENGTH_32);
    return 1 + put_big_endian(out + 1, size, is_long ? 8 : 4);
}

/* Integers of up to 32 bits have forms of their own; larger ones are text. */
size_t rdb_put_integer(char *out, int64_t value)
{
    unsigned form = value == (int8_t)value ? 0 : value == (int16_t)value ? 1 : 2;
    out[0] = (char)(RDB_INT8 + form);
    uint64_t bits = (uint64_t)value;
    for (unsigned i = 0; i < 1u << form; i++) out[1 + i] = (char)(bits >> (8 * i));
    return 1 + (1u << form);
}

/* ---- appending ---- */

void rdb_writer_deinit(struct rdb_writer *w)
{
    lzf_destroy(w->out->mem, w->packer);
    w->packer = NULL;
}

bool rdb_try_append_raw(struct rdb_writer *w, const void *data, size_t size)
{
    char *p = buf_try_reserve(w->out, size);
    if (!p) return false;
    if (size) memcpy(p, data, size);
    w->out->size += size;
    return true;
}

bool rdb_try_append_type(struct rdb_writer *w, uint8_t type)
{
    return rdb_try_append_raw(w, &type, sizeof type);
}

bool rdb_try_append_double(struct rdb_writer *w, double value)
{
    return rdb_try_append_raw(w, &value, sizeof value);
}

bool rdb_try_append_ms(struct rdb_writer *w, int64_t ms)
{
    return rdb_try_append_raw(w, &ms, sizeof ms);
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they are");

bool rdb_try_append_length(struct rdb_writer *w, uint64_t length)
{
    char head[RDB_LENGTH_BYTES_MAX];
    return rdb_try_append_raw(w, head, rdb_put_length(head, length));
}

/* False: it takes as many bytes as before, or there is no memory for trying. */
static bool append_packed(struct rdb_writer *w, struct bytes text)
{
    if (!w->packer) w->packer = lzf_try_create(w->out->mem);
    size_t room = text.size - LZF_GAIN_BYTES_MIN;
    char *p = w->packer ? buf_try_reserve(w->out, LZF_HEAD_BYTES_MAX + room) : NULL;
    if (!p) return false;
    /* It lies behind the longest head until the head is known. */
    char *packed = p + LZF_HEAD_BYTES_MAX;
    size_t size = lzf_pack(w->packer, text, packed, room);
    if (size == 0) return false;
    size_t head = 1;
    p[0] = (char)(uint8_t)RDB_LZF;
    head += rdb_put_length(p + head, size);
    head += rdb_put_length(p + head, text.size);
    memmove(p + head, packed, size);
    w->out->size += head + size;
    return true;
}

/* True if the text is an integer that has a form of its own; then it is written. */
static bool append_integer(struct rdb_writer *w, struct bytes text, bool *failed)
{
    int64_t value;
    char form[RDB_LENGTH_BYTES_MAX];
    if (text.size > INT32_TEXT_BYTES_MAX || !text_to_i64(text, &value)) return false;
    if (value != (int32_t)value) return false;
    *failed = !rdb_try_append_raw(w, form, rdb_put_integer(form, value));
    return true;
}

bool rdb_try_append_string(struct rdb_writer *w, struct bytes text)
{
    bool failed;
    if (w->packing != RDB_PACK_NONE && append_integer(w, text, &failed)) return !failed;
    if (w->packing == RDB_PACK_ALL && text.size > LZF_TEXT_BYTES_MIN && append_packed(w, text)) {
        return true;
    }
    if (text.size > SIZE_MAX - RDB_LENGTH_BYTES_MAX) return false;
    char *p = buf_try_reserve(w->out, RDB_LENGTH_BYTES_MAX + text.size);
    if (!p) return false;
    size_t head = rdb_put_length(p, text.size);
    if (text.size) memcpy(p + head, text.data, text.size);
    w->out->size += head + text.size;
    return true;
}

/* ---- reading ---- */

/* The next `size` bytes of `in`, taken off; false if it has fewer. */
bool rdb_take(struct bytes *in, uint64_t size, struct bytes *out)
{
    if (in->size < size) return false;
    *out = bytes_make(in->data, size);
    *in = bytes_make(in->data + size, in->size - size);
    return true;
}

static uint8_t byte_at(struct bytes b, size_t i)
{
    return (uint8_t)b.data[i];
}

static uint64_t big_endian(struct bytes b)
{
    uint64_t value = 0;
    for (size_t i = 0; i < b.size; i++) value = value << 8 | byte_at(b, i);
    return value;
}

/* A length, or with `*special` the form of what follows. */
bool rdb_take_length_or_special(struct bytes *in, uint64_t *length, bool *special)
{
    struct bytes b;
    if (!rdb_take(in, 1, &b)) return false;
    uint8_t first = byte_at(b, 0);
    *special = first >> 6 == RDB_LENGTH_SPECIAL;
    *length = *special ? first : first & 0x3f;
    if (*special || first >> 6 == RDB_LENGTH_6) return true;
    if (first >> 6 == RDB_LENGTH_14) {
        if (!rdb_take(in, 1, &b)) return false;
        *length = *length << 8 | byte_at(b, 0);
        return true;
    }
    if (first != RDB_LENGTH_32 && first != RDB_LENGTH_64) return false;
    if (!rdb_take(in, first == RDB_LENGTH_32 ? 4 : 8, &b)) return false;
    *length = big_endian(b);
    return true;
}

/* Little endian, signed. */
bool rdb_take_integer(struct bytes *in, unsigned byte_count, int64_t *out)
{
    struct bytes b;
    if (!rdb_take(in, byte_count, &b)) return false;
    uint64_t bits = 0;
    for (unsigned i = 0; i < byte_count; i++) bits |= (uint64_t)byte_at(b, i) << (8 * i);
    *out = (int64_t)(bits << (64 - 8 * byte_count)) >> (64 - 8 * byte_count);
    return true;
}

bool rdb_take_double(struct bytes *in, double *out)
{
    struct bytes b;
    if (!rdb_take(in, sizeof *out, &b)) return false;
    memcpy(out, b.data, sizeof *out);
    return true;
}

bool rdb_take_double_text(struct bytes *in, double *out)
{
    struct bytes b;
    if (!rdb_take(in, 1, &b)) return false;
    uint8_t size = byte_at(b, 0);
    if (size == DOUBLE_NAN) *out = (double)NAN;
    if (size == DOUBLE_INFINITE) *out = (double)INFINITY;
    if (size == DOUBLE_MINUS_INFINITE) *out = -(double)INFINITY;
    if (size >= DOUBLE_NAN) return true;
    return rdb_take(in, size, &b) && text_to_double(b, out);
}

bool rdb_take_length(struct bytes *in, uint64_t *length)
{
    bool special;
    return rdb_take_length_or_special(in, length, &special) && !special;
}

/* ---- strings ---- */

/* What comes out is measured before a byte is reserved for it. */
static bool take_packed(struct mem *mem, struct bytes *in, struct rdb_string *out)
{
    uint64_t packed_size, size, measured;
    struct bytes packed;
    if (!rdb_take_length(in, &packed_size) || !rdb_take_length(in, &size)) return false;
    if (!rdb_take(in, packed_size, &packed) || !lzf_unpacked_size(packed, &measured)) return false;
    if (measured != size || size == 0) return false;
    out->owned = mem_try_alloc(mem, size);
    if (!out->owned) return false;
    out->owned_bytes = size;
    out->text = bytes_make(out->owned, size);
    lzf_unpack(packed, out->owned);
    return true;
}

bool rdb_take_string(struct mem *mem, struct bytes *in, struct rdb_string *out)
{
    uint64_t length;
    bool special;
    *out = (struct rdb_string){.owned = NULL};
    if (!rdb_take_length_or_special(in, &length, &special)) return false;
    if (!special) return rdb_take(in, length, &out->text);
    if (length == RDB_LZF) return take_packed(mem, in, out);
    int64_t value;
    if (length > RDB_INT32 || !rdb_take_integer(in, 1u << (length - RDB_INT8), &value)) {
        return false;
    }
    out->owned = mem_alloc(mem, TEXT_I64_BYTES_MAX);
    out->owned_bytes = TEXT_I64_BYTES_MAX;
    out->text = bytes_make(out->owned, text_from_i64(out->owned, value));
    return true;
}

void rdb_string_free(struct mem *mem, struct rdb_string *s)
{
    mem_free(mem, s->owned, s->owned_bytes);
    s->owned = NULL;
}
