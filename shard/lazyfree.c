#include "shard/lazyfree.h"

#include "base/env.h"
#include "shard/object.h"

/* What is freed between two looks at the clock. */
#define ROUND_ELEMENTS 64
/* Bounds a slice where the clock stands still, as in the simulator. */
#define SLICE_ROUNDS_MAX 256

/* What waits: the root of a value, or a table when `root` is NULL. */
struct free_node {
    struct free_node *next;
    void *root;
    enum type type;
    enum encoding encoding;
};

struct free_table {
    struct free_node node;
    struct dict_drain drain;
};

struct free_list {
    struct free_node *first;
    struct free_node **end; /* where the next one is hooked in */
    struct mem *mem;
    uint64_t pending; /* values and keys */
    uint64_t freed;
};

struct free_list *free_list_create(struct mem *mem)
{
    struct free_list *list = mem_alloc(mem, sizeof *list);
    *list = (struct free_list){.mem = mem};
    list->end = &list->first;
    return list;
}

uint64_t free_list_pending(const struct free_list *list)
{
    return list->pending ? list->pending
                         : list->first != NULL; /* A table may be all that is left. */
}

static void append(struct free_list *list, struct free_node *node, uint64_t pending)
{
    node->next = NULL;
    *list->end = node;
    list->end = &node->next;
    list->pending += pending;
}

/* At once, or later; false if it is freed by now. */
static bool push_root(struct free_list *list, enum type type, enum encoding encoding, void *root)
{
    struct free_node *node = NULL;
    if (object_ops(type)->effort(root, encoding) > LAZYFREE_EFFORT_MIN)
        node = mem_try_alloc(list->mem, sizeof *node);
    if (!node) {
        object_free_root(list->mem, type, encoding, root);
        return false;
    }
    *node = (struct free_node){.root = root, .type = type, .encoding = encoding};
    append(list, node, 1);
    return true;
}

static bool push_entry(struct free_list *list, struct entry *e)
{
    if (entry_type(e) == TYPE_STRING) {
        entry_free_string(list->mem, e);
        return false;
    }
    bool is_later = push_root(list, entry_type(e), entry_encoding(e), entry_root(e));
    entry_free_shell(list->mem, e);
    return is_later;
}

static void publish(struct shard *sh)
{
    struct free_list *list = sh->free_list;
    counter_set(&sh->counters.lazyfree_pending, list->pending);
    counter_set(&sh->counters.lazyfreed, list->freed);
}

void free_list_reset_count(struct shard *sh)
{
    sh->free_list->freed = 0;
    publish(sh);
}

void free_list_entry(struct shard *sh, struct entry *e)
{
    if (unlikely(big_value_is_any(&sh->snapshot.big_values)) && big_value_keep(sh, e)) return;
    if (push_entry(sh->free_list, e)) publish(sh);
}

void free_list_root(struct shard *sh, enum type type, enum encoding encoding, void *root)
{
    if (push_root(sh->free_list, type, encoding, root)) publish(sh);
}

static void free_drained(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct free_list *list = context;
    list->pending--;
    if (!push_entry(list, e)) list->freed++;
}

void free_list_dict(struct shard *sh, struct dict *d)
{
    struct free_list *list = sh->free_list;
    struct free_table *table = mem_alloc(list->mem, sizeof *table);
    table->node = (struct free_node){.root = NULL};
    dict_drain_init(&table->drain, d);
    append(list, &table->node, table->drain.dict.count);
    publish(sh);
}

static void pop(struct free_list *list)
{
    list->first = list->first->next;
    if (!list->first) list->end = &list->first;
}

/* Frees about that many elements of what is first; the list is not empty. */
static void free_some(struct free_list *list, uint64_t budget)
{
    struct free_node *node = list->first;
    if (!node->root) {
        struct free_table *table = container_of(node, struct free_table, node);
        if (!dict_drain_some(&table->drain, budget, free_drained, list)) return;
        pop(list);
        mem_free(list->mem, table, sizeof *table);
        return;
    }
    const struct type_ops *ops = object_ops(node->type);
    if (!ops->free_some(list->mem, node->root, node->encoding, budget)) return;
    pop(list);
    mem_free(list->mem, node, sizeof *node);
    list->pending--;
    list->freed++;
}

bool free_list_step(struct shard *sh)
{
    struct free_list *list = sh->free_list;
    uint64_t start_ns = env_now_ns();
    for (unsigned i = 0; i < SLICE_ROUNDS_MAX && list->first; i++) {
        free_some(list, ROUND_ELEMENTS);
        if (env_now_ns() - start_ns >= SHARD_SLICE_US * 1000ULL * 9 / 10) break;
    }
    publish(sh);
    return list->first != NULL;
}

void free_list_destroy(struct free_list *list)
{
    while (list->first) free_some(list, UINT64_MAX);
    mem_free(list->mem, list, sizeof *list);
}
