#include "server/prefix_changes.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* In `items`, one after the other, padded to 8 bytes; the name is behind it. */
struct change {
    uint64_t key_bytes;
    struct change_source by;
    uint32_t padding;
};

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

bool prefix_changes_add(struct prefix_changes *c, const struct change_source *by, struct bytes key)
{
    struct change change = {.key_bytes = key.size, .by = *by};
    size_t size = sizeof change + padded(key.size);
    char *at = buf_try_reserve(&c->items, size);
    if (!at) return false;
    memcpy(at, &change, sizeof change);
    if (key.size) memcpy(at + sizeof change, key.data, key.size);
    memset(at + sizeof change + key.size, 0, padded(key.size) - key.size);
    c->items.size += size;
    c->count++;
    return true;
}

static struct bytes name_of(const struct change *change)
{
    return bytes_make((const char *)(change + 1), change->key_bytes);
}

static int compare(const void *a, const void *b)
{
    const struct change *const *left = a, *const *right = b;
    struct bytes x = name_of(*left), y = name_of(*right);
    size_t size = MIN(x.size, y.size);
    int order = size ? memcmp(x.data, y.data, size) : 0;
    return order ? order : (x.size > y.size) - (x.size < y.size);
}

static bool is_by(const struct change *change, const struct change_source *who)
{
    return who && change->by.net_id == who->net_id && change->by.index == who->index &&
           change->by.generation == who->generation;
}

/* The changes that are told, one for each name, to the front of the list; how many. */
static uint32_t choose(const struct change **list, uint32_t count,
                       const struct change_source *except)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_by(list[i], except)) continue;
        if (kept > 0 && compare(&list[kept - 1], &list[i]) == 0) continue;
        list[kept++] = list[i];
    }
    return kept;
}

static bool write_names(const struct change *const *list, uint32_t count, struct buf *out)
{
    size_t size = 32;
    for (uint32_t i = 0; i < count; i++) size += name_of(list[i]).size + 32;
    if (!buf_try_reserve(out, size)) return false;
    buf_printf(out, "*%u\r\n", count);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name = name_of(list[i]);
        buf_printf(out, "$%zu\r\n", name.size);
        buf_append(out, name.data, name.size);
        buf_append_text(out, "\r\n");
    }
    return true;
}

bool prefix_changes_write(struct prefix_changes *c, const struct change_source *except,
                          struct buf *out)
{
    size_t bytes = c->count * sizeof(struct change *);
    if (c->count == 0) return true;
    const struct change **list = mem_try_alloc(c->items.mem, bytes);
    if (!list) return false;
    const char *at = c->items.data;
    for (uint32_t i = 0; i < c->count; i++) {
        list[i] = (const struct change *)(const void *)at;
        at += sizeof(struct change) + padded(list[i]->key_bytes);
    }
    qsort(list, c->count, sizeof *list, compare);
    uint32_t kept = choose(list, c->count, except);
    bool ok = kept == 0 || write_names(list, kept, out);
    mem_free(c->items.mem, list, bytes);
    return ok;
}

void prefix_changes_clear(struct prefix_changes *c)
{
    buf_clear(&c->items);
    c->count = 0;
}
