#include "tests/unit/net_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/command.h"
#include "base/text.h"

/* The simulator carries it from fiber to fiber; there are no shards here that would need it. */
struct shard;
extern _Thread_local struct shard *shard_here;
_Thread_local struct shard *shard_here;

static struct net_fixture *fixture; /* hooks have no context */

static const struct command rows[NET_FIXTURE_SHARDS] = {{.name = "s0"}, {.name = "s1"}};

/* ---- the net thread's side ---- */

static struct turn_request request_of(struct conn *c, struct input_ref *input)
{
    struct resp_reader *r = &c->reader;
    bool is_long = r->argc > TURN_ARGS_INLINE_MAX;
    cr_assert_eq(conn_hold_request(c, is_long ? r->argc : 0, input), OK);
    struct turn_request request = {
        .command = rows, .argv = r->argv, .argc = r->argc, .resp = 2, .input = input};
    if (!is_long) return request;
    memcpy(input->payload->argv, r->argv, r->argc * sizeof *r->argv);
    request.argv = input->payload->argv;
    request.argv_is_stable = true;
    return request;
}

static bool send_to_shard(struct conn *c, uint16_t shard)
{
    struct input_ref input;
    if (conn_slots_full(c) || !turn_reserve_one(c->netloop, shard)) return false;
    struct turn_request request = request_of(c, &input);
    turn_add(c->netloop, shard, c, &request);
    return true;
}

struct split {
    struct gather gather;
    struct gather_part parts[NET_FIXTURE_SHARDS];
};

static void split_complete(struct gather *g)
{
    struct split *split = container_of(g, struct split, gather);
    struct netloop *nl = g->netloop;
    struct conn *c = netloop_conn(nl, g->conn_index, g->conn_generation);
    if (c && !c->is_closing) {
        struct reply out = netloop_reply(nl, 2);
        for (uint16_t i = 0; i < g->part_count; i++) {
            struct bytes part = gather_part_bytes(g, i, &nl->flatten);
            reply_raw(&out, part.data, part.size);
        }
        conn_fill_slot(c, g->slot, &out);
        netloop_reply_drop(nl, &out);
    }
    gather_release_parts(g);
    mem_free(&nl->mem, split, sizeof *split);
    nl->errands--;
}

static bool send_to_both(struct conn *c)
{
    static const uint16_t shards[] = {0, 1};
    struct netloop *nl = c->netloop;
    struct input_ref input;
    if (conn_slots_full(c) || !turn_reserve(nl, shards, 2)) return false;
    cr_assert_eq(conn_hold_request(c, c->reader.argc, &input), OK);
    memcpy(input.payload->argv, c->reader.argv, c->reader.argc * sizeof(struct bytes));
    input.payload->refs = 2;
    struct split *split = mem_alloc_zeroed(&nl->mem, sizeof *split);
    nl->errands++;
    split->gather = (struct gather){.netloop = nl,
                                    .on_complete = split_complete,
                                    .conn_index = c->index,
                                    .conn_generation = c->generation,
                                    .slot = conn_push_slot(c),
                                    .part_count = 2,
                                    .waiting = 2,
                                    .parts = split->parts};
    for (uint16_t i = 0; i < 2; i++)
        turn_add_part(nl, i, &split->gather, i,
                      &(struct turn_request){.command = rows,
                                             .argv = input.payload->argv,
                                             .argc = c->reader.argc,
                                             .resp = 2,
                                             .input = &input,
                                             .argv_is_stable = true});
    return true;
}

static void answer_here(struct conn *c, struct bytes word)
{
    struct reply out = netloop_reply(c->netloop, 2);
    reply_raw(&out, "+", 1);
    reply_raw(&out, word.data, word.size);
    reply_raw(&out, "\r\n", 2);
    conn_reply(c, &out);
    netloop_reply_drop(c->netloop, &out);
}

static bool is_waiting(const struct conn *c)
{
    return fixture->waiting_generation == c->generation && fixture->waiting_conn == c->index;
}

/* False: no credit, or no slot. */
static bool dispatch(struct conn *c)
{
    struct bytes name = c->reader.argv[0];
    struct bytes word = c->reader.argc > 1 ? c->reader.argv[1] : bytes_make("", 0);
    if (bytes_equal_nocase(name, "s1")) return send_to_shard(c, 1);
    if (bytes_equal_nocase(name, "both") || bytes_equal_nocase(name, "bothpark"))
        return send_to_both(c);
    if (bytes_equal_nocase(name, "mute"))
        c->is_reply_off = bytes_equal_nocase(word, "on");
    else if (bytes_equal_nocase(name, "here"))
        answer_here(c, word);
    else if (bytes_equal_nocase(name, "quit"))
        conn_close_after_reply(c);
    else if (bytes_equal_nocase(name, "kill"))
        conn_close(c);
    else if (bytes_equal_nocase(name, "wait")) {
        fixture->waiting_conn = c->index;
        fixture->waiting_generation = c->generation;
        fixture->waiting_slot = conn_push_slot(c);
    } else {
        return send_to_shard(c, 0);
    }
    return true;
}

static void on_input(struct conn *c)
{
    static const struct resp_limits limits = {
        .bulk_bytes_max = 1 << 29, .args_max = RESP_ARGS_MAX, .authenticated = true};
    for (unsigned budget = NETLOOP_COMMANDS_PER_TURN; budget > 0; budget--) {
        if (c->is_closing || c->close_after_reply) return;
        if (is_waiting(c)) {
            conn_wait(c);
            return;
        }
        enum resp_state state = conn_next_request(c, &limits);
        if (state == RESP_NEED_MORE) {
            conn_input_done(c, false);
            return;
        }
        if (state == RESP_BROKEN) {
            answer_here(c, BYTES_LITERAL("broken"));
            conn_close_after_reply(c);
            return;
        }
        if (!dispatch(c)) {
            conn_stall(c);
            return;
        }
        c->last_request_ms = thread_now_ms(c->netloop->thread);
    }
    conn_input_done(c, true);
}

static void on_open(struct conn *c)
{
    cr_assert_not(c->is_closing);
    fixture->opened++;
}

static void on_close(struct conn *c)
{
    cr_assert(c->is_closing);
    fixture->closed++;
}

static void on_publish(struct netloop *nl, uint64_t position, bool in_place)
{
    cr_assert_eq(nl, &fixture->nl);
    fixture->in_place += in_place;
    if (fixture->turn_count < ARRAY_LEN(fixture->positions))
        fixture->positions[fixture->turn_count] = position;
    fixture->turn_count++;
}

static void on_error(struct netloop *nl, UNUSED uint16_t command_id, struct bytes text)
{
    cr_assert(nl == &fixture->nl);
    fixture->failures++;
    fixture->failed_text.size = 0;
    buf_append(&fixture->failed_text, text.data, text.size);
}

static void free_chunks(struct thread *at, struct chunk *chain)
{
    cr_assert_geq(at->shard_id, 0);
    chunk_free_chain(&fixture->shard_mem[at->shard_id], chain);
}

/* On whichever thread: all are the test's. */
static void late_is_back(struct thread *at, struct call *c)
{
    (void)at;
    struct late_reply *late = container_of(c, struct late_reply, call);
    struct mem *mem = &fixture->shard_mem[late->shard_id];
    chunk_free_chain(mem, late->chain);
    mem_free(mem, late, sizeof *late);
}

/* ---- the shards' side ---- */

static void park(struct net_fixture *f, const struct parcel *pc, uint32_t index)
{
    const struct request *rq = &pc->requests[index];
    struct mem *mem = &f->shard_mem[pc->shard_id];
    struct late_reply *late = mem_alloc_zeroed(mem, sizeof *late);
    late->is_back = late_is_back;
    late->net_id = pc->net_id;
    late->shard_id = pc->shard_id;
    for (uint32_t i = 0; i < pc->run_count; i++) {
        const struct run *run = &pc->runs[i];
        if (index < run->first || index >= (uint32_t)run->first + run->count) continue;
        late->run = *run;
        late->index = (uint16_t)(index - run->first);
    }
    struct reply out;
    reply_init(&out, NULL, mem);
    reply_raw(&out, "+", 1);
    reply_raw(&out, rq->argv[1].data, rq->argv[1].size);
    reply_raw(&out, "\r\n", 2);
    late->chain = reply_take(&out);
    cr_assert_lt(f->parked_count, NET_FIXTURE_PARKED_MAX);
    f->parked[f->parked_count++] = late;
}

static void reply_big(struct reply *out, const struct request *rq)
{
    int64_t size;
    cr_assert(rq->argc == 3 && text_to_i64(rq->argv[2], &size));
    reply_head(out, '$', (uint64_t)size);
    for (int64_t i = 0; i < size; i++) reply_raw(out, rq->argv[1].data, 1);
    reply_raw(out, "\r\n", 2);
}

static void run_request(struct net_fixture *f, struct parcel *pc, uint32_t index)
{
    struct request *rq = &pc->requests[index];
    struct bytes name = rq->argv[0], word = rq->argc > 1 ? rq->argv[1] : bytes_make("", 0);
    uint32_t errors = pc->out.error_count;
    bool is_parked_part = pc->shard_id == 0 && bytes_equal_nocase(name, "bothpark");
    if (is_parked_part || bytes_equal_nocase(name, "park")) {
        park(f, pc, index);
        rq->flags |= REQUEST_PARKED;
        pc->has_parked = true;
    } else if (bytes_equal_nocase(name, "big")) {
        reply_big(&pc->out, rq);
    } else if (bytes_equal_nocase(name, "fail")) {
        reply_error(&pc->out, "ERR %.*s", (int)word.size, word.data);
    } else {
        reply_raw(&pc->out, "+", 1);
        reply_raw(&pc->out, word.data, word.size);
        reply_raw(&pc->out, "\r\n", 2);
    }
    rq->error_count = (uint16_t)(pc->out.error_count - errors);
    rq->reply_end = reply_size(&pc->out);
}

static void run_parcel(struct net_fixture *f, struct parcel *pc)
{
    reply_init(&pc->out, parcel_chunk(pc), &f->shard_mem[pc->shard_id]);
    for (uint32_t i = 0; i < pc->request_count; i++) run_request(f, pc, i);
    pc->out.last->size = (uint32_t)(pc->out.cursor - pc->out.last->data);
}

void net_fixture_run_shard(struct net_fixture *f, uint16_t shard)
{
    struct parcel *pc;
    while ((pc = merge_next(&f->merges[shard]))) {
        cr_assert_eq(pc->shard_id, shard);
        run_parcel(f, pc);
        cr_assert(mailbox_push(mesh_to_net(&f->mesh, shard, pc->net_id), pc));
    }
}

static enum in_place run_in_place(struct netloop *nl, struct parcel *pc, uint64_t *position)
{
    if (!merge_is_empty(&fixture->merges[nl->own_shard]) || fixture->is_stopped[nl->own_shard])
        return IN_PLACE_NOT;
    *position = sequencer_now(&fixture->mesh.sequencer);
    run_parcel(fixture, pc);
    return IN_PLACE_DONE;
}

void net_fixture_unpark(struct net_fixture *f, unsigned index)
{
    cr_assert_lt(index, f->parked_count);
    struct late_reply *late = f->parked[index];
    memmove(&f->parked[index], &f->parked[index + 1], (--f->parked_count - index) * sizeof late);
    turn_deliver_late(&f->nl, late);
}

void net_fixture_answer(struct net_fixture *f, const char *text)
{
    struct conn *c = netloop_conn(&f->nl, f->waiting_conn, f->waiting_generation);
    f->waiting_generation = UINT32_MAX;
    if (!c || c->is_closing) return;
    struct reply out = netloop_reply(&f->nl, 2);
    reply_status(&out, text);
    conn_fill_slot(c, f->waiting_slot, &out);
    netloop_reply_drop(&f->nl, &out);
    netloop_resume_stalled(&f->nl);
}

/* ---- stepping ---- */

static bool accept_clients(struct net_fixture *f)
{
    struct env_event event;
    bool any = false;
    env_wait(f->listening_loop, 0);
    while (env_next(f->listening_loop, &event)) {
        if (event.kind == ENV_ACCEPT) netloop_adopt(&f->nl, event.accepted_fd);
        any = true;
    }
    return any;
}

bool net_fixture_step(struct net_fixture *f)
{
    struct thread *t = &f->threads[0];
    bool any = accept_clients(f);
    while (!f->is_network_stopped && sim_step()) any = true;
    thread_enter(t);
    env_wait(t->loop, 0);
    any |= thread_run_calls(t);
    any |= netloop_run_timers(&f->nl);
    any |= netloop_take_events(&f->nl);
    any |= netloop_run_input(&f->nl);
    for (uint16_t shard = 0; shard < NET_FIXTURE_SHARDS; shard++) {
        if (f->nl.own_shard != shard) any |= thread_run_calls(&f->threads[1 + shard]);
        if (!f->is_stopped[shard]) net_fixture_run_shard(f, shard);
    }
    bool is_home = turn_take_home(&f->nl);
    if (is_home || f->in_place) netloop_resume_stalled(&f->nl);
    netloop_flush(&f->nl);
    return any || is_home;
}

void net_fixture_settle(struct net_fixture *f)
{
    unsigned idle = 0; /* what a step has flushed moves in the next one */
    for (unsigned steps = 0; idle < 2; steps++) {
        idle = net_fixture_step(f) ? 0 : idle + 1;
        cr_assert_lt(steps, 1000000, "it never ends");
    }
}

/* ---- lifecycle ---- */

static const struct netloop_hooks hooks = {.conn_bytes = sizeof(struct conn),
                                           .on_open = on_open,
                                           .on_input = on_input,
                                           .on_close = on_close,
                                           .run_in_place = run_in_place,
                                           .on_publish = on_publish,
                                           .on_error = on_error,
                                           .free_chunks = free_chunks};

static struct env_loop *loop_make(unsigned buffers)
{
    char why[2 * ENV_NAME_BYTES_MAX];
    struct env_loop *loop;
    struct env_loop_options options = {
        .name = "test", .recv_buffer_count = buffers, .recv_buffer_bytes = 4096};
    cr_assert_eq(env_loop_create(&options, &loop, why), OK);
    return loop;
}

void net_fixture_start(struct net_fixture *f, uint64_t seed, int32_t own_shard)
{
    sim_init(&(struct sim_options){.seed = seed});
    *f = (struct net_fixture){.waiting_generation = UINT32_MAX,
                              .config = {.query_bytes_max = 1 << 30}};
    fixture = f;
    mesh_init(&f->mesh, ARRAY_LEN(f->threads), 1, NET_FIXTURE_SHARDS);
    for (uint16_t i = 0; i < ARRAY_LEN(f->threads); i++) {
        f->threads[i] = (struct thread){.id = i,
                                        .net_id = i == 0 ? 0 : -1,
                                        .shard_id = i == 0 ? own_shard : i - 1,
                                        .mesh = &f->mesh};
        f->mesh.threads[i] = &f->threads[i];
    }
    f->mesh.net_threads[0] = &f->threads[0];
    for (uint16_t shard = 0; shard < NET_FIXTURE_SHARDS; shard++) {
        f->mesh.shard_threads[shard] = &f->threads[own_shard == shard ? 0 : 1 + shard];
        mem_init(&f->shard_mem[shard], "shard");
        merge_init(&f->merges[shard], mesh_to_shard(&f->mesh, 0, shard), 1);
    }
    f->threads[0].loop = loop_make(64);
    f->listening_loop = loop_make(0);
    thread_enter(&f->threads[0]);
    netloop_init(&f->nl, &f->threads[0], &hooks, &f->config);
    f->nl.own_shard = own_shard;
    f->failed_text.mem = &f->nl.mem;
    char why[2 * ENV_NAME_BYTES_MAX];
    cr_assert_eq(env_listen_tcp(f->listening_loop, &f->listener, "*", &f->port, 10, why), OK);
}

void net_fixture_finish(struct net_fixture *f)
{
    memset(f->is_stopped, 0, sizeof f->is_stopped);
    f->is_network_stopped = false;
    netloop_close_all(&f->nl);
    net_fixture_settle(f);
    while (f->parked_count > 0) net_fixture_unpark(f, 0);
    env_close(f->listening_loop, &f->listener);
    net_fixture_settle(f);
    cr_assert(netloop_is_empty(&f->nl));
    cr_assert_eq(f->opened, f->closed);
    cr_assert_eq(env_buffers_free(f->threads[0].loop), 64, "every receive buffer is back");
    buf_clear(&f->failed_text);
    netloop_deinit(&f->nl);
    for (uint16_t shard = 0; shard < NET_FIXTURE_SHARDS; shard++) mem_deinit(&f->shard_mem[shard]);
    env_loop_destroy(f->threads[0].loop);
    env_loop_destroy(f->listening_loop);
    mesh_deinit(&f->mesh);
    sim_deinit();
}

/* ---- clients ---- */

struct sim_client *net_fixture_connect(struct net_fixture *f)
{
    unsigned before = f->opened;
    struct sim_client *c = sim_connect(f->port);
    cr_assert_not_null(c);
    net_fixture_step(f);
    cr_assert_eq(f->opened, before + 1);
    return c;
}

struct conn *net_fixture_conn(struct net_fixture *f, uint32_t index)
{
    struct conn *c = netloop_conn_at(&f->nl, index);
    cr_assert_not_null(c);
    return c;
}

void net_fixture_send(struct sim_client *c, const char *text)
{
    sim_client_send(c, bytes_of(text));
}

void net_fixture_expect(struct sim_client *c, const char *text, int where)
{
    struct bytes got = sim_client_received(c);
    cr_assert(bytes_equal(got, bytes_of(text)), "line %d: got '%.*s', wanted '%s'", where,
              (int)MIN(got.size, 500u), got.data, text);
    sim_client_drop(c, got.size);
}
