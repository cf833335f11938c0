#include "shard/slice.h"

#include "base/mem.h"
#include "shard/object.h"
#include "shard/shard.h"

#define PLACES 65536u /* that bytes_shard deals out */

enum cover { COVER_NONE, COVER_SOME, COVER_ALL };

static uint32_t first_place(uint32_t shard, uint32_t shard_count)
{
    return (shard * PLACES + shard_count - 1) / shard_count;
}

/* How much of what may be on this shard the slice holds. */
static enum cover cover_of(const struct shard *sh, struct slice s)
{
    uint32_t from = first_place(sh->id, sh->shard_count),
             to = first_place(sh->id + 1u, sh->shard_count),
             slice_from = first_place(s.shard, s.shard_count),
             slice_to = first_place(s.shard + 1u, s.shard_count);
    if (to <= slice_from || from >= slice_to) return COVER_NONE;
    return slice_from <= from && to <= slice_to ? COVER_ALL : COVER_SOME;
}

struct slice_keys {
    struct shard *sh;
    struct slice slice;
    struct buf entries; /* struct entry * */
    bool is_too_big;
};

static struct key key_of(const struct shard *sh, const struct entry *e, uint32_t db)
{
    return (struct key){
        .name = entry_key(e), .hash = bytes_hash(entry_key(e), sh->keys.seed), .db = db};
}

static void collect(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct slice_keys *keys = context;
    struct key k = key_of(keys->sh, e, 0);
    if (bytes_shard(k.name, k.hash, keys->sh->keys.seed, keys->slice.shard_count) !=
        keys->slice.shard)
        return;
    char *at = buf_try_reserve(&keys->entries, sizeof(struct entry *));
    keys->is_too_big |= at == NULL;
    if (!at) return;
    memcpy(at, &e, sizeof e);
    keys->entries.size += sizeof e;
}

/* False: there is no memory for so many. */
static bool collect_keys(struct slice_keys *keys, uint32_t db)
{
    uint64_t cursor = keyspace_scan(keys->sh, db, 0, UINT64_MAX, collect, keys);
    CHECK(cursor == 0);
    return !keys->is_too_big;
}

static struct entry *entry_at(const struct slice_keys *keys, size_t index)
{
    struct entry *e;
    memcpy(&e, keys->entries.data + index * sizeof e, sizeof e);
    return e;
}

static size_t entry_count(const struct slice_keys *keys)
{
    return keys->entries.size / sizeof(struct entry *);
}

void slice_flush(struct shard *sh, struct slice s, uint32_t db)
{
    enum cover cover = cover_of(sh, s);
    if (cover == COVER_ALL) keyspace_flush(sh, db);
    if (cover != COVER_SOME) return;
    bool is_through;
    do { /* in pieces, if the memory is short */
        struct slice_keys keys = {.sh = sh, .slice = s, .entries = {.mem = &sh->mem}};
        is_through = collect_keys(&keys, db);
        CHECK(is_through || entry_count(&keys) > 0);
        for (size_t i = 0; i < entry_count(&keys); i++) {
            struct key k = key_of(sh, entry_at(&keys, i), db);
            keyspace_delete(sh, &k);
        }
        buf_clear(&keys.entries);
    } while (!is_through);
}

/* What the other database has under the same name comes here in exchange. */
static enum err move_key(struct shard *sh, struct entry *e, uint32_t from, uint32_t to)
{
    struct key k = key_of(sh, e, from), target = k;
    target.db = to;
    const struct entry *other = keyspace_peek(sh, &target);
    struct entry *copy = NULL;
    if (other) {
        copy = object_try_copy(&sh->mem, other, k.name, entry_deadline_ms(other));
        if (!copy) return ERR_ALLOC;
    }
    /* The entry keeps its name, so this needs no memory. */
    if (keyspace_move(sh, &k, &target) != OK) CHECK_NEVER("it is there");
    if (copy) keyspace_put_entry(sh, &k, copy);
    return OK;
}

enum err slice_swap(struct shard *sh, struct slice s, uint32_t db_a, uint32_t db_b)
{
    enum cover cover = cover_of(sh, s);
    if (db_a == db_b || cover == COVER_NONE) return OK;
    if (cover == COVER_ALL) {
        keyspace_swap(sh, db_a, db_b);
        return OK;
    }
    /* Entries are collected before any is moved; those of b whose name is in a, too, are dealt with
     * from there. */
    struct slice_keys from_a = {.sh = sh, .slice = s, .entries = {.mem = &sh->mem}},
                      from_b = {.sh = sh, .slice = s, .entries = {.mem = &sh->mem}};
    enum err e = collect_keys(&from_a, db_a) && collect_keys(&from_b, db_b) ? OK : ERR_ALLOC;
    for (size_t i = 0; e == OK && i < entry_count(&from_b); i++) {
        struct key twin = key_of(sh, entry_at(&from_b, i), db_a);
        if (!keyspace_peek(sh, &twin)) e = move_key(sh, entry_at(&from_b, i), db_b, db_a);
    }
    for (size_t i = 0; e == OK && i < entry_count(&from_a); i++)
        e = move_key(sh, entry_at(&from_a, i), db_a, db_b);
    buf_clear(&from_a.entries);
    buf_clear(&from_b.entries);
    return e;
}
