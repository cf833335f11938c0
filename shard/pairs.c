#include "shard/pairs.h"

#include "shard/notify.h"
#include "shard/object.h"

static size_t cushion_bytes(const struct pairs *p)
{
    return p->count * (size_t)DICT_BYTES_PER_ENTRY;
}

static void free_room(struct shard *sh, struct pairs *p)
{
    if (p->entries != p->few) mem_free(&sh->mem, p->entries, p->count * sizeof *p->entries);
    mem_free(&sh->mem, p->cushion, cushion_bytes(p));
    p->cushion = NULL;
}

static bool try_make_room(struct shard *sh, struct pairs *p)
{
    p->entries = p->few;
    p->cushion = NULL;
    if (p->count <= PAIRS_SHORT) return true;
    p->entries = mem_try_alloc(&sh->mem, p->count * sizeof *p->entries);
    p->cushion = p->entries ? mem_try_alloc(&sh->mem, cushion_bytes(p)) : NULL;
    if (p->cushion) return true;
    free_room(sh, p);
    return false;
}

bool pairs_try_make(struct shard *sh, const struct request *rq, struct pairs *p)
{
    p->count = rq->argc / 2;
    if (!try_make_room(sh, p)) return false;
    for (uint32_t i = 0; i < p->count; i++) {
        p->entries[i] = object_try_make_string(&sh->mem, rq->argv[1 + 2 * i], rq->argv[2 + 2 * i],
                                               DEADLINE_NONE);
        if (p->entries[i]) continue;
        while (i-- > 0) entry_free_string(&sh->mem, p->entries[i]);
        free_room(sh, p);
        return false;
    }
    return true;
}

void pairs_put(struct shard *sh, const struct request *rq, struct pairs *p)
{
    CHECK(p->count == rq->argc / 2);
    mem_free(&sh->mem, p->cushion, cushion_bytes(p));
    p->cushion = NULL;
    for (uint32_t i = 0; i < p->count; i++) {
        struct key k = request_key(sh, rq, 1 + 2 * i);
        keyspace_put_entry(sh, &k, p->entries[i]);
        notify(sh, NOTIFY_STRING, "set", &k);
        if (journal_is_on(sh)) journal_describe(sh, &k, "SET", &rq->argv[2 + 2 * i], 1);
    }
    free_room(sh, p);
}

void pairs_drop(struct shard *sh, struct pairs *p)
{
    for (uint32_t i = 0; i < p->count; i++) entry_free_string(&sh->mem, p->entries[i]);
    free_room(sh, p);
}
