#include "net/netloop.h"

#include "base/log.h"

#define PLACES_FIRST 64
#define NO_PLACE UINT32_MAX

void netloop_init(struct netloop *nl, struct thread *t, const struct netloop_hooks *hooks,
                  const struct net_config *config)
{
    *nl = (struct netloop){.id = (uint16_t)t->net_id,
                           .own_shard = t->shard_id,
                           .thread = t,
                           .hooks = hooks,
                           .config = config,
                           .place_free = NO_PLACE};
    mem_init(&nl->mem, "net");
    mem_keep_reserve(&nl->mem, NETLOOP_RESERVE_BYTES, NULL);
    nl->flatten.mem = &nl->mem;
    dlist_init(&nl->readable);
    dlist_init(&nl->stalled);
    dlist_init(&nl->dirty);
    wheel_init(&nl->wheel, t->now_ns / 1000000);
    nl->scratch = mem_alloc(&nl->mem, sizeof *nl->scratch + NETLOOP_SCRATCH_BYTES);
    turn_init(nl);
}

void netloop_deinit(struct netloop *nl)
{
    CHECK(netloop_is_empty(nl));
    turn_deinit(nl);
    buf_clear(&nl->flatten);
    mem_free(&nl->mem, nl->scratch, sizeof *nl->scratch + NETLOOP_SCRATCH_BYTES);
    if (nl->places) mem_free(&nl->mem, nl->places, nl->place_count * sizeof *nl->places);
    mem_deinit(&nl->mem);
}

void netloop_close_all(struct netloop *nl)
{
    for (uint32_t i = 0; i < nl->place_count; i++)
        if (nl->places[i].conn) conn_close(nl->places[i].conn);
}

bool netloop_is_empty(const struct netloop *nl)
{
    return counter_read(&nl->counters.connections) == 0 && nl->turn.in_flight_total == 0 &&
           nl->errands == 0;
}

/* ---- places: how parcels name a connection ---- */

static void places_grow(struct netloop *nl)
{
    uint32_t old = nl->place_count, grown = old ? 2 * old : PLACES_FIRST;
    mem_insist(&nl->mem, true); /* a few bytes for each of maxclients */
    struct conn_place *places =
        mem_try_realloc(&nl->mem, nl->places, old * sizeof *places, grown * sizeof *places);
    mem_insist(&nl->mem, false);
    CHECK(places);
    for (uint32_t i = grown; i-- > old;) {
        places[i] = (struct conn_place){.next_free = nl->place_free};
        nl->place_free = i;
    }
    nl->places = places;
    nl->place_count = grown;
}

struct conn *netloop_conn(struct netloop *nl, uint32_t index, uint32_t generation)
{
    const struct conn_place *place = &nl->places[index];
    return likely(place->generation == generation) ? place->conn : NULL;
}

static void place_give(struct netloop *nl, struct conn *c)
{
    if (nl->place_free == NO_PLACE) places_grow(nl);
    uint32_t index = nl->place_free;
    struct conn_place *place = &nl->places[index];
    nl->place_free = place->next_free;
    place->conn = c;
    c->index = index;
    c->generation = place->generation;
    /* Ids of all net threads interleave, so that an id names its thread. */
    c->id = nl->ids_given++ * nl->thread->mesh->net_count + nl->id + 1;
}

static void place_take_back(struct netloop *nl, uint32_t index)
{
    struct conn_place *place = &nl->places[index];
    place->conn = NULL;
    place->generation++;
    place->next_free = nl->place_free;
    nl->place_free = index;
}

/* ---- connections ---- */

static void conn_arm_idle_timer(struct conn *c)
{
    struct netloop *nl = c->netloop;
    if (nl->config->idle_timeout_s == 0) return;
    uint64_t last_ms = c->last_request_ms, now_ms = thread_now_ms(nl->thread);
    uint64_t idle_ms = now_ms > last_ms ? now_ms - last_ms : 0;
    uint64_t limit_ms = nl->config->idle_timeout_s * 1000ULL;
    uint64_t left_ms = idle_ms < limit_ms ? limit_ms - idle_ms : 1;
    wheel_arm(&nl->wheel, &c->idle_timer.timer, nl->wheel.now_ms + left_ms);
}

static void on_idle_timer(struct netloop *nl, struct net_timer *t)
{
    struct conn *c = container_of(t, struct conn, idle_timer);
    uint64_t now_ms = thread_now_ms(nl->thread);
    uint64_t limit_ms = nl->config->idle_timeout_s * 1000ULL;
    if (limit_ms == 0) return;
    if (now_ms < c->last_request_ms + limit_ms || conn_has_slots(c)) {
        conn_arm_idle_timer(c);
        return;
    }
    log_verbose("Closing idle client id=%llu", (unsigned long long)c->id);
    counter_add(&nl->counters.connections_closed_idle, 1);
    conn_close(c);
}

struct conn *netloop_adopt(struct netloop *nl, int fd)
{
    struct conn *c = conn_create(nl, fd);
    place_give(nl, c);
    counter_add(&nl->counters.connections, 1);
    counter_add(&nl->counters.connections_received, 1);
    c->idle_timer.on_fire = on_idle_timer;
    conn_arm_idle_timer(c);
    nl->hooks->on_open(c);
    return c;
}

static void conn_is_gone(struct netloop *nl, struct conn *c)
{
    place_take_back(nl, c->index);
    counter_set(&nl->counters.connections, counter_read(&nl->counters.connections) - 1);
    counter_add(&nl->counters.connections_ended, 1);
    conn_destroy(c);
}

static void on_received(struct netloop *nl, struct conn *c, const struct env_event *event)
{
    if (event->buffer) {
        counter_add(&nl->counters.bytes_in, event->size);
        counter_add(&nl->counters.reads, 1);
        conn_receive(c, event->buffer, event->data, event->size);
        return;
    }
    if (c->is_closing) return;
    c->is_ended = true;
    c->is_receiving = false;
    if (event->status != OK)
        conn_close(c);
    else if (c->queue == CONN_STALLED)
        conn_resume(c); /* on_input decides whether what it waits for is worth it */
    else if (!conn_has_input(c) && c->queue == CONN_IDLE)
        conn_close_after_reply(c);
}

bool netloop_take_events(struct netloop *nl)
{
    struct env_event event;
    bool any = false;
    while (env_next(nl->thread->loop, &event)) {
        struct conn *c = container_of(event.socket, struct conn, socket);
        any = true;
        switch (event.kind) {
        case ENV_RECV:
            on_received(nl, c, &event);
            break;
        case ENV_SEND:
            conn_on_sent(c, event.size, event.status);
            break;
        case ENV_CLOSED:
            conn_is_gone(nl, c);
            break;
        case ENV_ACCEPT:
            CHECK_NEVER("a net thread does not listen");
            break;
        }
    }
    return any;
}

bool netloop_run_input(struct netloop *nl)
{
    if (dlist_is_empty(&nl->readable)) return false;
    /* Those that still have input afterwards queue up behind the others, for the next step. */
    struct dlist batch;
    dlist_init(&batch);
    dlist_splice(&batch, &nl->readable);
    struct dlist *link;
    while ((link = dlist_pop_front(&batch))) {
        struct conn *c = container_of(link, struct conn, queue_link);
        c->queue = CONN_IDLE;
        nl->hooks->on_input(c);
    }
    turn_publish(nl);
    return true;
}

void netloop_resume_stalled(struct netloop *nl)
{
    dlist_each_safe (link, &nl->stalled) conn_resume(container_of(link, struct conn, queue_link));
}

void netloop_flush(struct netloop *nl)
{
    struct dlist batch;
    dlist_init(&batch);
    dlist_splice(&batch, &nl->dirty);
    struct dlist *link;
    while ((link = dlist_pop_front(&batch)))
        conn_flush(container_of(link, struct conn, dirty_link));
}

/* ---- timers ---- */

bool netloop_run_timers(struct netloop *nl)
{
    struct dlist due;
    dlist_init(&due);
    wheel_advance(&nl->wheel, nl->thread->now_ns / 1000000, &due);
    if (dlist_is_empty(&due)) return false;
    struct dlist *link;
    while ((link = dlist_pop_front(&due))) {
        struct net_timer *t = container_of(link, struct net_timer, timer.link);
        t->on_fire(nl, t);
    }
    return true;
}

void netloop_arm_idle_timers(struct netloop *nl)
{
    for (uint32_t i = 0; i < nl->place_count; i++) {
        struct conn *c = nl->places[i].conn;
        if (c && !c->is_closing) conn_arm_idle_timer(c);
    }
}

uint64_t netloop_next_deadline_ns(const struct netloop *nl)
{
    uint64_t wait_ms = wheel_next_ms(&nl->wheel);
    if (wait_ms == UINT64_MAX) return UINT64_MAX;
    return (nl->wheel.now_ms + wait_ms) * 1000000;
}

/* ---- replies ---- */

struct reply netloop_reply(struct netloop *nl, uint8_t resp)
{
    *nl->scratch = (struct chunk){.capacity = NETLOOP_SCRATCH_BYTES, .home = CHUNK_LENT};
    struct reply r;
    reply_init(&r, nl->scratch, &nl->mem);
    r.resp = resp;
    return r;
}

void netloop_reply_drop(struct netloop *nl, struct reply *r)
{
    struct chunk *first = reply_take(r);
    if (first) chunk_free_chain(&nl->mem, first);
}
