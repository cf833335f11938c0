#include "net/turn.h"

#include "net/netloop.h"

#define POOL_MAX 8 /* parcels kept for reuse: some 34 KiB each */

void turn_init(struct netloop *nl)
{
    struct turn *t = &nl->turn;
    uint16_t shard_count = nl->thread->mesh->shard_count;
    *t = (struct turn){0};
    t->open = mem_alloc_zeroed(&nl->mem, shard_count * sizeof(struct parcel *));
    t->touched = mem_alloc_zeroed(&nl->mem, shard_count * sizeof *t->touched);
    t->in_flight = mem_alloc_zeroed(&nl->mem, shard_count * sizeof *t->in_flight);
    t->returns = mem_alloc_zeroed(&nl->mem, shard_count * sizeof *t->returns);
}

void turn_deinit(struct netloop *nl)
{
    struct turn *t = &nl->turn;
    uint16_t shard_count = nl->thread->mesh->shard_count;
    while (t->pool) {
        struct parcel *pc = t->pool;
        t->pool = pc->next;
        mem_free(&nl->mem, pc, sizeof *pc);
    }
    mem_free(&nl->mem, t->open, shard_count * sizeof(struct parcel *));
    mem_free(&nl->mem, t->touched, shard_count * sizeof *t->touched);
    mem_free(&nl->mem, t->in_flight, shard_count * sizeof *t->in_flight);
    mem_free(&nl->mem, t->returns, shard_count * sizeof *t->returns);
}

/* ---- assembling ---- */

static struct parcel *parcel_take(struct netloop *nl, uint16_t shard)
{
    struct turn *t = &nl->turn;
    struct parcel *pc = t->pool;
    if (pc) {
        t->pool = pc->next;
        t->pool_count--;
    } else {
        pc = mem_alloc_aligned(&nl->mem, sizeof *pc, CACHE_LINE);
    }
    parcel_reset(pc, nl->id, shard);
    return pc;
}

bool turn_reserve(struct netloop *nl, const uint16_t *shards, uint16_t count)
{
    struct turn *t = &nl->turn;
    for (uint16_t i = 0; i < count; i++) {
        const struct parcel *pc = t->open[shards[i]];
        if (likely(!pc || parcel_has_room(pc))) continue;
        turn_publish(nl);
        break;
    }
    for (uint16_t i = 0; i < count; i++)
        if (!t->open[shards[i]] && t->in_flight[shards[i]] >= MESH_PARCELS) return false;
    if (unlikely(nl->is_logging) && count > 1 && ledger_is_full(&nl->thread->mesh->ledger, nl->id))
        return false;
    for (uint16_t i = 0; i < count; i++) {
        uint16_t shard = shards[i];
        if (t->open[shard]) continue;
        t->open[shard] = parcel_take(nl, shard);
        t->touched[t->touched_count++] = shard;
    }
    return true;
}

static ALWAYS_INLINE struct request *parcel_add(struct parcel *pc, const struct turn_request *r)
{
    CHECK(pc && pc->request_count < PARCEL_REQUESTS_MAX);
    struct request *rq = &pc->requests[pc->request_count++];
    rq->command = r->command;
    rq->hash = r->hash;
    rq->hashed_index = r->hashed_index & HASHED_INDEX_MAX;
    rq->argc = r->argc;
    rq->db = r->db;
    rq->resp = r->resp;
    rq->flags = r->flags;
    rq->command_id = r->command_id;
    rq->input = r->input ? r->input->buffer : NULL;
    rq->payload = r->input ? r->input->payload : NULL;
    rq->error_count = 0;
    if (r->argv_is_stable) {
        rq->argv = r->argv;
        return rq;
    }
    CHECK(pc->arg_count + r->argc <= PARCEL_ARGS_MAX);
    rq->argv = &pc->args[pc->arg_count];
    for (uint32_t i = 0; i < r->argc; i++) rq->argv[i] = r->argv[i];
    pc->arg_count += r->argc;
    return rq;
}

/* True if the connection's last slot stands for the requests at the end of this parcel, so that one
 * more may join. */
static bool run_extend(struct parcel *pc, struct conn *c)
{
    if (pc->run_count == 0 || !conn_has_slots(c)) return false;
    struct run *run = &pc->runs[pc->run_count - 1];
    if (run->gather || run->conn_index != c->index || run->conn_generation != c->generation ||
        run->slot != c->slot_tail - 1)
        return false;
    struct slot *slot = conn_slot(c, run->slot);
    if (slot->muted != (c->is_reply_off || c->is_reply_skip)) return false;
    run->count++;
    slot->count++;
    c->in_flight++;
    return true;
}

void turn_add(struct netloop *nl, uint16_t shard, struct conn *c, const struct turn_request *r)
{
    struct parcel *pc = nl->turn.open[shard];
    parcel_add(pc, r);
    uint32_t turn_index = nl->turn.request_count++;
    if (run_extend(pc, c)) return;
    uint32_t sequence = conn_push_slot(c);
    struct slot *slot = conn_slot(c, sequence);
    slot->first = (uint16_t)(pc->request_count - 1);
    slot->count = 1;
    pc->runs[pc->run_count++] = (struct run){.conn_index = c->index,
                                             .conn_generation = c->generation,
                                             .slot = sequence,
                                             .first = slot->first,
                                             .count = 1,
                                             .turn_index = turn_index};
}

void turn_add_part(struct netloop *nl, uint16_t shard, struct gather *g, uint32_t part,
                   const struct turn_request *r)
{
    struct parcel *pc = nl->turn.open[shard];
    parcel_add(pc, r);
    if (unlikely(nl->is_logging) && r->commits && pc->part_count == 0) {
        pc->part_count = 1;
        pc->part = nl->turn.part_count++;
    }
    if (!r->is_same_command) nl->turn.request_count++;
    pc->runs[pc->run_count++] = (struct run){.gather = g,
                                             .conn_index = g->conn_index,
                                             .conn_generation = g->conn_generation,
                                             .slot = g->slot,
                                             .part = part,
                                             .first = (uint16_t)(pc->request_count - 1),
                                             .count = 1,
                                             .turn_index = nl->turn.request_count - 1};
}

/* ---- publishing ---- */

/* It has no position yet, but from the fetch_add on it must be seen. */
static struct ledger_entry *transaction_open(struct netloop *nl)
{
    struct turn *t = &nl->turn;
    struct mesh *mesh = nl->thread->mesh;
    struct ledger_entry *e = NULL;
    uint16_t count = t->part_count;
    t->part_count = 0;
    if (count > 1) e = ledger_open(&mesh->ledger, nl->id, count, sequencer_now(&mesh->sequencer));
    for (uint16_t i = 0; i < t->touched_count; i++) {
        struct parcel *pc = t->open[t->touched[i]];
        if (pc->part_count == 0) continue;
        pc->part_count = count > 1 ? count : 0; /* a shard alone needs no transaction */
        pc->ledger = e;
    }
    return e;
}

static void turn_is_over(struct netloop *nl)
{
    nl->turn.touched_count = 0;
    nl->turn.request_index = nl->turn.request_count = 0;
}

static bool turn_run_in_place(struct netloop *nl)
{
    struct turn *t = &nl->turn;
    if (t->touched_count != 1 || t->touched[0] != nl->own_shard) return false;
    uint16_t shard = t->touched[0];
    struct parcel *pc = t->open[shard];
    uint64_t position = 0;
    enum in_place result = nl->hooks->run_in_place(nl, pc, &position);
    if (result == IN_PLACE_NOT) return false;
    if (nl->hooks->on_publish) nl->hooks->on_publish(nl, position, true);
    t->open[shard] = NULL;
    turn_is_over(nl);
    counter_add(&nl->counters.turns_in_place, 1);
    if (unlikely(result == IN_PLACE_KEPT)) {
        t->in_flight[shard]++;
        t->in_flight_total++;
    } else {
        turn_parcel_home(nl, pc);
    }
    return true;
}

void turn_publish(struct netloop *nl)
{
    struct turn *t = &nl->turn;
    struct mesh *mesh = nl->thread->mesh;
    if (t->touched_count == 0) return;
    counter_add(&nl->counters.turns, 1);
    counter_add(&nl->counters.parcels, t->touched_count);
    struct ledger_entry *transaction = unlikely(t->part_count > 0) ? transaction_open(nl) : NULL;
    if (turn_run_in_place(nl)) return;

    for (uint16_t i = 0; i < t->touched_count; i++) {
        uint16_t shard = t->touched[i];
        CHECK(mailbox_push(mesh_to_shard(mesh, nl->id, shard),
                           t->open[shard])); /* the credit guarantees room */
        t->in_flight[shard]++;
    }
    t->in_flight_total += t->touched_count;
    uint64_t position = sequencer_take(&mesh->sequencer);
    if (unlikely(transaction != NULL)) ledger_name(transaction, position);
    for (uint16_t i = 0; i < t->touched_count; i++) {
        struct parcel *pc = t->open[t->touched[i]];
        t->open[t->touched[i]] = NULL;
        /* Pairs with the acquire load in the shard's merge. The parcel is not ours from here on. */
        atomic_store_explicit(&pc->position, position, memory_order_release);
    }
    if (nl->hooks->on_publish) nl->hooks->on_publish(nl, position, false);
    for (uint16_t i = 0; i < t->touched_count; i++)
        thread_wake(nl->thread, mesh->shard_threads[t->touched[i]]);
    if (unlikely(transaction != NULL)) thread_wake_waiting(nl->thread);
    turn_is_over(nl);
}

/* ---- coming home ---- */

/* Overflow chunks are the shard's memory: they collect here until the way back is free. */
static void return_later(struct netloop *nl, uint16_t shard, struct chunk *chain)
{
    struct chunk_return *r = &nl->turn.returns[shard];
    while (chain) {
        struct chunk *next = chain->next;
        chain->next = r->waiting;
        r->waiting = chain;
        chain = next;
    }
}

static void chunk_return_arrived(UNUSED struct thread *at, struct call *c)
{
    struct chunk_return *r = container_of(c, struct chunk_return, call);
    r->is_away = false;
    r->netloop->errands--;
    turn_return_chunks(r->netloop); /* what has collected meanwhile */
}

static void chunk_return_run(struct thread *at, struct call *c)
{
    struct chunk_return *r = container_of(c, struct chunk_return, call);
    uint16_t back_to = c->from;
    struct netloop *nl = r->netloop;
    nl->hooks->free_chunks(at, r->travelling);
    c->run = chunk_return_arrived;
    thread_call(at, back_to, c);
}

void turn_return_chunks(struct netloop *nl)
{
    struct mesh *mesh = nl->thread->mesh;
    for (uint16_t shard = 0; shard < mesh->shard_count; shard++) {
        struct chunk_return *r = &nl->turn.returns[shard];
        if (!r->waiting || r->is_away) continue;
        struct thread *target = mesh->shard_threads[shard];
        struct chunk *chain = r->waiting;
        r->waiting = NULL;
        if (target == nl->thread) {
            nl->hooks->free_chunks(target, chain);
            continue;
        }
        r->travelling = chain;
        r->netloop = nl;
        r->is_away = true;
        nl->errands++;
        r->call.run = chunk_return_run;
        thread_call(nl->thread, target->id, &r->call);
    }
}

static void parcel_retire(struct netloop *nl, struct parcel *pc)
{
    struct turn *t = &nl->turn;
    if (pc->out.first && pc->out.first->next) {
        return_later(nl, pc->shard_id, pc->out.first->next);
        turn_return_chunks(nl);
    }
    if (t->pool_count >= POOL_MAX) {
        mem_free(&nl->mem, pc, sizeof *pc);
        return;
    }
    pc->next = t->pool;
    t->pool = pc;
    t->pool_count++;
}

void turn_unhold(struct netloop *nl, struct parcel *pc)
{
    CHECK(pc->holds > 0);
    if (--pc->holds == 0) parcel_retire(nl, pc);
}

/* Requests are over: what their arguments lived in may go. */
static void parcel_release_input(struct parcel *pc)
{
    for (uint32_t i = 0; i < pc->request_count; i++) {
        struct request *rq = &pc->requests[i];
        if (rq->input) input_unref(rq->input);
        if (rq->payload) payload_unref(rq->payload);
    }
}

static bool run_has_parked(const struct parcel *pc, const struct run *run)
{
    if (likely(!pc->has_parked)) return false;
    for (uint32_t i = run->first; i < (uint32_t)run->first + run->count; i++)
        if (pc->requests[i].flags & REQUEST_PARKED) return true;
    return false;
}

static void gather_part_arrived(struct gather *g)
{
    CHECK(g->waiting > 0);
    if (--g->waiting > 0) return;
    if (unlikely(g->slow != NULL)) g->netloop->hooks->on_slow_parts(g->netloop, g);
    g->on_complete(g);
}

static void run_to_gather(struct parcel *pc, const struct run *run)
{
    struct gather_part *part = &run->gather->parts[run->part];
    if (run_has_parked(pc, run)) return; /* a late reply will fill it */
    *part = (struct gather_part){.parcel = pc,
                                 .start = parcel_reply_start(pc, run->first),
                                 .end = pc->requests[run->first].reply_end};
    pc->holds++;
    gather_part_arrived(run->gather);
}

/* Errors are short, so what is asked for lies in one chunk in all but the rarest case. */
static void parcel_report_errors(struct netloop *nl, struct parcel *pc)
{
    for (uint32_t i = 0; i < pc->request_count; i++) {
        if (pc->requests[i].error_count == 0 || pc->requests[i].flags & REQUEST_PART) continue;
        uint64_t start = parcel_reply_start(pc, i), end = pc->requests[i].reply_end;
        if (end > pc->out.first->size || pc->out.first->data[start] != '-') continue;
        nl->hooks->on_error(nl, pc->requests[i].command_id,
                            bytes_make(pc->out.first->data + start + 1, end - start - 1));
    }
}

void turn_parcel_home(struct netloop *nl, struct parcel *pc)
{
    pc->holds = 1; /* ours, while runs are handed out */
    if (unlikely(pc->out.error_count > 0)) parcel_report_errors(nl, pc);
    if (unlikely(pc->slow != NULL)) nl->hooks->on_slow(nl, pc);
    parcel_release_input(pc);
    for (uint32_t i = 0; i < pc->run_count; i++) {
        const struct run *run = &pc->runs[i];
        if (unlikely(run->gather != NULL)) {
            run_to_gather(pc, run);
            continue;
        }
        struct conn *c = netloop_conn(nl, run->conn_index, run->conn_generation);
        if (c) conn_run_home(c, pc, run, run_has_parked(pc, run));
    }
    turn_unhold(nl, pc);
}

bool turn_take_home(struct netloop *nl)
{
    struct turn *t = &nl->turn;
    struct mesh *mesh = nl->thread->mesh;
    if (t->in_flight_total == 0) return false;
    bool any = false;
    for (uint16_t shard = 0; shard < mesh->shard_count; shard++) {
        if (t->in_flight[shard] == 0) continue;
        struct parcel *pc;
        while ((pc = mailbox_pop(mesh_to_net(mesh, shard, nl->id)))) {
            t->in_flight[shard]--;
            t->in_flight_total--;
            turn_parcel_home(nl, pc);
            any = true;
        }
    }
    return any;
}

void turn_return_late(struct netloop *nl, struct late_reply *late)
{
    uint16_t home = late->call.from;
    late->call.run = late->is_back;
    thread_call(nl->thread, home, &late->call);
}

void turn_deliver_late(struct netloop *nl, struct late_reply *late)
{
    /* The parcel was pushed home before the late reply was sent, so it is here by now. */
    turn_take_home(nl);
    if (unlikely(late->has_error))
        nl->hooks->on_error(nl, late->command_id,
                            bytes_make(late->chain->data + 1, late->chain->size - 1));
    if (late->run.gather) {
        struct gather_part *part = &late->run.gather->parts[late->run.part];
        part->late = late;
        part->chain = late->chain;
        part->start = part->end = 0;
        for (const struct chunk *c = part->chain; c; c = c->next) part->end += c->size;
        gather_part_arrived(late->run.gather);
        return;
    }
    struct conn *c = netloop_conn(nl, late->run.conn_index, late->run.conn_generation);
    if (c) conn_late_reply(c, late->run.slot, late->index, late->chain);
    turn_return_late(nl, late);
}
