#include "shard/rdb_value.h"

#include "base/text.h"

enum {
    RDB_LENGTH_6,
    RDB_LENGTH_14,
    RDB_LENGTH_LONG,
    RDB_LENGTH_SPECIAL
}; /* top 2 bits of a byte */
enum { RDB_LENGTH_32 = 0x80, RDB_LENGTH_64 = 0x81 };

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

bool rdb_try_append_length(struct buf *out, uint64_t length)
{
    char *p = buf_try_reserve(out, RDB_LENGTH_BYTES_MAX);
    if (!p) return false;
    out->size += rdb_put_length(p, length);
    return true;
}

bool rdb_try_append_string(struct buf *out, struct bytes text)
{
    if (text.size > SIZE_MAX - RDB_LENGTH_BYTES_MAX) return false;
    char *p = buf_try_reserve(out, RDB_LENGTH_BYTES_MAX + text.size);
    if (!p) return false;
    size_t head = rdb_put_length(p, text.size);
    if (text.size) memcpy(p + head, text.data, text.size);
    out->size += head + text.size;
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

/* LZF: a control byte below 32 starts that many + 1 literal bytes, others a repetition of earlier
 * output. True if exactly out_size bytes come out. */
static bool lzf_decompress(struct bytes in, char *out, size_t out_size)
{
    size_t n = 0;
    struct bytes b;
    while (in.size) {
        if (!rdb_take(&in, 1, &b)) return false;
        size_t control = byte_at(b, 0);
        if (control < 32) {
            if (!rdb_take(&in, control + 1, &b) || out_size - n < b.size) return false;
            memcpy(out + n, b.data, b.size);
            n += b.size;
            continue;
        }
        size_t count = control >> 5;
        if (count == 7) {
            if (!rdb_take(&in, 1, &b)) return false;
            count += byte_at(b, 0);
        }
        if (!rdb_take(&in, 1, &b)) return false;
        size_t distance = ((control & 31) << 8 | byte_at(b, 0)) + 1;
        count += 2;
        if (distance > n || out_size - n < count) return false;
        for (size_t i = 0; i < count; i++, n++) out[n] = out[n - distance];
    }
    return n == out_size;
}

bool rdb_take_length(struct bytes *in, uint64_t *length)
{
    bool special;
    return rdb_take_length_or_special(in, length, &special) && !special;
}

/* ---- strings ---- */

static bool take_packed(struct mem *mem, struct bytes *in, struct rdb_string *out)
{
    uint64_t packed_size, size;
    struct bytes packed;
    if (!rdb_take_length(in, &packed_size) || !rdb_take_length(in, &size)) return false;
    /* Three bytes give at most 264: a claim beyond that reserves nothing. */
    if (!rdb_take(in, packed_size, &packed) || size == 0 || size > packed_size * 264) return false;
    out->owned = mem_try_alloc(mem, size);
    if (!out->owned) return false;
    out->owned_bytes = size;
    out->text = bytes_make(out->owned, size);
    if (lzf_decompress(packed, out->owned, size)) return true;
    rdb_string_free(mem, out);
    return false;
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
