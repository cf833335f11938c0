#include "net/gather.h"

#include "net/netloop.h"

static const struct chunk *first_chunk(const struct gather_part *part)
{
    return part->parcel ? part->parcel->out.first : part->chain;
}

/* Copies [from, to) of the part's chunks. */
static void chunks_copy(const struct gather_part *part, uint64_t from, uint64_t to, char *out)
{
    const struct chunk *chunk = first_chunk(part);
    uint64_t base = 0;
    for (; chunk && base < to; base += chunk->size, chunk = chunk->next) {
        uint64_t first = MAX(from, base), last = MIN(to, base + chunk->size);
        if (first >= last) continue;
        memcpy(out, chunk->data + (first - base), last - first);
        out += last - first;
    }
}

void gather_part_write(const struct gather *g, uint32_t index, struct reply *out)
{
    const struct gather_part *part = &g->parts[index];
    uint64_t base = 0;
    for (const struct chunk *c = first_chunk(part); c && base < part->end; c = c->next) {
        uint64_t from = MAX(part->start, base), to = MIN(part->end, base + c->size);
        if (from < to) reply_raw(out, c->data + (from - base), to - from);
        base += c->size;
    }
}

bool gather_part_try_append(const struct gather *g, uint32_t index, struct buf *out)
{
    const struct gather_part *part = &g->parts[index];
    uint64_t size = part->end - part->start;
    if (size == 0) return true;
    char *at = buf_try_reserve(out, size);
    if (!at) return false;
    chunks_copy(part, part->start, part->end, at);
    out->size += size;
    return true;
}

size_t gather_part_head(const struct gather *g, uint32_t index, char *out, size_t size)
{
    const struct gather_part *part = &g->parts[index];
    uint64_t end = MIN(part->end, part->start + size);
    chunks_copy(part, part->start, end, out);
    return (size_t)(end - part->start);
}

char gather_part_kind(const struct gather *g, uint32_t index)
{
    const struct gather_part *part = &g->parts[index];
    const struct chunk *chunk = first_chunk(part);
    uint64_t at = part->start;
    while (chunk && at >= chunk->size) {
        at -= chunk->size;
        chunk = chunk->next;
    }
    return chunk ? chunk->data[at] : '\0';
}

bool gather_part_try_reserve(const struct gather *g, uint32_t index, struct buf *scratch)
{
    const struct gather_part *part = &g->parts[index];
    const struct chunk *only = first_chunk(part);
    if (only && part->end <= only->size) return true;
    scratch->size = 0;
    return part->start == part->end || buf_try_reserve(scratch, part->end - part->start);
}

struct bytes gather_part_bytes(struct gather *g, uint32_t index, struct buf *scratch)
{
    const struct gather_part *part = &g->parts[index];
    const struct chunk *only = first_chunk(part);
    if (only && part->end <= only->size)
        return bytes_make(only->data + part->start, part->end - part->start);
    scratch->size = 0;
    chunks_copy(part, part->start, part->end, buf_reserve(scratch, part->end - part->start));
    scratch->size = part->end - part->start;
    return buf_view(scratch);
}

void gather_release_parts(struct gather *g)
{
    for (uint32_t i = 0; i < g->part_count; i++) {
        struct gather_part *part = &g->parts[i];
        if (part->parcel) turn_unhold(g->netloop, part->parcel);
        if (part->late)
            turn_return_late(g->netloop, part->late);
        else if (part->chain)
            chunk_free_chain(&g->netloop->mem, part->chain);
        *part = (struct gather_part){0};
    }
}
