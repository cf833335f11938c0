#include "net/gather.h"

#include "net/netloop.h"

static void part_flatten(const struct gather_part *part, struct buf *out)
{
    const struct chunk *chunk = part->parcel ? part->parcel->out.first : part->chain;
    uint64_t from = part->start, to = part->end;
    uint64_t base = 0;
    for (; chunk && base < to; base += chunk->size, chunk = chunk->next) {
        uint64_t first = MAX(from, base), last = MIN(to, base + chunk->size);
        if (first < last) buf_append(out, chunk->data + (first - base), last - first);
    }
}

char gather_part_kind(const struct gather *g, uint32_t index)
{
    const struct gather_part *part = &g->parts[index];
    const struct chunk *chunk = part->parcel ? part->parcel->out.first : part->chain;
    uint64_t at = part->start;
    while (chunk && at >= chunk->size) {
        at -= chunk->size;
        chunk = chunk->next;
    }
    return chunk ? chunk->data[at] : '\0';
}

struct bytes gather_part_bytes(struct gather *g, uint32_t index, struct buf *scratch)
{
    const struct gather_part *part = &g->parts[index];
    const struct chunk *only = part->parcel ? part->parcel->out.first : part->chain;
    if (only && part->end <= only->size)
        return bytes_make(only->data + part->start, part->end - part->start);
    scratch->size = 0;
    part_flatten(part, scratch);
    return buf_view(scratch);
}

void gather_release_parts(struct gather *g)
{
    for (uint32_t i = 0; i < g->part_count; i++) {
        struct gather_part *part = &g->parts[i];
        if (part->parcel) turn_unhold(g->netloop, part->parcel);
        if (part->chain) chunk_free_chain(&g->netloop->mem, part->chain);
        *part = (struct gather_part){0};
    }
}
