#include "shard/type/stream_id.h"

#include "base/text.h"

#define TEXT_BYTES_MAX 127 /* longer is no id */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* What strtoull takes as a whole: spaces, a sign, digits. A number with a minus wraps round. */
static bool number_like_c(struct bytes text, uint64_t *out)
{
    size_t i = 0;
    while (i < text.size && is_space(text.data[i])) i++;
    bool negative = i < text.size && text.data[i] == '-';
    if (i < text.size && (text.data[i] == '-' || text.data[i] == '+')) i++;
    if (i == text.size) return false;
    uint64_t value = 0;
    for (; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        if (__builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(text.data[i] - '0'), &value)) return false;
    }
    *out = negative ? 0 - value : value;
    return true;
}

static bool parse_number(struct bytes text, uint64_t *out)
{
    int64_t n;
    if (!text_to_i64(text, &n)) return number_like_c(text, out);
    *out = (uint64_t)n;
    return n >= 0;
}

bool stream_id_parse(struct bytes text, uint64_t missing_seq, struct stream_id *out, bool *any_seq)
{
    if (text.size == 0 || text.size > TEXT_BYTES_MAX) return false;
    const char *end = memchr(text.data, 0, text.size);
    if (end) text.size = (size_t)(end - text.data);
    const char *dash = text.size ? memchr(text.data, '-', text.size) : NULL;
    struct stream_id id = {.seq = missing_seq};
    bool any = false;
    if (dash) {
        size_t ms_size = (size_t)(dash - text.data);
        struct bytes seq = bytes_make(dash + 1, text.size - ms_size - 1);
        text.size = ms_size;
        any = any_seq && bytes_equal(seq, BYTES_LITERAL("*"));
        if (any) id.seq = 0;
        if (!any && !parse_number(seq, &id.seq)) return false;
    }
    if (!parse_number(text, &id.ms)) return false;
    if (any_seq) *any_seq = any;
    *out = id;
    return true;
}

size_t stream_id_text(struct stream_id id, char *out)
{
    size_t size = text_from_u64(out, id.ms);
    out[size++] = '-';
    return size + text_from_u64(out + size, id.seq);
}

static void put_big_endian(uint8_t *out, uint64_t n)
{
    for (unsigned i = 0; i < 8; i++) out[i] = (uint8_t)(n >> (8 * (7 - i)));
}

static uint64_t get_big_endian(const char *bytes)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < 8; i++) n = n << 8 | (uint8_t)bytes[i];
    return n;
}

void stream_id_to_bytes(struct stream_id id, uint8_t *out)
{
    put_big_endian(out, id.ms);
    put_big_endian(out + 8, id.seq);
}

struct stream_id stream_id_from_bytes(const char *bytes)
{
    return (struct stream_id){get_big_endian(bytes), get_big_endian(bytes + 8)};
}
