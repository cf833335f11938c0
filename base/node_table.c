#include "base/node_table.h"

#define BUCKETS_MIN 16

void node_table_init(struct node_table *t, struct mem *mem)
{
    *t = (struct node_table){.mem = mem};
}

static void heads_free(struct node_table *t)
{
    if (t->heads) mem_free(t->mem, t->heads, t->capacity * sizeof(struct table_node *));
    t->heads = NULL;
    t->capacity = t->buckets = 0;
}

void node_table_deinit(struct node_table *t)
{
    CHECK(t->count == 0);
    heads_free(t);
}

/* The largest power of two that is not larger. */
static uint32_t power_below(uint32_t n)
{
    return UINT32_C(1) << (31 - __builtin_clz(n));
}

/* The high bits: the low ones have chosen the shard of a key already. */
static uint32_t bucket_of(const struct node_table *t, uint64_t hash)
{
    uint32_t low = power_below(t->buckets), bits = (uint32_t)(hash >> 32);
    uint32_t at = bits & (2 * low - 1);
    return at < t->buckets ? at : bits & (low - 1);
}

static bool heads_resize(struct node_table *t, uint32_t capacity)
{
    struct table_node **heads =
        mem_try_realloc(t->mem, t->heads, t->capacity * sizeof(struct table_node *),
                        capacity * sizeof(struct table_node *));
    if (!heads) return false;
    t->heads = heads;
    t->capacity = capacity;
    return true;
}

/* One bucket more: it takes its share from the one that it splits. */
static void grow(struct node_table *t)
{
    if (t->buckets == t->capacity &&
        (t->capacity > UINT32_MAX / 4 || !heads_resize(t, 2 * t->capacity)))
        return;
    uint32_t source = t->buckets - power_below(t->buckets), added = t->buckets++;
    struct table_node **link = &t->heads[source];
    t->heads[added] = NULL;
    while (*link) {
        struct table_node *node = *link;
        if (bucket_of(t, node->hash) == source) {
            link = &node->next;
            continue;
        }
        *link = node->next;
        node->next = t->heads[added];
        t->heads[added] = node;
    }
}

static void shrink(struct node_table *t)
{
    uint32_t gone = --t->buckets, target = gone - power_below(gone);
    struct table_node **link = &t->heads[target];
    while (*link) link = &(*link)->next;
    *link = t->heads[gone];
    if (t->buckets <= t->capacity / 4 && t->capacity > BUCKETS_MIN &&
        !heads_resize(t, t->capacity / 2))
        return; /* the old array does as well */
}

static void heads_make(struct node_table *t)
{
    t->heads = mem_alloc_zeroed(t->mem, BUCKETS_MIN * sizeof(struct table_node *));
    t->capacity = t->buckets = BUCKETS_MIN;
}

void node_table_insert(struct node_table *t, struct table_node *node, uint64_t hash)
{
    if (!t->heads) heads_make(t);
    if (t->count >= t->buckets) grow(t);
    struct table_node **head = &t->heads[bucket_of(t, hash)];
    node->hash = hash;
    node->next = *head;
    *head = node;
    t->count++;
}

void node_table_remove(struct node_table *t, struct table_node *node)
{
    struct table_node **link = &t->heads[bucket_of(t, node->hash)];
    while (*link != node) {
        CHECK(*link);
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    t->count--;
    if (t->count == 0)
        heads_free(t);
    else if (t->buckets > BUCKETS_MIN && t->count < t->buckets / 4)
        shrink(t);
}

static struct table_node *same_hash(struct table_node *node, uint64_t hash)
{
    while (node && node->hash != hash) node = node->next;
    return node;
}

struct table_node *node_table_find(const struct node_table *t, uint64_t hash)
{
    return t->count ? same_hash(t->heads[bucket_of(t, hash)], hash) : NULL;
}

struct table_node *node_table_find_next(const struct table_node *node)
{
    return same_hash(node->next, node->hash);
}

struct table_node *node_table_first_from(const struct node_table *t, uint32_t *bucket)
{
    for (; *bucket < t->buckets; ++*bucket)
        if (t->heads[*bucket]) return t->heads[*bucket];
    return NULL;
}

void node_table_validate(const struct node_table *t)
{
    uint32_t count = 0;
    CHECK(t->buckets <= t->capacity && (t->count == 0) == (t->heads == NULL));
    for (uint32_t i = 0; i < t->buckets; i++) {
        for (const struct table_node *node = t->heads[i]; node; node = node->next) {
            CHECK(bucket_of(t, node->hash) == i);
            count++;
        }
    }
    CHECK(count == t->count);
}
