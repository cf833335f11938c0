/* zset.c: the commands on elements of one sorted set, ZMPOP, and the rows of the family. Ranges are
 * in zset_range.c, what combines several sets in zset_algebra.c.
 */
#include <math.h>

#include "shard/cmd/collect.h"
#include "shard/cmd/families.h"
#include "shard/cmd/zset_args.h"
#include "shard/cmd/zset_commands.h"
#include "shard/notify.h"
#include "shard/type/set.h"

/* Elements that one ZRANDMEMBER with a negative count may ask for. */
#define RANDOM_REPEATED_MAX ((int64_t)1 << 24)
/* Scores of so many elements are kept on the stack by ZADD. */
#define SCORES_SHORT 32

/* ---- ZADD, ZINCRBY ---- */

static bool read_add_option(const struct request *rq, uint32_t index, struct zset_add_options *o)
{
    const struct {
        const char *word;
        bool *flag;
    } words[] = {
        {"nx", &o->if_absent}, {"xx", &o->if_present},    {"gt", &o->if_greater},
        {"lt", &o->if_less},   {"ch", &o->count_changed}, {"incr", &o->increment},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!arg_is(rq, index, words[i].word)) continue;
        *words[i].flag = true;
        return true;
    }
    return false;
}

static bool check_add_options_or_reply(const struct zset_add_options *o, uint32_t words_left,
                                       struct reply *out)
{
    if (words_left == 0 || words_left % 2 != 0) {
        reply_err(out, ERR_SYNTAX);
    } else if (o->if_absent && o->if_present) {
        reply_error(out, "ERR XX and NX options at the same time are not compatible");
    } else if ((o->if_greater && o->if_absent) || (o->if_less && o->if_absent) ||
               (o->if_greater && o->if_less)) {
        reply_error(out, "ERR GT, LT, and/or NX options at the same time are not compatible");
    } else if (o->increment && words_left > 2) {
        reply_error(out, "ERR INCR option supports a single increment-element pair");
    } else {
        return true;
    }
    return false;
}

/* One element, whose score becomes the one that it had; not a number: it was not there. False when
 * there is no memory. */
static bool add_element(struct shard *sh, struct zset_addition *a, struct zset *z,
                        struct bytes member, double *old_score)
{
    const struct zset_add_options *o = a->options;
    struct zset_place place;
    double score = a->score = *old_score;
    *old_score = (double)NAN;
    if (!zset_find(z, member, &place)) {
        a->is_skipped = o->if_present;
        if (a->is_skipped) return true;
        a->added++;
        return zset_try_insert(&sh->mem, sh->config, z, member, score);
    }
    *old_score = place.score;
    a->is_skipped = o->if_absent;
    if (a->is_skipped) return true;
    if (o->increment) a->score = score += place.score;
    a->is_nan = isnan(score);
    a->is_skipped = (o->if_less && score >= place.score) || (o->if_greater && score <= place.score);
    if (a->is_nan || a->is_skipped || score == place.score) return true;
    a->updated++;
    return zset_try_move(&sh->mem, z, &place, score);
}

/* The first `count` elements as they were before. This needs no memory in a table, and in a
 * listpack no more than it had. */
static void undo_elements(struct shard *sh, const struct request *rq, const struct zset_addition *a,
                          const double *old_scores, uint32_t count, struct zset *z)
{
    while (count-- > 0) {
        struct zset_place place;
        if (!zset_find(z, rq->argv[a->first_member + a->step * count], &place)) continue;
        if (isnan(old_scores[count])) {
            zset_remove(&sh->mem, z, &place);
        } else if (old_scores[count] != place.score) {
            (void)!zset_try_move(&sh->mem, z, &place, old_scores[count]);
        }
    }
}

/* All or none: false when there is no memory. */
static bool add_elements(struct shard *sh, const struct request *rq, struct zset_addition *a,
                         double *scores, struct zset *z)
{
    for (uint32_t i = 0; i < a->count; i++) {
        struct bytes member = rq->argv[a->first_member + a->step * i];
        if (add_element(sh, a, z, member, &scores[i])) continue;
        undo_elements(sh, rq, a, scores, i, z);
        a->added = a->updated = 0;
        return false;
    }
    return true;
}

enum err zset_add(struct shard *sh, const struct request *rq, struct zset_addition *a,
                  double *scores)
{
    struct zset_target t;
    const char *event = a->options->increment ? "zincr" : "zadd";
    enum err e = zset_target_find(sh, rq, 1, &t);
    if (e != OK) return e;
    if (t.e) {
        bool done = add_elements(sh, rq, a, scores, &t.zset);
        zset_store(t.e, &t.zset);
        if (a->added + a->updated > 0) keyspace_changed(sh, &t.key, t.e);
        if (a->added + a->updated > 0) notify(sh, NOTIFY_ZSET, event, &t.key);
        return done ? OK : ERR_ALLOC;
    }
    a->is_skipped = a->options->if_present;
    if (a->is_skipped) return OK;
    if (!zset_try_create(&sh->mem, sh->config, rq->argv[a->first_member], &t.zset))
        return ERR_ALLOC;
    if (!add_elements(sh, rq, a, scores, &t.zset)) {
        zset_free(&sh->mem, &t.zset);
        return ERR_ALLOC;
    }
    e = keyspace_put_object(sh, &t.key, TYPE_ZSET, t.zset.encoding, t.zset.root, DEADLINE_NONE);
    if (e == OK) notify(sh, NOTIFY_ZSET, event, &t.key);
    return e;
}

void zset_reply_addition(const struct zset_addition *a, struct reply *out)
{
    const struct zset_add_options *o = a->options;
    if (a->is_nan) {
        reply_error(out, "ERR resulting score is not a number (NaN)");
    } else if (!o->increment) {
        reply_i64(out, (int64_t)(o->count_changed ? a->added + a->updated : a->added));
    } else if (a->is_skipped) {
        reply_null(out);
    } else {
        reply_double(out, a->score);
    }
}

/* All scores are read before anything is changed. */
static enum err add_pairs(struct shard *sh, struct request *rq, const struct zset_add_options *o,
                          uint32_t first, struct reply *out)
{
    struct zset_addition a = {
        .options = o, .first_member = first + 1, .step = 2, .count = (rq->argc - first) / 2};
    double room[SCORES_SHORT], *scores = room;
    size_t scores_bytes = a.count * sizeof *scores;
    if (a.count > SCORES_SHORT) scores = mem_try_alloc(&sh->mem, scores_bytes);
    if (!scores) return ERR_ALLOC;
    enum err e = OK;
    for (uint32_t i = 0; i < a.count && e == OK; i++) {
        if (!text_to_double(rq->argv[first + 2 * i], &scores[i])) e = ERR_NOT_FLOAT;
    }
    if (e == OK) e = zset_add(sh, rq, &a, scores);
    if (scores != room) mem_free(&sh->mem, scores, scores_bytes);
    if (e == OK) zset_reply_addition(&a, out);
    return e;
}

static enum err read_and_add(struct shard *sh, struct request *rq, struct zset_add_options *o,
                             struct reply *out)
{
    uint32_t first = 2;
    while (first < rq->argc && read_add_option(rq, first, o)) first++;
    if (!check_add_options_or_reply(o, rq->argc - first, out)) return OK;
    return add_pairs(sh, rq, o, first, out);
}

static enum err cmd_zadd(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zset_add_options o = {0};
    return read_and_add(sh, rq, &o, out);
}

/* As in Redis an increment that is the name of an option of ZADD is taken for one, and then
 * missing. */
static enum err cmd_zincrby(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zset_add_options o = {.increment = true};
    return read_and_add(sh, rq, &o, out);
}

/* ---- removing and asking ---- */

static enum err cmd_zrem(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zset_target t;
    enum err e = zset_target_find(sh, rq, 1, &t);
    if (e != OK) return e;
    int64_t removed = 0;
    for (uint32_t i = 2; t.e && i < rq->argc; i++) {
        struct zset_place place;
        if (!zset_find(&t.zset, rq->argv[i], &place)) continue;
        zset_remove(&sh->mem, &t.zset, &place);
        removed++;
    }
    if (removed > 0) zset_target_store(sh, &t, "zrem");
    reply_i64(out, removed);
    return OK;
}

static enum err cmd_zcard(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zset z;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e == OK) reply_i64(out, z.root ? (int64_t)zset_size(&z) : 0);
    return e;
}

static void reply_score(const struct zset *z, struct bytes member, struct reply *out)
{
    struct zset_place place;
    if (z->root && zset_find(z, member, &place)) {
        reply_double(out, place.score);
    } else {
        reply_null(out);
    }
}

static enum err cmd_zscore(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zset z;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e == OK) reply_score(&z, rq->argv[2], out);
    return e;
}

static enum err cmd_zmscore(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zset z;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e != OK) return e;
    reply_array(out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) reply_score(&z, rq->argv[i], out);
    return OK;
}

static enum err reply_rank(struct shard *sh, struct request *rq, struct reply *out, bool reverse)
{
    if (rq->argc > 4) return args_wrong_count(rq, out);
    bool with_score = rq->argc == 4;
    if (with_score && !arg_is(rq, 3, "withscore")) return ERR_SYNTAX;
    struct zset z;
    struct zset_place place;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e != OK) return e;
    if (!z.root || !zset_find(&z, rq->argv[2], &place)) {
        if (with_score) {
            reply_null_array(out);
        } else {
            reply_null(out);
        }
        return OK;
    }
    uint64_t rank = zset_rank(&z, &place);
    if (reverse) rank = zset_size(&z) - 1 - rank;
    if (with_score) reply_array(out, 2);
    reply_i64(out, (int64_t)rank);
    if (with_score) reply_double(out, place.score);
    return OK;
}

static enum err cmd_zrank(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_rank(sh, rq, out, false);
}

static enum err cmd_zrevrank(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_rank(sh, rq, out, true);
}

/* ---- taking from an end ---- */

/* The `count` elements at one end, or all of them. */
static struct zset_slice end_slice(const struct zset *z, uint64_t count, bool from_max)
{
    uint64_t size = zset_size(z);
    count = MIN(count, size);
    return (struct zset_slice){from_max ? size - count : 0, count};
}

/* They are replied already: not if that was lost. */
static enum err take_slice(struct shard *sh, struct zset_target *t, struct zset_slice slice,
                           bool from_max, struct reply *out)
{
    if (!reply_is_whole(out)) return ERR_ALLOC;
    if (slice.count == 0) return OK;
    zset_target_remove(sh, t, slice);
    zset_target_store(sh, t, from_max ? "zpopmax" : "zpopmin");
    struct journal_number n;
    struct bytes count = journal_i64(&n, (int64_t)slice.count);
    journal_describe(sh, &t->key, from_max ? "ZPOPMAX" : "ZPOPMIN", &count, 1);
    return OK;
}

enum err zset_reply_pop(struct shard *sh, struct zset_target *t, bool from_max, struct reply *out)
{
    struct zset_slice slice = end_slice(&t->zset, 1, from_max);
    struct zset_iterator it;
    struct bytes member;
    double score;
    zset_iterator_init(&it, &t->zset, slice, from_max);
    CHECK(zset_iterator_next(&it, &member, &score));
    reply_bulk(out, member);
    reply_double(out, score);
    return take_slice(sh, t, slice, from_max, out);
}

/* Without a count the pair is one flat array, also in RESP3. */
static enum err pop_from_end(struct shard *sh, struct request *rq, struct reply *out, bool from_max)
{
    int64_t count = 1;
    if (rq->argc > 3) return ERR_SYNTAX;
    if (rq->argc == 3 && (!text_to_i64(rq->argv[2], &count) || count < 0)) return ERR_OUT_OF_RANGE;
    struct zset_target t;
    enum err e = zset_target_find(sh, rq, 1, &t);
    if (e != OK) return e;
    if (t.e && rq->argc == 2) {
        reply_array(out, 2);
        return zset_reply_pop(sh, &t, from_max, out);
    }
    struct zset_slice slice = {0};
    if (t.e) slice = end_slice(&t.zset, (uint64_t)count, from_max);
    reply_zset_slice(out, &t.zset, slice, from_max, true);
    return take_slice(sh, &t, slice, from_max, out);
}

static enum err cmd_zpopmin(struct shard *sh, struct request *rq, struct reply *out)
{
    return pop_from_end(sh, rq, out, false);
}

static enum err cmd_zpopmax(struct shard *sh, struct request *rq, struct reply *out)
{
    return pop_from_end(sh, rq, out, true);
}

static bool read_positive_or_reply(struct bytes text, const char *name, struct reply *out,
                                   int64_t *value)
{
    if (text_to_i64(text, value) && *value > 0) return true;
    reply_error(out, "ERR %s should be greater than 0", name);
    return false;
}

bool args_zmpop_or_reply(const struct request *rq, uint32_t first, struct reply *out,
                         struct zmpop_options *o)
{
    *o = (struct zmpop_options){.count = 1};
    if (!read_positive_or_reply(rq->argv[first], "numkeys", out, &o->key_count)) return false;
    bool has_word = o->key_count < (int64_t)rq->argc - first - 1;
    uint32_t where = has_word ? first + 1 + (uint32_t)o->key_count : 0;
    o->from_max = has_word && arg_is(rq, where, "max");
    bool is_good = o->from_max || (has_word && arg_is(rq, where, "min"));
    bool has_count = is_good && where + 1 < rq->argc;
    if (has_count) is_good = where + 2 < rq->argc && arg_is(rq, where + 1, "count");
    if (is_good && has_count &&
        !read_positive_or_reply(rq->argv[where + 2], "count", out, &o->count)) {
        return false;
    }
    if (is_good && (!has_count || where + 3 == rq->argc)) return true;
    reply_err(out, ERR_SYNTAX);
    return false;
}

enum err zset_reply_mpop(struct shard *sh, const struct request *rq, uint32_t index,
                         const struct zmpop_options *o, struct reply *out)
{
    struct zset_target t;
    enum err e = zset_target_find(sh, rq, index, &t);
    if (e != OK) return e;
    if (!t.e) return ERR_NO_KEY;
    struct zset_slice slice = end_slice(&t.zset, (uint64_t)o->count, o->from_max);
    struct zset_iterator it;
    struct bytes member;
    double score;
    reply_array(out, 2);
    reply_bulk(out, t.key.name);
    reply_array(out, slice.count);
    zset_iterator_init(&it, &t.zset, slice, o->from_max);
    while (zset_iterator_next(&it, &member, &score)) {
        reply_array(out, 2);
        reply_bulk(out, member);
        reply_double(out, score);
    }
    return take_slice(sh, &t, slice, o->from_max, out);
}

/* From the first key that has a sorted set. */
static enum err cmd_zmpop(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zmpop_options o;
    if (!args_zmpop_or_reply(rq, 1, out, &o)) return OK;
    for (uint32_t i = 0; i < (uint32_t)o.key_count; i++) {
        enum err e = zset_reply_mpop(sh, rq, 2 + i, &o, out);
        if (e != ERR_NO_KEY) return e;
    }
    reply_null_array(out);
    return OK;
}

/* ---- by chance ---- */

static void reply_element(struct reply *out, struct bytes member, double score, bool with_score)
{
    if (with_score) {
        reply_pair(out, member, score);
    } else {
        reply_bulk(out, member);
    }
}

static void reply_random(struct shard *sh, const struct zset *z, struct reply *out, bool with_score)
{
    char scratch[TEXT_I64_BYTES_MAX];
    double score;
    struct bytes member = zset_random(z, shard_random(sh), scratch, &score);
    reply_element(out, member, score, with_score);
}

static void reply_elements_head(struct reply *out, uint64_t count, bool with_scores)
{
    if (with_scores) {
        reply_pairs_head(out, count);
    } else {
        reply_array(out, count);
    }
}

/* A few of many: throws until enough different ones have come. */
static enum err reply_few(struct shard *sh, const struct zset *z, uint64_t count, struct reply *out,
                          bool with_scores)
{
    struct collection found;
    struct set seen;
    char scratch[TEXT_I64_BYTES_MAX];
    if (!set_try_create(&sh->mem, sh->config, BYTES_LITERAL(""), UINT64_MAX, &seen)) {
        return ERR_ALLOC;
    }
    collection_begin(&found, sh, out);
    bool added, has_memory = true;
    while (found.count < count && has_memory) {
        double score;
        struct bytes member = zset_random(z, shard_random(sh), scratch, &score);
        has_memory = set_try_add(&sh->mem, sh->config, &seen, member, &added);
        if (!has_memory || !added) continue;
        reply_element(&found.items, member, score, with_scores);
        found.count++;
    }
    set_free(&sh->mem, &seen);
    if (!has_memory) {
        collection_drop(&found, sh);
        return ERR_ALLOC;
    }
    reply_elements_head(out, count, with_scores);
    collection_end(&found, sh, out);
    return OK;
}

/* Every subset of that size is equally likely: Knuth, 3.4.2, algorithm S. */
static enum err reply_distinct(struct shard *sh, const struct zset *z, uint64_t count,
                               struct reply *out, bool with_scores)
{
    uint64_t left = zset_size(z);
    count = MIN(count, left);
    if (z->encoding == ENCODING_SKIPLIST && count < left / 3) {
        return reply_few(sh, z, count, out, with_scores);
    }
    reply_elements_head(out, count, with_scores);
    struct zset_iterator it;
    struct bytes member;
    double score;
    zset_iterator_init(&it, z, (struct zset_slice){0, left}, false);
    for (; count > 0 && zset_iterator_next(&it, &member, &score); left--) {
        if (shard_random(sh) % left >= count) continue;
        reply_element(out, member, score, with_scores);
        count--;
    }
    return OK;
}

static enum err cmd_zrandmember(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t count = 0;
    bool with_scores = false, has_count = rq->argc > 2;
    if (has_count && !arg_random_or_reply(rq, out, "withscores", &count, &with_scores)) return OK;
    struct zset z;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e != OK) return e;
    if (!has_count) {
        if (z.root) {
            reply_random(sh, &z, out, false);
        } else {
            reply_null(out);
        }
        return OK;
    }
    if (!z.root) {
        reply_array(out, 0);
        return OK;
    }
    if (count >= 0) return reply_distinct(sh, &z, (uint64_t)count, out, with_scores);
    if (count < -RANDOM_REPEATED_MAX) return ERR_ALLOC;
    reply_elements_head(out, (uint64_t)-count, with_scores);
    for (; count < 0; count++) reply_random(sh, &z, out, with_scores);
    return OK;
}

/* ---- ZSCAN ---- */

struct scanning {
    struct collection found;
    const struct scan_options *options;
    const struct zset *zset;
};

/* Scores are text here, also in RESP3. */
static void scan_element(void *context, struct bytes member, double score)
{
    struct scanning *s = context;
    char text[TEXT_DOUBLE_BYTES_MAX];
    if (!scan_options_match(s->options, member)) return;
    reply_bulk(&s->found.items, member);
    reply_bulk(&s->found.items, bytes_make(text, zset_score_text(s->zset, score, text)));
    s->found.count += 2;
}

/* Without a key the options are not looked at. */
static enum err cmd_zscan(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t cursor;
    struct zset z;
    enum err e = arg_scan_cursor(rq, 2, &cursor);
    if (e == OK) e = zset_find_key(sh, rq, 1, &z);
    if (e != OK) return e;
    if (!z.root) {
        reply_scan_head(out, 0, 0);
        return OK;
    }
    struct scan_options options;
    e = args_scan_options(rq, 3, SCAN_ELEMENTS, &options);
    if (e != OK) return e;
    struct scanning scanning = {.options = &options, .zset = &z};
    collection_begin(&scanning.found, sh, out);
    cursor = zset_scan(&z, cursor_to_position(cursor), options.count, scan_element, &scanning);
    reply_scan_head(out, cursor, scanning.found.count);
    collection_end(&scanning.found, sh, out);
    return OK;
}

/* clang-format off */
#define KEYS_COUNTED(key_flags) {{.flags = (key_flags), .begin = 1, .count_index = 0, .first = 1, .step = 1}}
#define KEYS_STORE_ONE {{.flags = KEY_OW | KEY_UPDATE, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .last = 0, .step = 1}}
#define KEYS_STORE_COUNTED {{.flags = KEY_OW | KEY_UPDATE, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .count_index = 0, .first = 1, .step = 1}}
static const char *const tips_any_output[] = {"nondeterministic_output", NULL};
static const struct command commands[] = {
    {.name = "zadd", .on_shard = cmd_zadd, .touches = TOUCHES_PLACE, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "1.2.0", .group = "sorted-set", .complexity = "O(log N) for each element, N being those of the sorted set",
     .summary = "Adds elements to a sorted set, or gives them other scores."},
    {.name = "zincrby", .on_shard = cmd_zincrby, .touches = TOUCHES_PLACE, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "1.2.0", .group = "sorted-set", .complexity = "O(log N) for a sorted set of N elements",
     .summary = "Adds a number to the score of an element, which is created if there is none."},
    {.name = "zrem", .on_shard = cmd_zrem, .touches = TOUCHES_PLACE, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "1.2.0", .group = "sorted-set", .complexity = "O(M log N) for M members of a sorted set of N elements",
     .summary = "Takes elements out of a sorted set; the last one takes the key with it."},
    {.name = "zscore", .on_shard = cmd_zscore, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "1.2.0", .group = "sorted-set", .complexity = "O(1)",
     .summary = "Returns the score of an element."},
    {.name = "zmscore", .on_shard = cmd_zmscore, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "6.2.0", .group = "sorted-set", .complexity = "O(N) for N members to look up",
     .summary = "Returns the scores of several elements."},
    {.name = "zcard", .on_shard = cmd_zcard, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO),
     .since = "1.2.0", .group = "sorted-set", .complexity = "O(1)",
     .summary = "Counts the elements of a sorted set."},
    {.name = "zcount", .on_shard = cmd_zcount, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.0.0", .group = "sorted-set", .complexity = "O(log N) for a sorted set of N elements",
     .summary = "Counts the elements whose scores lie in a range."},
    {.name = "zlexcount", .on_shard = cmd_zlexcount, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.8.9", .group = "sorted-set", .complexity = "O(log N) for a sorted set of N elements",
     .summary = "Counts the elements whose members lie in a range of texts."},
    {.name = "zrank", .on_shard = cmd_zrank, .touches = TOUCHES_PLACE, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.0.0", .group = "sorted-set", .complexity = "O(log N) for a sorted set of N elements",
     .summary = "Returns the place of an element, counted from the lowest score."},
    {.name = "zrevrank", .on_shard = cmd_zrevrank, .touches = TOUCHES_PLACE, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.0.0", .group = "sorted-set", .complexity = "O(log N) for a sorted set of N elements",
     .summary = "Returns the place of an element, counted from the highest score."},
    {.name = "zrange", .on_shard = cmd_zrange, .touches = TOUCHES_FIRST, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "1.2.0", .group = "sorted-set", .complexity = "O(log N + M) for M of N elements",
     .summary = "Returns the elements in a range of places, scores or texts."},
    {.name = "zrangestore", .on_shard = cmd_zrangestore, .arity = -5, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_SORTEDSET, .keys = KEYS_STORE_ONE,
     .since = "6.2.0", .group = "sorted-set", .complexity = "O(log N + M log M) for M of N elements",
     .summary = "Stores the elements in a range of a sorted set under another key."},
    {.name = "zrangebyscore", .on_shard = cmd_zrangebyscore, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "1.0.5", .deprecated_since = "6.2.0", .replaced_by = "`ZRANGE` with the `BYSCORE` argument", .group = "sorted-set", .complexity = "O(log N + M) for M of N elements",
     .summary = "Returns the elements whose scores lie in a range."},
    {.name = "zrevrange", .on_shard = cmd_zrevrange, .touches = TOUCHES_LAST, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "1.2.0", .deprecated_since = "6.2.0", .replaced_by = "`ZRANGE` with the `REV` argument", .group = "sorted-set", .complexity = "O(log N + M) for M of N elements",
     .summary = "Returns the elements in a range of places, from the highest score down."},
    {.name = "zrevrangebyscore", .on_shard = cmd_zrevrangebyscore, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.2.0", .deprecated_since = "6.2.0", .replaced_by = "`ZRANGE` with the `REV` and `BYSCORE` arguments", .group = "sorted-set", .complexity = "O(log N + M) for M of N elements",
     .summary = "Returns the elements whose scores lie in a range, from the highest down."},
    {.name = "zrangebylex", .on_shard = cmd_zrangebylex, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.8.9", .deprecated_since = "6.2.0", .replaced_by = "`ZRANGE` with the `BYLEX` argument", .group = "sorted-set", .complexity = "O(log N + M) for M of N elements",
     .summary = "Returns the elements whose members lie in a range of texts."},
    {.name = "zrevrangebylex", .on_shard = cmd_zrevrangebylex, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.8.9", .deprecated_since = "6.2.0", .replaced_by = "`ZRANGE` with the `REV` and `BYLEX` arguments", .group = "sorted-set", .complexity = "O(log N + M) for M of N elements",
     .summary = "Returns the elements whose members lie in a range of texts, backwards."},
    {.name = "zremrangebyrank", .on_shard = cmd_zremrangebyrank, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "2.0.0", .group = "sorted-set", .complexity = "O(log N + M log N) for M of N elements",
     .summary = "Takes out the elements in a range of places."},
    {.name = "zremrangebyscore", .on_shard = cmd_zremrangebyscore, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "1.2.0", .group = "sorted-set", .complexity = "O(log N + M log N) for M of N elements",
     .summary = "Takes out the elements whose scores lie in a range."},
    {.name = "zremrangebylex", .on_shard = cmd_zremrangebylex, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "2.8.9", .group = "sorted-set", .complexity = "O(log N + M log N) for M of N elements",
     .summary = "Takes out the elements whose members lie in a range of texts."},
    {.name = "zpopmin", .on_shard = cmd_zpopmin, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_DELETE),
     .since = "5.0.0", .group = "sorted-set", .complexity = "O(M log N) for M of N elements",
     .summary = "Takes out the elements with the lowest scores and returns them."},
    {.name = "zpopmax", .on_shard = cmd_zpopmax, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_DELETE),
     .since = "5.0.0", .group = "sorted-set", .complexity = "O(M log N) for M of N elements",
     .summary = "Takes out the elements with the highest scores and returns them."},
    {.name = "zmpop", .on_shard = cmd_zmpop, .arity = -4, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_MOVABLE_KEYS, .acl = ACL_SORTEDSET, .keys = KEYS_COUNTED(KEY_RW | KEY_ACCESS | KEY_DELETE),
     .since = "7.0.0", .group = "sorted-set", .complexity = "O(K + M log N) for K keys and M of N elements",
     .summary = "Takes elements from one end of the first sorted set among several keys."},
    {.name = "zrandmember", .on_shard = cmd_zrandmember, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "6.2.0", .group = "sorted-set", .complexity = "O(N) for a count of N, positive or not",
     .summary = "Returns elements chosen by chance, which stay in the sorted set.", .tips = tips_any_output},
    {.name = "zunion", .on_shard = cmd_zunion, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_READ | CMD_MOVABLE_KEYS, .acl = ACL_SORTEDSET, .keys = KEYS_COUNTED(KEY_RO | KEY_ACCESS),
     .since = "6.2.0", .group = "sorted-set", .complexity = "O(N log M) for N elements in all sets, M of them different",
     .summary = "Returns the elements of several sorted sets, with their scores combined."},
    {.name = "zinter", .on_shard = cmd_zinter, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_READ | CMD_MOVABLE_KEYS, .acl = ACL_SORTEDSET, .keys = KEYS_COUNTED(KEY_RO | KEY_ACCESS),
     .since = "6.2.0", .group = "sorted-set", .complexity = "O(N K + M log M) for N elements of the smallest of K sets, M in all of them",
     .summary = "Returns what several sorted sets have in common, with their scores combined."},
    {.name = "zdiff", .on_shard = cmd_zdiff, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_READ | CMD_MOVABLE_KEYS, .acl = ACL_SORTEDSET, .keys = KEYS_COUNTED(KEY_RO | KEY_ACCESS),
     .since = "6.2.0", .group = "sorted-set", .complexity = "O(N + M log M) for N elements in all sets, M in the result",
     .summary = "Returns the elements of the first sorted set that no other has."},
    {.name = "zunionstore", .on_shard = cmd_zunionstore, .arity = -4, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_MOVABLE_KEYS, .acl = ACL_SORTEDSET, .keys = KEYS_STORE_COUNTED,
     .since = "2.0.0", .group = "sorted-set", .complexity = "O(N log M) for N elements in all sets, M of them different",
     .summary = "Stores the elements of several sorted sets, with their scores combined, under a key."},
    {.name = "zinterstore", .on_shard = cmd_zinterstore, .arity = -4, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_MOVABLE_KEYS, .acl = ACL_SORTEDSET, .keys = KEYS_STORE_COUNTED,
     .since = "2.0.0", .group = "sorted-set", .complexity = "O(N K + M log M) for N elements of the smallest of K sets, M in all of them",
     .summary = "Stores what several sorted sets have in common under a key."},
    {.name = "zdiffstore", .on_shard = cmd_zdiffstore, .arity = -4, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_MOVABLE_KEYS, .acl = ACL_SORTEDSET, .keys = KEYS_STORE_COUNTED,
     .since = "6.2.0", .group = "sorted-set", .complexity = "O(N + M log M) for N elements in all sets, M in the result",
     .summary = "Stores the elements of the first sorted set that no other has under a key."},
    {.name = "zintercard", .on_shard = cmd_zintercard, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_READ | CMD_MOVABLE_KEYS, .acl = ACL_SORTEDSET, .keys = KEYS_COUNTED(KEY_RO | KEY_ACCESS),
     .since = "7.0.0", .group = "sorted-set", .complexity = "O(N K) for N elements of the smallest of K sets",
     .summary = "Counts what several sorted sets have in common, up to a limit."},
    {.name = "zscan", .on_shard = cmd_zscan, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SORTEDSET, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.8.0", .group = "sorted-set", .complexity = "O(1) for a call, O(N) for a walk through all of N elements",
     .summary = "Walks through the elements of a sorted set, some at a time.", .tips = tips_any_output},
};
/* clang-format on */
const struct command_family zset_family = {"zset", commands, ARRAY_LEN(commands)};
