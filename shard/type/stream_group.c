#include "shard/type/stream_group.h"

/* ---- names ---- */

static bool try_name(struct mem *mem, struct bytes text, struct stream_name *out)
{
    *out = (struct stream_name){.size = text.size};
    if (text.size == 0) return true;
    out->data = mem_try_alloc(mem, text.size);
    if (!out->data) return false;
    memcpy(out->data, text.data, text.size);
    return true;
}

static void free_name(struct mem *mem, struct stream_name *n)
{
    mem_free(mem, n->data, n->size);
}

/* Arrays of pointers to what starts with its name. */
struct sorted {
    struct stream_name **items;
    uint32_t count, capacity;
};

/* The first one that is not smaller. */
static uint32_t sorted_seek(const struct sorted *a, struct bytes name, bool *found)
{
    uint32_t low = 0, high = a->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bytes_compare(stream_name_view(a->items[middle]), name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = low < a->count && bytes_equal(stream_name_view(a->items[low]), name);
    return low;
}

static bool sorted_try_grow(struct mem *mem, struct sorted *a)
{
    if (a->count < a->capacity) return true;
    if (a->capacity > UINT32_MAX / 2) return false;
    uint32_t capacity = a->capacity ? 2 * a->capacity : 1;
    void *items =
        mem_try_realloc(mem, a->items, a->capacity * sizeof *a->items, capacity * sizeof *a->items);
    if (!items) return false;
    a->items = items;
    a->capacity = capacity;
    return true;
}

/* There is room, and the name is new. */
static void sorted_insert(struct sorted *a, struct stream_name *item)
{
    bool found;
    uint32_t at = sorted_seek(a, stream_name_view(item), &found);
    CHECK(!found);
    memmove(&a->items[at + 1], &a->items[at], (a->count - at) * sizeof *a->items);
    a->items[at] = item;
    a->count++;
}

static void sorted_remove(struct sorted *a, const struct stream_name *item)
{
    bool found;
    uint32_t at = sorted_seek(a, stream_name_view(item), &found);
    CHECK(found && a->items[at] == item);
    a->count--;
    memmove(&a->items[at], &a->items[at + 1], (a->count - at) * sizeof *a->items);
}

static void *sorted_find(const struct sorted *a, struct bytes name)
{
    bool found;
    uint32_t at = sorted_seek(a, name, &found);
    return found ? a->items[at] : NULL;
}

_Static_assert(offsetof(struct stream_group, name) == 0, "an array of groups is one of names");
_Static_assert(offsetof(struct stream_consumer, name) == 0, "and so is one of consumers");

static struct sorted groups_of(const struct stream *s)
{
    return (struct sorted){(struct stream_name **)s->groups, s->group_count, s->group_capacity};
}

static void set_groups(struct stream *s, const struct sorted *a)
{
    s->groups = (struct stream_group **)a->items;
    s->group_count = a->count;
    s->group_capacity = a->capacity;
}

static struct sorted consumers_of(const struct stream_group *g)
{
    return (struct sorted){(struct stream_name **)g->consumers, g->consumer_count,
                           g->consumer_capacity};
}

static void set_consumers(struct stream_group *g, const struct sorted *a)
{
    g->consumers = (struct stream_consumer **)a->items;
    g->consumer_count = a->count;
    g->consumer_capacity = a->capacity;
}

/* ---- pending entries ---- */

struct stream_pending *stream_pending_add(struct mem *mem, struct stream_group *g,
                                          struct stream_consumer *c, struct stream_id id)
{
    struct stream_pending *p = mem_alloc(mem, sizeof *p);
    *p = (struct stream_pending){.consumer = c};
    idtree_insert(mem, &g->pending, id, p);
    idtree_insert(mem, &c->pending, id, p);
    return p;
}

void stream_pending_move(struct mem *mem, struct stream_pending *p, struct stream_id id,
                         struct stream_consumer *to)
{
    if (p->consumer == to) return;
    CHECK(idtree_remove(mem, &p->consumer->pending, id) == p);
    idtree_insert(mem, &to->pending, id, p);
    p->consumer = to;
}

bool stream_pending_remove(struct mem *mem, struct stream_group *g, struct stream_id id)
{
    struct stream_pending *p = idtree_remove(mem, &g->pending, id);
    if (!p) return false;
    CHECK(idtree_remove(mem, &p->consumer->pending, id) == p);
    mem_free(mem, p, sizeof *p);
    return true;
}

/* ---- consumers ---- */

struct stream_consumer *stream_consumer_find(const struct stream_group *g, struct bytes name)
{
    struct sorted a = consumers_of(g);
    return sorted_find(&a, name);
}

struct stream_consumer *stream_consumer_try_create(struct mem *mem, struct stream_group *g,
                                                   struct bytes name, int64_t seen_ms)
{
    struct sorted a = consumers_of(g);
    bool has_room = sorted_try_grow(mem, &a);
    set_consumers(g, &a);
    struct stream_name copy;
    if (!has_room || !try_name(mem, name, &copy)) return NULL;
    struct stream_consumer *c = mem_alloc(mem, sizeof *c);
    *c = (struct stream_consumer){.name = copy, .seen_ms = seen_ms, .active_ms = STREAM_NEVER};
    sorted_insert(&a, &c->name);
    set_consumers(g, &a);
    return c;
}

/* Nothing is pending for it. */
static void free_consumer(struct mem *mem, struct stream_consumer *c)
{
    free_name(mem, &c->name);
    mem_free(mem, c, sizeof *c);
}

static void take_consumer(struct stream_group *g, struct stream_consumer *c)
{
    struct sorted a = consumers_of(g);
    sorted_remove(&a, &c->name);
    set_consumers(g, &a);
}

uint64_t stream_consumer_delete(struct mem *mem, struct stream_group *g, struct stream_consumer *c)
{
    uint64_t count = c->pending.count;
    while (c->pending.count > 0) {
        struct stream_id id = idtree_id(idtree_last(&c->pending));
        CHECK(stream_pending_remove(mem, g, id));
    }
    take_consumer(g, c);
    free_consumer(mem, c);
    return count;
}

/* ---- groups ---- */

struct stream_group *stream_group_find(const struct stream *s, struct bytes name)
{
    struct sorted a = groups_of(s);
    return sorted_find(&a, name);
}

struct stream_group *stream_group_try_create(struct mem *mem, struct stream *s, struct bytes name,
                                             struct stream_id last_id, int64_t entries_read)
{
    struct sorted a = groups_of(s);
    bool has_room = sorted_try_grow(mem, &a);
    set_groups(s, &a);
    struct stream_name copy;
    if (!has_room || !try_name(mem, name, &copy)) return NULL;
    struct stream_group *g = mem_alloc(mem, sizeof *g);
    *g = (struct stream_group){.name = copy, .last_id = last_id, .entries_read = entries_read};
    sorted_insert(&a, &g->name);
    set_groups(s, &a);
    return g;
}

/* Some pending entries and consumers; true when the group has none left. Trees of consumers go with
 * their pending entries. */
static bool free_contents(struct mem *mem, struct stream_group *g, uint64_t *budget)
{
    for (; g->pending.count > 0 && *budget > 0; --*budget) {
        struct stream_id id = idtree_id(idtree_last(&g->pending));
        CHECK(stream_pending_remove(mem, g, id));
    }
    if (g->pending.count > 0) return false;
    for (; g->consumer_count > 0 && *budget > 0; --*budget) {
        free_consumer(mem, g->consumers[--g->consumer_count]);
    }
    return g->consumer_count == 0;
}

static void free_group(struct mem *mem, struct stream_group *g)
{
    mem_free(mem, g->consumers, g->consumer_capacity * sizeof *g->consumers);
    free_name(mem, &g->name);
    mem_free(mem, g, sizeof *g);
}

static void take_group(struct stream *s, struct stream_group *g)
{
    struct sorted a = groups_of(s);
    sorted_remove(&a, &g->name);
    set_groups(s, &a);
}

void stream_group_destroy(struct mem *mem, struct stream *s, struct stream_group *g)
{
    uint64_t budget = UINT64_MAX;
    CHECK(free_contents(mem, g, &budget));
    take_group(s, g);
    free_group(mem, g);
}

struct stream *stream_group_try_set_aside(struct mem *mem, struct stream *s, struct stream_group *g)
{
    struct stream *aside = stream_create(mem);
    struct sorted a = groups_of(aside);
    bool has_room = sorted_try_grow(mem, &a);
    set_groups(aside, &a);
    if (!has_room) {
        stream_free(mem, aside);
        return NULL;
    }
    take_group(s, g);
    sorted_insert(&a, &g->name);
    set_groups(aside, &a);
    return aside;
}

struct stream *stream_consumer_try_set_aside(struct mem *mem, struct stream_group *g,
                                             struct stream_consumer *c)
{
    if (c->pending.count != g->pending.count) return NULL;
    struct stream *aside = stream_create(mem);
    struct stream_group *other =
        stream_group_try_create(mem, aside, stream_name_view(&g->name), g->last_id, 0);
    struct sorted a = other ? consumers_of(other) : (struct sorted){0};
    if (!other || !sorted_try_grow(mem, &a)) {
        stream_free(mem, aside);
        return NULL;
    }
    sorted_insert(&a, &c->name);
    set_consumers(other, &a);
    other->pending = g->pending;
    g->pending = (struct idtree){.root = NULL};
    take_consumer(g, c);
    return aside;
}

uint64_t stream_groups_free_some(struct mem *mem, struct stream *s, uint64_t budget)
{
    for (; s->group_count > 0 && budget > 0; budget--) {
        struct stream_group *g = s->groups[s->group_count - 1];
        if (!free_contents(mem, g, &budget) || budget == 0) return 0;
        free_group(mem, g);
        s->group_count--;
    }
    if (s->group_count > 0 || budget == 0) return 0;
    mem_free(mem, s->groups, s->group_capacity * sizeof(struct stream_group *));
    s->groups = NULL;
    s->group_capacity = 0;
    return budget;
}

static bool try_copy_consumer(struct mem *mem, struct stream_group *g,
                              const struct stream_consumer *from)
{
    struct stream_consumer *c =
        stream_consumer_try_create(mem, g, stream_name_view(&from->name), from->seen_ms);
    if (!c) return false;
    c->active_ms = from->active_ms;
    struct idtree_place place = idtree_first(&from->pending);
    for (; idtree_place_exists(place); place = idtree_next(place)) {
        const struct stream_pending *old = idtree_item(place);
        struct stream_pending *p = stream_pending_add(mem, g, c, idtree_id(place));
        p->delivered_ms = old->delivered_ms;
        p->delivery_count = old->delivery_count;
    }
    return true;
}

bool stream_groups_try_copy(struct mem *mem, struct stream *to, const struct stream *from)
{
    for (uint32_t i = 0; i < from->group_count; i++) {
        const struct stream_group *old = from->groups[i];
        struct stream_group *g = stream_group_try_create(mem, to, stream_name_view(&old->name),
                                                         old->last_id, old->entries_read);
        if (!g) return false;
        for (uint32_t k = 0; k < old->consumer_count; k++) {
            if (!try_copy_consumer(mem, g, old->consumers[k])) return false;
        }
    }
    return true;
}

static uint64_t name_bytes(const struct stream_name *n)
{
    return n->size ? mem_class_bytes(n->size) : 0;
}

static uint64_t array_bytes(uint32_t capacity)
{
    return capacity ? mem_class_bytes(capacity * sizeof(void *)) : 0;
}

static uint64_t group_bytes(const struct stream_group *g)
{
    uint64_t bytes = mem_class_bytes(sizeof *g) + name_bytes(&g->name) + g->pending.bytes +
                     g->pending.count * mem_class_bytes(sizeof(struct stream_pending)) +
                     array_bytes(g->consumer_capacity);
    for (uint32_t i = 0; i < g->consumer_count; i++) {
        const struct stream_consumer *c = g->consumers[i];
        bytes += mem_class_bytes(sizeof *c) + name_bytes(&c->name) + c->pending.bytes;
    }
    return bytes;
}

uint64_t stream_groups_bytes(const struct stream *s)
{
    uint64_t bytes = array_bytes(s->group_capacity);
    for (uint32_t i = 0; i < s->group_count; i++) bytes += group_bytes(s->groups[i]);
    return bytes;
}

uint64_t stream_groups_effort(const struct stream *s)
{
    uint64_t effort = 0;
    for (uint32_t i = 0; i < s->group_count; i++) {
        effort += 1 + s->groups[i]->pending.count + s->groups[i]->consumer_count;
    }
    return effort;
}

/* ---- how far a group is ---- */

bool stream_has_gaps_after(const struct stream *s, struct stream_id from)
{
    if (s->length == 0 || stream_id_is_zero(s->max_deleted_id)) return false;
    return stream_id_compare(from, s->max_deleted_id) <= 0 &&
           stream_id_compare(s->first_id, s->max_deleted_id) <= 0;
}

int64_t stream_entries_until(const struct stream *s, struct stream_id id)
{
    if (s->entries_added == 0) return 0;
    int order = stream_id_compare(id, s->last_id);
    if (s->length == 0 && order <= 0) return (int64_t)s->entries_added;
    if (order == 0) return (int64_t)s->entries_added;
    if (order > 0) return STREAM_READ_UNKNOWN;
    /* Where nothing after the first entry was deleted, what is before it is known. */
    struct stream_id first = s->first_id;
    if (!stream_id_is_zero(s->max_deleted_id) && stream_id_compare(s->max_deleted_id, first) >= 0) {
        return STREAM_READ_UNKNOWN;
    }
    order = stream_id_compare(id, first);
    if (order > 0) return STREAM_READ_UNKNOWN;
    return (int64_t)(s->entries_added - s->length) + (order == 0);
}

bool stream_group_lag(const struct stream *s, const struct stream_group *g, uint64_t *out)
{
    int64_t read = g->entries_read;
    if (s->entries_added == 0) {
        *out = 0;
        return true;
    }
    if (read == STREAM_READ_UNKNOWN || stream_has_gaps_after(s, g->last_id)) {
        read = stream_entries_until(s, g->last_id);
    }
    *out = s->entries_added - (uint64_t)read;
    return read != STREAM_READ_UNKNOWN;
}

void stream_group_advance(const struct stream *s, struct stream_group *g, struct stream_id id)
{
    if (g->entries_read != STREAM_READ_UNKNOWN && !stream_has_gaps_after(s, id)) {
        /* A client may have set any number, so it wraps round. */
        g->entries_read = (int64_t)((uint64_t)g->entries_read + 1);
    } else if (s->entries_added > 0) {
        g->entries_read = stream_entries_until(s, id);
    }
    g->last_id = id;
}

/* ---- invariants ---- */

static void validate_group(const struct stream_group *g)
{
    uint64_t count = 0;
    idtree_validate(&g->pending);
    for (uint32_t i = 0; i < g->consumer_count; i++) {
        const struct stream_consumer *c = g->consumers[i];
        CHECK(stream_consumer_find(g, stream_name_view(&c->name)) == c);
        idtree_validate(&c->pending);
        struct idtree_place place = idtree_first(&c->pending);
        for (; idtree_place_exists(place); place = idtree_next(place), count++) {
            const struct stream_pending *p = idtree_item(place);
            CHECK(p->consumer == c && stream_pending_find(g, idtree_id(place)) == p);
        }
    }
    CHECK(count == g->pending.count);
}

void stream_groups_validate(const struct stream *s)
{
    for (uint32_t i = 0; i < s->group_count; i++) {
        CHECK(stream_group_find(s, stream_name_view(&s->groups[i]->name)) == s->groups[i]);
        validate_group(s->groups[i]);
    }
}
