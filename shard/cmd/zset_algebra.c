/* zset_algebra.c: unions, intersections and differences of sorted sets, and of plain sets, whose
 * members count as elements with score 1.
 */
#include <math.h>
#include <stdlib.h>

#include "shard/cmd/zset_args.h"
#include "shard/cmd/zset_commands.h"
#include "shard/type/set.h"

enum operation { UNION, INTER, DIFF };
enum aggregate { AGGREGATE_SUM, AGGREGATE_MIN, AGGREGATE_MAX };

struct source {
    struct zset zset; /* one of the two has a root, or neither: there is no key */
    struct set set;
    double weight;
};

/* A command as its arguments tell it. */
struct algebra {
    struct shard *shard;
    enum operation operation;
    enum aggregate aggregate;
    uint32_t numkeys_index;
    bool stores, counts, with_scores;
    struct source *sources;
    uint64_t source_count;
    uint64_t limit; /* ZINTERCARD; 0: none */
    uint64_t found; /* the same */
    struct zset result;
    bool no_memory;
};

/* ---- sources ---- */

static uint64_t source_size(const struct source *s)
{
    if (s->zset.root) return zset_size(&s->zset);
    return s->set.root ? set_size(&s->set) : 0;
}

static bool source_find(const struct source *s, struct bytes member, double *score)
{
    struct zset_place place;
    if (s->zset.root) {
        if (!zset_find(&s->zset, member, &place)) return false;
        *score = place.score;
        return true;
    }
    *score = 1;
    return s->set.root && set_has(&s->set, member);
}

/* Says false to stop. */
typedef bool element_fn(struct algebra *a, const struct source *s, struct bytes member,
                        double score);

struct set_walk {
    struct algebra *algebra;
    const struct source *source;
    element_fn *fn;
};

static bool visit_set_member(void *context, struct bytes member)
{
    const struct set_walk *w = context;
    return w->fn(w->algebra, w->source, member, 1);
}

static void source_each(struct algebra *a, const struct source *s, element_fn *fn)
{
    if (s->set.root) {
        struct set_walk walk = {a, s, fn};
        (void)set_each(&s->set, visit_set_member, &walk);
    }
    if (!s->zset.root) return;
    struct zset_iterator it;
    struct bytes member;
    double score;
    zset_iterator_init(&it, &s->zset, (struct zset_slice){0, zset_size(&s->zset)}, false);
    while (zset_iterator_next(&it, &member, &score) && fn(a, s, member, score)) {
    }
}

static enum err sources_find(struct algebra *a, const struct request *rq)
{
    a->sources = mem_try_alloc(&a->shard->mem, a->source_count * sizeof *a->sources);
    if (!a->sources) return ERR_ALLOC;
    for (uint64_t i = 0; i < a->source_count; i++) {
        struct source *s = &a->sources[i];
        *s = (struct source){.weight = 1};
        struct key k = request_key(a->shard, rq, a->numkeys_index + 1 + (uint32_t)i);
        const struct entry *e = keyspace_find_any(a->shard, &k);
        if (!e) continue;
        if (entry_type(e) == TYPE_ZSET) {
            s->zset = zset_of(e);
        } else if (entry_type(e) == TYPE_SET) {
            s->set = set_of(e);
        } else {
            return ERR_WRONG_TYPE;
        }
    }
    return OK;
}

/* ---- reading ---- */

static bool read_weights_or_reply(struct algebra *a, const struct request *rq, uint32_t first,
                                  struct reply *out)
{
    for (uint64_t i = 0; i < a->source_count; i++) {
        if (text_to_double(rq->argv[first + i], &a->sources[i].weight)) continue;
        reply_error(out, "ERR weight value is not a float");
        return false;
    }
    return true;
}

static bool read_aggregate(const struct request *rq, uint32_t index, enum aggregate *aggregate)
{
    static const char *const words[] = {"sum", "min", "max"};
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        if (!arg_is(rq, index, words[i])) continue;
        *aggregate = (enum aggregate)i;
        return true;
    }
    return false;
}

static bool read_limit_or_reply(struct algebra *a, const struct request *rq, uint32_t index,
                                struct reply *out)
{
    int64_t limit;
    if (!text_to_i64(rq->argv[index], &limit) || limit < 0) {
        reply_error(out, "ERR LIMIT can't be negative");
        return false;
    }
    a->limit = (uint64_t)limit;
    return true;
}

/* One option at argv[*i], which is left behind it. */
static bool read_option_or_reply(struct algebra *a, const struct request *rq, uint32_t *i,
                                 struct reply *out)
{
    uint64_t values = rq->argc - *i - 1;
    uint32_t at = *i + 1;
    bool can_weigh = a->operation != DIFF && !a->counts;
    if (can_weigh && values >= a->source_count && arg_is(rq, *i, "weights")) {
        *i = at + (uint32_t)a->source_count;
        return read_weights_or_reply(a, rq, at, out);
    }
    *i = at + 1;
    if (a->counts && values >= 1 && arg_is(rq, at - 1, "limit")) {
        return read_limit_or_reply(a, rq, at, out);
    }
    if (can_weigh && values >= 1 && arg_is(rq, at - 1, "aggregate") &&
        read_aggregate(rq, at, &a->aggregate)) {
        return true;
    }
    *i = at;
    if (!a->stores && !a->counts && arg_is(rq, at - 1, "withscores")) {
        a->with_scores = true;
        return true;
    }
    reply_err(out, ERR_SYNTAX);
    return false;
}

/* The sources are looked up before the options are read. False: the reply is written. */
static bool read_all_or_reply(struct algebra *a, const struct request *rq, struct reply *out)
{
    int64_t numkeys;
    enum err e = arg_i64(rq, a->numkeys_index, &numkeys);
    if (e == OK && numkeys < 1) {
        reply_error(out, "ERR at least 1 input key is needed for '%s' command", rq->command->name);
        return false;
    }
    if (e == OK && numkeys > (int64_t)rq->argc - a->numkeys_index - 1) e = ERR_SYNTAX;
    if (e == OK) {
        a->source_count = (uint64_t)numkeys;
        e = sources_find(a, rq);
    }
    if (e != OK) {
        reply_err(out, e);
        return false;
    }
    for (uint32_t i = a->numkeys_index + 1 + (uint32_t)numkeys; i < rq->argc;) {
        if (!read_option_or_reply(a, rq, &i, out)) return false;
    }
    return true;
}

/* ---- the three operations ---- */

static double combine(enum aggregate aggregate, double a, double b)
{
    double sum;
    switch (aggregate) {
    case AGGREGATE_SUM:
        sum = a + b;
        return isnan(sum) ? 0 : sum; /* inf and -inf */
    case AGGREGATE_MIN:
        return b < a ? b : a;
    case AGGREGATE_MAX:
        return b > a ? b : a;
    }
    return a;
}

static double weigh(const struct source *s, double score)
{
    double weighed = s->weight * score;
    return isnan(weighed) ? 0 : weighed; /* 0 times inf */
}

/* Into the result, which is a table. */
static bool put(struct algebra *a, struct bytes member, double score)
{
    if (!zset_try_append(&a->shard->mem, &a->result, member, score)) a->no_memory = true;
    return !a->no_memory;
}

static bool unite_element(struct algebra *a, const struct source *s, struct bytes member,
                          double score)
{
    struct zset_place place;
    score = weigh(s, score);
    if (!zset_find(&a->result, member, &place)) return put(a, member, score);
    score = combine(a->aggregate, place.score, score);
    a->no_memory = !zset_try_move(&a->shard->mem, &a->result, &place, score);
    return !a->no_memory;
}

static bool intersect_element(struct algebra *a, const struct source *s, struct bytes member,
                              double score)
{
    score = weigh(s, score);
    for (uint64_t i = 1; i < a->source_count; i++) {
        double other;
        if (!source_find(&a->sources[i], member, &other)) return true;
        score = combine(a->aggregate, score, other * a->sources[i].weight);
    }
    if (a->counts) return ++a->found != a->limit;
    return put(a, member, score);
}

static bool subtract_element(struct algebra *a, UNUSED const struct source *s, struct bytes member,
                             double score)
{
    double other;
    for (uint64_t i = 1; i < a->source_count; i++) {
        if (source_find(&a->sources[i], member, &other)) return true;
    }
    return put(a, member, score);
}

static bool keep_element(struct algebra *a, UNUSED const struct source *s, struct bytes member,
                         double score)
{
    return put(a, member, score);
}

static bool remove_element(struct algebra *a, const struct source *s, struct bytes member,
                           double score)
{
    (void)s, (void)score;
    struct zset_place place;
    if (zset_find(&a->result, member, &place)) zset_remove(&a->shard->mem, &a->result, &place);
    return zset_size(&a->result) > 0;
}

/* By look-ups, or by visiting every element of every source: what is less work. */
static void subtract(struct algebra *a)
{
    uint64_t by_lookup = source_size(&a->sources[0]) * a->source_count / 2, by_visit = 0;
    for (uint64_t i = 0; i < a->source_count; i++) by_visit += source_size(&a->sources[i]);
    if (by_lookup <= by_visit) {
        source_each(a, &a->sources[0], subtract_element);
        return;
    }
    source_each(a, &a->sources[0], keep_element);
    for (uint64_t i = 1; i < a->source_count && zset_size(&a->result) > 0; i++) {
        source_each(a, &a->sources[i], remove_element);
    }
}

static int smaller_first(const void *a, const void *b)
{
    uint64_t x = source_size(a), y = source_size(b);
    return (x > y) - (x < y);
}

/* The order of the sources matters for sums that are rounded: smaller sets come first. */
static void compute(struct algebra *a)
{
    if (a->operation == DIFF) {
        subtract(a);
        return;
    }
    qsort(a->sources, a->source_count, sizeof *a->sources, smaller_first);
    if (a->operation == INTER) {
        source_each(a, &a->sources[0], intersect_element);
        return;
    }
    for (uint64_t i = 0; i < a->source_count && !a->no_memory; i++) {
        source_each(a, &a->sources[i], unite_element);
    }
}

/* ---- commands ---- */

static const char *const store_events[] = {
    [UNION] = "zunionstore", [INTER] = "zinterstore", [DIFF] = "zdiffstore"};

static enum err finish(struct algebra *a, const struct request *rq, struct reply *out)
{
    if (a->no_memory) return ERR_ALLOC;
    if (a->counts) {
        reply_i64(out, (int64_t)a->found);
    } else if (a->stores) {
        zset_compact(&a->shard->mem, a->shard->config, &a->result);
        struct zset result = a->result;
        a->result.root = NULL;
        return zset_put_result(a->shard, rq, &result, store_events[a->operation], out);
    } else {
        struct zset_slice all = {0, zset_size(&a->result)};
        reply_zset_slice(out, &a->result, all, false, a->with_scores);
    }
    return OK;
}

static enum err run(struct algebra *a, struct shard *sh, struct request *rq, struct reply *out)
{
    a->shard = sh;
    a->numkeys_index = a->stores ? 2 : 1;
    enum err e = OK;
    if (read_all_or_reply(a, rq, out)) {
        if (zset_try_create_as(&sh->mem, ENCODING_SKIPLIST, &a->result)) {
            compute(a);
            e = finish(a, rq, out);
        } else {
            e = ERR_ALLOC;
        }
    }
    if (a->result.root) zset_free(&sh->mem, &a->result);
    mem_free(&sh->mem, a->sources, a->source_count * sizeof *a->sources);
    return e;
}

enum err cmd_zunion(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(&(struct algebra){.operation = UNION}, sh, rq, out);
}

enum err cmd_zinter(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(&(struct algebra){.operation = INTER}, sh, rq, out);
}

enum err cmd_zdiff(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(&(struct algebra){.operation = DIFF}, sh, rq, out);
}

enum err cmd_zunionstore(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(&(struct algebra){.operation = UNION, .stores = true}, sh, rq, out);
}

enum err cmd_zinterstore(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(&(struct algebra){.operation = INTER, .stores = true}, sh, rq, out);
}

enum err cmd_zdiffstore(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(&(struct algebra){.operation = DIFF, .stores = true}, sh, rq, out);
}

enum err cmd_zintercard(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(&(struct algebra){.operation = INTER, .counts = true}, sh, rq, out);
}
