/* The pipeline of replies of a connection: slots that become ready in any order, the chain of
 * bytes that leave in order, and the one send that is under way.
 */

#include <stdio.h>

#include "base/command.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/netloop.h"

#define SLOTS_FIRST 4
#define HOLD_BYTES_MAX (16 * 1024) /* beyond, a send is worth it */

/* Small replies take small chunks: fifty connections with one reply each then share few pages and
 * cache sets. */
static const uint32_t chunk_sizes[] = {488, 4072, REPLY_CHUNK_BYTES};

/* ---- the out chain ---- */

/* NULL: no memory. */
static struct chunk *chunk_try_make(struct mem *mem, size_t size)
{
    size_t capacity = size;
    for (unsigned i = 0; i < ARRAY_LEN(chunk_sizes); i++) {
        if (size > chunk_sizes[i]) continue;
        capacity = chunk_sizes[i];
        break;
    }
    struct chunk *chunk = mem_try_alloc(mem, sizeof *chunk + capacity);
    if (chunk) *chunk = (struct chunk){.capacity = (uint32_t)capacity};
    return chunk;
}

/* Empty chunks with room for so many bytes; NULL: no memory. */
static struct chunk *chain_try_make(struct mem *mem, uint64_t size)
{
    struct chunk *first = NULL, **link = &first;
    while (size > 0) {
        *link = chunk_try_make(mem, MIN(size, (uint64_t)REPLY_CHUNK_BYTES_MAX));
        if (!*link) {
            chunk_free_chain(mem, first);
            return NULL;
        }
        size -= MIN(size, (uint64_t)(*link)->capacity);
        link = &(*link)->next;
    }
    return first;
}

/* The error that stands for a reply that finds no memory. */
static struct chunk *chunk_make_error(struct mem *mem)
{
    char text[128];
    size_t size = (size_t)snprintf(text, sizeof text, "-%s\r\n", err_text(ERR_ALLOC));
    struct chunk *chunk = mem_alloc(mem, sizeof *chunk + size);
    *chunk = (struct chunk){.capacity = (uint32_t)size, .size = (uint32_t)size};
    memcpy(chunk->data, text, size);
    return chunk;
}

/* A copy of the bytes [start, end) of a chain, at least one; NULL: no memory. */
static struct chunk *chunk_try_copy_range(struct mem *mem, const struct chunk *chain,
                                          uint64_t start, uint64_t end)
{
    uint64_t total = end - start, offset_in_chunk = start;
    for (; chain && offset_in_chunk >= chain->size; chain = chain->next)
        offset_in_chunk -= chain->size;
    mem_insist(mem, total <= REPLY_SURE_BYTES);
    struct chunk *first = chain_try_make(mem, total), *copy = first;
    mem_insist(mem, false);
    while (first && total > 0) {
        uint64_t n = MIN(total, chain->size - offset_in_chunk);
        n = MIN(n, (uint64_t)(copy->capacity - copy->size));
        memcpy(copy->data + copy->size, chain->data + offset_in_chunk, n);
        copy->size += (uint32_t)n;
        if (copy->size == copy->capacity) copy = copy->next;
        total -= n;
        offset_in_chunk += n;
        if (offset_in_chunk < chain->size) continue;
        chain = chain->next;
        offset_in_chunk = 0;
    }
    return first;
}

/* An error, if there is no memory for it. */
static struct chunk *chunk_copy_range(struct mem *mem, const struct chunk *chain, uint64_t start,
                                      uint64_t end)
{
    if (start == end) return NULL;
    struct chunk *copy = chunk_try_copy_range(mem, chain, start, end);
    return copy ? copy : chunk_make_error(mem);
}

static uint64_t chain_bytes(const struct chunk *chain)
{
    uint64_t size = 0;
    for (; chain; chain = chain->next) size += chain->size;
    return size;
}

struct chunk *chunk_copy_chain(struct mem *mem, const struct chunk *chain)
{
    return chunk_copy_range(mem, chain, 0, chain_bytes(chain));
}

/* At the end of a chain that is short. False: no memory, and nothing has changed. */
static bool chain_try_append(struct mem *mem, struct chunk **chain, struct bytes data)
{
    while (*chain && (*chain)->size == (*chain)->capacity) chain = &(*chain)->next;
    size_t room = *chain ? (*chain)->capacity - (*chain)->size : 0;
    struct chunk *fresh = NULL;
    if (data.size > room && !(fresh = chain_try_make(mem, data.size - room))) return false;
    if (*chain)
        (*chain)->next = fresh;
    else
        *chain = fresh;
    while (data.size > 0) {
        size_t n = MIN(data.size, (size_t)((*chain)->capacity - (*chain)->size));
        memcpy((*chain)->data + (*chain)->size, data.data, n);
        (*chain)->size += (uint32_t)n;
        data = bytes_make(data.data + n, data.size - n);
        if ((*chain)->size == (*chain)->capacity) chain = &(*chain)->next;
    }
    return true;
}

static void conn_mark_dirty(struct conn *c)
{
    if (dlist_is_empty(&c->dirty_link)) dlist_push_back(&c->netloop->dirty, &c->dirty_link);
}

/* What it must be told finds no memory: it is closed, as it would miss something. */
static void conn_lose(struct conn *c)
{
    c->has_lost_output = true;
    conn_mark_dirty(c);
}

/* Room for so many bytes behind what is there: in the last chunk, and in `fresh` ones that are not
 * linked yet. False: no memory; but a short reply is sure of it, unless much waits already. */
static bool out_try_reserve(const struct conn *c, uint64_t size, struct chunk **fresh)
{
    const struct chunk *last = c->out_last;
    uint64_t room = last ? last->capacity - last->size : 0;
    *fresh = NULL;
    if (likely(size <= room)) return true;
    struct mem *mem = &c->netloop->mem;
    mem_insist(mem, size <= REPLY_SURE_BYTES && c->out_bytes <= HOLD_BYTES_MAX);
    *fresh = chain_try_make(mem, size - room);
    mem_insist(mem, false);
    return *fresh != NULL;
}

/* There is room. */
static void out_write(struct conn *c, const char *data, size_t size, struct chunk **fresh)
{
    while (size > 0) {
        struct chunk *last = c->out_last;
        if (!last || last->size == last->capacity) {
            last = *fresh;
            *fresh = last->next;
            last->next = NULL;
            if (c->out_last)
                c->out_last->next = last;
            else
                c->out_first = last;
            c->out_last = last;
        }
        size_t n = MIN(size, (size_t)(last->capacity - last->size));
        memcpy(last->data + last->size, data, n);
        last->size += (uint32_t)n;
        data += n;
        size -= n;
    }
}

static void out_count(struct conn *c, uint64_t size)
{
    c->out_bytes += size;
    c->out_total += size;
    conn_mark_dirty(c);
}

static void out_append(struct conn *c, const char *data, size_t size)
{
    struct chunk *fresh;
    if (c->is_closing || c->has_lost_output) return;
    if (unlikely(!out_try_reserve(c, size, &fresh))) {
        conn_lose(c);
        return;
    }
    out_write(c, data, size, &fresh);
    out_count(c, size);
}

static void out_append_error(struct conn *c)
{
    struct chunk *error = chunk_make_error(&c->netloop->mem);
    out_append(c, error->data, error->size);
    chunk_free_chain(&c->netloop->mem, error);
}

/* Bytes [start, end) of a chain: all of them, or an error, if that may stand for them: it tells
 * that nothing has been done. */
static void out_append_range(struct conn *c, const struct chunk *chain, uint64_t start,
                             uint64_t end, bool may_be_error)
{
    struct chunk *fresh;
    if (c->is_closing || c->has_lost_output) return;
    if (unlikely(!out_try_reserve(c, end - start, &fresh))) {
        if (may_be_error && end - start > REPLY_SURE_BYTES)
            out_append_error(c);
        else
            conn_lose(c);
        return;
    }
    uint64_t base = 0;
    for (; chain && base < end; chain = chain->next) {
        uint64_t from = MAX(start, base), to = MIN(end, base + chain->size);
        if (from < to) out_write(c, chain->data + (from - base), to - from, &fresh);
        base += chain->size;
    }
    out_count(c, end - start);
}

static void out_append_chain(struct conn *c, const struct chunk *chain, bool may_be_error)
{
    out_append_range(c, chain, 0, chain_bytes(chain), may_be_error);
}

void conn_push(struct conn *c, const uint32_t *behind, const struct bytes *pieces, unsigned count)
{
    const struct output_limit *limit = &c->netloop->config->output_limits[c->output_class];
    if (c->is_closing || c->is_over_hard_limit) return;
    bool must_wait = behind && *behind - c->slot_head < c->slot_tail - c->slot_head;
    if (must_wait) {
        struct slot *slot = conn_slot(c, *behind);
        for (unsigned i = 0; i < count; i++)
            if (!chain_try_append(&c->netloop->mem, &slot->behind, pieces[i])) conn_lose(c);
        return;
    }
    for (unsigned i = 0; i < count; i++) out_append(c, pieces[i].data, pieces[i].size);
    if (limit->hard_bytes && c->out_bytes > limit->hard_bytes) c->is_over_hard_limit = true;
}

/* ---- slots ---- */

uint32_t conn_push_slot(struct conn *c)
{
    struct mem *mem = &c->netloop->mem;
    uint32_t capacity = c->slots ? c->slot_mask + 1 : 0;
    if (c->slot_tail - c->slot_head == capacity) {
        uint32_t grown = capacity ? 2 * capacity : SLOTS_FIRST;
        struct slot *slots = mem_alloc(mem, grown * sizeof *slots);
        for (uint32_t i = c->slot_head; i != c->slot_tail; i++)
            slots[i & (grown - 1)] = *conn_slot(c, i);
        if (c->slots) mem_free(mem, c->slots, capacity * sizeof *slots);
        c->slots = slots;
        c->slot_mask = grown - 1;
    }
    uint32_t sequence = c->slot_tail++;
    c->in_flight++;
    *conn_slot(c, sequence) = (struct slot){.muted = c->is_reply_off || c->is_reply_skip};
    return sequence;
}

static void slot_emit_reply(struct conn *c, struct slot *slot)
{
    if (slot->parcel) {
        if (!slot->muted && slot->count > 0) {
            const struct request *last = &slot->parcel->requests[slot->first + slot->count - 1];
            out_append_range(c, slot->parcel->out.first,
                             parcel_reply_start(slot->parcel, slot->first), last->reply_end,
                             slot->count == 1 && last->command->flags & CMD_READ);
        }
        turn_unhold(c->netloop, slot->parcel);
        return;
    }
    if (!slot->muted) out_append_chain(c, slot->chain, slot->count <= 1 && !slot->is_done);
    if (slot->chain) chunk_free_chain(&c->netloop->mem, slot->chain);
}

static void slot_emit(struct conn *c, struct slot *slot)
{
    slot_emit_reply(c, slot);
    if (likely(!slot->behind)) return;
    for (const struct chunk *at = slot->behind; at; at = at->next)
        out_append(c, at->data, at->size);
    chunk_free_chain(&c->netloop->mem, slot->behind);
}

void conn_drain_slots(struct conn *c)
{
    if (c->is_closing) return;
    while (conn_has_slots(c) && conn_slot(c, c->slot_head)->state == SLOT_READY) {
        struct slot slot = *conn_slot(c, c->slot_head);
        c->slot_head++;
        uint32_t requests = MAX(slot.count, 1u);
        c->in_flight -= requests;
        c->answered += requests;
        slot_emit(c, &slot);
    }
    /* Also for output that is held: what it waited for may have been muted. */
    if (c->out_first || (!conn_has_slots(c) && c->close_after_reply)) conn_mark_dirty(c);
}

void conn_reply(struct conn *c, struct reply *r)
{
    if (c->is_closing) return;
    reply_close(r);
    bool muted = c->is_reply_off || c->is_reply_skip;
    if (muted) return;
    if (!conn_has_slots(c)) {
        c->answered++;
        out_append_chain(c, r->first, true);
        return;
    }
    struct slot *slot = conn_slot(c, conn_push_slot(c));
    slot->chain = chunk_copy_chain(&c->netloop->mem, r->first);
    slot->state = SLOT_READY;
}

void conn_fill_slot_chain(struct conn *c, uint32_t sequence, struct chunk *chain)
{
    if (c->is_closing) {
        chunk_free_chain(&c->netloop->mem, chain);
        return;
    }
    struct slot *slot = conn_slot(c, sequence);
    CHECK(slot->state == SLOT_WAITING);
    slot->state = SLOT_READY;
    slot->parcel = NULL;
    slot->chain = chain;
    conn_drain_slots(c);
}

void conn_fill_slot(struct conn *c, uint32_t sequence, struct reply *r)
{
    if (c->is_closing) return;
    reply_close(r);
    conn_fill_slot_chain(c, sequence, chunk_copy_chain(&c->netloop->mem, r->first));
}

void conn_fill_slot_done(struct conn *c, uint32_t sequence, struct reply *r)
{
    if (c->is_closing) return;
    reply_close(r);
    uint64_t size = reply_size(r);
    struct chunk *copy = chunk_try_copy_range(&c->netloop->mem, r->first, 0, size);
    if (!copy) conn_lose(c);
    conn_slot(c, sequence)->is_done = true;
    conn_fill_slot_chain(c, sequence, copy);
}

/* The replies that are there are copied out, so that the parcel need not wait for the parked ones.
 */
static void slot_split(struct conn *c, struct slot *slot, struct parcel *pc)
{
    struct mem *mem = &c->netloop->mem;
    size_t size = sizeof *slot->pieces + slot->count * sizeof(struct chunk *);
    slot->pieces = mem_alloc_zeroed(mem, size);
    slot->pieces->count = slot->count;
    for (uint32_t i = 0; i < slot->count; i++) {
        uint32_t index = slot->first + i;
        if (pc->requests[index].flags & REQUEST_PARKED) {
            slot->pieces->missing++;
            continue;
        }
        slot->pieces->chains[i] = chunk_copy_range(
            mem, pc->out.first, parcel_reply_start(pc, index), pc->requests[index].reply_end);
    }
}

void conn_run_home(struct conn *c, struct parcel *pc, const struct run *run, bool has_parked)
{
    if (c->is_closing) return;
    struct slot *slot = conn_slot(c, run->slot);
    CHECK(slot->state == SLOT_WAITING && slot->first == run->first && slot->count == run->count);
    if (unlikely(has_parked)) {
        slot_split(c, slot, pc);
        return;
    }
    slot->parcel = pc;
    slot->state = SLOT_READY;
    pc->holds++;
    if (run->slot == c->slot_head) conn_drain_slots(c);
}

void conn_late_reply(struct conn *c, uint32_t sequence, uint16_t index, const struct chunk *chain)
{
    if (c->is_closing) return;
    struct mem *mem = &c->netloop->mem;
    struct slot *slot = conn_slot(c, sequence);
    struct slot_pieces *pieces = slot->pieces;
    CHECK(slot->state == SLOT_WAITING && pieces && index < pieces->count && !pieces->chains[index]);
    pieces->chains[index] = chunk_copy_chain(mem, chain);
    if (--pieces->missing > 0) return;

    struct chunk **link = &slot->chain;
    for (uint32_t i = 0; i < pieces->count; i++) {
        *link = pieces->chains[i];
        while (*link) link = &(*link)->next;
    }
    mem_free(mem, pieces, sizeof *pieces + pieces->count * sizeof(struct chunk *));
    slot->pieces = NULL;
    slot->state = SLOT_READY;
    conn_drain_slots(c);
}

/* ---- sending ---- */

/* The thread's clock may be ahead of the wheel's. */
static void arm_soft_limit(struct conn *c, uint64_t in_ms)
{
    struct netloop *nl = c->netloop;
    wheel_arm(&nl->wheel, &c->soft_limit_timer.timer, thread_now_ms(nl->thread) + in_ms + 1);
}

/* A client that does not read is cut: at once over the hard limit, after some seconds over the soft
 * one. */
static bool conn_is_over_limit(struct conn *c)
{
    const struct output_limit *limit = &c->netloop->config->output_limits[c->output_class];
    uint64_t now_ms = c->netloop->thread->now_ns / 1000000;
    if (c->is_over_hard_limit) return true;
    if (limit->hard_bytes && c->out_bytes > limit->hard_bytes) return true;
    if (!limit->soft_bytes || c->out_bytes <= limit->soft_bytes) {
        c->over_soft_limit_since_ms = 0;
        return false;
    }
    if (c->over_soft_limit_since_ms == 0) {
        c->over_soft_limit_since_ms = now_ms;
        arm_soft_limit(c, limit->soft_seconds * 1000ULL);
    }
    return now_ms - c->over_soft_limit_since_ms >= limit->soft_seconds * 1000ULL;
}

static void conn_cut(struct conn *c)
{
    char name[ENV_NAME_BYTES_MAX];
    env_peer_name(c->socket.fd, name);
    log_warning(
        "Client id=%llu addr=%s closed for overcoming of output buffer limits: %llu bytes waiting",
        (unsigned long long)c->id, name, (unsigned long long)c->out_bytes);
    counter_add(&c->netloop->counters.connections_cut_output, 1);
    conn_close(c);
}

void conn_on_soft_limit(struct netloop *nl, struct net_timer *t)
{
    struct conn *c = container_of(t, struct conn, soft_limit_timer);
    uint64_t since_ms = c->over_soft_limit_since_ms, now_ms = thread_now_ms(nl->thread);
    if (since_ms == 0) return;
    if (conn_is_over_limit(c)) {
        conn_cut(c);
        return;
    }
    /* It had been under the limit in between, or the limit has changed. */
    const struct output_limit *limit = &nl->config->output_limits[c->output_class];
    uint64_t end_ms = c->over_soft_limit_since_ms + limit->soft_seconds * 1000ULL;
    if (c->over_soft_limit_since_ms) arm_soft_limit(c, end_ms > now_ms ? end_ms - now_ms : 0);
}

/* The array must stay until the kernel is done; the usual single chunk needs none. */
static struct iovec *conn_pieces(struct conn *c)
{
    if (!c->out_first->next) return &c->one_piece;
    c->send_pieces = mem_alloc(&c->netloop->mem, ENV_IOV_MAX * sizeof *c->send_pieces);
    return c->send_pieces;
}

static void conn_start_send(struct conn *c)
{
    struct netloop *nl = c->netloop;
    recent_max_note(&nl->counters.output_buffer_max, nl->thread->now_ns, c->out_bytes);
    struct iovec *pieces = conn_pieces(c);
    unsigned count = 1;
    struct chunk *last = c->out_first; /* there is one, or nobody would send */
    pieces[0] = (struct iovec){last->data, last->size};
    for (; last->next && count < ENV_IOV_MAX; last = last->next)
        pieces[count++] = (struct iovec){last->next->data, last->next->size};
    c->sending_first = c->out_first;
    c->out_first = last->next;
    if (!c->out_first) c->out_last = NULL;
    last->next = NULL;
    c->is_sending = true;
    env_send(c->netloop->thread->loop, &c->socket, pieces, count);
}

/* A run whose parcel has not come home will be here in a moment, whatever it holds: requests that
 * are parked do not keep a parcel away. Replies that were asked for later are not waited for, or a
 * client that never stops asking would never be answered. */
static bool conn_must_hold(struct conn *c)
{
    if (!conn_has_slots(c) || c->out_bytes >= HOLD_BYTES_MAX) return false;
    const struct slot *next = conn_slot(c, c->slot_head);
    if (next->state != SLOT_WAITING || next->count == 0 || next->pieces) return false;
    if (!c->is_holding) c->hold_end = c->slot_tail;
    c->is_holding = true;
    return (int32_t)(c->hold_end - c->slot_head) > 0;
}

void conn_flush(struct conn *c)
{
    if (c->is_closing) return;
    if (unlikely(c->has_lost_output)) {
        log_warning("Client id=%llu closed: no memory for its output", (unsigned long long)c->id);
        conn_close(c);
        return;
    }
    if (unlikely(conn_is_over_limit(c))) {
        conn_cut(c);
        return;
    }
    if (c->is_sending) return;
    if (c->out_first && conn_must_hold(c)) return;
    c->is_holding = false;
    if (c->out_first)
        conn_start_send(c);
    else if (c->close_after_reply && !conn_has_slots(c))
        conn_close(c);
}

void conn_on_sent(struct conn *c, size_t size, enum err status)
{
    c->is_sending = false;
    chunk_free_chain(&c->netloop->mem, c->sending_first);
    if (c->send_pieces)
        mem_free(&c->netloop->mem, c->send_pieces, ENV_IOV_MAX * sizeof *c->send_pieces);
    c->send_pieces = NULL;
    c->sending_first = NULL;
    c->out_bytes -= MIN(size, c->out_bytes);
    c->bytes_out += size;
    counter_add(&c->netloop->counters.bytes_out, size);
    counter_add(&c->netloop->counters.writes, 1);
    if (c->is_closing) return;
    if (status != OK) {
        conn_close(c);
        return;
    }
    if (c->out_first || c->close_after_reply) conn_mark_dirty(c);
}
