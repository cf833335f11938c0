#include "shard/cmd/set_algebra.h"

#include <stdlib.h>

#include "shard/cmd/args.h"
#include "shard/cmd/collect.h"
#include "shard/notify.h"
#include "shard/type/set.h"

/* ---- sources and results ---- */

/* The sets that a command combines, in the order of its arguments; a missing one has no root. */
struct sources {
    struct set *sets;
    uint64_t count;
    bool any_missing;
};

static void sources_free(struct shard *sh, struct sources *s)
{
    mem_free(&sh->mem, s->sets, s->count * sizeof *s->sets);
}

/* The `count` keys from argv[first] on. Every type is checked, also behind a missing key. */
static enum err sources_find(struct shard *sh, const struct request *rq, uint32_t first,
                             uint64_t count, struct sources *s)
{
    *s = (struct sources){.count = count};
    s->sets = mem_try_alloc(&sh->mem, count * sizeof *s->sets);
    if (!s->sets) return ERR_ALLOC;
    for (uint32_t i = 0; i < count; i++) {
        struct key k = request_key(sh, rq, first + i);
        struct entry *entry;
        enum err e = keyspace_find(sh, &k, TYPE_SET, &entry);
        s->sets[i] = (struct set){0};
        if (e == OK) {
            s->sets[i] = set_of(entry);
        } else if (e == ERR_NO_KEY) {
            s->any_missing = true;
        } else {
            sources_free(sh, s);
            return e;
        }
    }
    return OK;
}

/* Where members of the result go: into a set, or into a reply, or nowhere but a count. */
struct sink {
    struct shard *shard;
    struct set *set; /* no root until the first member */
    struct collection *reply;
    uint64_t count;
    uint64_t limit; /* 0: none */
    bool no_memory;
};

/* Says false when nothing more is wanted. Only a set notices repetitions. */
static bool sink_put(struct sink *k, struct bytes member)
{
    struct mem *mem = &k->shard->mem;
    const struct shard_config *c = k->shard->config;
    if (k->set) {
        bool added;
        bool has_memory = (k->set->root || set_try_create(mem, c, member, 1, k->set)) &&
                          set_try_add(mem, c, k->set, member, &added);
        k->no_memory = !has_memory;
        return has_memory;
    }
    if (k->reply) reply_bulk(&k->reply->items, member);
    return ++k->count != k->limit;
}

/* ---- the three operations ---- */

static bool put_any(void *context, struct bytes member)
{
    return sink_put(context, member);
}

static void unite(struct sources *s, struct sink *k)
{
    for (uint64_t i = 0; i < s->count; i++) {
        if (s->sets[i].root && !set_each(&s->sets[i], put_any, k)) return;
    }
}

/* The first source, held against all others. */
struct sieve {
    const struct sources *sources;
    struct sink *sink;
    bool wanted; /* what the others must say of a member: in all of them, or in none */
};

static bool sift_member(void *context, struct bytes member)
{
    struct sieve *sieve = context;
    for (uint64_t i = 1; i < sieve->sources->count; i++) {
        const struct set *s = &sieve->sources->sets[i];
        if ((s->root && set_has(s, member)) != sieve->wanted) return true;
    }
    return sink_put(sieve->sink, member);
}

static uint64_t size_or_0(const struct set *s)
{
    return s->root ? set_size(s) : 0;
}

static int smaller_first(const void *a, const void *b)
{
    uint64_t x = size_or_0(a), y = size_or_0(b);
    return (x > y) - (x < y);
}

static int larger_first(const void *a, const void *b)
{
    return smaller_first(b, a);
}

static void intersect(struct sources *s, struct sink *k)
{
    if (s->any_missing) return;
    qsort(s->sets, s->count, sizeof *s->sets, smaller_first);
    struct sieve sieve = {s, k, .wanted = true};
    (void)set_each(&s->sets[0], sift_member, &sieve);
}

struct removal {
    struct mem *mem;
    struct set *from;
};

static bool remove_member(void *context, struct bytes member)
{
    struct removal *r = context;
    (void)set_remove(r->mem, r->from, member);
    return set_size(r->from) > 0;
}

/* A copy of the first set, from which the others are taken away, one after the other. */
static void subtract_from_copy(struct sources *s, struct sink *k)
{
    struct mem *mem = &k->shard->mem;
    struct set rest = {0};
    struct sink copying = {.shard = k->shard, .set = &rest};
    if (!set_each(&s->sets[0], put_any, &copying)) {
        k->no_memory = true;
    } else {
        struct removal r = {mem, &rest};
        for (uint64_t i = 1; i < s->count && set_size(&rest) > 0; i++) {
            if (s->sets[i].root) (void)set_each(&s->sets[i], remove_member, &r);
        }
        (void)set_each(&rest, put_any, k);
    }
    if (rest.root) set_free(mem, &rest);
}

/* By looking up each member of the first set in all others, or by visiting every member of every
 * set: what is less work. A look-up ends at the first hit, so it counts half. */
static void subtract(struct sources *s, struct sink *k)
{
    if (!s->sets[0].root) return;
    uint64_t by_lookup = size_or_0(&s->sets[0]) * s->count / 2, by_visit = 0;
    for (uint64_t i = 0; i < s->count; i++) by_visit += size_or_0(&s->sets[i]);
    if (by_lookup > by_visit) {
        subtract_from_copy(s, k);
        return;
    }
    qsort(s->sets + 1, s->count - 1, sizeof *s->sets, larger_first);
    struct sieve sieve = {s, k, .wanted = false};
    (void)set_each(&s->sets[0], sift_member, &sieve);
}

/* ---- commands ---- */

typedef void combine_fn(struct sources *s, struct sink *k);

static enum err combine(struct shard *sh, const struct request *rq, uint32_t first,
                        combine_fn *operation, struct sink *k)
{
    struct sources s;
    enum err e = sources_find(sh, rq, first, rq->argc - first, &s);
    if (e != OK) return e;
    operation(&s, k);
    sources_free(sh, &s);
    return k->no_memory ? ERR_ALLOC : OK;
}

static enum err combine_and_store(struct shard *sh, struct request *rq, combine_fn *operation,
                                  const char *event, struct reply *out)
{
    struct set result = {0};
    struct sink k = {.shard = sh, .set = &result};
    enum err e = combine(sh, rq, 2, operation, &k);
    if (e != OK) {
        if (result.root) set_free(&sh->mem, &result);
        return e;
    }
    struct key to = request_key(sh, rq, 1);
    uint64_t size = size_or_0(&result);
    if (size > 0) {
        e = keyspace_put_object(sh, &to, TYPE_SET, result.encoding, result.root, DEADLINE_NONE);
        if (e != OK) return e;
        notify(sh, NOTIFY_SET, event, &to);
    } else if (keyspace_delete(sh, &to)) {
        notify(sh, NOTIFY_GENERIC, "del", &to);
    }
    reply_i64(out, (int64_t)size);
    return OK;
}

/* The members come one by one, each once. */
static enum err combine_and_reply(struct shard *sh, struct request *rq, combine_fn *operation,
                                  struct reply *out)
{
    struct collection found;
    collection_begin(&found, sh, out);
    struct sink k = {.shard = sh, .reply = &found};
    enum err e = combine(sh, rq, 1, operation, &k);
    if (e != OK) {
        collection_drop(&found, sh);
        return e;
    }
    reply_set(out, k.count);
    collection_end(&found, sh, out);
    return OK;
}

enum err cmd_sinter(struct shard *sh, struct request *rq, struct reply *out)
{
    return combine_and_reply(sh, rq, intersect, out);
}

enum err cmd_sdiff(struct shard *sh, struct request *rq, struct reply *out)
{
    return combine_and_reply(sh, rq, subtract, out);
}

static bool reply_member(void *context, struct bytes member)
{
    reply_bulk(context, member);
    return true;
}

enum err cmd_sunion(struct shard *sh, struct request *rq, struct reply *out)
{
    struct set result = {0};
    struct sink k = {.shard = sh, .set = &result};
    enum err e = combine(sh, rq, 1, unite, &k);
    if (e == OK) {
        reply_set(out, size_or_0(&result));
        if (result.root) (void)set_each(&result, reply_member, out);
    }
    if (result.root) set_free(&sh->mem, &result);
    return e;
}

enum err cmd_sinterstore(struct shard *sh, struct request *rq, struct reply *out)
{
    return combine_and_store(sh, rq, intersect, "sinterstore", out);
}

enum err cmd_sunionstore(struct shard *sh, struct request *rq, struct reply *out)
{
    return combine_and_store(sh, rq, unite, "sunionstore", out);
}

enum err cmd_sdiffstore(struct shard *sh, struct request *rq, struct reply *out)
{
    return combine_and_store(sh, rq, subtract, "sdiffstore", out);
}

static bool parse_intercard_or_reply(const struct request *rq, struct reply *out, int64_t *numkeys,
                                     int64_t *limit)
{
    if (!text_to_i64(rq->argv[1], numkeys) || *numkeys < 1) {
        reply_error(out, "ERR numkeys should be greater than 0");
        return false;
    }
    if (*numkeys > (int64_t)rq->argc - 2) {
        reply_error(out, "ERR Number of keys can't be greater than number of args");
        return false;
    }
    for (uint32_t i = 2 + (uint32_t)*numkeys; i < rq->argc; i += 2) {
        if (!arg_is(rq, i, "limit") || i + 1 == rq->argc) {
            reply_err(out, ERR_SYNTAX);
            return false;
        }
        if (!text_to_i64(rq->argv[i + 1], limit) || *limit < 0) {
            reply_error(out, "ERR LIMIT can't be negative");
            return false;
        }
    }
    return true;
}

enum err cmd_sintercard(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t numkeys, limit = 0;
    if (!parse_intercard_or_reply(rq, out, &numkeys, &limit)) return OK;
    struct sources s;
    enum err e = sources_find(sh, rq, 2, (uint64_t)numkeys, &s);
    if (e != OK) return e;
    struct sink k = {.shard = sh, .limit = (uint64_t)limit};
    intersect(&s, &k);
    sources_free(sh, &s);
    reply_i64(out, (int64_t)k.count);
    return OK;
}
