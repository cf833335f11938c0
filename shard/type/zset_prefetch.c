/* zset_prefetch.c: the memory that a command on a big sorted set will touch. A search in a skiplist
 * waits for some ten nodes, one after the other; here those of all requests of a window wait
 * together.
 */
#include "base/command.h"
#include "shard/type/zset.h"

/* Of a range by rank: some are in the cache before the first is sent. */
#define RANGE_NODES_MAX 16

/* The head of the skiplist, which the first cache lines of the root do not hold. */
static void prefetch_head(const struct zset_table *t)
{
    __builtin_prefetch(&t->list.head[SKIPLIST_LEVELS_MAX - 5]);
    __builtin_prefetch(&t->list.head[SKIPLIST_LEVELS_MAX - 1]);
    __builtin_prefetch(&t->list.level_count);
}

/* How many elements from the end of the list on; 0: the range starts elsewhere. */
static unsigned range_nodes(const struct request *rq)
{
    int64_t first, last;
    if (rq->argc < 4 || !text_to_i64(rq->argv[2], &first) || !text_to_i64(rq->argv[3], &last))
        return 0;
    if (first != 0) return 0;
    return last >= 0 && last < RANGE_NODES_MAX ? (unsigned)last + 1 : RANGE_NODES_MAX;
}

static bool prefetch_range(struct value_prefetch *p, unsigned step, bool from_end)
{
    const struct zset_table *t = p->root;
    if (step == 0) {
        p->hash = range_nodes(p->request);
        if (p->hash) prefetch_head(t);
        return p->hash > 0;
    }
    const struct skiplist_node *n = step == 1 ? NULL : p->scouts[0].base;
    if (step == 1)
        n = from_end ? t->list.last : skiplist_first(&t->list);
    else
        n = from_end ? n->prev : skiplist_next(n);
    if (!n || step > p->hash) return false;
    __builtin_prefetch(skiplist_entry(n));
    __builtin_prefetch((const struct skiplist_level *)(const void *)n - 1);
    p->scouts[0].base = n;
    return true;
}

/* The entry of the member has arrived: from here on its node, and where it will stand. */
static void start_scouts(struct value_prefetch *p, struct bytes member)
{
    const struct request *rq = p->request;
    const struct zset_table *t = p->root;
    const struct entry *e = dict_find(&t->members.dict, p->hash, member);
    double old = 0, score = 0;
    p->scouts[0] = p->scouts[1] = (struct skiplist_scout){0};
    if (e) {
        old = skiplist_node_of(e)->score;
        p->scouts[0] = skiplist_scout_start(&t->list, old, member);
    }
    if (rq->argc < 4 || !text_to_double(rq->argv[rq->argc - 2], &score)) return;
    if (!e || score != old) p->scouts[1] = skiplist_scout_start(&t->list, score, member);
}

static bool prefetch_place(struct value_prefetch *p, unsigned step)
{
    const struct zset_table *t = p->root;
    struct bytes member = p->request->argv[p->request->argc - 1];
    if (step == 0) prefetch_head(t);
    if (step < PREFETCH_MEMBER_STEPS) {
        object_prefetch_member(p, step, &t->members.dict, member);
        return true;
    }
    if (step == PREFETCH_MEMBER_STEPS) {
        start_scouts(p, member);
        return true;
    }
    bool more = skiplist_scout_step(&p->scouts[0]);
    return skiplist_scout_step(&p->scouts[1]) || more;
}

bool zset_prefetch(struct value_prefetch *p, unsigned step)
{
    const struct request *rq = p->request;
    const struct zset_table *t = p->root;
    if (p->encoding != ENCODING_SKIPLIST || rq->argc < 3) return false;
    switch ((enum command_touches)rq->command->touches) {
    case TOUCHES_FIRST:
        return prefetch_range(p, step, false);
    case TOUCHES_LAST:
        return prefetch_range(p, step, true);
    case TOUCHES_PLACE:
        return prefetch_place(p, step);
    case TOUCHES_MEMBER:
        break;
    }
    return object_prefetch_member(p, step, &t->members.dict, rq->argv[2]);
}
