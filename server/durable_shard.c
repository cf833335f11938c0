/* One shard's part of durable.h: its log, and the parcels that wait for it. */
#include <unistd.h>

#include "base/late.h"
#include "base/log.h"
#include "server/durable.h"
#include "server/function_log.h"
#include "server/server.h"
#include "server/worker.h"

#define NEVER_LSN UINT64_MAX /* the log lacks what it did: only a base will hold it */

struct durable_waiting {
    struct parcel *parcel;
    struct dlist late;
    uint64_t lsn, txid;
};

void durable_shard_init(struct worker *w)
{
    struct durable_shard *d = &w->durable;
    d->waiting_capacity = (uint32_t)MESH_PARCELS * w->server->mesh.net_count;
    d->waiting = mem_alloc(&w->shard.mem, d->waiting_capacity * sizeof *d->waiting);
    for (uint32_t i = 0; i < d->waiting_capacity; i++) dlist_init(&d->waiting[i].late);
}

void durable_shard_deinit(struct worker *w)
{
    struct durable_shard *d = &w->durable;
    CHECK(d->waiting_count == 0);
    mem_free(&w->shard.mem, d->waiting, d->waiting_capacity * sizeof *d->waiting);
}

static enum aof_policy policy_of(const struct worker *w)
{
    switch (w->config->appendfsync) {
    case CONFIG_FSYNC_ALWAYS:
        return AOF_ALWAYS;
    case CONFIG_FSYNC_EVERYSEC:
        return AOF_EVERYSEC;
    case CONFIG_FSYNC_NO:
        break;
    }
    return AOF_NO;
}

void durable_apply_config(struct worker *w)
{
    if (w->durable.log) aof_set_policy(w->durable.log, policy_of(w));
}

/* ---- keeping and letting go ---- */

static bool only_reads(const struct parcel *pc)
{
    if (pc->part_count > 0) return false;
    for (uint32_t i = 0; i < pc->request_count; i++)
        if (!(pc->requests[i].command->flags & CMD_READ)) return false;
    return true;
}

/* R is above it. What is known stays known: later transactions have higher txids. */
static bool is_resolved(struct worker *w, uint64_t txid)
{
    struct durable_shard *d = &w->durable;
    if (txid <= d->known_txid) return true;
    uint64_t lowest = ledger_lowest(&w->server->mesh.ledger);
    d->known_txid = MAX(d->known_txid, MIN(lowest - 1, w->shard.journal.last_txid));
    return txid <= d->known_txid;
}

static bool may_leave(struct worker *w, const struct durable_waiting *item)
{
    return item->lsn <= aof_stable_lsn(w->durable.log) && is_resolved(w, item->txid);
}

/* With everysec and no, a reply that tells of no change promises nothing: while the disk fails
 * reads go on, even those that find a key expired. */
static void set_rule(const struct worker *w, struct durable_waiting *item, uint64_t lsn_before)
{
    const struct journal *j = &w->shard.journal;
    bool always = w->config->appendfsync == CONFIG_FSYNC_ALWAYS;
    if (!always && (j->last_lsn == lsn_before || only_reads(item->parcel)) && !j->has_failed)
        return;
    item->lsn = j->has_failed ? NEVER_LSN : j->last_lsn;
    item->txid = j->last_txid;
}

/* Coordinators rely on the order in which a shard answers. But reads go on while the disk fails;
 * and of a log that was lost nothing leaves before a base holds it, for which holdings must end, so
 * everything that has changed nothing goes on. A late reply may belong to a parcel that waits here.
 */
static bool may_overtake(const struct worker *w, const struct durable_waiting *item)
{
    if (w->durable.waiting_count == 0) return true;
    if (item->lsn != 0 || !dlist_is_empty(&w->shard.late)) return false;
    struct aof *log = w->durable.log;
    return only_reads(item->parcel) || aof_state_now(log) == AOF_LOST || aof_is_uncovered(log);
}

bool durable_keep(struct worker *w, struct parcel *pc, uint64_t lsn_before)
{
    struct durable_shard *d = &w->durable;
    struct dlist *late = &w->shard.late;
    struct durable_waiting item = {.parcel = pc};
    set_rule(w, &item, lsn_before);
    if (may_leave(w, &item) && may_overtake(w, &item)) return false;
    CHECK(d->waiting_count < d->waiting_capacity); /* the credit of the net threads */
    struct durable_waiting *to =
        &d->waiting[(d->waiting_first + d->waiting_count++) % d->waiting_capacity];
    to->parcel = pc;
    to->lsn = item.lsn;
    to->txid = item.txid;
    dlist_splice(&to->late, late);
    return true;
}

/* They tell of what has just been appended, and stand behind everything that waits. */
bool durable_keep_late(struct worker *w)
{
    struct durable_shard *d = &w->durable;
    struct dlist *late = &w->shard.late;
    if (likely(!d->log) || dlist_is_empty(late)) return false;
    if (d->waiting_count == 0) {
        d->waiting_count = 1;
        d->waiting[d->waiting_first].parcel = NULL;
    }
    uint32_t last = (d->waiting_first + d->waiting_count - 1) % d->waiting_capacity;
    d->waiting[last].lsn = w->shard.journal.last_lsn;
    d->waiting[last].txid = w->shard.journal.last_txid;
    dlist_splice(&d->waiting[last].late, late);
    return true;
}

static struct durable_waiting *first_waiting(struct durable_shard *d)
{
    return d->waiting_count > 0 ? &d->waiting[d->waiting_first] : NULL;
}

static bool let_go(struct worker *w)
{
    struct durable_shard *d = &w->durable;
    struct durable_waiting *item;
    bool any = false;
    while ((item = first_waiting(d))) {
        if (item->lsn == NEVER_LSN && !w->shard.journal.has_failed)
            item->lsn = w->shard.journal.last_lsn;
        if (!may_leave(w, item)) break;
        d->waiting_first = (d->waiting_first + 1) % d->waiting_capacity;
        d->waiting_count--;
        dlist_splice(&w->shard.late, &item->late);
        if (item->parcel)
            worker_send_home(w, item->parcel);
        else
            shard_send_late(&w->shard);
        any = true;
    }
    return any;
}

/* Whether only R keeps the first one here. */
static bool waits_for_others(struct durable_shard *d)
{
    const struct durable_waiting *item = first_waiting(d);
    return item && item->lsn <= aof_stable_lsn(d->log);
}

static bool release(struct worker *w)
{
    struct durable_shard *d = &w->durable;
    struct ledger *ledger = &w->server->mesh.ledger;
    bool any = let_go(w);
    bool waits = waits_for_others(d);
    if (likely(waits == d->is_waiting)) return any;
    d->is_waiting = waits;
    if (!waits) {
        ledger_wait_no_more(ledger, w->shard.id);
        return any;
    }
    ledger_wait(ledger, w->shard.id);
    return let_go(w) || any; /* it may have risen just before */
}

bool durable_has_news(struct worker *w)
{
    struct durable_shard *d = &w->durable;
    const struct durable_waiting *item = first_waiting(d);
    return item && d->is_waiting && may_leave(w, item);
}

/* ---- transactions ---- */

static void part_is_over(struct worker *w, struct ledger_entry *e)
{
    if (ledger_part_is_stable(e)) thread_wake_waiting(&w->thread);
}

void durable_skip_part(struct worker *w, struct parcel *pc)
{
    part_is_over(w, pc->ledger);
}

static void count_parts(struct worker *w)
{
    struct journal_part part;
    uint64_t stable_lsn = aof_stable_lsn(w->durable.log);
    while (journal_take_part(&w->shard, stable_lsn, &part)) part_is_over(w, part.ledger);
}

/* ---- what the rest of the house hears ---- */

static enum aof_state state_of(struct worker *w)
{
    enum aof_state state = aof_state_now(w->durable.log);
    return w->shard.journal.has_failed && state < AOF_LOST ? AOF_LOST : state;
}

static void state_call_is_back(struct thread *at, UNUSED struct call *c)
{
    struct worker *w = at->owner;
    w->durable.is_state_call_away = false;
}

static void state_arrives(struct thread *at, struct call *c)
{
    durable_state_changed(at->owner);
    uint16_t back_to = c->from;
    c->run = state_call_is_back;
    thread_call(at, back_to, c);
}

/* The process ends before anybody hears that something was done which may be lost. */
static void end_of_always(const struct worker *w)
{
    log_warning("The log of shard %u cannot be synced, and appendfsync is 'always': exiting before "
                "anything more is acknowledged",
                (unsigned)w->shard.id);
    _exit(1);
}

static void look_at_state(struct worker *w)
{
    struct durable_shard *d = &w->durable;
    enum aof_state state = state_of(w);
    if (likely(state == durable_shard_state(d)) || d->is_state_call_away) return;
    if (state == AOF_LOST && w->config->appendfsync == CONFIG_FSYNC_ALWAYS) end_of_always(w);
    atomic_store_explicit(&d->why, aof_why(d->log), memory_order_relaxed);
    counter_set(&d->state, state);
    d->is_state_call_away = true;
    d->state_call.run = state_arrives;
    thread_call(&w->thread, w->server->thread.id, &d->state_call);
}

static void publish(struct durable_shard *d)
{
    counter_set(&d->last_lsn, aof_last_lsn(d->log));
    counter_set(&d->durable_lsn, aof_durable_lsn(d->log));
    counter_set(&d->bytes, aof_size(d->log));
    counter_set(&d->buffered_bytes, aof_buffered(d->log));
    counter_set(&d->is_syncing, aof_is_busy(d->log));
}

/* ---- a step ---- */

static void close_log(struct worker *w)
{
    struct durable_shard *d = &w->durable;
    if (!d->closing || aof_is_busy(d->log) || durable_shard_state(d) < AOF_LOST) return;
    if (d->waiting_count > 0) return;
    struct call *c = d->closing;
    uint16_t back_to = c->from;
    d->closing = NULL;
    aof_destroy(d->log);
    d->log = NULL;
    thread_call(&w->thread, back_to, c);
}

void durable_flush(struct worker *w)
{
    if (w->durable.log) journal_flush(&w->shard);
}

/* What a step may wait for is one write; syncs of `always` go through the loop, and replies wait.
 */
static void step_log(struct worker *w)
{
    struct aof *log = w->durable.log;
    bool is_syncing = aof_is_busy(log);
    uint64_t started = span_event_start(&w->shard);
    aof_step(log, w->thread.now_ns);
    uint64_t always_ns = aof_take_always_ns(log);
    if (likely(started == 0)) return;
    span_event_end(&w->shard, "aof-write", started);
    span_event_end(&w->shard, is_syncing ? "aof-write-pending-fsync" : "aof-write-alone", started);
    span_event_took(&w->shard, "aof-fsync-always", always_ns);
}

bool durable_step(struct worker *w)
{
    struct durable_shard *d = &w->durable;
    if (likely(!d->log)) return false;
    journal_flush(&w->shard);
    aof_set_resolved(d->log,
                     atomic_load_explicit(&w->server->durable.resolved_txid, memory_order_relaxed));
    step_log(w);
    look_at_state(w);
    publish(d);
    count_parts(w);
    bool any = release(w);
    close_log(w);
    return any;
}

bool durable_is_stuffed(const struct worker *w)
{
    const struct durable_shard *d = &w->durable;
    if (likely(!d->log)) return false;
    size_t limit =
        durable_shard_state(d) == AOF_GOOD ? DURABLE_BUFFER_BYTES : DURABLE_FAILING_BYTES;
    return aof_buffered(d->log) > limit;
}

uint64_t durable_next_ns(const struct worker *w)
{
    const struct durable_shard *d = &w->durable;
    if (likely(!d->log)) return UINT64_MAX;
    bool always = w->config->appendfsync == CONFIG_FSYNC_ALWAYS;
    if (aof_state_now(d->log) == AOF_GOOD && !always && aof_buffered(d->log) > 0) return 0;
    return aof_next_ns(d->log);
}

/* ---- opening and closing ---- */

enum err durable_open_log(struct worker *w, struct aof_options *options)
{
    struct durable_shard *d = &w->durable;
    options->mem = &w->shard.mem;
    options->loop = w->thread.loop;
    options->policy = policy_of(w);
    /* More than we let gather, so that what was let in always finds room. */
    options->buffer_bytes_max = 2 * (size_t)DURABLE_FAILING_BYTES;
    enum err e = aof_create(options, &d->log);
    if (e != OK) return e;
    journal_open(&w->shard, d->log);
    function_log_write(w, false);
    d->known_txid = w->shard.journal.last_txid;
    counter_set(&d->state, AOF_GOOD);
    publish(d);
    return OK;
}

void durable_close_log(struct worker *w, struct call *c)
{
    journal_close(&w->shard);
    aof_seal(w->durable.log);
    w->durable.closing = c;
}
