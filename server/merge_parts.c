#include "server/merge_parts.h"

#include <stdlib.h>

#include "base/text.h"
#include "net/netloop.h"
#include "shard/cmd/families.h"
#include "shard/digest.h"

/* Replies come from our own shards, so a form that does not fit is a bug of ours. */

static size_t line_bytes(struct bytes b)
{
    const char *end = memchr(b.data, '\n', b.size);
    CHECK(end);
    return (size_t)(end - b.data) + 1;
}

static int64_t line_number(struct bytes b)
{
    int64_t n = 0;
    size_t i = 1;
    bool negative = b.size > 1 && b.data[1] == '-';
    for (i += negative; i < b.size && b.data[i] >= '0' && b.data[i] <= '9'; i++)
        n = n * 10 + (b.data[i] - '0');
    return negative ? -n : n;
}

/* Of the types whose first line holds a length or a count; a number of RESP3 may be longer than 64
 * bits. */
static int64_t line_count(struct bytes b)
{
    return memchr("$=*~>%", b.data[0], 6) ? line_number(b) : 0;
}

size_t reply_value_bytes(struct bytes b)
{
    size_t at = 0;
    for (uint64_t values = 1; values > 0; values--) {
        struct bytes rest = bytes_make(b.data + at, b.size - at);
        CHECK(rest.size > 0);
        int64_t n = line_count(rest);
        at += line_bytes(rest);
        switch (rest.data[0]) {
        case '$':
        case '=':
            at += n >= 0 ? (size_t)n + 2 : 0;
            break;
        case '*':
        case '~':
        case '>':
            values += n > 0 ? (uint64_t)n : 0;
            break;
        case '%':
            values += 2 * (uint64_t)n;
            break;
        default:
            break;
        }
        CHECK(at <= b.size);
    }
    return at;
}

/* The first part that is an error; -1: none. */
static int first_error(const struct gather *g)
{
    for (uint32_t i = 0; i < g->part_count; i++)
        if (gather_part_kind(g, i) == '-') return (int)i;
    return -1;
}

static void merge_sum(const struct merge_input *in, struct buf *scratch, struct reply *out)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < in->gather->part_count; i++)
        sum += line_number(gather_part_bytes(in->gather, i, scratch));
    reply_i64(out, sum);
}

static void merge_concat(const struct merge_input *in, struct buf *scratch, struct reply *out)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < in->gather->part_count; i++)
        total += (uint64_t)line_number(gather_part_bytes(in->gather, i, scratch));
    reply_array(out, total);
    for (uint32_t i = 0; i < in->gather->part_count; i++) {
        struct bytes part = gather_part_bytes(in->gather, i, scratch);
        size_t header = line_bytes(part);
        reply_raw(out, part.data + header, part.size - header);
    }
}

/* A SCAN that begins on every shard. Parts are [cursor, keys]: the reply has the shards whose walk
 * is complete and the first one whose walk is not. The cursor asks for the others once more. */
static struct bytes scan_keys(struct bytes part, struct bytes *cursor)
{
    size_t at = line_bytes(part);
    *cursor = bytes_make(part.data + at, 0);
    cursor->size = reply_value_bytes(bytes_make(part.data + at, part.size - at));
    at += cursor->size;
    return bytes_make(part.data + at, part.size - at);
}

static bool scan_is_complete(struct bytes cursor, uint32_t shard)
{
    size_t at = line_bytes(cursor);
    uint64_t number;
    CHECK(text_to_u64(bytes_make(cursor.data + at, cursor.size - at - 2), &number));
    return number == 0 || scan_cursor_shard(number) != shard;
}

static void merge_cursor(const struct merge_input *in, struct buf *scratch, struct reply *out)
{
    uint64_t total = 0;
    uint32_t told = 0; /* shards */
    bool is_complete = true;
    struct bytes cursor;
    while (is_complete && told < in->gather->part_count) {
        struct bytes keys = scan_keys(gather_part_bytes(in->gather, told, scratch), &cursor);
        total += (uint64_t)line_number(keys);
        is_complete = scan_is_complete(cursor, told);
        told++;
    }
    reply_array(out, 2);
    reply_raw(out, cursor.data, cursor.size);
    reply_array(out, total);
    for (uint32_t i = 0; i < told; i++) {
        struct bytes keys = scan_keys(gather_part_bytes(in->gather, i, scratch), &cursor);
        size_t header = line_bytes(keys);
        reply_raw(out, keys.data + header, keys.size - header);
    }
}

/* The text of a verbatim string, which is a bulk string to RESP2. */
static struct bytes verbatim_text(struct bytes part)
{
    size_t head = line_bytes(part) + (part.data[0] == '=' ? strlen("txt:") : 0);
    return bytes_make(part.data + head, part.size - head - strlen("\r\n"));
}

static void merge_text(const struct merge_input *in, struct buf *scratch, struct reply *out)
{
    struct buf text = {.mem = &in->gather->netloop->mem};
    for (uint32_t i = 0; i < in->gather->part_count; i++) {
        struct bytes part = verbatim_text(gather_part_bytes(in->gather, i, scratch));
        buf_append(&text, part.data, part.size);
    }
    reply_verbatim(out, "txt", buf_view(&text));
    buf_clear(&text);
}

/* Each part is the same array of names, with its own counts behind them. */
static void merge_counts(const struct merge_input *in, struct buf *scratch, struct reply *out)
{
    struct mem *mem = &in->gather->netloop->mem;
    struct bytes first = gather_part_bytes(in->gather, 0, scratch);
    uint64_t pairs = (uint64_t)line_number(first) / 2;
    int64_t *sums = mem_try_alloc(mem, pairs * sizeof *sums + 1);
    if (!sums) {
        reply_err(out, ERR_ALLOC);
        return;
    }
    memset(sums, 0, pairs * sizeof *sums);
    for (uint32_t i = 0; i < in->gather->part_count; i++) {
        struct bytes rest = gather_part_bytes(in->gather, i, scratch);
        size_t at = line_bytes(rest);
        for (uint64_t k = 0; k < pairs; k++) {
            at += reply_value_bytes(bytes_make(rest.data + at, rest.size - at));
            struct bytes count = bytes_make(rest.data + at, rest.size - at);
            sums[k] += line_number(count);
            at += line_bytes(count);
        }
    }
    first = gather_part_bytes(in->gather, 0, scratch);
    size_t at = line_bytes(first);
    reply_array(out, 2 * pairs);
    for (uint64_t k = 0; k < pairs; k++) {
        size_t size = reply_value_bytes(bytes_make(first.data + at, first.size - at));
        reply_raw(out, first.data + at, size);
        reply_i64(out, sums[k]);
        at += size;
        at += line_bytes(bytes_make(first.data + at, first.size - at));
    }
    mem_free(mem, sums, pairs * sizeof *sums + 1);
}

/* Every part holds the replies of its keys in their order, so the whole is a merge that follows
 * key_parts. */
struct key_walk {
    const struct merge_input *in;
    struct bytes *rest; /* by part: what was not read yet */
    struct buf *flat;
};

/* False: no memory. To be ended in any case. */
static bool key_walk_begin(struct key_walk *w, const struct merge_input *in)
{
    struct mem *mem = &in->gather->netloop->mem;
    uint32_t part_count = in->gather->part_count;
    *w = (struct key_walk){in, mem_alloc(mem, part_count * sizeof *w->rest),
                           mem_alloc_zeroed(mem, part_count * sizeof *w->flat)};
    for (uint32_t i = 0; i < part_count; i++) {
        w->flat[i].mem = mem;
        if (!gather_part_try_reserve(in->gather, i, &w->flat[i])) return false;
        w->rest[i] = gather_part_bytes(in->gather, i, &w->flat[i]);
    }
    return true;
}

/* The reply of the next key. */
static struct bytes key_walk_next(struct key_walk *w, uint32_t key)
{
    struct bytes *part = &w->rest[w->in->key_parts[key]];
    struct bytes value = bytes_make(part->data, reply_value_bytes(*part));
    *part = bytes_make(part->data + value.size, part->size - value.size);
    return value;
}

static void key_walk_end(struct key_walk *w)
{
    struct mem *mem = &w->in->gather->netloop->mem;
    uint32_t part_count = w->in->gather->part_count;
    for (uint32_t i = 0; i < part_count; i++) buf_clear(&w->flat[i]);
    mem_free(mem, w->flat, part_count * sizeof *w->flat);
    mem_free(mem, w->rest, part_count * sizeof *w->rest);
}

static void merge_keys(const struct merge_input *in, struct reply *out)
{
    struct key_walk w;
    bool has_room = key_walk_begin(&w, in);
    if (has_room)
        reply_array(out, in->key_count);
    else
        reply_err(out, ERR_ALLOC);
    for (uint32_t k = 0; k < in->key_count && has_room; k++) {
        struct bytes value = key_walk_next(&w, k);
        reply_raw(out, value.data, value.size);
    }
    key_walk_end(&w);
}

/* Null is *-1 or _. */
static bool is_found(struct bytes value)
{
    return value.data[0] == '*' && value.data[1] != '-';
}

/* A pair is an array of RESP2, and stands without a head in a map. NULL: they are only counted. */
static uint64_t walk_found(struct bytes *rest, const uint16_t *key_parts, uint32_t key_count,
                           struct reply *out)
{
    uint64_t count = 0;
    for (uint32_t k = 0; k < key_count; k++) {
        struct bytes *part = &rest[key_parts[k]];
        if (part->size == 0) continue;
        struct bytes value = bytes_make(part->data, reply_value_bytes(*part));
        *part = bytes_make(part->data + value.size, part->size - value.size);
        if (!is_found(value)) continue;
        count++;
        if (!out) continue;
        size_t head = out->resp == 2 ? 0 : line_bytes(value);
        reply_raw(out, value.data + head, value.size - head);
    }
    return count;
}

bool merge_found(struct mem *mem, const struct found_parts *found, struct reply *out)
{
    size_t size = found->part_count * sizeof(struct bytes);
    struct bytes *rest = mem_alloc(mem, size);
    memcpy(rest, found->parts, size);
    uint64_t count = walk_found(rest, found->key_parts, found->key_count, NULL);
    if (count == 0) {
        reply_null_array(out);
    } else if (out->resp == 2) {
        reply_array(out, count);
    } else {
        reply_map(out, count);
    }
    memcpy(rest, found->parts, size);
    walk_found(rest, found->key_parts, found->key_count, out);
    mem_free(mem, rest, size);
    return count > 0;
}

static void merge_found_gathered(const struct merge_input *in, struct reply *out)
{
    struct key_walk w;
    if (key_walk_begin(&w, in)) {
        struct found_parts found = {w.rest, in->gather->part_count, in->key_parts, in->key_count};
        merge_found(&in->gather->netloop->mem, &found, out);
    } else {
        reply_err(out, ERR_ALLOC);
    }
    key_walk_end(&w);
}

/* Parts are [weight, value]. A part without keys has weight 0 and is never chosen while another has
 * some. */
static void merge_random(const struct merge_input *in, struct buf *scratch, struct reply *out)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < in->gather->part_count; i++) {
        struct bytes part = gather_part_bytes(in->gather, i, scratch);
        size_t header = line_bytes(part);
        total += (uint64_t)line_number(bytes_make(part.data + header, part.size - header));
    }
    uint64_t chosen = total ? in->random % total : 0;
    for (uint32_t i = 0; i < in->gather->part_count; i++) {
        struct bytes part = gather_part_bytes(in->gather, i, scratch);
        size_t at = line_bytes(part);
        struct bytes weight = bytes_make(part.data + at, part.size - at);
        uint64_t n = (uint64_t)line_number(weight);
        at += line_bytes(weight);
        if (chosen < n || (total == 0 && i == 0)) {
            reply_raw(out, part.data + at, part.size - at);
            return;
        }
        chosen -= n;
    }
    reply_null(out);
}

/* ---- DEBUG DIGEST ---- */

struct database_digest {
    uint32_t db;
    struct digest digest;
};

/* Takes one "$24\r\n<database><digest>\r\n" off. */
static void take_digest(struct bytes *in, struct database_digest *out)
{
    size_t header = line_bytes(*in), size = DIGEST_PART_BYTES;
    CHECK(line_number(*in) == (int64_t)size);
    const char *p = in->data + header;
    memcpy(&out->db, p, sizeof out->db);
    memcpy(out->digest.bytes, p + sizeof out->db, sizeof out->digest.bytes);
    *in = bytes_make(p + size + 2, in->size - header - size - 2);
}

/* The sum over all shards for the first database from `*db` on that has keys; false if none has. */
static bool sum_database(const struct merge_input *in, struct buf *scratch, uint32_t *db,
                         struct digest *sum)
{
    struct database_digest d, found = {.db = UINT32_MAX};
    for (uint32_t i = 0; i < in->gather->part_count; i++) {
        struct bytes part = gather_part_bytes(in->gather, i, scratch);
        int64_t count = line_number(part);
        part = bytes_make(part.data + line_bytes(part), part.size - line_bytes(part));
        for (; count > 0; count--) {
            take_digest(&part, &d);
            if (d.db < *db || d.db > found.db) continue;
            if (d.db < found.db) found = (struct database_digest){.db = d.db};
            digest_xor(&found.digest, &d.digest);
        }
    }
    *db = found.db;
    *sum = found.digest;
    return found.db != UINT32_MAX;
}

static void merge_digest(const struct merge_input *in, struct buf *scratch, struct reply *out)
{
    struct digest all = {0}, sum;
    for (uint32_t db = 0; sum_database(in, scratch, &db, &sum); db++) {
        digest_mix_u32(&all, db);
        digest_xor(&all, &sum);
    }
    char hex[2 * SHA1_BYTES + 1] = "";
    sha1_to_hex(all.bytes, hex);
    reply_status(out, hex);
}

/* Of the rules that read a part after the other. */
static bool has_room_for_parts(const struct merge_input *in, struct buf *scratch)
{
    if (in->rule == MERGE_KEYS || in->rule == MERGE_FOUND) return true;
    for (uint32_t i = 0; i < in->gather->part_count; i++)
        if (!gather_part_try_reserve(in->gather, i, scratch)) return false;
    return true;
}

void merge_parts(const struct merge_input *in, struct reply *out)
{
    struct buf *scratch = &in->gather->netloop->flatten;
    if (!has_room_for_parts(in, scratch)) {
        reply_err(out, ERR_ALLOC);
        return;
    }
    int failed = first_error(in->gather);
    if (failed >= 0) {
        struct bytes part = gather_part_bytes(in->gather, (uint32_t)failed, scratch);
        reply_raw(out, part.data, part.size);
        return;
    }
    switch (in->rule) {
    case MERGE_SUM:
        merge_sum(in, scratch, out);
        return;
    case MERGE_OK:
        reply_ok(out);
        return;
    case MERGE_CONCAT:
        merge_concat(in, scratch, out);
        return;
    case MERGE_KEYS:
        merge_keys(in, out);
        return;
    case MERGE_DIGEST:
        merge_digest(in, scratch, out);
        return;
    case MERGE_FOUND:
        merge_found_gathered(in, out);
        return;
    case MERGE_RANDOM:
        merge_random(in, scratch, out);
        return;
    case MERGE_TEXT:
        merge_text(in, scratch, out);
        return;
    case MERGE_COUNTS:
        merge_counts(in, scratch, out);
        return;
    case MERGE_CURSOR:
        merge_cursor(in, scratch, out);
        return;
    case MERGE_NONE:
        break;
    }
    CHECK_NEVER("a split command has a rule");
}
