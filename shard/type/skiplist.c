#include "shard/type/skiplist.h"

/* One node in LEVEL_ODDS has another level. */
#define LEVEL_ODDS 4

/* ---- nodes ---- */

/* Levels are addressed downwards from what stands behind them: a node, or the end of the head. */
static inline struct skiplist_level *level_of(void *base, unsigned i)
{
    return (struct skiplist_level *)base - 1 - i;
}

static inline const struct skiplist_level *level_at(const void *base, unsigned i)
{
    return (const struct skiplist_level *)base - 1 - i;
}

static void *head_base(struct skiplist *sl)
{
    return sl->head + SKIPLIST_LEVELS_MAX;
}

static const void *head_base_const(const struct skiplist *sl)
{
    return sl->head + SKIPLIST_LEVELS_MAX;
}

static unsigned level_count_of(const struct skiplist_node *n)
{
    return skiplist_entry(n)->clock[0];
}

static size_t node_bytes(unsigned level_count, size_t member_size)
{
    size_t long_size = member_size > UINT8_MAX ? sizeof(uint64_t) : 0;
    return level_count * sizeof(struct skiplist_level) + sizeof(struct skiplist_node) +
           sizeof(struct entry) + long_size + member_size;
}

static uint64_t next_random(struct skiplist *sl)
{
    uint64_t z = sl->random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static unsigned random_level_count(struct skiplist *sl)
{
    unsigned count = 1;
    for (uint64_t bits = next_random(sl); bits % LEVEL_ODDS == 0; bits /= LEVEL_ODDS) {
        if (++count == SKIPLIST_LEVELS_MAX) break;
    }
    return count;
}

/* The layout is that of entry.h. */
static void write_entry(struct entry *e, struct bytes member, unsigned level_count)
{
    char *p = e->rest;
    memset(e, 0, sizeof *e);
    e->clock[0] = (uint8_t)level_count;
    e->key_size = (uint8_t)member.size;
    if (member.size > UINT8_MAX) {
        e->flags |= ENTRY_LONG_KEY;
        uint64_t size = member.size;
        memcpy(p, &size, sizeof size);
        p += sizeof size;
    }
    if (member.size > 0) memcpy(p, member.data, member.size);
}

struct skiplist_node *skiplist_try_make(struct mem *mem, struct skiplist *sl, double score,
                                        struct bytes member)
{
    if (member.size > UINT32_MAX) return NULL;
    unsigned level_count = random_level_count(sl);
    char *block = mem_try_alloc(mem, node_bytes(level_count, member.size));
    if (!block) return NULL;
    struct skiplist_node *n = (void *)(block + level_count * sizeof(struct skiplist_level));
    n->prev = NULL;
    n->score = score;
    write_entry(skiplist_entry(n), member, level_count);
    return n;
}

void skiplist_free_node(struct mem *mem, struct skiplist_node *n)
{
    size_t size = node_bytes(level_count_of(n), skiplist_member(n).size);
    mem_free(mem, level_of(n, level_count_of(n) - 1), size);
}

size_t skiplist_node_allocated(const struct skiplist_node *n)
{
    return mem_class_bytes(node_bytes(level_count_of(n), skiplist_member(n).size));
}

/* ---- the list ---- */

void skiplist_init(struct skiplist *sl, uint64_t seed)
{
    *sl = (struct skiplist){.level_count = 1, .random_state = seed};
}

static bool is_before(const struct skiplist_node *a, double score, struct bytes member)
{
    if (a->score != score) return a->score < score;
    return bytes_compare(skiplist_member(a), member) < 0;
}

/* The way down to a place: on each level the last node before it, and how many elements stand up to
 * and with that node. */
struct path {
    void *base[SKIPLIST_LEVELS_MAX];
    uint64_t rank[SKIPLIST_LEVELS_MAX];
};

static void path_find(struct skiplist *sl, double score, struct bytes member, struct path *path)
{
    void *base = head_base(sl);
    uint64_t rank = 0;
    for (unsigned i = sl->level_count; i-- > 0;) {
        const struct skiplist_level *l = level_at(base, i);
        while (l->next && is_before(l->next, score, member)) {
            rank += l->span;
            base = l->next;
            l = level_at(base, i);
        }
        path->base[i] = base;
        path->rank[i] = rank;
    }
}

static void raise_levels(struct skiplist *sl, unsigned level_count, struct path *path)
{
    for (unsigned i = sl->level_count; i < level_count; i++) {
        *level_of(head_base(sl), i) = (struct skiplist_level){NULL, sl->count};
        path->base[i] = head_base(sl);
        path->rank[i] = 0;
    }
    sl->level_count = MAX(sl->level_count, level_count);
}

void skiplist_insert(struct skiplist *sl, struct skiplist_node *n)
{
    struct path path;
    unsigned level_count = level_count_of(n);
    path_find(sl, n->score, skiplist_member(n), &path);
    raise_levels(sl, level_count, &path);
    for (unsigned i = 0; i < level_count; i++) {
        struct skiplist_level *before = level_of(path.base[i], i), *own = level_of(n, i);
        uint64_t gap = path.rank[0] - path.rank[i];
        own->next = before->next;
        own->span = before->span - gap;
        before->next = n;
        before->span = gap + 1;
    }
    for (unsigned i = level_count; i < sl->level_count; i++) level_of(path.base[i], i)->span++;
    n->prev = path.base[0] == head_base(sl) ? NULL : path.base[0];
    if (skiplist_next(n)) {
        skiplist_next(n)->prev = n;
    } else {
        sl->last = n;
    }
    sl->count++;
}

void skiplist_remove(struct skiplist *sl, struct skiplist_node *n)
{
    struct path path;
    path_find(sl, n->score, skiplist_member(n), &path);
    for (unsigned i = 0; i < sl->level_count; i++) {
        struct skiplist_level *before = level_of(path.base[i], i);
        if (before->next == n) {
            before->next = level_of(n, i)->next;
            before->span += level_of(n, i)->span - 1;
        } else {
            before->span--;
        }
    }
    if (skiplist_next(n)) {
        skiplist_next(n)->prev = n->prev;
    } else {
        sl->last = n->prev;
    }
    while (sl->level_count > 1 && !level_of(head_base(sl), sl->level_count - 1)->next) {
        sl->level_count--;
    }
    sl->count--;
}

void skiplist_move(struct skiplist *sl, struct skiplist_node *n, double score)
{
    const struct skiplist_node *next = skiplist_next(n);
    struct bytes member = skiplist_member(n);
    bool fits_before = !n->prev || is_before(n->prev, score, member);
    bool fits_behind = !next || !is_before(next, score, member);
    if (fits_before && fits_behind) {
        n->score = score;
        return;
    }
    skiplist_remove(sl, n);
    n->score = score;
    skiplist_insert(sl, n);
}

struct skiplist_node *skiplist_defrag_node(struct defrag_walk *w, struct skiplist *sl,
                                           struct skiplist_node *n)
{
    struct path path;
    unsigned level_count = level_count_of(n);
    size_t size = node_bytes(level_count, skiplist_member(n).size);
    char *block = (char *)level_of(n, level_count - 1);
    if (!defrag_wants(w, block, size)) return n;
    path_find(sl, n->score, skiplist_member(n), &path);
    block = mem_try_move(w->mem, block, size);
    if (!block) return n;
    w->hits++;
    struct skiplist_node *moved = (void *)(block + level_count * sizeof(struct skiplist_level));
    for (unsigned i = 0; i < level_count; i++) level_of(path.base[i], i)->next = moved;
    *(skiplist_next(moved) ? &skiplist_next(moved)->prev : &sl->last) = moved;
    return moved;
}

/* ---- ranks ---- */

uint64_t skiplist_rank(const struct skiplist *sl, const struct skiplist_node *n)
{
    const void *base = head_base_const(sl);
    struct bytes member = skiplist_member(n);
    uint64_t rank = 0;
    for (unsigned i = sl->level_count; i-- > 0;) {
        const struct skiplist_level *l = level_at(base, i);
        while (l->next && is_before(l->next, n->score, member)) {
            rank += l->span;
            base = l->next;
            l = level_at(base, i);
        }
    }
    return rank;
}

struct skiplist_node *skiplist_at(const struct skiplist *sl, uint64_t rank)
{
    if (rank >= sl->count) return NULL;
    const void *base = head_base_const(sl);
    struct skiplist_node *found = NULL;
    uint64_t steps = rank + 1;
    for (unsigned i = sl->level_count; i-- > 0;) {
        const struct skiplist_level *l = level_at(base, i);
        while (l->next && l->span <= steps) {
            steps -= l->span;
            base = found = l->next;
            if (steps == 0) return found;
            l = level_at(base, i);
        }
    }
    return found;
}

uint64_t skiplist_count_before(const struct skiplist *sl, skiplist_before_fn *fn,
                               const void *context)
{
    const void *base = head_base_const(sl);
    uint64_t rank = 0;
    for (unsigned i = sl->level_count; i-- > 0;) {
        const struct skiplist_level *l = level_at(base, i);
        while (l->next && fn(context, l->next)) {
            rank += l->span;
            base = l->next;
            l = level_at(base, i);
        }
    }
    return rank;
}

/* ---- searches that wait for nothing ---- */

struct skiplist_scout skiplist_scout_start(const struct skiplist *sl, double score,
                                           struct bytes member)
{
    return (struct skiplist_scout){.base = head_base_const(sl),
                                   .level = sl->level_count - 1,
                                   .score = score,
                                   .member = member};
}

bool skiplist_scout_step(struct skiplist_scout *s)
{
    if (!s->base) return false;
    const struct skiplist_node *next = level_at(s->base, s->level)->next;
    if (next && is_before(next, s->score, s->member)) {
        s->base = next;
    } else if (s->level-- == 0) {
        s->base = NULL;
        return false;
    }
    next = level_at(s->base, s->level)->next;
    if (next) {
        __builtin_prefetch(next);
        __builtin_prefetch(level_at(next, s->level));
    }
    return true;
}

/* ---- invariants ---- */

/* One level: spans lead where the ranks say, and cover the whole list. */
static void validate_level(const struct skiplist *sl, unsigned i)
{
    const struct skiplist_level *l = level_at(head_base_const(sl), i);
    uint64_t rank = 0;
    CHECK(i == 0 || l->next);
    for (; l->next; l = level_at(l->next, i)) {
        CHECK(level_count_of(l->next) > i);
        rank += l->span;
        CHECK(skiplist_rank(sl, l->next) == rank - 1);
        CHECK(skiplist_at(sl, rank - 1) == l->next);
    }
    CHECK(rank + l->span == sl->count);
}

void skiplist_validate(const struct skiplist *sl)
{
    const struct skiplist_node *before = NULL;
    uint64_t count = 0;
    for (const struct skiplist_node *n = skiplist_first(sl); n; n = skiplist_next(n), count++) {
        CHECK(n->prev == before);
        CHECK(!before || is_before(before, n->score, skiplist_member(n)));
        CHECK(n->score == n->score);
        before = n;
    }
    CHECK(sl->last == before && sl->count == count);
    CHECK(sl->level_count >= 1 && sl->level_count <= SKIPLIST_LEVELS_MAX);
    for (unsigned i = 0; i < sl->level_count; i++) validate_level(sl, i);
}
