/* zset_range.c: ZRANGE in all its forms, ZREMRANGEBY…, ZCOUNT and ZLEXCOUNT.
 *
 * A range becomes a slice of ranks first, in O(log n); LIMIT only moves the ends of the slice.
 */
#include "shard/cmd/zset_args.h"
#include "shard/cmd/zset_commands.h"

enum range_by { BY_ANY, BY_RANK, BY_SCORE, BY_LEX };
enum range_order { ORDER_ANY, ORDER_FORWARD, ORDER_REVERSE };

#define LIMIT_NONE (-1)

/* A range as the arguments tell it. */
struct range {
    enum range_by by; /* BY_ANY, ORDER_ANY: an option may say */
    enum range_order order;
    uint32_t start; /* index of the first of the two bounds */
    bool can_tell_scores, with_scores;
    int64_t offset, limit;
    int64_t start_rank, end_rank;
    struct zset_score_range scores;
    struct zset_lex_range lex;
};

/* ---- reading ---- */

/* One option at argv[*i], which is left at its last word. */
static enum err read_option(const struct request *rq, uint32_t *i, struct range *r)
{
    if (r->can_tell_scores && arg_is(rq, *i, "withscores")) {
        r->with_scores = true;
    } else if (arg_is(rq, *i, "limit") && *i + 2 < rq->argc) {
        if (arg_i64(rq, *i + 1, &r->offset) != OK) return ERR_NOT_INT;
        if (arg_i64(rq, *i + 2, &r->limit) != OK) return ERR_NOT_INT;
        *i += 2;
    } else if (r->order == ORDER_ANY && arg_is(rq, *i, "rev")) {
        r->order = ORDER_REVERSE;
    } else if (r->by == BY_ANY && arg_is(rq, *i, "bylex")) {
        r->by = BY_LEX;
    } else if (r->by == BY_ANY && arg_is(rq, *i, "byscore")) {
        r->by = BY_SCORE;
    } else {
        return ERR_SYNTAX;
    }
    return OK;
}

static bool read_options_or_reply(const struct request *rq, struct reply *out, struct range *r)
{
    r->limit = LIMIT_NONE;
    for (uint32_t i = r->start + 2; i < rq->argc; i++) {
        enum err e = read_option(rq, &i, r);
        if (e == OK) continue;
        reply_err(out, e);
        return false;
    }
    if (r->order == ORDER_ANY) r->order = ORDER_FORWARD;
    if (r->by == BY_ANY) r->by = BY_RANK;
    if (r->limit != LIMIT_NONE && r->by == BY_RANK) {
        reply_error(out, "ERR syntax error, LIMIT is only supported in combination with either "
                         "BYSCORE or BYLEX");
        return false;
    }
    if (r->with_scores && r->by == BY_LEX) {
        reply_error(out, "ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        return false;
    }
    return true;
}

/* Backwards, scores and texts come with the larger bound first. */
static bool read_bounds_or_reply(struct shard *sh, const struct request *rq, struct reply *out,
                                 struct range *r)
{
    uint32_t min = r->start, max = r->start + 1;
    if (r->by != BY_RANK && r->order == ORDER_REVERSE) {
        min = r->start + 1;
        max = r->start;
    }
    if (r->by == BY_SCORE) return args_score_range_or_reply(sh, rq, min, max, out, &r->scores);
    if (r->by == BY_LEX) return args_lex_range_or_reply(rq, min, max, out, &r->lex);
    if (arg_i64(rq, min, &r->start_rank) == OK && arg_i64(rq, max, &r->end_rank) == OK) return true;
    reply_err(out, ERR_NOT_INT);
    return false;
}

/* ---- selecting ---- */

static struct zset_slice limit_slice(struct zset_slice s, const struct range *r)
{
    if (r->offset < 0 || (uint64_t)r->offset >= s.count) return (struct zset_slice){0};
    uint64_t left = s.count - (uint64_t)r->offset;
    if (r->limit >= 0) left = MIN(left, (uint64_t)r->limit);
    bool reverse = r->order == ORDER_REVERSE;
    uint64_t skipped = reverse ? s.count - (uint64_t)r->offset - left : (uint64_t)r->offset;
    return (struct zset_slice){s.first + skipped, left};
}

static struct zset_slice select_ranks(const struct zset *z, const struct range *r)
{
    struct zset_slice s = {0};
    uint64_t size = zset_size(z);
    if (!range_clip(r->start_rank, r->end_rank, size, &s.first, &s.count)) {
        return (struct zset_slice){0};
    }
    if (r->order == ORDER_REVERSE) s.first = size - s.first - s.count;
    return s;
}

static struct zset_slice select_range(const struct zset *z, const struct range *r)
{
    if (r->by == BY_RANK) return select_ranks(z, r);
    if (r->by == BY_SCORE) return limit_slice(zset_select_scores(z, &r->scores), r);
    return limit_slice(zset_select_lex(z, &r->lex, r->order == ORDER_REVERSE), r);
}

/* ---- ZRANGE and its older forms ---- */

static enum err reply_range(struct shard *sh, struct request *rq, struct reply *out,
                            enum range_by by, enum range_order order)
{
    struct range r = {.by = by, .order = order, .start = 2, .can_tell_scores = true};
    if (!read_options_or_reply(rq, out, &r) || !read_bounds_or_reply(sh, rq, out, &r)) return OK;
    struct zset z;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e != OK) return e;
    struct zset_slice slice = {0};
    if (z.root) slice = select_range(&z, &r);
    reply_zset_slice(out, &z, slice, r.order == ORDER_REVERSE, r.with_scores);
    return OK;
}

enum err cmd_zrange(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_range(sh, rq, out, BY_ANY, ORDER_ANY);
}

enum err cmd_zrevrange(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_range(sh, rq, out, BY_RANK, ORDER_REVERSE);
}

enum err cmd_zrangebyscore(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_range(sh, rq, out, BY_SCORE, ORDER_FORWARD);
}

enum err cmd_zrevrangebyscore(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_range(sh, rq, out, BY_SCORE, ORDER_REVERSE);
}

enum err cmd_zrangebylex(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_range(sh, rq, out, BY_LEX, ORDER_FORWARD);
}

enum err cmd_zrevrangebylex(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_range(sh, rq, out, BY_LEX, ORDER_REVERSE);
}

static enum err copy_slice(struct shard *sh, const struct zset *from, struct zset_slice slice,
                           struct zset *to)
{
    struct zset_iterator it;
    struct bytes member;
    double score;
    zset_iterator_init(&it, from, slice, false);
    while (zset_iterator_next(&it, &member, &score)) {
        if (!to->root && !zset_try_create(&sh->mem, sh->config, member, to)) return ERR_ALLOC;
        if (zset_try_insert(&sh->mem, sh->config, to, member, score)) continue;
        zset_free(&sh->mem, to);
        return ERR_ALLOC;
    }
    return OK;
}

enum err cmd_zrangestore(struct shard *sh, struct request *rq, struct reply *out)
{
    struct range r = {.start = 3};
    if (!read_options_or_reply(rq, out, &r) || !read_bounds_or_reply(sh, rq, out, &r)) return OK;
    struct zset source, result = {0};
    enum err e = zset_find_key(sh, rq, 2, &source);
    if (e == OK && source.root) e = copy_slice(sh, &source, select_range(&source, &r), &result);
    return e == OK ? zset_put_result(sh, rq, &result, "zrangestore", out) : e;
}

/* ---- removing and counting ---- */

/* Where scores differ, what lies between two texts depends on the encoding: then the journal gets
 * the names. */
static void remove_slice(struct shard *sh, struct zset_target *t, struct zset_slice slice,
                         bool by_name, const char *event)
{
    struct buf names = {.mem = &sh->mem};
    struct zset_iterator it;
    struct bytes member;
    double score;
    bool is_told = by_name && journal_is_on(sh);
    if (is_told) zset_iterator_init(&it, &t->zset, slice, false);
    while (is_told && zset_iterator_next(&it, &member, &score))
        is_told = journal_add_bulk(&names, member);
    zset_target_remove(sh, t, slice);
    zset_target_store(sh, t, event);
    if (is_told)
        journal_describe_bulks(sh, &t->key, "ZREM", buf_view(&names), (uint32_t)slice.count);
    buf_clear(&names);
}

static enum err remove_range(struct shard *sh, struct request *rq, struct reply *out,
                             enum range_by by, const char *event)
{
    struct range r = {.by = by, .order = ORDER_FORWARD, .start = 2, .limit = LIMIT_NONE};
    if (!read_bounds_or_reply(sh, rq, out, &r)) return OK;
    struct zset_target t;
    enum err e = zset_target_find(sh, rq, 1, &t);
    if (e != OK) return e;
    struct zset_slice slice = {0};
    if (t.e) slice = select_range(&t.zset, &r);
    if (slice.count > 0) remove_slice(sh, &t, slice, by == BY_LEX, event);
    reply_i64(out, (int64_t)slice.count);
    return OK;
}

enum err cmd_zremrangebyrank(struct shard *sh, struct request *rq, struct reply *out)
{
    return remove_range(sh, rq, out, BY_RANK, "zremrangebyrank");
}

enum err cmd_zremrangebyscore(struct shard *sh, struct request *rq, struct reply *out)
{
    return remove_range(sh, rq, out, BY_SCORE, "zremrangebyscore");
}

enum err cmd_zremrangebylex(struct shard *sh, struct request *rq, struct reply *out)
{
    return remove_range(sh, rq, out, BY_LEX, "zremrangebylex");
}

static enum err count_range(struct shard *sh, struct request *rq, struct reply *out,
                            enum range_by by)
{
    struct range r = {.by = by, .order = ORDER_FORWARD, .start = 2, .limit = LIMIT_NONE};
    if (!read_bounds_or_reply(sh, rq, out, &r)) return OK;
    struct zset z;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e == OK) reply_i64(out, z.root ? (int64_t)select_range(&z, &r).count : 0);
    return e;
}

enum err cmd_zcount(struct shard *sh, struct request *rq, struct reply *out)
{
    return count_range(sh, rq, out, BY_SCORE);
}

enum err cmd_zlexcount(struct shard *sh, struct request *rq, struct reply *out)
{
    return count_range(sh, rq, out, BY_LEX);
}
