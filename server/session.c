#include "server/session.h"

#include "base/log.h"
#include "base/text.h"
#include "server/batch.h"
#include "server/blocking.h"
#include "server/coord.h"
#include "server/exec.h"
#include "server/obstacles.h"
#include "server/script.h"
#include "server/server.h"
#include "server/session_acl.h"
#include "server/session_wait.h"
#include "server/slow_client.h"
#include "server/worker.h"
#include "shard/cmd/families.h"

struct worker *session_worker(const struct session *s)
{
    return s->conn.netloop->owner;
}

/* ---- life ---- */

void session_reset(struct session *s)
{
    s->db = 0;
    s->resp = 2;
    session_acl_open(s);
    s->is_no_evict = s->is_no_touch = false;
    s->reply_skip_next = false;
    s->conn.is_reply_off = s->conn.is_reply_skip = false;
    tx_discard(s);
    buf_clear(&s->name);
}

void session_on_open(struct conn *c)
{
    struct session *s = session_of(c);
    s->name.mem = s->lib_name.mem = s->lib_version.mem = &c->netloop->mem;
    dlist_init(&s->subscriber.subscriptions);
    dlist_init(&s->monitor_link);
    tracking_open(s);
    s->messages_at = PUBLISHED_NOTHING;
    session_reset(s);
}

static void count_held_by_pause(struct session *s, bool is_held);

void session_on_close(struct conn *c)
{
    struct session *s = session_of(c);
    if (s->exec) exec_on_close(s->exec);
    tx_discard(s);
    pubsub_on_close(s);
    monitor_stop(s);
    tracking_stop(s);
    session_wait_close(s);
    session_acl_close(s);
    count_held_by_pause(s, false);
    buf_clear(&s->name);
    buf_clear(&s->lib_name);
    buf_clear(&s->lib_version);
}

void session_choose_output_class(struct session *s)
{
    bool is_fed = s->subscriber.count > 0 || s->is_monitor;
    s->conn.output_class = is_fed ? CONFIG_CLIENT_PUBSUB : CONFIG_CLIENT_NORMAL;
}

/* ---- deferred replies ---- */

struct session_ref session_defer(struct session *s)
{
    uint32_t slot = s->exec ? exec_defer(s->exec) : conn_push_slot(&s->conn);
    s->is_deferred = s->is_waiting = true;
    return (struct session_ref){.net_id = s->conn.netloop->id,
                                .index = s->conn.index,
                                .generation = s->conn.generation,
                                .slot = slot};
}

struct session *session_find(struct netloop *nl, struct session_ref ref)
{
    struct conn *c = netloop_conn(nl, ref.index, ref.generation);
    return c && !c->is_closing ? session_of(c) : NULL;
}

void session_answer(struct netloop *nl, struct session_ref ref, struct reply *r)
{
    struct session *s = session_find(nl, ref);
    if (!s) return;
    session_worker(s)->should_resume = true;
    if (s->exec) {
        reply_close(r);
        exec_answer(s->exec, r->first);
        return;
    }
    s->is_waiting = false;
    conn_fill_slot(&s->conn, ref.slot, r);
}

/* ---- errors before a command runs ---- */

static void reply_now(struct session *s, struct reply *out)
{
    conn_reply(&s->conn, out);
    netloop_reply_drop(s->conn.netloop, out);
}

/* Whatever is wrong with an EXEC ends its transaction. */
static void abort_exec(struct session *s, struct reply *out)
{
    struct buf *reason = &session_worker(s)->scratch;
    reason->size = 0;
    buf_append(reason, out->last->data + 1, (size_t)(out->cursor - out->last->data - 1));
    const char *text = reason->data;
    int size = (int)reason->size - 2; /* without the line end */
    netloop_reply_drop(s->conn.netloop, out);
    tx_discard(s);
    *out = netloop_reply(s->conn.netloop, s->resp);
    int prefix = strncmp(text, "ERR ", 4) == 0 ? 4 : 0;
    reply_error(out, "EXECABORT Transaction discarded because of: %.*s", size - prefix,
                text + prefix);
}

static void reject(struct session *s, const struct route *route, struct reply *out)
{
    struct worker *w = session_worker(s);
    if (route && route->command->on_net == cmd_exec) abort_exec(s, out);
    tx_on_reject(s);
    if (route) counter_add(&w->routes[route->id].rejected, 1);
    worker_count_error(
        w, bytes_make(out->last->data + 1, (size_t)(out->cursor - out->last->data - 1)));
    reply_now(s, out);
}

void session_reject(struct session *s, const struct route *route, enum err e)
{
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    reply_err(&out, e);
    reject(s, route, &out);
}

void session_reject_with(struct session *s, const struct route *route, struct reply *out)
{
    reject(s, route, out);
}

void session_refuse(struct session *s, const struct route *route, enum err e)
{
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    reply_err(&out, e);
    session_refuse_with(s, route, &out);
}

void session_refuse_with(struct session *s, const struct route *route, struct reply *out)
{
    counter_add(&session_worker(s)->routes[route->id].calls, UINT64_MAX);
    reject(s, route, out);
}

void session_fail_with(struct session *s, const struct route *route, struct reply *out)
{
    struct worker *w = session_worker(s);
    counter_add(&w->routes[route->id].failed, 1);
    worker_count_error(
        w, bytes_make(out->last->data + 1, (size_t)(out->cursor - out->last->data - 1)));
    reply_now(s, out);
}

/* A browser that was tricked into talking to us: its lines must not become commands. */
static bool is_http(const struct session *s)
{
    struct bytes name = s->conn.reader.argv[0];
    return bytes_equal_nocase(name, "post") || bytes_equal_nocase(name, "host:");
}

static void drop_http(struct session *s)
{
    char peer[ENV_NAME_BYTES_MAX];
    env_peer_name(s->conn.socket.fd, peer);
    log_warning("Possible SECURITY ATTACK detected: client id=%llu addr=%s sends HTTP (POST or "
                "Host:), most likely a cross protocol "
                "attack through a browser. The connection is closed.",
                (unsigned long long)s->conn.id, peer);
    conn_close(&s->conn);
}

/* As Redis quotes it: the name and as many arguments as fit 128 characters. */
static void reject_unknown(struct session *s)
{
    const struct resp_reader *r = &s->conn.reader;
    struct buf *args = &session_worker(s)->scratch;
    args->size = 0;
    for (uint32_t i = 1; i < r->argc && args->size < 128; i++)
        buf_printf(args, "'%.*s' ", (int)MIN(r->argv[i].size, 128 - args->size), r->argv[i].data);
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    reply_error(&out, "ERR unknown command '%.*s', with args beginning with: %.*s",
                (int)MIN(r->argv[0].size, (size_t)128), r->argv[0].data, (int)args->size,
                args->size ? args->data : "");
    reject(s, NULL, &out);
}

static void reject_unknown_subcommand(struct session *s, const struct route *parent)
{
    struct bytes name = s->conn.reader.argv[1];
    char upper[32];
    size_t n = MIN(strlen(parent->name), sizeof upper - 1);
    for (size_t i = 0; i < n; i++) upper[i] = (char)(parent->name[i] & ~0x20);
    upper[n] = '\0';
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    reply_error(&out, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                (int)MIN(name.size, (size_t)128), name.data, upper);
    reject(s, NULL, &out);
}

static void reject_arity(struct session *s, const struct route *route)
{
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    reply_error(&out, "ERR wrong number of arguments for '%s' command", route->full_name);
    reject(s, route, &out);
}

/* ---- finding the command ---- */

/* A short name as one number, case folded: the same command as before is known by one comparison.
 * 0: too long. */
static inline uint64_t name_word(struct bytes name)
{
    uint64_t word = 0;
    if (unlikely(name.size > sizeof word)) return 0;
    for (size_t i = 0; i < name.size; i++) word = word << 8 | (unsigned char)(name.data[i] | 0x20);
    return word;
}

static const struct route *find_route(struct session *s)
{
    const struct resp_reader *r = &s->conn.reader;
    uint64_t word = name_word(r->argv[0]);
    if (likely(word && word == s->last_word)) return s->last_route;
    const struct route *parent;
    const struct route *route =
        router_find(&session_worker(s)->server->router, r->argv, r->argc, &parent);
    if (unlikely(!route && parent && route_answers_unknown(parent))) route = parent;
    bool is_of_name_alone = route && !route->parent && route->child_count == 0;
    s->last_route = route;
    s->last_word = is_of_name_alone ? word : 0;
    if (likely(route)) return route;
    if (parent)
        reject_unknown_subcommand(s, parent);
    else if (is_http(s))
        drop_http(s);
    else
        reject_unknown(s);
    return NULL;
}

/* A script may write whatever its row says, unless its command is one of those that only read, or
 * it says so itself. */
static uint32_t pausing_flags(const struct session *s, const struct command *c)
{
    bool is_script = c->plan == PLAN_SCRIPT && !(c->flags & CMD_READ);
    if (!is_script) return c->flags;
    uint32_t needs = script_needs(session_worker(s), c, s->conn.reader.argv);
    return needs & CMD_WRITE ? c->flags | CMD_WRITE : 0;
}

bool session_is_held_by_pause(const struct session *s)
{
    return s->held_by_pause == session_worker(s)->pause_number;
}

static void count_held_by_pause(struct session *s, bool is_held)
{
    struct worker *w = session_worker(s);
    if (session_is_held_by_pause(s) == is_held) return;
    s->held_by_pause = is_held ? w->pause_number : 0;
    uint64_t change = is_held ? 1 : UINT64_MAX;
    w->paused_clients += change;
    counter_add(&w->blocked_clients, change);
}

static bool pause_concerns(const struct session *s, const struct command *c)
{
    const struct worker *w = session_worker(s);
    if ((int64_t)(w->thread.now_ns / 1000000) >= w->pause_until_ms) return false;
    uint32_t flags = pausing_flags(s, c) | (c->on_net == cmd_exec ? s->tx.command_flags : 0);
    if (c->on_net == cmd_exec && s->tx.has_script) flags |= CMD_WRITE;
    return w->pause_mode == PAUSE_ALL || flags & (CMD_WRITE | CMD_MAY_REPLICATE);
}

static bool is_paused(struct session *s, const struct command *c)
{
    if (likely(session_worker(s)->pause_mode == PAUSE_NONE)) return false;
    bool must_wait = pause_concerns(s, c);
    count_held_by_pause(s, must_wait);
    return must_wait;
}

/* True: the command has been answered, or (*wait) must wait. Rare enough for one test before it. */
static bool meets_obstacle(struct session *s, const struct route *route, bool *wait)
{
    const struct worker *w = session_worker(s);
    const struct command *c = route->command;
    *wait = w->obstacles & OBSTACLE_HELD;
    if (*wait) return true;
    if (w->obstacles & OBSTACLE_LOADING && !(c->flags & CMD_LOADING)) {
        session_reject(s, route, ERR_LOADING);
        return true;
    }
    uint32_t flags = c->flags | (c->on_net == cmd_exec ? s->tx.command_flags : 0);
    bool would_lie = flags & CMD_WRITE || strcmp(c->name, "ping") == 0;
    if (w->obstacles & OBSTACLE_MISCONF && would_lie && w->config->stop_writes_on_bgsave_error &&
        w->config->save_count > 0) {
        session_reject(s, route, ERR_MISCONF);
        return true;
    }
    if (w->obstacles & OBSTACLE_LOG && would_lie) {
        struct reply out = netloop_reply(s->conn.netloop, s->resp);
        reply_error(&out, DURABLE_MISCONF, durable_why(w->server));
        session_reject_with(s, route, &out);
        return true;
    }
    return false;
}

/* Rows with CMD_PROTECTED: who may use them is enable-debug-command's affair. */
static bool check_protected(struct session *s, const struct route *route)
{
    enum config_protected rule = session_worker(s)->config->enable_debug_command;
    if (rule == CONFIG_PROTECTED_YES ||
        (rule == CONFIG_PROTECTED_LOCAL && env_peer_is_local(s->conn.socket.fd)))
        return true;
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    reply_error(&out, "ERR DEBUG command not allowed. If the enable-debug-command option is set to "
                      "\"local\", you can run it from a "
                      "local connection, otherwise you need to set this option in the "
                      "configuration file, and then restart the "
                      "server.");
    reject(s, route, &out);
    return false;
}

/* What a subscriber of RESP2 may still do. */
static bool check_subscriber(struct session *s, const struct route *route)
{
    static const char *const others[] = {"ping", "quit", "reset"};
    const struct command *c = route->command;
    if (c->flags & CMD_PUBSUB && c->plan == PLAN_NET) return true;
    for (unsigned i = 0; i < ARRAY_LEN(others); i++)
        if (strcmp(c->name, others[i]) == 0) return true;
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    reply_error(&out,
                "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                "RESET are allowed in this context",
                route->full_name);
    reject(s, route, &out);
    return false;
}

/* True if the command may run; else it has been answered. */
static inline bool check_allowed(struct session *s, const struct route *route)
{
    if (unlikely(!route_arity_fits(route, s->conn.reader.argc))) {
        reject_arity(s, route);
        return false;
    }
    if (unlikely(route->command->flags & CMD_PROTECTED && !check_protected(s, route))) return false;
    if (unlikely(s->is_restricted) && !session_acl_allows(s, route)) return false;
    if (unlikely(session_is_in_subscribe_mode(s)) && !check_subscriber(s, route)) return false;
    if (unlikely(s->is_monitor) &&
        route->command->flags & (CMD_READ | CMD_WRITE | CMD_MAY_REPLICATE)) {
        session_reject(s, route, ERR_MONITOR);
        return false;
    }
    return true;
}

/* ---- running it ---- */

static void run_handler(struct session *s, const struct batch_command *c, struct reply *out)
{
    struct worker *w = session_worker(s);
    uint16_t id = c->route->id;
    struct request rq = {.command = c->route->command,
                         .argv = c->argv,
                         .argc = c->argc,
                         .db = (uint16_t)s->db,
                         .resp = s->resp,
                         .command_id = id};
    s->is_deferred = s->must_stall = false;
    uint64_t started = env_ticks();
    enum err e = c->route->command->on_net(s, &rq, out);
    if (e != OK) reply_err(out, e);
    uint64_t ticks = env_ticks() - started;
    counter_add(&w->routes[id].ticks, ticks);
    if (likely(!s->must_stall)) slow_check(w, &s->conn, &rq, slow_ns(ticks));
    if (likely(out->error_count == 0)) return;
    if (e == ERR_NO_MEM || e == ERR_EXEC_NO_MEM)
        route_was_rejected(&w->routes[id]);
    else
        counter_add(&w->routes[id].failed, 1);
    if (out->first == out->last && out->first->data[0] == '-')
        worker_count_error(
            w, bytes_make(out->first->data + 1, (size_t)(out->cursor - out->first->data - 1)));
}

/* False: it could not begin. */
static bool run_on_net(struct session *s, const struct route *route)
{
    const struct resp_reader *r = &s->conn.reader;
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    run_handler(s, &(struct batch_command){.route = route, .argv = r->argv, .argc = r->argc}, &out);
    if (!s->is_deferred && !s->must_stall) conn_reply(&s->conn, &out);
    netloop_reply_drop(s->conn.netloop, &out);
    return !s->must_stall;
}

void session_run_queued(struct session *s, const struct batch_command *c, struct reply *out)
{
    bool was_deferred = s->is_deferred;
    if (c->route->command->plan == PLAN_NET)
        run_handler(s, c, out);
    else if (!server_ask_main(s, c))
        reply_err(out, ERR_ALLOC);
    s->is_deferred = was_deferred;
}

void session_stall(struct session *s)
{
    s->must_stall = true;
}

bool session_reach_barrier(struct session *s)
{
    if (!conn_has_slots(&s->conn)) return true;
    turn_publish(s->conn.netloop);
    return !conn_has_slots(&s->conn);
}

bool session_may_publish(struct session *s, int32_t shard)
{
    if (session_worker(s)->server->router.shard_count == 1) return true;
    bool is_same = shard == s->messages_at && shard != PUBLISHED_SOMEWHERE;
    if (s->messages_at != PUBLISHED_NOTHING && !is_same && !session_reach_barrier(s)) return false;
    s->messages_at = shard;
    return true;
}

/* `hashed_index`: the argument that `hash` is of; 0: none. */
static inline bool dispatch_one_shard(struct session *s, const struct route *route, uint16_t shard,
                                      uint64_t hash, uint32_t hashed_index)
{
    struct conn *c = &s->conn;
    struct netloop *nl = c->netloop;
    struct resp_reader *r = &c->reader;
    if (!turn_reserve_one(nl, shard)) return false;
    bool is_long = r->argc > TURN_ARGS_INLINE_MAX;
    struct input_ref input;
    enum err e = conn_hold_request(c, is_long ? r->argc : 0, &input);
    if (unlikely(e != OK)) {
        session_refuse(s, route, e);
        return true;
    }
    struct bytes *argv = r->argv;
    if (is_long) {
        argv = input.payload->argv;
        memcpy(argv, r->argv, r->argc * sizeof *argv);
    }
    turn_add(nl, shard, c,
             &(struct turn_request){.command = route->command,
                                    .argv = argv,
                                    .argc = r->argc,
                                    .command_id = route->id,
                                    .db = (uint16_t)s->db,
                                    .hash = hash,
                                    .hashed_index = hashed_index,
                                    .resp = s->resp,
                                    .flags = session_client_flags(s, route->command),
                                    .input = &input,
                                    .argv_is_stable = is_long});
    return true;
}

/* A channel lives where a key of its name would. Publishers wait while the net threads are behind
 * with what has been published. */
static bool dispatch_publish(struct session *s, const struct route *route)
{
    struct worker *w = session_worker(s);
    uint64_t hash;
    uint16_t shard = router_shard(&w->server->router, s->conn.reader.argv[1], &hash);
    if (pubsub_must_wait(w, shard) || !session_may_publish(s, shard)) return false;
    return dispatch_one_shard(s, route, shard, hash, 1);
}

static bool dispatch_by_key(struct session *s, const struct route *route)
{
    const struct resp_reader *r = &s->conn.reader;
    struct route_place place =
        router_place(&session_worker(s)->server->router, route, r->argv, r->argc);
    return dispatch_one_shard(s, route, place.shard, place.hash, place.hashed_index);
}

/* False: nothing was done, for want of credit or because something must come first. */
static bool dispatch_by_plan(struct session *s, const struct route *route)
{
    if (likely(route->is_single_key)) {
        uint64_t hash;
        uint16_t shard =
            router_shard(&session_worker(s)->server->router, s->conn.reader.argv[1], &hash);
        return dispatch_one_shard(s, route, shard, hash, 1);
    }
    switch ((enum plan)route->command->plan) {
    case PLAN_NET:
        if (route->command->flags & CMD_BARRIER && !session_reach_barrier(s)) return false;
        return run_on_net(s, route);
    case PLAN_ONE_SHARD:
        if (route->command->flags & CMD_PUBSUB) return dispatch_publish(s, route);
        if (router_is_everywhere(&session_worker(s)->server->router, route, s->conn.reader.argv))
            return coord_all_shards(s, route);
        return dispatch_by_key(s, route);
    case PLAN_FAN_OUT:
        return coord_fan_out(s, route);
    case PLAN_ALL_SHARDS:
        return coord_all_shards(s, route);
    case PLAN_LOCKED:
        if (blocking_may_wait(route->command, s->conn.reader.argv, s->conn.reader.argc))
            return blocking_dispatch(s, route);
        return coord_locked(s, route);
    case PLAN_SCRIPT:
        return coord_script(s, route);
    case PLAN_MAIN:
        if (!session_reach_barrier(s)) return false;
        if (!server_ask_main(s, &(struct batch_command){.route = route,
                                                        .argv = s->conn.reader.argv,
                                                        .argc = s->conn.reader.argc}))
            session_refuse(s, route, ERR_ALLOC);
        return true;
    }
    CHECK_NEVER("a row has a plan");
    return true;
}

bool session_dispatch_to_shard_of_key(struct session *s, const struct route *route)
{
    return dispatch_by_key(s, route);
}

void session_record(struct session *s)
{
    struct worker *w = session_worker(s);
    if (w->recorder)
        recorder_add(w->recorder, s->conn.id, s->requests, w->net.turn.request_index++);
}

/* The same with a note for the recorder; its requests are in the open turn now. */
static bool dispatch_recorded(struct session *s, const struct route *route)
{
    struct worker *w = session_worker(s);
    if (!dispatch_by_plan(s, route)) return false;
    counter_add(&w->routes[route->id].calls, 1);
    bool is_ordered = route->command->plan != PLAN_NET && route->command->plan != PLAN_MAIN;
    if (is_ordered) session_record(s);
    return true;
}

/* A script runs too long: what may still run then. */
static bool check_busy(struct session *s, const struct route *route)
{
    if (route->command->flags & CMD_ALLOW_BUSY) return true;
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    scripts_write_busy(&session_worker(s)->server->scripts, &out);
    reject(s, route, &out);
    return false;
}

/* False: the request goes back to the reader and the connection stalls. */
static bool dispatch(struct session *s)
{
    struct worker *w = session_worker(s);
    if (unlikely(conn_slots_full(&s->conn))) return false; /* errors take slots, too */
    const struct route *route = find_route(s);
    if (unlikely(!route)) return true;
    if (unlikely(!check_allowed(s, route))) return true;
    bool wait;
    if (unlikely(w->obstacles) && !s->is_import && meets_obstacle(s, route, &wait)) return !wait;
    if (unlikely(is_paused(s, route->command))) return false;
    if (scripts_are_busy(&w->server->scripts) && !check_busy(s, route)) return true;
    if (unlikely(tx_queues(&s->tx, route->command))) {
        tx_queue(s, route);
        return true;
    }
    bool is_watched = server_has_monitors(w->server);
    if (unlikely(is_watched)) monitor_note(s, route);
    if (w->recorder) return dispatch_recorded(s, route);
    if (unlikely(!dispatch_by_plan(s, route))) return false;
    counter_add(&w->routes[route->id].calls, 1);
    if (unlikely(is_watched)) monitor_tell(s);
    return true;
}

/* ---- input ---- */

static void protocol_error(struct session *s)
{
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    reply_error(&out, "ERR %s", s->conn.reader.error);
    log_verbose("Protocol error (%s) from client id=%llu", s->conn.reader.error,
                (unsigned long long)s->conn.id);
    reject(s, NULL, &out);
    conn_close_after_reply(&s->conn);
}

/* CLIENT REPLY SKIP covers the command after it. */
static void reply_mode_advance(struct session *s)
{
    s->conn.is_reply_skip = s->reply_skip_next;
    s->reply_skip_next = false;
}

/* CLIENT CACHING covers the next command or transaction, be it refused; other words to CLIENT do
 * not count. A transaction that still runs forgets it at its end. */
static void caching_advance(struct session *s)
{
    const struct route *r = s->last_route;
    bool is_client = r && r->parent && strcmp(r->parent->name, "client") == 0;
    if (!is_client && !s->tx.is_open && !s->exec) s->tracking.caching = CACHING_AS_USUAL;
}

static void run_input(struct session *s)
{
    struct conn *c = &s->conn;
    struct worker *w = session_worker(s);
    struct resp_limits limits = {.bulk_bytes_max = w->config->proto_bulk_bytes_max,
                                 .args_max = RESP_ARGS_MAX,
                                 .authenticated = !s->must_login};
    for (uint32_t budget = c->command_budget; budget > 0; budget--) {
        if (c->is_closing || c->close_after_reply) return;
        if (unlikely(s->is_waiting)) {
            bool is_given_up =
                c->is_ended && s->wait; /* as in Redis: nobody is left to be served */
            if (is_given_up)
                conn_close(c);
            else
                conn_wait(c);
            return;
        }
        enum resp_state state = conn_next_request(c, &limits);
        if (state == RESP_NEED_MORE) {
            conn_input_done(c, false);
            return;
        }
        if (unlikely(state == RESP_BROKEN)) {
            protocol_error(s);
            return;
        }
        if (unlikely(!dispatch(s))) {
            conn_stall(c);
            return;
        }
        s->requests++;
        reply_mode_advance(s);
        if (unlikely(s->tracking.caching)) caching_advance(s);
        limits.authenticated = !s->must_login;
    }
    conn_input_done(c, true);
}

void session_on_input(struct conn *c)
{
    struct session *s = session_of(c);
    struct worker *w = session_worker(s);
    uint64_t before = s->requests;
    if (unlikely(session_acl_is_old(s)) && !session_acl_refresh(s)) {
        conn_close(c);
        return;
    }
    if (unlikely(!conn_adapt_budget(c))) {
        conn_wait(c);
        return;
    }
    run_input(s);
    if (s->requests == before) return;
    c->last_request_ms = thread_now_ms(&w->thread);
    counter_add(&w->commands_processed, s->requests - before);
}
