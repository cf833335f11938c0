#include "server/worker.h"

#include <stdio.h>

#include "base/late.h"
#include "base/log.h"
#include "server/delivery.h"
#include "server/lending.h"
#include "server/server.h"
#include "server/slow_client.h"
#include "server/stuck.h"
#include "server/subscription_change.h"
#include "shard/notify.h"

#define RECV_BUFFERS 128
#define RECV_BUFFER_BYTES (16 * 1024)
#define IN_PLACE_DRAIN_MAX 256 /* parcels run before an own-shard turn gives up its shortcut */

/* ---- configuration ---- */

static void net_config_fill(struct net_config *out, const struct config *c)
{
    *out = (struct net_config){.idle_timeout_s = c->timeout_s,
                               .keepalive_s = c->tcp_keepalive_s,
                               .query_bytes_max = c->client_query_buffer_bytes_max};
    for (unsigned i = 0; i < OUTPUT_CLASSES; i++) {
        const struct config_output_limit *limit = &c->client_output_limit[i];
        out->output_limits[i] =
            (struct output_limit){limit->hard_bytes, limit->soft_bytes,
                                  (uint32_t)MIN(limit->soft_s, (int64_t)UINT32_MAX)};
    }
}

static const struct {
    enum evict_policy policy;
    bool is_volatile;
} policies[] = {
    [CONFIG_POLICY_VOLATILE_LRU] = {EVICT_LRU, true},
    [CONFIG_POLICY_VOLATILE_LFU] = {EVICT_LFU, true},
    [CONFIG_POLICY_VOLATILE_RANDOM] = {EVICT_RANDOM, true},
    [CONFIG_POLICY_VOLATILE_TTL] = {EVICT_TTL, true},
    [CONFIG_POLICY_ALLKEYS_LRU] = {EVICT_LRU, false},
    [CONFIG_POLICY_ALLKEYS_LFU] = {EVICT_LFU, false},
    [CONFIG_POLICY_ALLKEYS_RANDOM] = {EVICT_RANDOM, false},
    [CONFIG_POLICY_ALLKEYS_S3FIFO] = {EVICT_S3FIFO, false},
    [CONFIG_POLICY_NOEVICTION] = {EVICT_NOTHING, false},
};

static void shard_config_fill(struct shard_config *out, const struct config *c)
{
    *out = (struct shard_config){.proto_max_bulk_bytes = c->proto_bulk_bytes_max,
                                 .hz = (uint32_t)c->hz,
                                 .rdb_compression = c->rdbcompression,
                                 .snapshot_delay_us = (uint64_t)MAX(c->rdb_key_save_delay_us, 0),
                                 .notify_classes = c->notify_keyspace_events,
                                 .tracking_keys_max = c->tracking_table_keys_max,
                                 .active_expire = true,
                                 .expire_effort = (uint32_t)c->active_expire_effort,
                                 .maxmemory_bytes = c->maxmemory_bytes,
                                 .evict_policy = policies[c->maxmemory_policy].policy,
                                 .evict_volatile = policies[c->maxmemory_policy].is_volatile,
                                 .evict_samples = (uint32_t)c->maxmemory_samples,
                                 .evict_tenacity = (uint32_t)c->maxmemory_eviction_tenacity,
                                 .set_max_intset_entries = c->set_max_intset_entries,
                                 .set_max_listpack_entries = c->set_max_listpack_entries,
                                 .set_max_listpack_value_bytes = c->set_max_listpack_value_bytes,
                                 .zset_max_listpack_entries = c->zset_max_listpack_entries,
                                 .zset_max_listpack_value_bytes = c->zset_max_listpack_value_bytes,
                                 .active_defrag = c->activedefrag,
                                 .defrag_scan_fields_max = c->active_defrag_max_scan_fields,
                                 .hll_sparse_bytes_max = c->hll_sparse_bytes_max,
                                 .stream_node_max_bytes = c->stream_node_bytes_max,
                                 .stream_node_max_entries = (uint64_t)c->stream_node_entries_max,
                                 .lfu_log_factor = (uint32_t)c->lfu_log_factor,
                                 .list_max_listpack_size = c->list_max_listpack_size,
                                 .hash_max_listpack_entries = c->hash_max_listpack_entries,
                                 .hash_max_listpack_value_bytes = c->hash_max_listpack_value_bytes,
                                 .slowlog_us = c->slowlog_slower_than_us,
                                 .latency_ms = c->latency_monitor_threshold_ms,
                                 .latency_tracking = c->latency_tracking,
                                 .lfu_decay_minutes = (uint32_t)c->lfu_decay_time_min};
}

/* What DEBUG has set is no configuration. */
static void keep_debug_settings(struct shard_config *out, const struct shard_config *old)
{
    out->active_expire = old->active_expire;
    out->skip_checksum = old->skip_checksum;
    out->list_plain_bytes_min = old->list_plain_bytes_min;
}

void worker_apply_config(struct worker *w, const struct config *config)
{
    /* Two copies: readers of this thread hold a pointer at most until the end of their step. */
    unsigned next = ++w->config_version & 1;
    net_config_fill(&w->net_config[next], config);
    shard_config_fill(&w->shard_config[next], config);
    if (w->config) keep_debug_settings(&w->shard_config[next], &w->shard_config[1 - next]);
    bool timeout_changed = w->config && w->config->timeout_s != config->timeout_s;
    w->config = config;
    if (w->has_net) {
        w->net.config = &w->net_config[next];
        if (timeout_changed) netloop_arm_idle_timers(&w->net);
    }
    if (!w->has_shard) return;
    const struct shard_config *old = w->shard.config, *new = &w->shard_config[next];
    bool cap_changed = old && (old->maxmemory_bytes != new->maxmemory_bytes ||
                               old->evict_policy != new->evict_policy ||
                               old->evict_volatile != new->evict_volatile);
    w->shard.config = new;
    span_apply_config(&w->shard);
    durable_apply_config(w);
    if (cap_changed) evict_apply_config(&w->shard);
}

/* ---- hooks between the layers ---- */

static bool is_own(const struct worker *w, const struct parcel *pc)
{
    return w->has_net && pc->net_id == w->net.id;
}

void worker_send_home(struct worker *w, struct parcel *pc)
{
    struct mailbox *box = mesh_to_net(&w->server->mesh, w->shard.id, pc->net_id);
    if (!is_own(w, pc)) w->homeward |= UINT64_C(1) << (pc->net_id % 64);
    CHECK(mailbox_push(box, pc)); /* the sender's credit guarantees room */
    shard_send_late(&w->shard);
}

/* True: it is kept until its reply may leave. */
static bool run_parcel(struct worker *w, struct parcel *pc)
{
    if (likely(!w->durable.log)) {
        shard_run_parcel(&w->shard, pc);
        if (unlikely(pc->part_count > 0)) durable_skip_part(w, pc);
        return false;
    }
    uint64_t lsn_before = w->shard.journal.last_lsn;
    shard_run_parcel(&w->shard, pc);
    /* The log is being closed: nothing of it is recorded any more. */
    if (unlikely(!w->shard.journal.is_open && pc->part_count > 0)) durable_skip_part(w, pc);
    return durable_keep(w, pc, lsn_before);
}

static void run_parcel_home(struct worker *w, struct parcel *pc)
{
    if (!is_own(w, pc)) counter_add(&w->shard.counters.hops, pc->request_count);
    if (!run_parcel(w, pc)) worker_send_home(w, pc);
}

static enum in_place run_in_place(struct netloop *nl, struct parcel *pc, uint64_t *position)
{
    struct worker *w = nl->owner;
    struct parcel *waiting;
    for (unsigned n = 0; (waiting = merge_next(&w->merge)); n++) {
        run_parcel_home(w, waiting);
        if (n >= IN_PLACE_DRAIN_MAX) return IN_PLACE_NOT;
    }
    if (durable_is_stuffed(w)) return IN_PLACE_NOT;
    struct shard *sh = &w->shard;
    /* Those who wait on several shards compare the positions of turns, so each needs its own. */
    if (sh->waits.claimants > 0) return IN_PLACE_NOT;
    if (w->recorder || sh->locks.busy > 0) *position = sequencer_now(&w->server->mesh.sequencer);
    if (!merge_is_empty(&w->merge)) return IN_PLACE_NOT;
    sh->in_place_position = *position > 0 ? 2 * *position - 1 : 0;
    if (run_parcel(w, pc)) return IN_PLACE_KEPT;
    /* Calls to this thread itself run in its next step, when the parcel is home. */
    shard_send_late(sh);
    w->should_resume = true;
    return IN_PLACE_DONE;
}

static void free_chunks(struct thread *at, struct chunk *chain)
{
    struct worker *w = at->owner;
    chunk_free_chain(&w->shard.mem, chain);
}

static void on_publish(struct netloop *nl, uint64_t position, bool in_place)
{
    struct worker *w = nl->owner;
    recorder_publish(w->recorder, position, in_place);
}

static void on_error(struct netloop *nl, uint16_t command_id, struct bytes text)
{
    struct worker *w = nl->owner;
    struct route_counters *of = &w->routes[command_id];
    bool is_full = text.size > 4 && memcmp(text.data, "OOM ", 4) == 0;
    if (unlikely(is_full)) /* the shard has refused to run it */
        route_was_rejected(of);
    else
        counter_add(&of->failed, 1);
    worker_count_error(w, text);
}

static const struct netloop_hooks hooks = {.conn_bytes = sizeof(struct session),
                                           .on_open = session_on_open,
                                           .on_input = session_on_input,
                                           .on_close = session_on_close,
                                           .run_in_place = run_in_place,
                                           .free_chunks = free_chunks,
                                           .on_error = on_error,
                                           .on_slow = slow_in_parcel,
                                           .on_slow_parts = slow_of_gather};
static const struct netloop_hooks recording_hooks = {.conn_bytes = sizeof(struct session),
                                                     .on_open = session_on_open,
                                                     .on_input = session_on_input,
                                                     .on_close = session_on_close,
                                                     .run_in_place = run_in_place,
                                                     .on_publish = on_publish,
                                                     .free_chunks = free_chunks,
                                                     .on_error = on_error,
                                                     .on_slow = slow_in_parcel,
                                                     .on_slow_parts = slow_of_gather};

/* A late reply goes to its net thread, is read there, and comes back to be freed. */
static void late_is_back(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    shard_free_late(&w->shard, container_of(c, struct late_reply, call));
}

static void late_arrives(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct late_reply *late = container_of(c, struct late_reply, call);
    slow_in_run(&w->net, late->slow, &late->run);
    late->slow = NULL;
    turn_deliver_late(&w->net, late);
    w->should_resume = true;
}

static void send_late(struct shard *sh, struct late_reply *late)
{
    struct worker *w = container_of(sh, struct worker, shard);
    late->call.run = late_arrives;
    late->is_back = late_is_back;
    thread_call(&w->thread, w->server->mesh.net_threads[late->net_id]->id, &late->call);
}

static void send_chunk(struct shard *sh, struct snapshot_chunk *chunk)
{
    if (sh->snapshot.form == SNAPSHOT_COMMANDS)
        rewriter_take_chunk(container_of(sh, struct worker, shard), chunk);
    else
        saver_send_chunk(sh, chunk);
}

static void note_latency(struct shard *sh, const char *event, uint64_t ms)
{
    latency_add(&container_of(sh, struct worker, shard)->server->latency, event, ms);
}

static uint64_t used_elsewhere(struct shard *sh)
{
    return lending_used_elsewhere(container_of(sh, struct worker, shard)->server);
}

/* All who might give are woken, so that no one of them pays for all. */
static bool ask_others(struct shard *sh)
{
    struct worker *w = container_of(sh, struct worker, shard);
    const struct server *srv = w->server;
    bool any = false;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        struct worker *other = srv->shard_workers[i];
        if (other == w || !evict_can_give(&other->shard, sh->config->evict_volatile)) continue;
        thread_wake(&w->thread, &other->thread);
        any = true;
    }
    return any;
}

static const struct shard_hooks shard_hooks = {.send_late = send_late,
                                               .send_chunk = send_chunk,
                                               .notify = notify_publish,
                                               .note_slow = slow_note,
                                               .pass_slow = slow_pass,
                                               .drop_slow = slow_drop,
                                               .note_latency = note_latency,
                                               .used_elsewhere = used_elsewhere,
                                               .ask_others = ask_others};

/* ---- errorstats ---- */

void worker_count_error(struct worker *w, struct bytes text)
{
    const char *space = memchr(text.data, ' ', text.size);
    size_t size = space ? (size_t)(space - text.data) : text.size;
    if (size == 0 || size >= sizeof w->error_kinds[0].name) return;
    for (unsigned i = 0; i < ERROR_KINDS_MAX; i++) {
        struct error_kind *kind = &w->error_kinds[i];
        if (kind->name[0] == '\0') memcpy(kind->name, text.data, size); /* zeroed, so terminated */
        if (strncmp(kind->name, text.data, size) != 0 || kind->name[size] != '\0') continue;
        /* Pairs with the acquire load in stats_read_errors: whoever sees a count sees the name. */
        atomic_store_explicit(&kind->count.value, counter_read(&kind->count) + 1,
                              memory_order_release);
        return;
    }
}

/* ---- life ---- */

static void worker_init_net(struct worker *w)
{
    struct server *srv = w->server;
    struct mem *mem = &w->net.mem;
    netloop_init(&w->net, &w->thread, srv->is_recording ? &recording_hooks : &hooks,
                 &w->net_config[0]);
    w->net.owner = w;
    timer_init(&w->pause_timer.timer);
    w->scratch.mem = w->placement.mem = mem;
    pubsub_init(w);
    w->pause_number = 1;
    monitor_init(w);
    redirects_init(w);
    dlist_init(&w->tracking.clients);
    uint16_t shard_count = srv->mesh.shard_count;
    w->part_argv = mem_alloc(mem, shard_count * sizeof(struct bytes *));
    w->part_argc = mem_alloc(mem, shard_count * sizeof *w->part_argc);
    w->routes = mem_alloc_zeroed(mem, srv->router.route_count * sizeof *w->routes);
    if (!srv->is_recording) return;
    w->recorder = mem_alloc(mem, sizeof *w->recorder);
    recorder_init(w->recorder, mem, w->net.id);
}

static void worker_init_shard(struct worker *w)
{
    struct server *srv = w->server;
    uint64_t random_seed;
    env_random(&random_seed, sizeof random_seed);
    shard_init(&w->shard, &(struct shard_options){.id = (uint16_t)w->thread.shard_id,
                                                  .shard_count = srv->mesh.shard_count,
                                                  .database_count = srv->database_count,
                                                  .command_count = srv->router.route_count,
                                                  .hash_seed = srv->hash_seed,
                                                  .random_seed = random_seed,
                                                  .config = &w->shard_config[0],
                                                  .hooks = &shard_hooks,
                                                  .budget = &srv->budget,
                                                  .net_count = srv->mesh.net_count,
                                                  .read_feed = delivery_read_feed,
                                                  .short_shards = &srv->short_shards,
                                                  .message_places = srv->mesh.shard_count > 1
                                                                        ? &srv->message_places
                                                                        : NULL});
    merge_init(&w->merge, mesh_to_shard(&srv->mesh, 0, w->shard.id), srv->mesh.net_count);
    durable_shard_init(w);
}

void worker_init(struct worker *w, const struct worker_options *o)
{
    *w = (struct worker){
        .server = o->server, .has_net = o->net_id >= 0, .has_shard = o->shard_id >= 0};
    w->spin_ns = o->spin_ns;
    w->thread = (struct thread){.id = o->thread_id,
                                .net_id = o->net_id,
                                .shard_id = o->shard_id,
                                .mesh = &o->server->mesh,
                                .owner = w};
    const char *role = w->has_net && w->has_shard ? "io" : w->has_net ? "net" : "shard";
    snprintf(w->thread.name, sizeof w->thread.name, "%s-%u", role,
             (unsigned)(w->has_net ? o->net_id : o->shard_id));
    w->thread.now_ns = env_now_ns();
    w->thread.wall_ms = env_wall_us() / 1000;
    dlist_init(&w->stuck);
    struct mesh *mesh = &o->server->mesh;
    mesh->threads[o->thread_id] = &w->thread;
    if (w->has_net) mesh->net_threads[o->net_id] = &w->thread;
    if (w->has_shard) mesh->shard_threads[o->shard_id] = &w->thread;
    worker_apply_config(w, o->server->config);
    w->config_version = 0;
    net_config_fill(&w->net_config[0], w->config);
    shard_config_fill(&w->shard_config[0], w->config);
    if (w->has_net) worker_init_net(w);
    if (w->has_shard) worker_init_shard(w);
}

void worker_deinit(struct worker *w)
{
    struct server *srv = w->server;
    if (w->users) acl_set_unref(&w->server->acl, w->users);
    script_worker_deinit(w);
    if (w->has_shard) {
        durable_shard_deinit(w);
        shard_deinit(&w->shard);
    }
    if (!w->has_net) return;
    struct mem *mem = &w->net.mem;
    if (w->recorder) {
        recorder_deinit(w->recorder);
        mem_free(mem, w->recorder, sizeof *w->recorder);
    }
    pubsub_deinit(w);
    monitor_deinit(w);
    redirects_deinit(w);
    buf_clear(&w->scratch);
    buf_clear(&w->placement);
    mem_free(mem, w->part_argv, srv->mesh.shard_count * sizeof(struct bytes *));
    mem_free(mem, w->part_argc, srv->mesh.shard_count * sizeof *w->part_argc);
    for (uint32_t i = 0; i < srv->router.route_count; i++)
        histogram_slot_deinit(&w->routes[i].histogram, mem);
    mem_free(mem, w->routes, srv->router.route_count * sizeof *w->routes);
    netloop_deinit(&w->net);
}

bool worker_open(struct worker *w, char *why)
{
    struct env_loop_options options = {.name = w->thread.name,
                                       .recv_buffer_count = w->has_net ? RECV_BUFFERS : 0,
                                       .recv_buffer_bytes = RECV_BUFFER_BYTES,
                                       .backend = w->config->io_backend};
    return env_loop_create(&options, &w->thread.loop, why) == OK;
}

void worker_close(struct worker *w)
{
    env_loop_destroy(w->thread.loop);
    w->thread.loop = NULL;
}

/* ---- one step ---- */

bool worker_run_shard(struct worker *w)
{
    struct parcel *pc;
    unsigned n = 0;
    while (n < SHARD_STEP_PARCELS && !durable_is_stuffed(w) && (pc = merge_next(&w->merge))) {
        run_parcel_home(w, pc);
        n++;
    }
    bool any = durable_step(w);
    rewriter_shard_step(w);
    return any || n > 0;
}

/* One wake per net thread and step, however many parcels went there. */
static void wake_homeward(struct worker *w)
{
    if (w->homeward == 0) return;
    struct mesh *mesh = &w->server->mesh;
    for (uint16_t net_id = 0; net_id < mesh->net_count; net_id++)
        if (w->homeward >> (net_id % 64) & 1) thread_wake(&w->thread, mesh->net_threads[net_id]);
    w->homeward = 0;
}

static bool run_net_input(struct worker *w)
{
    bool any = netloop_run_timers(&w->net);
    any |= netloop_take_events(&w->net);
    any |= netloop_run_input(&w->net);
    any |= stuck_resume(w);
    any |= subscription_change_resume(w);
    turn_publish(&w->net);
    return any;
}

static bool run_net_output(struct worker *w)
{
    bool any = turn_take_home(&w->net);
    turn_publish(&w->net); /* commit turns of what has just been gathered */
    if (any || w->should_resume) {
        w->should_resume = false;
        netloop_resume_stalled(&w->net);
    }
    delivery_tell_changes(w);
    netloop_flush(&w->net);
    monitor_flush(w);
    redirects_flush(w);
    turn_publish(&w->net); /* and of connections that it has closed */
    /* What ran in place may have led to more requests: they must not wait for an event. */
    return any || w->net.turn.touched_count > 0;
}

/* Whether anything came in that a sleeper would miss. */
static bool has_mail(struct worker *w)
{
    struct mesh *mesh = &w->server->mesh;
    if (!thread_calls_empty(&w->thread)) return true;
    if (w->has_shard && !durable_is_stuffed(w) && !merge_is_empty(&w->merge)) return true;
    if (w->has_shard && durable_has_news(w)) return true;
    if (!w->has_net || w->net.turn.in_flight_total == 0) return false;
    for (uint16_t shard = 0; shard < mesh->shard_count; shard++)
        if (mailbox_count(mesh_to_net(mesh, shard, w->net.id)) > 0) return true;
    return false;
}

static uint64_t next_deadline_ns(const struct worker *w)
{
    uint64_t deadline_ns = UINT64_MAX;
    if (w->has_net) deadline_ns = MIN(deadline_ns, netloop_next_deadline_ns(&w->net));
    if (!w->has_shard) return deadline_ns;
    deadline_ns = MIN(deadline_ns, shard_next_deadline_ns(&w->shard));
    deadline_ns = MIN(deadline_ns, durable_next_ns(w));
    deadline_ns = MIN(deadline_ns, rewriter_shard_next_ns(w));
    return deadline_ns;
}

/* Takes events; sleeps first if there is nothing else to do. */
static void wait_for_events(struct worker *w, bool is_busy, uint64_t max_sleep_ns)
{
    struct thread *t = &w->thread;
    uint64_t now_ns = t->now_ns;
    uint64_t deadline_ns = next_deadline_ns(w);
    uint64_t sleep_ns = deadline_ns <= now_ns ? 0 : MIN(max_sleep_ns, deadline_ns - now_ns);
    if (is_busy) w->busy_until_ns = now_ns + w->spin_ns;
    if (is_busy || sleep_ns == 0 || now_ns < w->busy_until_ns ||
        (w->has_net && netloop_has_input(&w->net))) {
        env_wait(t->loop, 0);
        return;
    }
    sleeper_announce(&t->sleeper);
    if (!has_mail(w)) {
        counter_add(&w->sleeps, 1);
        env_wait(t->loop, sleep_ns);
    }
    sleeper_cancel(&t->sleeper);
}

/* A loop without sockets has no events, but it sleeps only after it was asked. */
static void drop_events(struct worker *w)
{
    struct env_event event;
    while (env_next(w->thread.loop, &event)) CHECK_NEVER("a shard thread has no sockets");
}

bool worker_step(struct worker *w, uint64_t max_sleep_ns)
{
    thread_enter(&w->thread);
    shard_here = NULL;
    if (w->has_shard) shard_set_now(&w->shard, w->thread.now_ns, w->thread.wall_ms);
    uint64_t started = env_ticks();
    bool any = thread_run_calls(&w->thread);
    if (w->has_net)
        any |= run_net_input(w);
    else
        drop_events(w);
    if (w->has_shard) any |= worker_run_shard(w);
    wake_homeward(w);
    if (w->has_net) any |= run_net_output(w);
    if (w->has_shard) {
        any |= shard_background(&w->shard);
        durable_flush(w);
        if (!durable_keep_late(w)) shard_send_late(&w->shard);
        channels_flush(&w->shard, &w->thread); /* parcels have gone home before their news */
    }
    counter_add(&w->steps, 1);
    wait_for_events(w, any, max_sleep_ns);
    /* With the system calls that follow from work; a step without work may have slept in them. */
    if (any) counter_add(&w->busy_ticks, env_ticks() - started);
    return any;
}

/* ---- the OS thread ---- */

struct worker_start {
    struct worker *worker;
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    bool is_done, is_open, pin;
    char *why;
};

/* After should_stop the loop goes on until every worker has drained: parcels under way must come
 * home, and the kernel must let go of the sockets. */
static void worker_run(struct worker *w)
{
    while (!atomic_load_explicit(&w->should_stop, memory_order_acquire)) worker_step(w, UINT64_MAX);
    thread_enter(&w->thread);
    if (w->has_net) netloop_close_all(&w->net);
    while (!atomic_load_explicit(&w->may_exit, memory_order_acquire)) {
        worker_step(w, 1000000);
        bool is_drained = !w->has_net || netloop_is_empty(&w->net);
        is_drained &= !w->has_net || (monitor_is_settled(w) && redirects_are_settled(w));
        is_drained &= !w->has_shard || shard_is_settled(&w->shard);
        atomic_store_explicit(&w->is_drained, is_drained, memory_order_release);
    }
}

static void *worker_main(void *argument)
{
    struct worker_start *start = argument;
    struct worker *w = start->worker;
    pthread_setname_np(pthread_self(), w->thread.name);
    if (start->pin && !thread_pin(w->thread.id))
        log_warning("%s could not be pinned to a CPU", w->thread.name);
    thread_enter(&w->thread);
    bool is_open = worker_open(w, start->why);
    pthread_mutex_lock(&start->mutex);
    start->is_open = is_open;
    start->is_done = true;
    pthread_cond_signal(&start->opened);
    pthread_mutex_unlock(&start->mutex);
    if (!is_open) return NULL;
    worker_run(w);
    worker_close(w);
    return NULL;
}

bool worker_start(struct worker *w, bool pin, char *why)
{
    struct worker_start start = {.worker = w, .pin = pin, .why = why};
    pthread_mutex_init(&start.mutex, NULL);
    pthread_cond_init(&start.opened, NULL);
    if (pthread_create(&w->pthread, NULL, worker_main, &start) != 0) {
        snprintf(why, 2 * ENV_NAME_BYTES_MAX, "cannot create thread %s", w->thread.name);
        return false;
    }
    pthread_mutex_lock(&start.mutex);
    while (!start.is_done) pthread_cond_wait(&start.opened, &start.mutex);
    pthread_mutex_unlock(&start.mutex);
    pthread_mutex_destroy(&start.mutex);
    pthread_cond_destroy(&start.opened);
    w->is_started = start.is_open;
    if (!start.is_open) pthread_join(w->pthread, NULL);
    return start.is_open;
}

void worker_ask_to_stop(struct worker *w)
{
    if (!w->is_started) return;
    atomic_store_explicit(&w->should_stop, true, memory_order_release);
    env_wake(NULL, w->thread.loop);
}

void worker_join(struct worker *w)
{
    if (!w->is_started) return;
    atomic_store_explicit(&w->may_exit, true, memory_order_release);
    pthread_join(w->pthread, NULL);
    w->is_started = false;
}
