/* lcs.c: the longest common subsequence of two strings, and where its matching ranges are.
 *
 *     table of lengths:  L[i][j] of the first i bytes of a and j of b. Only two rows are kept.
 *     steps:             one bit per cell says which neighbour to go on with when the bytes differ,
 *                        for the way back from the far corner, which visits the matches from last
 *                        to first.
 *
 * Redis keeps all of L, four bytes a cell, and refuses strings for which that exceeds
 * proto-max-bulk-len. That limit stays, though the bits need a 32nd of it: it is what bounds the
 * time that the shard spends here.
 *
 * Source     Documentation of LCS; which of several longest sequences is chosen was found by
 *            comparing with redis-server.
 */
#include "shard/cmd/args.h"
#include "shard/cmd/families.h"

struct lcs_options {
    bool length_only, index, with_length;
    int64_t range_length_min;
};

/* a[a_first … a_first + length) equals b[b_first … b_first + length). */
struct lcs_range {
    uint32_t a_first, b_first, length;
};

struct lcs {
    struct bytes a, b;
    struct mem *mem;
    uint32_t *rows;  /* two rows of b.size + 1 lengths */
    uint64_t *steps; /* a.size rows of row_words words; NULL when only the length is wanted */
    size_t rows_bytes, steps_bytes, row_words;
    uint32_t length;
    struct buf text;   /* the sequence itself */
    struct buf ranges; /* struct lcs_range, last match first */
};

/* ---- request ---- */

static enum err parse_options(const struct request *rq, struct lcs_options *o)
{
    for (uint32_t i = 3; i < rq->argc; i++) {
        if (arg_is(rq, i, "idx")) {
            o->index = true;
        } else if (arg_is(rq, i, "len")) {
            o->length_only = true;
        } else if (arg_is(rq, i, "withmatchlen")) {
            o->with_length = true;
        } else if (arg_is(rq, i, "minmatchlen") && i + 1 < rq->argc) {
            enum err e = arg_i64(rq, ++i, &o->range_length_min);
            if (e != OK) return e;
        } else {
            return ERR_SYNTAX;
        }
    }
    return OK;
}

/* ---- the table ---- */

/* Writes the error and returns false if the strings are too long. */
static bool check_size_or_reply(const struct lcs *l, uint64_t bytes_max, struct reply *out)
{
    if (l->a.size >= UINT32_MAX - 1 || l->b.size >= UINT32_MAX - 1) {
        reply_error(out, "ERR String too long for LCS");
        return false;
    }
    uint64_t bytes;
    bool overflow = __builtin_mul_overflow(l->a.size + 1, l->b.size + 1, &bytes) ||
                    __builtin_mul_overflow(bytes, sizeof(uint32_t), &bytes);
    if (overflow || bytes > bytes_max) {
        reply_error(out, "ERR Insufficient memory, transient memory for LCS exceeds "
                         "proto-max-bulk-len");
        return false;
    }
    return true;
}

static void lcs_release(struct lcs *l)
{
    mem_free(l->mem, l->rows, l->rows_bytes);
    mem_free(l->mem, l->steps, l->steps_bytes);
    buf_clear(&l->text);
    buf_clear(&l->ranges);
}

static enum err lcs_allocate(struct lcs *l, bool with_steps)
{
    l->rows_bytes = 2 * (l->b.size + 1) * sizeof(uint32_t);
    l->rows = mem_try_alloc(l->mem, l->rows_bytes);
    if (l->rows == NULL) return ERR_ALLOC;
    memset(l->rows, 0, l->rows_bytes);
    if (!with_steps || l->a.size == 0) return OK;

    l->row_words = l->b.size / 64 + 1;
    l->steps_bytes = l->a.size * l->row_words * sizeof(uint64_t);
    l->steps = mem_try_alloc(l->mem, l->steps_bytes);
    if (l->steps == NULL) return ERR_ALLOC;
    memset(l->steps, 0, l->steps_bytes);
    return OK;
}

/* One row of the table. A set bit in `steps` (NULL: not wanted) means that the row above has the
 * longer sequence. */
static void lcs_fill_row(const struct lcs *l, char byte, const uint32_t *above, uint32_t *row,
                         uint64_t *steps)
{
    for (size_t j = 1; j <= l->b.size; j++) {
        if (byte == l->b.data[j - 1]) {
            row[j] = above[j - 1] + 1;
            continue;
        }
        bool go_up = above[j] > row[j - 1];
        row[j] = go_up ? above[j] : row[j - 1];
        if (steps) steps[j / 64] |= (uint64_t)go_up << (j % 64);
    }
}

static void lcs_fill(struct lcs *l)
{
    uint32_t *above = l->rows, *row = l->rows + l->b.size + 1;
    for (size_t i = 1; i <= l->a.size; i++) {
        uint64_t *steps = l->steps ? l->steps + (i - 1) * l->row_words : NULL;
        lcs_fill_row(l, l->a.data[i - 1], above, row, steps);
        uint32_t *swap = above;
        above = row;
        row = swap;
    }
    l->length = above[l->b.size];
}

/* Puts the match of a[i] and b[j] in front of the range found last, or starts a new one. */
static void lcs_add_match(struct lcs *l, uint32_t i, uint32_t j)
{
    if (l->ranges.size > 0) {
        struct lcs_range last;
        char *place = l->ranges.data + l->ranges.size - sizeof last;
        memcpy(&last, place, sizeof last);
        if (last.a_first == i + 1 && last.b_first == j + 1) {
            last = (struct lcs_range){i, j, last.length + 1};
            memcpy(place, &last, sizeof last);
            return;
        }
    }
    buf_append(&l->ranges, &(struct lcs_range){i, j, 1}, sizeof(struct lcs_range));
}

/* From the far corner back to the start; room for the text and for the ranges is reserved. */
static void lcs_walk_back(struct lcs *l, bool want_ranges)
{
    uint32_t i = (uint32_t)l->a.size, j = (uint32_t)l->b.size, left = l->length;
    l->text.size = l->length;
    while (i > 0 && j > 0) {
        if (l->a.data[i - 1] == l->b.data[j - 1]) {
            i--, j--;
            l->text.data[--left] = l->a.data[i];
            if (want_ranges) lcs_add_match(l, i, j);
        } else if (l->steps[(i - 1) * l->row_words + j / 64] >> (j % 64) & 1) {
            i--;
        } else {
            j--;
        }
    }
    CHECK(left == 0);
}

static enum err lcs_run(struct lcs *l, const struct lcs_options *o)
{
    bool want_steps = !o->length_only;
    enum err e = lcs_allocate(l, want_steps);
    if (e != OK) return e;
    lcs_fill(l);
    if (!want_steps) return OK;
    if (buf_try_reserve(&l->text, MAX(l->length, 1)) == NULL) return ERR_ALLOC;
    if (o->index && buf_try_reserve(&l->ranges, (l->length + 1) * sizeof(struct lcs_range)) == NULL)
        return ERR_ALLOC;
    lcs_walk_back(l, o->index);
    return OK;
}

/* ---- reply ---- */

static void reply_range(struct reply *out, const struct lcs_range *r, bool with_length)
{
    reply_array(out, with_length ? 3 : 2);
    reply_array(out, 2);
    reply_i64(out, r->a_first);
    reply_i64(out, (int64_t)r->a_first + r->length - 1);
    reply_array(out, 2);
    reply_i64(out, r->b_first);
    reply_i64(out, (int64_t)r->b_first + r->length - 1);
    if (with_length) reply_i64(out, r->length);
}

static void reply_index(struct reply *out, const struct lcs *l, const struct lcs_options *o)
{
    size_t range_count = l->ranges.size / sizeof(struct lcs_range), shown = 0;
    struct lcs_range r;
    for (size_t i = 0; i < range_count; i++) {
        memcpy(&r, l->ranges.data + i * sizeof r, sizeof r);
        shown += r.length >= o->range_length_min;
    }
    reply_map(out, 2);
    reply_bulk_text(out, "matches");
    reply_array(out, shown);
    for (size_t i = 0; i < range_count; i++) {
        memcpy(&r, l->ranges.data + i * sizeof r, sizeof r);
        if (r.length >= o->range_length_min) reply_range(out, &r, o->with_length);
    }
    reply_bulk_text(out, "len");
    reply_i64(out, l->length);
}

enum err lcs_reply(const struct lcs_request *lr, const struct request *rq, struct reply *out)
{
    struct lcs_options o = {0};
    enum err e = parse_options(rq, &o);
    if (e != OK) return e;
    if (o.index && o.length_only) {
        reply_error(out, "ERR If you want both the length and indexes, please just use IDX.");
        return OK;
    }
    struct lcs l = {.a = lr->a,
                    .b = lr->b,
                    .mem = lr->mem,
                    .text = {.mem = lr->mem},
                    .ranges = {.mem = lr->mem}};
    if (!check_size_or_reply(&l, lr->table_bytes_max, out)) return OK;

    e = lcs_run(&l, &o);
    if (e == OK) {
        if (o.index) {
            reply_index(out, &l, &o);
        } else if (o.length_only) {
            reply_i64(out, l.length);
        } else {
            reply_bulk(out, buf_view(&l.text));
        }
    }
    lcs_release(&l);
    return e;
}

enum err lcs_reply_wrong_type(struct reply *out)
{
    reply_error(out, "ERR The specified keys must contain string values");
    return OK;
}

static enum err cmd_lcs(struct shard *sh, struct request *rq, struct reply *out)
{
    struct lcs_request lr = {.mem = &sh->mem, .table_bytes_max = sh->config->proto_max_bulk_bytes};
    char scratch_a[TEXT_I64_BYTES_MAX], scratch_b[TEXT_I64_BYTES_MAX];
    bool are_strings = arg_key_string(sh, rq, 1, scratch_a, &lr.a) == OK;
    are_strings &= arg_key_string(sh, rq, 2, scratch_b, &lr.b) == OK;
    return are_strings ? lcs_reply(&lr, rq, out) : lcs_reply_wrong_type(out);
}

/* clang-format off */
static const struct command commands[] = {
    {.name = "lcs", .on_shard = cmd_lcs, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_READ, .acl = ACL_STRING, .keys = {{.flags = KEY_RO | KEY_ACCESS, .begin = 1, .last = 1, .step = 1}},
     .since = "7.0.0", .group = "string", .complexity = "O(n*m) for strings of n and m bytes",
     .summary = "The longest bytes that two strings have in common, in order."},
};
/* clang-format on */
const struct command_family lcs_family = {"lcs", commands, ARRAY_LEN(commands)};
