#include "shard/type/stream.h"

#include "shard/shard.h"
#include "shard/type/stream_group.h"

enum entry_flags_stored { ENTRY_DELETED = 1 << 0, ENTRY_SAME_FIELDS = 1 << 1 };

#define FLAGS_BYTES 2 /* in a listpack, with the back length */
/* Elements of an entry beside fields and values: flags, two differences, the count; and the number
 * of its fields if they are its own. */
#define ENTRY_ELEMENTS 3
#define NODE_BYTES_MAX STREAM_ENTRY_BYTES_MAX

static int64_t number_at(const struct listpack *lp, uint32_t at)
{
    int64_t n = 0;
    CHECK(at && listpack_integer(lp, at, &n));
    return n;
}

static uint32_t skip(const struct listpack *lp, uint32_t at, uint64_t count)
{
    for (; at && count > 0; count--) at = listpack_next(lp, at);
    return at;
}

/* ---- the head of a node ---- */

#define LIVE_AT LISTPACK_HEADER_BYTES

static uint32_t deleted_at(const struct listpack *lp)
{
    return listpack_next(lp, LIVE_AT);
}

static uint64_t node_live(const struct listpack *lp)
{
    return (uint64_t)number_at(lp, LIVE_AT);
}

static struct listpack *node_of(struct idtree_place place)
{
    return idtree_item(place);
}

/* Where what has so many more live and deleted entries says so. A difference that needs a byte more
 * and does not get it changes nothing. */
static bool try_count(struct mem *mem, struct listpack **lp, int64_t live, int64_t deleted)
{
    uint32_t at = deleted_at(*lp);
    int64_t old_live = number_at(*lp, LIVE_AT), old_deleted = number_at(*lp, at);
    if (deleted && !listpack_try_replace_integer(mem, lp, at, old_deleted + deleted)) return false;
    if (listpack_try_replace_integer(mem, lp, LIVE_AT, old_live + live)) return true;
    CHECK(listpack_try_replace_integer(mem, lp, at, old_deleted));
    return false;
}

static struct stream_id end_id(const struct stream *s, bool backwards);

/* ---- the whole ---- */

struct stream *stream_create(struct mem *mem)
{
    return mem_alloc_zeroed(mem, sizeof(struct stream));
}

void stream_free(struct mem *mem, struct stream *s)
{
    object_free_root(mem, TYPE_STREAM, ENCODING_STREAM, s);
}

void stream_validate(const struct stream *s)
{
    idtree_validate(&s->nodes);
    uint64_t length = 0;
    struct stream_id last = STREAM_ID_MIN;
    struct idtree_place place = idtree_first(&s->nodes);
    struct stream_id first_node = STREAM_ID_MIN;
    if (idtree_place_exists(place)) first_node = idtree_id(place);
    for (; idtree_place_exists(place); place = idtree_next(place)) {
        uint64_t live;
        listpack_validate(node_of(place));
        CHECK(stream_id_compare(idtree_id(place), last) > 0);
        CHECK(stream_node_is_valid(node_of(place), idtree_id(place), &last, &live));
        CHECK(live > 0 || stream_id_compare(idtree_id(place), first_node) == 0);
        length += live;
    }
    CHECK(length == s->length);
    CHECK(stream_id_compare(s->first_id, end_id(s, false)) == 0);
    CHECK(stream_id_compare(last, s->last_id) <= 0);
    stream_groups_validate(s);
}

/* ---- entries ---- */

/* The entry whose flags stand at `at`, whatever they say; returns them. */
static int64_t read_entry(const struct stream_iterator *it, uint32_t at, struct stream_entry *e)
{
    const struct listpack *lp = it->lp;
    int64_t flags = number_at(lp, at);
    e->lp = lp;
    e->flags_at = at;
    at = listpack_next(lp, at);
    e->id.ms = it->master.ms + (uint64_t)number_at(lp, at);
    at = listpack_next(lp, at);
    e->id.seq = it->master.seq + (uint64_t)number_at(lp, at);
    at = listpack_next(lp, at);
    e->field_at = 0;
    if (flags & ENTRY_SAME_FIELDS) {
        e->pair_count = it->master_fields;
        e->field_at = it->master_field_at;
    } else {
        e->pair_count = (uint64_t)number_at(lp, at);
        at = listpack_next(lp, at);
    }
    e->at = at;
    return flags;
}

void stream_entry_next_pair(struct stream_entry *e, struct bytes *field, char *field_scratch,
                            struct bytes *value, char *value_scratch)
{
    uint32_t *field_at = e->field_at ? &e->field_at : &e->at;
    *field = listpack_text(e->lp, *field_at, field_scratch);
    *field_at = listpack_next(e->lp, *field_at);
    *value = listpack_text(e->lp, e->at, value_scratch);
    e->at = listpack_next(e->lp, e->at);
}

/* Where what follows the entry stands; 0 at the end of the node. */
static uint32_t behind_entry(const struct stream_entry *e)
{
    uint64_t elements = e->field_at ? e->pair_count : 2 * e->pair_count;
    return skip(e->lp, e->at, elements + 1);
}

/* ---- iterating ---- */

static void load_node(struct stream_iterator *it)
{
    it->is_loaded = true;
    if (!idtree_place_exists(it->node)) return;
    const struct listpack *lp = it->lp = node_of(it->node);
    it->master = idtree_id(it->node);
    uint32_t at = listpack_next(lp, deleted_at(lp));
    it->master_fields = (uint64_t)number_at(lp, at);
    it->master_field_at = listpack_next(lp, at);
    it->entries_at = skip(lp, it->master_field_at, it->master_fields + 1);
    it->at = it->backwards ? listpack_last(lp) : it->entries_at;
}

void stream_iterator_init(struct stream_iterator *it, const struct stream *s,
                          struct stream_id first, struct stream_id last, bool backwards)
{
    *it = (struct stream_iterator){.first = first, .last = last, .backwards = backwards};
    if (stream_id_compare(first, last) > 0) return;
    it->node = idtree_seek_back(&s->nodes, backwards ? last : first);
    if (!backwards && !idtree_place_exists(it->node)) it->node = idtree_first(&s->nodes);
}

/* The flags of the next entry, in whichever direction; 0 when there is none in this node. */
static uint32_t next_in_node(struct stream_iterator *it)
{
    if (!it->backwards) return it->at;
    if (it->at == 0) return 0;
    uint32_t flags_at = it->at;
    for (int64_t count = number_at(it->lp, it->at); count > 0; count--) {
        flags_at = listpack_prev(it->lp, flags_at);
    }
    it->at = flags_at == it->entries_at ? 0 : listpack_prev(it->lp, flags_at);
    return flags_at;
}

/* The next entry of all nodes, deleted or not; false at the end. */
static bool next_stored(struct stream_iterator *it, struct stream_entry *e, int64_t *flags)
{
    for (;;) {
        if (!it->is_loaded) load_node(it);
        if (!idtree_place_exists(it->node)) return false;
        uint32_t at = next_in_node(it);
        if (at) {
            *flags = read_entry(it, at, e);
            if (!it->backwards) it->at = behind_entry(e);
            return true;
        }
        it->node = it->backwards ? idtree_prev(it->node) : idtree_next(it->node);
        it->is_loaded = false;
    }
}

bool stream_iterator_next(struct stream_iterator *it, struct stream_entry *out)
{
    int64_t flags;
    while (next_stored(it, out, &flags)) {
        /* XSETID may go back behind what was deleted, so only live entries ascend. */
        if (flags & ENTRY_DELETED) continue;
        bool is_below = stream_id_compare(out->id, it->first) < 0;
        bool is_above = stream_id_compare(out->id, it->last) > 0;
        if (it->backwards ? is_below : is_above) break;
        if (!is_below && !is_above) return true;
    }
    it->node.node = NULL;
    return false;
}

bool stream_find(const struct stream *s, struct stream_id id, struct stream_entry *out)
{
    struct stream_iterator it;
    stream_iterator_init(&it, s, id, id, false);
    return stream_iterator_next(&it, out);
}

static struct stream_id end_id(const struct stream *s, bool backwards)
{
    struct stream_iterator it;
    struct stream_entry e = {.id = STREAM_ID_MIN};
    stream_iterator_init(&it, s, STREAM_ID_MIN, STREAM_ID_MAX, backwards);
    return stream_iterator_next(&it, &e) ? e.id : STREAM_ID_MIN;
}

void stream_find_first(struct stream *s)
{
    s->first_id = end_id(s, false);
}

struct stream_id stream_last_entry_id(const struct stream *s)
{
    return end_id(s, true);
}

/* ---- adding ---- */

bool stream_next_id(struct stream_id last, int64_t now_ms, struct stream_id *out)
{
    struct stream_id id = {.ms = (uint64_t)MAX(now_ms, 0)};
    if (id.ms <= last.ms) {
        id = last;
        if (!stream_id_next(&id)) return false;
    }
    *out = id;
    return true;
}

struct addition {
    struct stream_id id, master;
    struct bytes *pairs;
    uint64_t pair_count;
};

/* Whether the fields are the master's, in the same order. */
static bool has_master_fields(const struct listpack *lp, const struct addition *a)
{
    uint32_t at = listpack_next(lp, deleted_at(lp));
    if ((uint64_t)number_at(lp, at) != a->pair_count) return false;
    for (uint64_t i = 0; i < a->pair_count; i++) {
        at = listpack_next(lp, at);
        if (!listpack_equals(lp, at, a->pairs[2 * i])) return false;
    }
    return true;
}

/* A node without entries, whose master has the fields of the first one. */
static struct listpack *try_make_node(struct mem *mem, const struct addition *a)
{
    struct listpack *lp = listpack_try_create(mem);
    bool done = lp && listpack_try_append_integer(mem, &lp, 0) &&
                listpack_try_append_integer(mem, &lp, 0) &&
                listpack_try_append_integer(mem, &lp, (int64_t)a->pair_count);
    for (uint64_t i = 0; done && i < a->pair_count; i++) {
        done = listpack_try_append(mem, &lp, a->pairs[2 * i]);
    }
    if (done && listpack_try_append_integer(mem, &lp, 0)) return lp;
    listpack_free(mem, lp);
    return NULL;
}

static bool try_append_entry(struct mem *mem, struct listpack **lp, const struct addition *a)
{
    bool same = has_master_fields(*lp, a);
    bool done = listpack_try_append_integer(mem, lp, same ? ENTRY_SAME_FIELDS : 0) &&
                listpack_try_append_integer(mem, lp, (int64_t)(a->id.ms - a->master.ms)) &&
                listpack_try_append_integer(mem, lp, (int64_t)(a->id.seq - a->master.seq));
    uint64_t elements = ENTRY_ELEMENTS + a->pair_count;
    if (!same) {
        done = done && listpack_try_append_integer(mem, lp, (int64_t)a->pair_count);
        elements += 1 + a->pair_count;
    }
    for (uint64_t i = 0; done && i < a->pair_count; i++) {
        done = (same || listpack_try_append(mem, lp, a->pairs[2 * i])) &&
               listpack_try_append(mem, lp, a->pairs[2 * i + 1]);
    }
    return done && listpack_try_append_integer(mem, lp, (int64_t)elements) &&
           try_count(mem, lp, 1, 0);
}

/* Appends the entry or leaves the node as it was. */
static bool try_append(struct mem *mem, struct listpack **lp, const struct addition *a)
{
    uint32_t last = listpack_last(*lp);
    if (try_append_entry(mem, lp, a)) return true;
    uint32_t partial = listpack_next(*lp, last);
    if (partial) (void)listpack_delete(mem, lp, partial, UINT64_MAX);
    return false;
}

static bool node_is_full(const struct shard_config *c, const struct listpack *lp, uint64_t extra)
{
    uint64_t bytes_max = c->stream_node_max_bytes;
    if (bytes_max == 0 || bytes_max > NODE_BYTES_MAX) bytes_max = NODE_BYTES_MAX;
    if (listpack_bytes(lp) + extra >= bytes_max) return true;
    uint64_t entries_max = c->stream_node_max_entries;
    uint64_t stored = node_live(lp) + (uint64_t)number_at(lp, deleted_at(lp));
    return entries_max > 0 && stored >= entries_max;
}

bool stream_try_add(struct mem *mem, const struct shard_config *c, struct stream *s,
                    struct stream_id id, struct bytes pairs[], uint64_t pair_count)
{
    DCHECK(stream_id_compare(id, s->last_id) > 0);
    struct addition a = {.id = id, .pairs = pairs, .pair_count = pair_count};
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < 2 * pair_count; i++) bytes += pairs[i].size;

    struct idtree_place place = idtree_last(&s->nodes);
    if (idtree_place_exists(place) && !node_is_full(c, node_of(place), bytes)) {
        struct listpack *lp = node_of(place);
        a.master = idtree_id(place);
        bool done = try_append(mem, &lp, &a);
        idtree_set_item(place, lp);
        if (!done) return false;
    } else {
        struct listpack *lp = try_make_node(mem, &a);
        a.master = id;
        if (!lp || !try_append(mem, &lp, &a)) {
            listpack_free(mem, lp);
            return false;
        }
        idtree_insert(mem, &s->nodes, id, lp);
    }
    if (s->length == 0) s->first_id = id;
    s->last_id = id;
    s->length++;
    s->entries_added++;
    return true;
}

/* ---- removing ---- */

static void drop_node(struct mem *mem, struct stream *s, struct stream_id master)
{
    struct listpack *lp = idtree_remove(mem, &s->nodes, master);
    s->length -= node_live(lp);
    listpack_free(mem, lp);
}

static void mark_deleted(struct mem *mem, struct listpack **lp, uint32_t flags_at)
{
    int64_t flags = number_at(*lp, flags_at) | ENTRY_DELETED;
    CHECK(listpack_try_replace_integer(mem, lp, flags_at, flags)); /* One byte, as before. */
}

static void clear_deleted(struct mem *mem, struct listpack **lp, uint32_t flags_at)
{
    int64_t flags = number_at(*lp, flags_at) & ~ENTRY_DELETED;
    CHECK(listpack_try_replace_integer(mem, lp, flags_at, flags));
}

enum stream_removal stream_try_remove(struct mem *mem, struct stream *s, struct stream_id id)
{
    struct stream_entry e;
    struct stream_iterator it;
    stream_iterator_init(&it, s, id, id, false);
    if (!stream_iterator_next(&it, &e)) return STREAM_NO_SUCH_ENTRY;
    struct listpack *lp = node_of(it.node);
    if (node_live(lp) == 1) {
        drop_node(mem, s, idtree_id(it.node));
    } else {
        mark_deleted(mem, &lp, e.flags_at);
        bool done = try_count(mem, &lp, -1, 1);
        if (!done) clear_deleted(mem, &lp, e.flags_at);
        idtree_set_item(it.node, lp);
        if (!done) return STREAM_NO_MEMORY;
        s->length--;
    }
    if (stream_id_compare(id, s->max_deleted_id) > 0) s->max_deleted_id = id;
    if (stream_id_compare(id, s->first_id) == 0) stream_find_first(s);
    return STREAM_REMOVED;
}

/* The greatest id that a node has, deleted or not. */
static struct stream_id node_last_id(struct idtree_place place)
{
    struct stream_iterator it = {.node = place, .backwards = true};
    struct stream_entry e;
    int64_t flags;
    CHECK(next_stored(&it, &e, &flags));
    return e.id;
}

static bool node_goes(const struct stream *s, const struct stream_trim *t,
                      struct idtree_place place)
{
    if (t->by == STREAM_TRIM_MAXLEN) return s->length - node_live(node_of(place)) >= t->length;
    return stream_id_compare(node_last_id(place), t->min_id) < 0;
}

static bool entry_goes(const struct stream_trim *t, uint64_t length, const struct stream_entry *e)
{
    if (t->by == STREAM_TRIM_MAXLEN) return length > t->length;
    return stream_id_compare(e->id, t->min_id) < 0;
}

/* How many entries of the first node go. */
static uint64_t count_going(const struct stream *s, const struct stream_trim *t)
{
    struct stream_iterator it = {.node = idtree_first(&s->nodes)};
    uint64_t count = 0, live = node_live(node_of(it.node));
    struct stream_entry e;
    int64_t flags;
    while (count < live && next_stored(&it, &e, &flags)) {
        if (flags & ENTRY_DELETED) continue;
        if (!entry_goes(t, s->length - count, &e)) break;
        count++;
    }
    return count;
}

/* So many entries of a node, which has them. */
static void mark_oldest(struct mem *mem, struct idtree_place place, uint64_t count)
{
    struct stream_iterator it = {.node = place};
    struct listpack *lp = node_of(place);
    struct stream_entry e;
    int64_t flags;
    while (count > 0 && next_stored(&it, &e, &flags)) {
        if (flags & ENTRY_DELETED) continue;
        mark_deleted(mem, &lp, e.flags_at);
        count--;
    }
}

/* Of the first node, which cannot go as a whole. */
static uint64_t trim_node(struct mem *mem, struct stream *s, const struct stream_trim *t)
{
    struct idtree_place place = idtree_first(&s->nodes);
    uint64_t count = count_going(s, t);
    if (count == 0) return 0;
    struct listpack *lp = node_of(place);
    bool done = try_count(mem, &lp, -(int64_t)count, (int64_t)count);
    idtree_set_item(place, lp);
    if (!done) return 0;
    mark_oldest(mem, place, count);
    s->length -= count;
    return count;
}

uint64_t stream_trim(struct mem *mem, struct stream *s, const struct stream_trim *t)
{
    uint64_t gone = 0;
    if (t->by == STREAM_TRIM_NONE) return 0;
    for (;;) {
        struct idtree_place place = idtree_first(&s->nodes);
        if (!idtree_place_exists(place)) break;
        if (t->by == STREAM_TRIM_MAXLEN && s->length <= t->length) break;
        uint64_t live = node_live(node_of(place));
        if (t->limit && gone + live > t->limit) break;
        if (!node_goes(s, t, place)) {
            if (!t->whole_nodes) gone += trim_node(mem, s, t);
            break;
        }
        drop_node(mem, s, idtree_id(place));
        gone += live;
    }
    if (gone > 0) stream_find_first(s);
    return gone;
}

/* ---- nodes from elsewhere ---- */

struct node_reader {
    const struct listpack *lp;
    uint32_t at;
};

/* The next element as a number; false if it is none. */
static bool take_number(struct node_reader *r, int64_t *out)
{
    if (!r->at || !listpack_integer(r->lp, r->at, out)) return false;
    r->at = listpack_next(r->lp, r->at);
    return true;
}

static bool take_count(struct node_reader *r, uint64_t *out)
{
    int64_t n;
    if (!take_number(r, &n) || n < 0) return false;
    *out = (uint64_t)n;
    return true;
}

/* `count` elements of any kind, at most as many as there are. */
static bool take_elements(struct node_reader *r, uint64_t count)
{
    for (; count > 0 && r->at; count--) r->at = listpack_next(r->lp, r->at);
    return count == 0;
}

static bool take_entry(struct node_reader *r, struct stream_id master, uint64_t master_fields,
                       struct stream_id *last, bool *is_live)
{
    int64_t flags, ms, seq, stored;
    uint32_t flags_at = r->at;
    if (!take_number(r, &flags) || flags & ~(ENTRY_DELETED | ENTRY_SAME_FIELDS)) return false;
    if (r->at - flags_at != FLAGS_BYTES) return false; /* They are changed in place. */
    if (!take_number(r, &ms) || !take_number(r, &seq)) return false;
    struct stream_id id = {master.ms + (uint64_t)ms, master.seq + (uint64_t)seq};
    *is_live = !(flags & ENTRY_DELETED);
    if (*is_live && stream_id_compare(id, *last) <= 0) return false;
    if (stream_id_compare(id, master) < 0) return false;
    uint64_t elements = ENTRY_ELEMENTS + master_fields;
    if (flags & ENTRY_SAME_FIELDS) {
        if (!take_elements(r, master_fields)) return false;
    } else {
        uint64_t pairs;
        if (!take_count(r, &pairs) || pairs > LISTPACK_BYTES_MAX) return false;
        if (!take_elements(r, 2 * pairs)) return false;
        elements = ENTRY_ELEMENTS + 1 + 2 * pairs;
    }
    if (!take_number(r, &stored) || stored != (int64_t)elements) return false;
    if (*is_live) *last = id;
    return true;
}

bool stream_node_is_valid(const struct listpack *lp, struct stream_id master,
                          struct stream_id *last, uint64_t *live)
{
    struct node_reader r = {lp, listpack_first(lp)};
    if (stream_id_compare(master, *last) <= 0) return false;
    uint64_t claimed_live, claimed_deleted, fields, deleted = 0;
    int64_t end;
    if (!take_count(&r, &claimed_live) || !take_count(&r, &claimed_deleted)) return false;
    if (!take_count(&r, &fields) || fields > LISTPACK_BYTES_MAX) return false;
    if (!take_elements(&r, fields) || !take_number(&r, &end) || end != 0) return false;
    for (*live = 0; r.at;) {
        bool is_live;
        if (!take_entry(&r, master, fields, last, &is_live)) return false;
        *live += is_live;
        deleted += !is_live;
    }
    return *live + deleted > 0 && *live == claimed_live && deleted == claimed_deleted;
}
