#include "net/conn.h"

#include "base/log.h"
#include "net/netloop.h"

#define BUDGET_FIRST 8
#define BUDGET_BYTES                                                                               \
    (256 * 1024)            /* of replies that one turn of a connection may be expected to make */
#define BUDGETS_IN_FLIGHT 2 /* requests that may be unanswered, in budgets */
#define BUFFERS_FREE_MIN                                                                           \
    64                  /* below, a connection that waits keeps none of the kernel's buffers       \
                         */
#define WAITING_SURE 64 /* pieces that find room in any case */
#define WAITING_BYTES_MAX (64 * 1024) /* of a stalled connection, before it stops receiving */

/* ---- life ---- */

struct conn *conn_create(struct netloop *nl, int fd)
{
    struct conn *c = mem_alloc_zeroed(&nl->mem, nl->hooks->conn_bytes);
    c->netloop = nl;
    dlist_init(&c->queue_link);
    dlist_init(&c->dirty_link);
    timer_init(&c->idle_timer.timer);
    timer_init(&c->soft_limit_timer.timer);
    c->soft_limit_timer.on_fire = conn_on_soft_limit;
    c->command_budget = BUDGET_FIRST;
    resp_reader_init(&c->reader, &nl->mem);
    c->opened_ms = c->last_request_ms = thread_now_ms(nl->thread);
    env_socket_adopt(nl->thread->loop, &c->socket, fd, nl->config->keepalive_s);
    env_recv_start(nl->thread->loop, &c->socket);
    c->is_receiving = true;
    return c;
}

static void conn_drop_input(struct conn *c)
{
    if (c->current.buffer) input_unref(c->current.buffer);
    c->current = (struct piece){0};
    for (uint32_t i = 0; i < c->waiting_count; i++)
        input_unref(c->waiting[c->waiting_first + i].buffer);
    c->waiting_first = c->waiting_count = 0;
    c->waiting_bytes = 0;
}

void conn_close(struct conn *c)
{
    if (c->is_closing) return;
    c->is_closing = true;
    struct netloop *nl = c->netloop;
    nl->hooks->on_close(c);
    dlist_remove(&c->queue_link);
    dlist_remove(&c->dirty_link);
    c->queue = CONN_IDLE;
    wheel_disarm(&nl->wheel, &c->idle_timer.timer);
    wheel_disarm(&nl->wheel, &c->soft_limit_timer.timer);
    conn_drop_input(c);
    env_close(nl->thread->loop, &c->socket);
}

void conn_close_after_reply(struct conn *c)
{
    if (c->is_closing || c->close_after_reply) return;
    c->close_after_reply = true;
    conn_drop_input(c);
    if (dlist_is_empty(&c->dirty_link)) dlist_push_back(&c->netloop->dirty, &c->dirty_link);
}

static void slot_clear(struct conn *c, struct slot *slot)
{
    struct mem *mem = &c->netloop->mem;
    if (slot->state == SLOT_READY && slot->parcel) turn_unhold(c->netloop, slot->parcel);
    if (slot->chain) chunk_free_chain(mem, slot->chain);
    if (slot->behind) chunk_free_chain(mem, slot->behind);
    if (slot->pieces) {
        for (uint32_t i = 0; i < slot->pieces->count; i++)
            if (slot->pieces->chains[i]) chunk_free_chain(mem, slot->pieces->chains[i]);
        mem_free(mem, slot->pieces,
                 sizeof *slot->pieces + slot->pieces->count * sizeof(struct chunk *));
    }
}

void conn_destroy(struct conn *c)
{
    struct mem *mem = &c->netloop->mem;
    CHECK(c->is_closing);
    while (conn_has_slots(c)) slot_clear(c, conn_slot(c, c->slot_head++));
    if (c->slots) mem_free(mem, c->slots, (c->slot_mask + 1) * sizeof *c->slots);
    chunk_free_chain(mem, c->out_first);
    chunk_free_chain(mem, c->sending_first);
    if (c->send_pieces) mem_free(mem, c->send_pieces, ENV_IOV_MAX * sizeof *c->send_pieces);
    if (c->waiting) mem_free(mem, c->waiting, c->waiting_capacity * sizeof *c->waiting);
    resp_reader_deinit(&c->reader);
    mem_free(mem, c, c->netloop->hooks->conn_bytes);
}

/* ---- input ---- */

static void conn_set_queue(struct conn *c, enum conn_queue queue)
{
    if (c->queue == queue) return;
    dlist_remove(&c->queue_link);
    c->queue = (uint8_t)queue;
    struct netloop *nl = c->netloop;
    if (queue != CONN_IDLE)
        dlist_push_back(queue == CONN_READABLE ? &nl->readable : &nl->stalled, &c->queue_link);
}

bool conn_has_input(const struct conn *c)
{
    return resp_unread_bytes(&c->reader) > 0 || c->waiting_count > 0;
}

static void conn_start_piece(struct conn *c, struct piece piece)
{
    c->current = piece;
    resp_feed(&c->reader, piece.data, piece.size);
}

/* Room behind the last waiting piece. Pieces move only when half of the array is free at its start,
 * so a client that sends single bytes costs no more than others. False: no memory. */
static bool waiting_try_reserve(struct conn *c)
{
    struct mem *mem = &c->netloop->mem;
    if (c->waiting_first + c->waiting_count < c->waiting_capacity) return true;
    if (c->waiting_first > c->waiting_capacity / 2) {
        memmove(c->waiting, c->waiting + c->waiting_first, c->waiting_count * sizeof *c->waiting);
        c->waiting_first = 0;
        return true;
    }
    uint32_t capacity = c->waiting_capacity ? 2 * c->waiting_capacity : 4;
    mem_insist(mem, capacity <= WAITING_SURE);
    struct piece *grown = mem_try_realloc(mem, c->waiting, c->waiting_capacity * sizeof *grown,
                                          capacity * sizeof *grown);
    mem_insist(mem, false);
    if (!grown) return false;
    c->waiting = grown;
    c->waiting_capacity = capacity;
    return true;
}

static void conn_add_waiting(struct conn *c, struct piece piece)
{
    if (!waiting_try_reserve(c)) {
        log_warning("Client id=%llu closed: no memory for its input", (unsigned long long)c->id);
        input_unref(piece.buffer);
        conn_close(c);
        return;
    }
    c->waiting[c->waiting_first + c->waiting_count++] = piece;
    c->waiting_bytes += piece.size;
    if (c->waiting_bytes < WAITING_BYTES_MAX || !c->is_receiving) return;
    env_recv_stop(c->netloop->thread->loop, &c->socket);
    c->is_receiving = false;
}

/* A stalled connection must not keep the kernel's buffers from the others. */
static void piece_unpin(struct conn *c, struct piece *piece)
{
    struct env_buffer *copy = input_try_copy(&c->netloop->mem, piece->data, piece->size);
    if (!copy) return;
    input_unref(piece->buffer);
    *piece = (struct piece){copy, copy->data, piece->size};
}

void conn_receive(struct conn *c, struct env_buffer *buffer, const char *data, size_t size)
{
    struct netloop *nl = c->netloop;
    if (c->is_closing || c->close_after_reply) {
        input_unref(buffer);
        return;
    }
    c->bytes_in += size;
    struct piece piece = {buffer, data, size};
    if (!c->current.buffer) {
        conn_start_piece(c, piece);
    } else {
        if (c->queue == CONN_STALLED) piece_unpin(c, &piece);
        conn_add_waiting(c, piece);
    }
    if (c->is_closing) return;
    uint64_t unparsed = resp_held_bytes(&c->reader) + c->waiting_bytes;
    recent_max_note(&nl->counters.input_buffer_max, nl->thread->now_ns, MAX(unparsed, size));
    if (unparsed > nl->config->query_bytes_max) {
        log_warning("Closing client id=%llu that reached the query buffer limit of %llu bytes",
                    (unsigned long long)c->id, (unsigned long long)nl->config->query_bytes_max);
        conn_close(c);
        return;
    }
    if (c->queue == CONN_IDLE) conn_set_queue(c, CONN_READABLE);
}

static bool conn_next_piece(struct conn *c)
{
    if (c->current.buffer) input_unref(c->current.buffer);
    c->current = (struct piece){0};
    if (c->waiting_count == 0) return false;
    struct piece piece = c->waiting[c->waiting_first++];
    if (--c->waiting_count == 0) c->waiting_first = 0;
    c->waiting_bytes -= piece.size;
    if (!c->is_receiving && !c->is_ended && c->waiting_bytes < WAITING_BYTES_MAX / 2) {
        env_recv_start(c->netloop->thread->loop, &c->socket);
        c->is_receiving = true;
    }
    conn_start_piece(c, piece);
    return true;
}

enum resp_state conn_next_request(struct conn *c, const struct resp_limits *limits)
{
    for (;;) {
        enum resp_state state = RESP_NEED_MORE;
        if (c->current.buffer) state = resp_next(&c->reader, limits);
        if (state != RESP_NEED_MORE) return state;
        if (!conn_next_piece(c)) return RESP_NEED_MORE;
    }
}

/* The kernel's buffers are few: when they run out, whoever waits copies what it has not read yet
 * and gives its buffer back. */
static void current_unpin(struct conn *c)
{
    size_t size = resp_unread_bytes(&c->reader);
    const struct env_buffer *buffer = c->current.buffer;
    if (!buffer || !buffer->loop || size == 0 || env_buffers_free(buffer->loop) >= BUFFERS_FREE_MIN)
        return;
    struct env_buffer *copy =
        input_try_copy(&c->netloop->mem, c->current.data + c->current.size - size, size);
    if (!copy) return;
    input_unref(c->current.buffer);
    c->current = (struct piece){copy, copy->data, size};
    resp_rebase(&c->reader, copy->data);
}

void conn_stall(struct conn *c)
{
    resp_unread(&c->reader);
    counter_add(&c->netloop->counters.stalls, 1);
    conn_set_queue(c, CONN_STALLED);
    current_unpin(c);
}

bool conn_adapt_budget(struct conn *c)
{
    uint64_t answered = c->answered - c->answered_seen;
    if (answered > 0) {
        uint64_t reply_bytes = (c->out_total - c->out_total_seen) / answered;
        c->answered_seen = c->answered;
        c->out_total_seen = c->out_total;
        uint64_t budget = MIN(2ULL * c->command_budget, (uint64_t)NETLOOP_COMMANDS_PER_TURN);
        if (reply_bytes * budget > BUDGET_BYTES) budget = MAX(BUDGET_BYTES / reply_bytes, 1ULL);
        c->command_budget = (uint16_t)budget;
    }
    return c->in_flight < BUDGETS_IN_FLIGHT * (uint32_t)c->command_budget;
}

void conn_wait(struct conn *c)
{
    conn_set_queue(c, CONN_STALLED);
    current_unpin(c);
}

/* After a pass over its input: where the connection waits next. */
void conn_input_done(struct conn *c, bool has_more)
{
    if (c->is_closing) return;
    if (c->queue == CONN_STALLED) return;
    conn_set_queue(c, has_more ? CONN_READABLE : CONN_IDLE);
    if (c->is_ended && !has_more) conn_close_after_reply(c);
}

void conn_resume(struct conn *c)
{
    conn_set_queue(c, CONN_READABLE);
}

enum err conn_hold_in_payload(struct conn *c, uint64_t argv_slots, struct input_ref *out)
{
    struct resp_reader *r = &c->reader;
    *out = (struct input_ref){0};
    if (argv_slots > UINT32_MAX) return ERR_ALLOC;
    struct payload *p = payload_try_create(&c->netloop->mem, (uint32_t)argv_slots);
    if (!p) return ERR_ALLOC;
    if (r->gathered) {
        p->bytes = resp_take_gathered(r);
    } else {
        env_buffer_ref(c->current.buffer);
        p->buffer = c->current.buffer;
    }
    out->payload = p;
    return OK;
}

uint64_t conn_memory_bytes(const struct conn *c)
{
    return c->netloop->hooks->conn_bytes + resp_held_bytes(&c->reader) + c->waiting_bytes +
           c->out_bytes + (c->slots ? (c->slot_mask + 1) * sizeof *c->slots : 0);
}
