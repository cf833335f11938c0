#include "shard/watch.h"

#include "shard/shard.h"

#define BUCKETS_FIRST 64

/* In a bucket. */
struct node {
    struct dlist link;
    uint64_t hash;
};

struct watched_key {
    struct node node;
    struct dlist marks;
    uint32_t db;
    uint32_t name_size;
    char name[];
};

struct watcher {
    struct node node;
    struct dlist marks;
    uint64_t id;
};

struct mark {
    struct dlist of_key, of_id;
    struct watched_key *key;
    struct watcher *watcher;
    bool is_dirty;
};

void watch_init(struct watches *w)
{
    *w = (struct watches){0};
}

/* ---- buckets ---- */

static void bucket_add(struct dlist *buckets, uint32_t count, struct node *n)
{
    dlist_push_back(&buckets[(uint32_t)(n->hash >> 32) & (count - 1)], &n->link);
}

static void buckets_move(struct dlist *from, uint32_t from_count, struct dlist *to,
                         uint32_t to_count)
{
    for (uint32_t i = 0; i < from_count; i++) {
        struct dlist *link;
        while ((link = dlist_pop_front(&from[i])))
            bucket_add(to, to_count, container_of(link, struct node, link));
    }
}

/* Both tables in one block. Without memory chains get longer, unless there are no buckets at all.
 */
static bool buckets_grow(struct shard *sh)
{
    struct watches *w = &sh->watches;
    uint32_t old = w->bucket_count, count = old ? 2 * old : BUCKETS_FIRST;
    struct dlist *keys = mem_try_alloc(&sh->mem, 2 * (size_t)count * sizeof *keys);
    if (!keys) return old > 0;
    for (uint32_t i = 0; i < 2 * count; i++) dlist_init(&keys[i]);
    if (old) {
        buckets_move(w->keys, old, keys, count);
        buckets_move(w->ids, old, keys + count, count);
        mem_free(&sh->mem, w->keys, 2 * (size_t)old * sizeof *keys);
    }
    w->keys = keys;
    w->ids = keys + count;
    w->bucket_count = count;
    return true;
}

static bool buckets_have_room(struct shard *sh)
{
    const struct watches *w = &sh->watches;
    return MAX(w->key_count, w->id_count) < w->bucket_count || buckets_grow(sh);
}

static void buckets_free_if_unused(struct shard *sh)
{
    struct watches *w = &sh->watches;
    if (w->key_count > 0 || w->bucket_count == 0) return;
    CHECK(w->id_count == 0);
    mem_free(&sh->mem, w->keys, 2 * (size_t)w->bucket_count * sizeof *w->keys);
    watch_init(w);
}

static uint64_t id_hash(uint64_t id)
{
    return id * 0x9E3779B97F4A7C15ULL;
}

static struct dlist *bucket_of(const struct watches *w, struct dlist *buckets, uint64_t hash)
{
    return &buckets[(uint32_t)(hash >> 32) & (w->bucket_count - 1)];
}

/* ---- finding and making ---- */

static struct watched_key *find_key(const struct watches *w, const struct key *k)
{
    if (w->key_count == 0) return NULL;
    dlist_each (link, bucket_of(w, w->keys, k->hash)) {
        struct watched_key *wk = container_of(link, struct watched_key, node.link);
        if (wk->node.hash == k->hash && wk->db == k->db &&
            bytes_equal(bytes_make(wk->name, wk->name_size), k->name))
            return wk;
    }
    return NULL;
}

static struct watcher *find_watcher(const struct watches *w, uint64_t id)
{
    if (w->id_count == 0) return NULL;
    dlist_each (link, bucket_of(w, w->ids, id_hash(id))) {
        struct watcher *found = container_of(link, struct watcher, node.link);
        if (found->id == id) return found;
    }
    return NULL;
}

static struct mark *find_mark(const struct watched_key *wk, uint64_t id)
{
    dlist_each (link, &wk->marks) {
        struct mark *m = container_of(link, struct mark, of_key);
        if (m->watcher->id == id) return m;
    }
    return NULL;
}

static struct watched_key *try_make_key(struct shard *sh, const struct key *k)
{
    struct watched_key *wk = mem_try_alloc(&sh->mem, sizeof *wk + k->name.size);
    if (!wk) return NULL;
    wk->node.hash = k->hash;
    wk->db = k->db;
    wk->name_size = (uint32_t)k->name.size;
    memcpy(wk->name, k->name.data, k->name.size);
    dlist_init(&wk->marks);
    bucket_add(sh->watches.keys, sh->watches.bucket_count, &wk->node);
    counter_set(&sh->counters.watched_keys, ++sh->watches.key_count);
    return wk;
}

static struct watcher *make_watcher(struct shard *sh, uint64_t id)
{
    struct watcher *made = mem_alloc(&sh->mem, sizeof *made);
    made->id = id;
    made->node.hash = id_hash(id);
    dlist_init(&made->marks);
    bucket_add(sh->watches.ids, sh->watches.bucket_count, &made->node);
    sh->watches.id_count++;
    return made;
}

enum err watch_add(struct shard *sh, uint64_t id, const struct key *k)
{
    /* A key that has expired is watched as one that is not there. */
    (void)keyspace_peek(sh, k);
    struct watched_key *wk = find_key(&sh->watches, k);
    if (wk && find_mark(wk, id)) return OK;
    if (!buckets_have_room(sh)) return ERR_ALLOC;
    if (!wk) wk = try_make_key(sh, k);
    if (!wk) return ERR_ALLOC;
    struct watcher *watcher = find_watcher(&sh->watches, id);
    if (!watcher) watcher = make_watcher(sh, id);
    struct mark *m = mem_alloc(&sh->mem, sizeof *m);
    *m = (struct mark){.key = wk, .watcher = watcher};
    dlist_push_back(&wk->marks, &m->of_key);
    dlist_push_back(&watcher->marks, &m->of_id);
    return OK;
}

/* ---- ending ---- */

static void mark_free(struct shard *sh, struct mark *m)
{
    struct watched_key *wk = m->key;
    struct watcher *watcher = m->watcher;
    dlist_remove(&m->of_key);
    dlist_remove(&m->of_id);
    mem_free(&sh->mem, m, sizeof *m);
    if (dlist_is_empty(&wk->marks)) {
        dlist_remove(&wk->node.link);
        mem_free(&sh->mem, wk, sizeof *wk + wk->name_size);
        counter_set(&sh->counters.watched_keys, --sh->watches.key_count);
    }
    if (dlist_is_empty(&watcher->marks)) {
        dlist_remove(&watcher->node.link);
        mem_free(&sh->mem, watcher, sizeof *watcher);
        sh->watches.id_count--;
    }
}

static struct key key_of(const struct watched_key *wk)
{
    return (struct key){
        .name = bytes_make(wk->name, wk->name_size), .hash = wk->node.hash, .db = wk->db};
}

/* A deadline that has passed deletes the key here, and that makes the mark dirty. */
static bool mark_is_clean(struct shard *sh, const struct mark *m)
{
    struct key k = key_of(m->key);
    (void)keyspace_peek(sh, &k);
    return !m->is_dirty;
}

bool watch_end(struct shard *sh, uint64_t id)
{
    struct watcher *watcher = find_watcher(&sh->watches, id);
    bool is_clean = true;
    while (watcher) {
        struct mark *m = container_of(watcher->marks.next, struct mark, of_id);
        bool is_last = watcher->marks.next == watcher->marks.prev;
        is_clean = is_clean && mark_is_clean(sh, m);
        mark_free(sh, m);
        if (is_last) watcher = NULL;
    }
    buckets_free_if_unused(sh);
    return is_clean;
}

void watch_deinit(struct shard *sh)
{
    struct watches *w = &sh->watches;
    for (uint32_t i = 0; i < w->bucket_count && w->key_count > 0; i++) {
        while (!dlist_is_empty(&w->keys[i])) {
            struct watched_key *wk = container_of(w->keys[i].next, struct watched_key, node.link);
            while (wk->marks.next != wk->marks.prev)
                mark_free(sh, container_of(wk->marks.next, struct mark, of_key));
            mark_free(sh, container_of(wk->marks.next, struct mark, of_key));
        }
    }
    buckets_free_if_unused(sh);
}

/* ---- changes ---- */

static void key_changed(struct watched_key *wk)
{
    dlist_each (link, &wk->marks) container_of(link, struct mark, of_key)->is_dirty = true;
}

void watch_mark_changed(struct shard *sh, const struct key *k)
{
    struct watched_key *wk = find_key(&sh->watches, k);
    if (wk) key_changed(wk);
}

void watch_mark_database(struct shard *sh, uint32_t db, uint32_t other)
{
    struct watches *w = &sh->watches;
    for (uint32_t i = 0; i < w->bucket_count; i++) {
        dlist_each (link, &w->keys[i]) {
            struct watched_key *wk = container_of(link, struct watched_key, node.link);
            if (wk->db != db) continue;
            struct key here = key_of(wk), there = here;
            there.db = other;
            if (keyspace_peek(sh, &here) || keyspace_peek(sh, &there)) key_changed(wk);
        }
    }
}

/* ---- invariants ---- */

void watch_validate(const struct shard *sh)
{
    const struct watches *w = &sh->watches;
    uint64_t keys = 0, ids = 0, marks_of_keys = 0, marks_of_ids = 0;
    for (uint32_t i = 0; i < w->bucket_count; i++) {
        dlist_each (link, &w->keys[i]) {
            struct watched_key *wk = container_of(link, struct watched_key, node.link);
            keys++;
            CHECK(!dlist_is_empty(&wk->marks));
            dlist_each (mark, &wk->marks) {
                CHECK(container_of(mark, struct mark, of_key)->key == wk);
                marks_of_keys++;
            }
        }
        dlist_each (link, &w->ids[i]) {
            struct watcher *watcher = container_of(link, struct watcher, node.link);
            ids++;
            CHECK(!dlist_is_empty(&watcher->marks));
            dlist_each (mark, &watcher->marks) {
                CHECK(container_of(mark, struct mark, of_id)->watcher == watcher);
                marks_of_ids++;
            }
        }
    }
    CHECK(keys == w->key_count && ids == w->id_count && marks_of_keys == marks_of_ids);
}
