#include "server/client_eviction.h"

#include "server/clients.h"
#include "server/server.h"
#include "server/worker.h"

#define LIMIT_BYTES_MIN ((uint64_t)128 * 1024)

uint64_t client_eviction_limit(const struct config *config)
{
    int64_t given = config->maxmemory_clients;
    if (given == 0) return 0;
    uint64_t limit = (uint64_t)given;
    if (given < 0) limit = (uint64_t)((double)config->maxmemory_bytes * (double)-given / 100);
    return limit == 0 ? 0 : MAX(limit, LIMIT_BYTES_MIN);
}

static uint32_t bucket_of(uint64_t bytes)
{
    uint32_t bucket = bytes ? (uint32_t)(63 - __builtin_clzll(bytes)) : 0;
    return MIN(bucket, (uint32_t)CLIENT_BUCKETS - 1);
}

/* ---- on a net thread ---- */

static void measure(struct client_eviction_part *part, struct session *s)
{
    uint64_t bytes = session_memory_bytes(s);
    part->bytes += bytes;
    if (s->is_no_evict) return;
    struct client_bucket *b = &part->buckets[bucket_of(bytes)];
    b->bytes += bytes;
    b->count++;
}

static void evict(struct client_eviction_part *part, struct session *s)
{
    uint64_t bytes = session_memory_bytes(s);
    uint32_t bucket = bucket_of(bytes);
    if (s->is_no_evict || bucket < part->bucket) return;
    if (bucket == part->bucket) {
        if (part->quota_bytes == 0) return;
        part->quota_bytes -= MIN(part->quota_bytes, bytes);
    }
    struct buf line = {.mem = &part->worker->net.mem};
    client_line(s, &line);
    log_notice("Evicting client: %.*s", (int)line.size - 1, line.data);
    buf_clear(&line);
    counter_add(&part->worker->evicted_clients, 1);
    conn_close(&s->conn);
}

static void part_is_measured(struct thread *at, struct call *c);
static void part_is_through(struct thread *at, struct call *c);

/* A slice of the connections; then the call goes on to the next step, or home. */
static void visit_slice(struct thread *at, struct call *c,
                        void (*visit)(struct client_eviction_part *, struct session *),
                        void (*back)(struct thread *, struct call *))
{
    struct client_eviction_part *part = container_of(c, struct client_eviction_part, call);
    struct netloop *nl = &part->worker->net;
    unsigned left = CLIENTS_PER_SLICE;
    struct session *s;
    while ((s = clients_next(nl, &part->next_index, &left))) visit(part, s);
    bool is_through = part->next_index >= nl->place_count;
    if (is_through) c->run = back;
    thread_call(at, is_through ? part->worker->server->thread.id : at->id, c);
}

static void measure_slice(struct thread *at, struct call *c)
{
    visit_slice(at, c, measure, part_is_measured);
}

static void evict_slice(struct thread *at, struct call *c)
{
    visit_slice(at, c, evict, part_is_through);
}

/* ---- on the main thread ---- */

static void send_parts(struct server *srv, void (*run)(struct thread *, struct call *))
{
    struct client_eviction *ce = &srv->client_eviction;
    ce->waiting = srv->mesh.net_count;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) {
        ce->parts[i].next_index = 0;
        ce->parts[i].call.run = run;
        thread_call(&srv->thread, srv->net_workers[i]->thread.id, &ce->parts[i].call);
    }
}

static uint64_t bucket_bytes(const struct server *srv, uint32_t bucket)
{
    uint64_t bytes = 0;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++)
        bytes += srv->client_eviction.parts[i].buckets[bucket].bytes;
    return bytes;
}

static uint64_t evictable_bytes(const struct server *srv)
{
    uint64_t bytes = 0;
    for (uint32_t bucket = 0; bucket < CLIENT_BUCKETS; bucket++) bytes += bucket_bytes(srv, bucket);
    return bytes;
}

/* From the top down until enough is gone, or all that may go; of the last bucket each thread closes
 * its share. */
static void begin_evicting(struct server *srv, uint64_t excess)
{
    struct client_eviction *ce = &srv->client_eviction;
    uint32_t bucket = CLIENT_BUCKETS - 1;
    uint64_t bytes = bucket_bytes(srv, bucket);
    if (evictable_bytes(srv) == 0) return; /* Only protected ones are left. */
    while (bytes < excess && bucket > 0) {
        excess -= bytes;
        bytes = bucket_bytes(srv, --bucket);
    }
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) {
        struct client_eviction_part *part = &ce->parts[i];
        double share = bytes ? (double)part->buckets[bucket].bytes / (double)bytes : 0;
        part->bucket = bucket;
        part->quota_bytes = (uint64_t)(share * (double)MIN(excess, bytes) + 0.999);
    }
    send_parts(srv, evict_slice);
}

static uint64_t net_live_bytes(const struct server *srv)
{
    uint64_t bytes = 0;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++)
        bytes += mem_live_bytes(&srv->net_workers[i]->net.mem);
    return bytes;
}

static void part_is_measured(struct thread *at, UNUSED struct call *c)
{
    struct server *srv = at->owner;
    struct client_eviction *ce = &srv->client_eviction;
    if (--ce->waiting > 0) return;
    ce->bytes = 0;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) ce->bytes += ce->parts[i].bytes;
    ce->evictable_bytes = evictable_bytes(srv);
    ce->net_bytes = net_live_bytes(srv);
    if (ce->bytes > ce->limit_bytes) begin_evicting(srv, ce->bytes - ce->limit_bytes);
}

uint64_t client_eviction_excess(const struct server *srv)
{
    const struct client_eviction *ce = &srv->client_eviction;
    uint64_t limit = client_eviction_limit(srv->config), now = net_live_bytes(srv);
    if (limit == 0 || ce->bytes == 0) return 0;
    uint64_t grown = now > ce->net_bytes ? now - ce->net_bytes : 0;
    uint64_t freed = now < ce->net_bytes ? ce->net_bytes - now : 0;
    uint64_t bytes = ce->bytes + grown - MIN(freed, ce->bytes);
    uint64_t evictable = ce->evictable_bytes + grown - MIN(freed, ce->evictable_bytes);
    return bytes > limit ? MIN(bytes - limit, evictable) : 0;
}

static void part_is_through(struct thread *at, UNUSED struct call *c)
{
    struct server *srv = at->owner;
    srv->client_eviction.waiting--;
}

static size_t parts_bytes(const struct server *srv)
{
    return srv->mesh.net_count * sizeof(struct client_eviction_part);
}

void client_eviction_update(struct server *srv)
{
    struct client_eviction *ce = &srv->client_eviction;
    if (ce->waiting > 0) return;
    ce->limit_bytes = client_eviction_limit(srv->config);
    if (ce->limit_bytes == 0) ce->bytes = 0; /* what is known gets old */
    if (ce->limit_bytes == 0) return;
    if (!ce->parts) ce->parts = mem_alloc(&srv->mem, parts_bytes(srv));
    memset(ce->parts, 0, parts_bytes(srv));
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) ce->parts[i].worker = srv->net_workers[i];
    send_parts(srv, measure_slice);
}

void client_eviction_deinit(struct server *srv)
{
    struct client_eviction *ce = &srv->client_eviction;
    if (ce->parts) mem_free(&srv->mem, ce->parts, parts_bytes(srv));
    ce->parts = NULL;
}
