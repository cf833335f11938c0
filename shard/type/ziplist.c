#include "shard/type/ziplist.h"

#define HEADER_BYTES 10
#define TAIL_AT 4
#define COUNT_AT 8
#define COUNT_UNKNOWN 0xffff
#define END 0xff
#define LONG_PREVIOUS 0xfe /* 4 bytes follow */
#define ZIPMAP_LONG 254    /* 4 bytes follow */
#define ZIPMAP_COUNT_UNKNOWN 254

/* Little endian. */
static uint64_t number_at(struct bytes b, size_t at, unsigned byte_count)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < byte_count; i++) n |= (uint64_t)(uint8_t)b.data[at + i] << (8 * i);
    return n;
}

/* The first `byte_count` bytes of what is left, as a number, taken off. */
static bool take_number(struct bytes *in, unsigned byte_count, uint64_t *out)
{
    if (in->size < byte_count) return false;
    *out = number_at(*in, 0, byte_count);
    *in = bytes_make(in->data + byte_count, in->size - byte_count);
    return true;
}

static bool take_text(struct bytes *in, uint64_t size, struct listpack_value *out)
{
    if (in->size < size) return false;
    *out = (struct listpack_value){.text = in->data, .size = size};
    *in = bytes_make(in->data + size, in->size - size);
    return true;
}

static bool take_integer(struct bytes *in, unsigned byte_count, struct listpack_value *out)
{
    uint64_t bits;
    if (!take_number(in, byte_count, &bits)) return false;
    unsigned shift = 64 - 8 * byte_count;
    *out = (struct listpack_value){.integer = (int64_t)(bits << shift) >> shift};
    return true;
}

/* ---- ziplists ---- */

static bool take_integer_entry(struct bytes *in, uint8_t head, struct listpack_value *out)
{
    switch (head) {
    case 0xc0:
        return take_integer(in, 2, out);
    case 0xd0:
        return take_integer(in, 4, out);
    case 0xe0:
        return take_integer(in, 8, out);
    case 0xf0:
        return take_integer(in, 3, out);
    case 0xfe:
        return take_integer(in, 1, out);
    default:
        if (head < 0xf1 || head > 0xfd) return false;
        *out = (struct listpack_value){.integer = head - 0xf1};
        return true;
    }
}

/* The value behind the bytes of the entry before. */
static bool take_value(struct bytes *in, struct listpack_value *out)
{
    uint64_t head, more;
    if (!take_number(in, 1, &head)) return false;
    switch (head >> 6) {
    case 0:
        return take_text(in, head, out);
    case 1:
        return take_number(in, 1, &more) && take_text(in, (head & 0x3f) << 8 | more, out);
    case 2:
        return take_number(in, 4, &more) && take_text(in, __builtin_bswap32((uint32_t)more), out);
    default:
        return take_integer_entry(in, (uint8_t)head, out);
    }
}

/* One entry, which follows one of `before` bytes. */
static bool take_entry(struct bytes *in, uint64_t before, struct listpack_value *out)
{
    uint64_t claimed;
    if (!take_number(in, 1, &claimed) || claimed == END) return false;
    if (claimed == LONG_PREVIOUS && !take_number(in, 4, &claimed)) return false;
    return claimed == before && take_value(in, out);
}

static bool try_append(struct mem *mem, struct listpack **lp, const struct listpack_value *v)
{
    if (v->text) return listpack_try_append(mem, lp, bytes_make(v->text, v->size));
    return listpack_try_append_integer(mem, lp, v->integer);
}

/* All entries; `bytes` has a header and an end. */
static bool append_entries(struct mem *mem, struct bytes bytes, struct listpack **lp)
{
    struct bytes in = bytes_make(bytes.data + HEADER_BYTES, bytes.size - HEADER_BYTES - 1);
    uint64_t count = 0, before = 0;
    const char *last = in.data;
    for (; in.size > 0; count++) {
        struct listpack_value v;
        last = in.data;
        if (!take_entry(&in, before, &v) || !try_append(mem, lp, &v)) return false;
        before = (uint64_t)(in.data - last);
    }
    uint64_t claimed = number_at(bytes, COUNT_AT, 2);
    if (claimed != COUNT_UNKNOWN && claimed != count) return false;
    return number_at(bytes, TAIL_AT, 4) == (uint64_t)(last - bytes.data);
}

static bool is_framed(struct bytes bytes)
{
    return bytes.size > HEADER_BYTES && number_at(bytes, 0, 4) == bytes.size &&
           (uint8_t)bytes.data[bytes.size - 1] == END;
}

struct listpack *ziplist_try_to_listpack(struct mem *mem, struct bytes bytes)
{
    struct listpack *lp = is_framed(bytes) ? listpack_try_create(mem) : NULL;
    if (!lp || append_entries(mem, bytes, &lp)) return lp;
    listpack_free(mem, lp);
    return NULL;
}

/* ---- zipmaps ---- */

static bool take_zipmap_length(struct bytes *in, uint64_t *length)
{
    if (!take_number(in, 1, length) || *length == END) return false;
    return *length != ZIPMAP_LONG || take_number(in, 4, length);
}

static bool append_pair(struct mem *mem, struct bytes *in, struct listpack **lp)
{
    uint64_t length, unused;
    struct listpack_value field, value, nothing;
    if (!take_zipmap_length(in, &length) || !take_text(in, length, &field)) return false;
    if (!take_zipmap_length(in, &length) || !take_number(in, 1, &unused)) return false;
    if (!take_text(in, length, &value) || !take_text(in, unused, &nothing)) return false;
    return try_append(mem, lp, &field) && try_append(mem, lp, &value);
}

struct listpack *zipmap_try_to_listpack(struct mem *mem, struct bytes bytes)
{
    if (bytes.size < 2 || (uint8_t)bytes.data[bytes.size - 1] != END) return NULL;
    uint64_t claimed = (uint8_t)bytes.data[0], count = 0;
    struct bytes in = bytes_make(bytes.data + 1, bytes.size - 2);
    struct listpack *lp = listpack_try_create(mem);
    for (; lp && in.size > 0; count++) {
        if (append_pair(mem, &in, &lp)) continue;
        listpack_free(mem, lp);
        return NULL;
    }
    if (!lp || claimed == ZIPMAP_COUNT_UNKNOWN || claimed == count) return lp;
    listpack_free(mem, lp);
    return NULL;
}
