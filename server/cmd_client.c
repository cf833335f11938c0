/* The CLIENT commands, and WAIT: what a client may know and change of its own connection, and of
 * everybody's.
 *
 * What concerns all connections is a walk (clients.h); what concerns all net threads is a
 * broadcast. Both are answered when every thread has done its part. */

#include <stdlib.h>

#include "base/text.h"
#include "server/broadcast.h"
#include "server/clients.h"
#include "server/cmd_wait.h"
#include "server/families.h"
#include "server/server.h"
#include "server/session_wait.h"
#include "server/worker.h"

/* ---- its own connection ---- */

static enum err cmd_client_id(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    reply_i64(out, (int64_t)s->conn.id);
    return OK;
}

static void name_set(struct buf *name, struct bytes given)
{
    buf_clear(name);
    if (given.size) buf_append(name, given.data, given.size);
}

static enum err cmd_client_setname(struct session *s, struct request *rq, struct reply *out)
{
    struct bytes name = rq->argv[2];
    if (!session_name_is_valid(name)) {
        reply_error(out, "ERR Client names cannot contain spaces, newlines or special characters.");
        return OK;
    }
    if (!session_name_is_short(name, out)) return OK;
    name_set(&s->name, name);
    reply_ok(out);
    return OK;
}

static enum err cmd_client_getname(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    if (s->name.size)
        reply_bulk(out, buf_view(&s->name));
    else
        reply_null(out);
    return OK;
}

static enum err cmd_client_setinfo(struct session *s, struct request *rq, struct reply *out)
{
    struct bytes option = rq->argv[2], value = rq->argv[3];
    struct buf *name = NULL;
    if (bytes_equal_nocase(option, "lib-name")) name = &s->lib_name;
    if (bytes_equal_nocase(option, "lib-ver")) name = &s->lib_version;
    if (!name) {
        reply_error(out, "ERR Unrecognized option '%.*s'", (int)MIN(option.size, (size_t)128),
                    option.data);
        return OK;
    }
    if (!session_name_is_valid(value)) {
        reply_error(out, "ERR %.*s cannot contain spaces, newlines or special characters.",
                    (int)option.size, option.data);
        return OK;
    }
    if (!session_name_is_short(value, out)) return OK;
    name_set(name, value);
    reply_ok(out);
    return OK;
}

static enum err cmd_client_info(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    struct worker *w = session_worker(s);
    struct buf *line = &w->scratch;
    line->size = 0;
    s->conn.last_request_ms = thread_now_ms(&w->thread); /* this command is a sign of life, too */
    client_line(s, line);
    reply_verbatim(out, "txt", buf_view(line));
    return OK;
}

static enum err cmd_client_reply(struct session *s, struct request *rq, struct reply *out)
{
    struct conn *c = &s->conn;
    if (bytes_equal_nocase(rq->argv[2], "on")) {
        c->is_reply_off = c->is_reply_skip = false;
        reply_ok(out);
    } else if (bytes_equal_nocase(rq->argv[2], "off")) {
        c->is_reply_off = true;
    } else if (bytes_equal_nocase(rq->argv[2], "skip")) {
        /* Of this command as of the next one. */
        if (!c->is_reply_off) c->is_reply_skip = s->reply_skip_next = true;
    } else {
        return ERR_SYNTAX;
    }
    return OK;
}

static enum err read_on_off(struct bytes text, bool *value)
{
    bool is_on = bytes_equal_nocase(text, "on");
    if (!is_on && !bytes_equal_nocase(text, "off")) return ERR_SYNTAX;
    *value = is_on;
    return OK;
}

static enum err cmd_client_no_evict(struct session *s, struct request *rq, struct reply *out)
{
    enum err e = read_on_off(rq->argv[2], &s->is_no_evict);
    if (e == OK) reply_ok(out);
    return e;
}

static enum err cmd_client_no_touch(struct session *s, struct request *rq, struct reply *out)
{
    enum err e = read_on_off(rq->argv[2], &s->is_no_touch);
    if (e == OK) reply_ok(out);
    return e;
}

/* ---- LIST ---- */

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void ids_free(struct mem *mem, struct client_ids *ids)
{
    mem_free(mem, ids->asked, ids->count * sizeof *ids->asked);
    mem_free(mem, ids->sorted, ids->count * sizeof *ids->sorted);
}

/* As many as there are arguments: the sizes are the client's. False: the error has been written. */
static bool ids_read(struct mem *mem, const struct request *rq, struct client_ids *ids,
                     struct reply *out)
{
    ids->count = rq->argc - 3;
    ids->asked = mem_try_alloc(mem, ids->count * sizeof *ids->asked);
    ids->sorted = mem_try_alloc(mem, ids->count * sizeof *ids->sorted);
    if (!ids->asked || !ids->sorted) {
        reply_err(out, ERR_ALLOC);
        ids_free(mem, ids);
        return false;
    }
    for (uint32_t i = 0; i < ids->count; i++) {
        int64_t id;
        if (!text_to_i64(rq->argv[3 + i], &id)) {
            reply_error(out, "ERR Invalid client ID");
            ids_free(mem, ids);
            return false;
        }
        ids->asked[i] = ids->sorted[i] = id > 0 ? (uint64_t)id : 0; /* nobody's */
    }
    qsort(ids->sorted, ids->count, sizeof *ids->sorted, compare_ids);
    return true;
}

/* False: the error has been written. */
static bool type_read(struct client_filter *f, struct bytes name, struct reply *out)
{
    f->has_type = client_type_of_name(name, &f->type);
    if (!f->has_type) reply_error(out, "ERR Unknown client type '%.*s'", (int)name.size, name.data);
    return f->has_type;
}

static enum err cmd_client_list(struct session *s, struct request *rq, struct reply *out)
{
    struct clients_walk walk = {.question = &client_list_question};
    if (rq->argc == 4 && bytes_equal_nocase(rq->argv[2], "type")) {
        if (!type_read(&walk.filter, rq->argv[3], out)) return OK;
    } else if (rq->argc > 3 && bytes_equal_nocase(rq->argv[2], "id")) {
        if (!ids_read(&s->conn.netloop->mem, rq, &walk.ids, out)) return OK;
    } else if (rq->argc != 2) {
        return ERR_SYNTAX;
    }
    clients_ask(s, &walk);
    return OK;
}

/* ---- KILL ---- */

enum kill_form { KILL_BY_ADDRESS, KILL_BY_FILTER };

static bool kill_visit(struct clients_part *part, struct session *s)
{
    const struct clients_walk *walk = part->walk;
    if (s->conn.close_after_reply || !client_filter_fits(walk, s)) return false;
    if (s->conn.id == walk->asker_id)
        conn_close_after_reply(&s->conn);
    else
        conn_close(&s->conn);
    return true;
}

static void kill_answer(const struct clients_walk *walk, struct reply *out)
{
    uint64_t killed = clients_matches(walk);
    if (walk->argument == KILL_BY_FILTER)
        reply_i64(out, (int64_t)killed);
    else if (killed)
        reply_ok(out);
    else
        reply_error(out, "ERR No such client");
}

static const struct clients_question kill_question = {.visit = kill_visit, .answer = kill_answer};

/* A positive number; false: the error has been written. */
static bool positive_read(struct bytes text, int64_t *value, const char *error, struct reply *out)
{
    if (text_to_i64(text, value) && *value > 0) return true;
    reply_error(out, "%s", error);
    return false;
}

static void user_read(struct session *s, struct client_filter *f, struct bytes name,
                      struct reply *out)
{
    struct worker *w = session_worker(s);
    acl_refresh(&w->server->acl, &w->users, &w->users_version);
    struct acl_user *u = acl_set_find(w->users, name);
    if (f->user) acl_user_unref(f->user);
    f->user = u;
    if (u)
        acl_user_ref(u);
    else
        reply_error(out, "ERR No such user '%.*s'", (int)MIN(name.size, (size_t)INT32_MAX),
                    name.data);
}

/* One pair of CLIENT KILL. ERR_SYNTAX, or OK with an error in `out`, or OK. */
static enum err kill_option_read(struct session *s, struct client_filter *f,
                                 const struct bytes *pair, struct reply *out)
{
    int64_t id;
    if (bytes_equal_nocase(pair[0], "id")) {
        if (!positive_read(pair[1], &id, "ERR client-id should be greater than 0", out)) return OK;
        f->has_id = true;
        f->id = (uint64_t)id;
    } else if (bytes_equal_nocase(pair[0], "type")) {
        if (!type_read(f, pair[1], out)) return OK;
    } else if (bytes_equal_nocase(pair[0], "addr")) {
        client_filter_set_addr(f, pair[1]);
    } else if (bytes_equal_nocase(pair[0], "laddr")) {
        client_filter_set_laddr(f, pair[1]);
    } else if (bytes_equal_nocase(pair[0], "user")) {
        user_read(s, f, pair[1], out);
    } else if (bytes_equal_nocase(pair[0], "maxage")) {
        if (!text_to_i64(pair[1], &f->age_s))
            reply_error(out, "ERR maxage is not an integer or out of range");
        else if (f->age_s <= 0)
            reply_error(out, "ERR maxage should be greater than 0");
    } else if (bytes_equal_nocase(pair[0], "skipme") && bytes_equal_nocase(pair[1], "yes")) {
        f->skip_asker = true;
    } else if (bytes_equal_nocase(pair[0], "skipme") && bytes_equal_nocase(pair[1], "no")) {
        f->skip_asker = false;
    } else {
        return ERR_SYNTAX;
    }
    return OK;
}

static enum err cmd_client_kill(struct session *s, struct request *rq, struct reply *out)
{
    struct clients_walk walk = {.question = &kill_question};
    if (rq->argc == 3) {
        walk.argument = KILL_BY_ADDRESS;
        client_filter_set_addr(&walk.filter, rq->argv[2]);
        clients_ask(s, &walk);
        return OK;
    }
    walk.argument = KILL_BY_FILTER;
    walk.filter.skip_asker = true;
    for (uint32_t i = 2; i < rq->argc; i += 2) {
        bool is_pair = i + 1 < rq->argc;
        enum err e = is_pair ? kill_option_read(s, &walk.filter, &rq->argv[i], out) : ERR_SYNTAX;
        if (e == OK && !out->error_count) continue;
        if (walk.filter.user) acl_user_unref(walk.filter.user);
        return e;
    }
    clients_ask(s, &walk);
    return OK;
}

/* ---- UNBLOCK ---- */

enum { UNBLOCK_WITH_ERROR = 1, UNBLOCK_IN_EXEC = 2 };

/* The client may have been served by what came before, which is told by its shards. A transaction
 * does not wait for that, as it may hold the very keys. */
static bool unblock_visit(struct clients_part *part, struct session *s)
{
    bool with_error = part->walk->argument & UNBLOCK_WITH_ERROR;
    if (!client_filter_fits(part->walk, s)) return false;
    if (part->walk->argument & UNBLOCK_IN_EXEC) return session_wait_unblock(s, with_error, NULL);
    if (!session_wait_unblock(s, with_error, clients_hold(part))) clients_release(part);
    return false;
}

static void unblock_answer(const struct clients_walk *walk, struct reply *out)
{
    reply_i64(out, clients_matches(walk) > 0);
}

static const struct clients_question unblock_question = {.visit = unblock_visit,
                                                         .answer = unblock_answer};

static enum err cmd_client_unblock(struct session *s, struct request *rq, struct reply *out)
{
    struct clients_walk walk = {.question = &unblock_question};
    if (rq->argc > 4) {
        reply_error(
            out, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try CLIENT HELP.",
            (int)MIN(rq->argv[1].size, (size_t)128), rq->argv[1].data);
        return OK;
    }
    if (rq->argc == 4 && bytes_equal_nocase(rq->argv[3], "error")) {
        walk.argument = UNBLOCK_WITH_ERROR;
    } else if (rq->argc == 4 && !bytes_equal_nocase(rq->argv[3], "timeout")) {
        reply_error(out, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        return OK;
    }
    int64_t id;
    if (!text_to_i64(rq->argv[2], &id)) return ERR_NOT_INT;
    if (s->exec) walk.argument |= UNBLOCK_IN_EXEC;
    walk.filter.has_id = true;
    walk.filter.id = id > 0 ? (uint64_t)id : 0;
    clients_ask(s, &walk);
    return OK;
}

/* ---- PAUSE, UNPAUSE ---- */

/* A pause as the argument of a broadcast: its end on the monotonic clock, and its mode. */
#define PAUSE_MODE_BITS 2
#define PAUSE_UNTIL_MS_MAX (INT64_MAX >> PAUSE_MODE_BITS)
/* A clock of nanoseconds goes no further. */
#define PAUSE_SHARD_MS_MAX (INT64_MAX / 1000000)

static uint64_t pause_pack(enum pause_mode mode, int64_t until_ms)
{
    return (uint64_t)MIN(until_ms, PAUSE_UNTIL_MS_MAX) << PAUSE_MODE_BITS | mode;
}

static int64_t now_ms(const struct worker *w)
{
    return (int64_t)(w->thread.now_ns / 1000000);
}

/* Whoever is still held is looked at anew. */
static void pause_end(struct worker *w)
{
    w->pause_mode = PAUSE_NONE;
    w->pause_number++;
    counter_set(&w->blocked_clients, counter_read(&w->blocked_clients) - w->paused_clients);
    w->paused_clients = 0;
    w->should_resume = true;
}

static void pause_ends(struct netloop *nl, UNUSED struct net_timer *t)
{
    pause_end(nl->owner);
}

/* Of two pauses at the same time the longer and the stricter one hold, as in Redis. */
static void pause_begins(struct thread *at, uint64_t argument)
{
    struct worker *w = at->owner;
    int64_t until_ms = (int64_t)(argument >> PAUSE_MODE_BITS);
    if (at->shard_id >= 0)
        shard_pause(&w->shard, (uint64_t)MIN(until_ms, PAUSE_SHARD_MS_MAX) * 1000000);
    if (at->net_id < 0) return;
    enum pause_mode mode = (enum pause_mode)(argument & ((1 << PAUSE_MODE_BITS) - 1));
    bool is_paused = w->pause_mode != PAUSE_NONE && w->pause_until_ms > now_ms(w);
    if (is_paused) {
        mode = MAX(mode, w->pause_mode);
        until_ms = MAX(until_ms, w->pause_until_ms);
    }
    w->pause_mode = mode;
    w->pause_until_ms = until_ms;
    w->pause_timer.on_fire = pause_ends;
    wheel_arm(&w->net.wheel, &w->pause_timer.timer, (uint64_t)until_ms);
}

static void pause_is_lifted(struct thread *at, UNUSED uint64_t argument)
{
    struct worker *w = at->owner;
    if (at->shard_id >= 0) shard_pause(&w->shard, 0);
    if (at->net_id < 0) return;
    wheel_disarm(&w->net.wheel, &w->pause_timer.timer);
    pause_end(w);
}

static enum err cmd_client_pause(struct session *s, struct request *rq, struct reply *out)
{
    struct worker *w = session_worker(s);
    enum pause_mode mode = PAUSE_ALL;
    int64_t timeout_ms;
    if (rq->argc > 4) {
        reply_error(
            out, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try CLIENT HELP.",
            (int)MIN(rq->argv[1].size, (size_t)128), rq->argv[1].data);
        return OK;
    }
    if (rq->argc == 4 && bytes_equal_nocase(rq->argv[3], "write")) {
        mode = PAUSE_WRITES;
    } else if (rq->argc == 4 && !bytes_equal_nocase(rq->argv[3], "all")) {
        reply_error(out, "ERR CLIENT PAUSE mode must be WRITE or ALL");
        return OK;
    }
    if (!text_to_i64(rq->argv[2], &timeout_ms)) return ERR_TIMEOUT_NOT_INT;
    if (timeout_ms < 0) return ERR_TIMEOUT_NEGATIVE;
    /* An end that no clock will ever show is over at once, as in Redis. */
    if (timeout_ms > INT64_MAX - w->thread.wall_ms) timeout_ms = 0;
    broadcast(s, pause_begins, pause_pack(mode, now_ms(w) + timeout_ms));
    return OK;
}

static enum err cmd_client_unpause(struct session *s, UNUSED struct request *rq,
                                   UNUSED struct reply *out)
{
    broadcast(s, pause_is_lifted, 0);
    return OK;
}

/* ---- HELP ---- */

/* clang-format off */
static const char *const client_help[] = {
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    The name of this connection.",
    "GETREDIR",
    "    The client that gets our invalidation messages; -1 without tracking.",
    "ID",
    "    The number of this connection.",
    "INFO",
    "    The line of CLIENT LIST for this connection.",
    "KILL <ip:port>",
    "    Close the connection from that address.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Close all connections that fit every option:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Come from this address.",
    "    * ID <client-id>",
    "      Have this number.",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Go to this address of ours.",
    "    * MAXAGE <seconds>",
    "      Are at least that old.",
    "    * SKIPME (YES|NO)",
    "      Whether this connection is spared (default: yes).",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Are of this type.",
    "    * USER <username>",
    "      Are authenticated as this user.",
    "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <client-id> [<client-id> ...]]",
    "    A line for each connection, or for those named.",
    "NO-EVICT (ON|OFF)",
    "    Whether this connection is spared when clients use too much memory.",
    "NO-TOUCH (ON|OFF)",
    "    Whether reads of this connection leave the age of keys alone.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Hold all commands, or those that write, for so many milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Whether this connection wants replies.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Tell which client library this is.",
    "SETNAME <name>",
    "    Give this connection a name.",
    "TRACKINGINFO",
    "    The state of tracking of this connection.",
    "UNBLOCK <client-id> [TIMEOUT|ERROR]",
    "    End the waiting of a blocked client.",
    "UNPAUSE",
    "    End a pause.",
    "HELP",
    "    Print this text.",
    NULL,
};
/* clang-format on */

/* clang-format off */
#define OF_ITSELF (CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE)
#define OF_OTHERS (CMD_ADMIN | CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE)
static const char *const tips_varies[] = {"nondeterministic_output", NULL};
static const char *const tips_wait[] = {"request_policy:all_shards", "response_policy:agg_min", NULL};
static const struct command client_subcommands[] = {
    {.name = "id", .on_net = cmd_client_id, .arity = 2, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "connection", .complexity = "O(1)", .summary = "The number of this connection."},
    {.name = "setname", .on_net = cmd_client_setname, .arity = 3, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "2.6.9", .group = "connection", .complexity = "O(1)", .summary = "Gives this connection a name."},
    {.name = "getname", .on_net = cmd_client_getname, .arity = 2, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "2.6.9", .group = "connection", .complexity = "O(1)", .summary = "The name of this connection."},
    {.name = "setinfo", .on_net = cmd_client_setinfo, .arity = 4, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "7.2.0", .group = "connection", .complexity = "O(1)", .summary = "Notes the name or version of the client library."},
    {.name = "info", .on_net = cmd_client_info, .arity = 2, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "6.2.0", .group = "connection", .complexity = "O(1)", .summary = "One line about this connection.", .tips = tips_varies},
    {.name = "list", .on_net = cmd_client_list, .arity = -2, .plan = PLAN_NET, .flags = OF_OTHERS | CMD_DEFERS, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "2.4.0", .group = "connection", .complexity = "O(n) for n connections", .summary = "One line about each connection.", .tips = tips_varies},
    {.name = "kill", .on_net = cmd_client_kill, .arity = -3, .plan = PLAN_NET, .flags = OF_OTHERS | CMD_DEFERS, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "2.4.0", .group = "connection", .complexity = "O(n) for n connections", .summary = "Closes the connections that fit."},
    {.name = "reply", .on_net = cmd_client_reply, .arity = 3, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "3.2.0", .group = "connection", .complexity = "O(1)", .summary = "Says whether this connection wants replies."},
    {.name = "no-evict", .on_net = cmd_client_no_evict, .arity = 3, .plan = PLAN_NET, .flags = OF_OTHERS, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "connection", .complexity = "O(1)", .summary = "Spares this connection when clients use too much memory."},
    {.name = "no-touch", .on_net = cmd_client_no_touch, .arity = 3, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "7.2.0", .group = "connection", .complexity = "O(1)", .summary = "Lets this connection read without making keys look used."},
    {.name = "pause", .on_net = cmd_client_pause, .arity = -3, .plan = PLAN_NET, .flags = OF_OTHERS | CMD_DEFERS, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "2.9.50", .group = "connection", .complexity = "O(1)", .summary = "Holds all commands, or all writes, for some time."},
    {.name = "unpause", .on_net = cmd_client_unpause, .arity = 2, .plan = PLAN_NET, .flags = OF_OTHERS | CMD_DEFERS, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "6.2.0", .group = "connection", .complexity = "O(n) for n paused connections", .summary = "Ends a pause."},
    {.name = "tracking", .on_net = cmd_client_tracking, .arity = -3, .plan = PLAN_NET, .flags = OF_ITSELF | CMD_DEFERS, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "connection", .complexity = "O(1); some have prefixes, each of which is one more", .summary = "Says whether this connection is told when keys that it has read change."},
    {.name = "caching", .on_net = cmd_client_caching, .arity = 3, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "connection", .complexity = "O(1)", .summary = "Says whether the keys of the next command are tracked."},
    {.name = "getredir", .on_net = cmd_client_getredir, .arity = 2, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "connection", .complexity = "O(1)", .summary = "The client that gets this connection's invalidation messages."},
    {.name = "trackinginfo", .on_net = cmd_client_trackinginfo, .arity = 2, .plan = PLAN_NET, .flags = OF_ITSELF, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "6.2.0", .group = "connection", .complexity = "O(1)", .summary = "The state of this connection's tracking."},
    {.name = "unblock", .on_net = cmd_client_unblock, .arity = -3, .plan = PLAN_NET, .flags = OF_OTHERS | CMD_DEFERS, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "connection", .complexity = "O(n) for n connections", .summary = "Ends the waiting of a blocked client."},
    {.name = "help", .on_net = command_help_on_net, .help = client_help, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "connection", .complexity = "O(1)", .summary = "Explains the subcommands."},
    {.name = NULL},
};
static const struct command commands[] = {
    {.name = "client", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE,
     .since = "2.4.0", .group = "connection", .complexity = "That of the subcommand", .summary = "Commands about connections.", .subcommands = client_subcommands},
    {.name = "wait", .on_net = cmd_wait, .arity = 3, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_BARRIER, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "3.0.0", .group = "generic", .complexity = "O(1)", .summary = "Waits until replicas have this connection's writes.", .tips = tips_wait},
    {.name = "waitaof", .on_net = cmd_waitaof, .arity = 4, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_BARRIER, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "7.2.0", .group = "generic", .complexity = "O(1)", .summary = "Waits until this connection's writes are in append only files.", .tips = tips_wait},
};
/* clang-format on */
const struct command_family client_family = {"client", commands, ARRAY_LEN(commands)};
