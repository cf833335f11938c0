#include "server/session_acl.h"

#include "base/text.h"
#include "server/blocking.h"
#include "server/clients.h"
#include "server/server.h"
#include "server/session_wait.h"
#include "server/worker.h"

/* ---- who it is ---- */

static struct acl *acl_of(const struct session *s)
{
    return &session_worker(s)->server->acl;
}

static const struct acl_set *users_of(struct session *s)
{
    struct worker *w = session_worker(s);
    acl_refresh(&w->server->acl, &w->users, &w->users_version);
    return w->users;
}

static void become(struct session *s, struct acl_user *u)
{
    if (s->user == u) return;
    acl_user_ref(u);
    if (s->user) acl_user_unref(s->user);
    s->user = u;
}

/* What the present users mean for it: it has seen them now. */
static void judge(struct session *s, const struct acl_set *users)
{
    s->acl_version = session_worker(s)->users_version;
    s->must_login = !s->is_authenticated && !acl_is_open(users);
    s->is_restricted = s->must_login || !s->user->is_unlimited;
}

void session_acl_open(struct session *s)
{
    const struct acl_set *users = users_of(s);
    become(s, acl_set_find(users, BYTES_LITERAL(ACL_DEFAULT_USER)));
    s->is_authenticated = acl_is_open(users);
    judge(s, users);
}

void session_acl_close(struct session *s)
{
    if (s->user) acl_user_unref(s->user);
    s->user = NULL;
}

void session_acl_trust(struct session *s)
{
    s->is_import = s->is_authenticated = true;
    s->must_login = s->is_restricted = false;
}

bool session_acl_is_old(const struct session *s)
{
    return s->acl_version != acl_version(acl_of(s));
}

bool session_acl_default_has_password(struct session *s)
{
    return !(acl_set_find(users_of(s), BYTES_LITERAL(ACL_DEFAULT_USER))->flags & ACL_USER_NOPASS);
}

bool session_acl_login(struct session *s, struct bytes how, struct bytes name,
                       struct bytes password)
{
    const struct acl_set *users = users_of(s);
    struct acl_user *u = acl_set_find(users, name);
    if (!acl_user_accepts(u, password)) {
        const struct buf given = {.data = (char *)(uintptr_t)name.data, .size = name.size};
        const struct acl_user nobody = {.name = given};
        session_acl_log(s, &nobody, ACL_DENIED_AUTH, s->exec ? ACL_MULTI : ACL_TOPLEVEL, how);
        return false;
    }
    become(s, u);
    s->is_authenticated = true;
    judge(s, users);
    return true;
}

/* ---- what it may do ---- */

void session_acl_log(struct session *s, const struct acl_user *u, unsigned reason,
                     enum acl_context context, struct bytes object)
{
    struct worker *w = session_worker(s);
    struct buf line = {.mem = &w->net.mem};
    client_line(s, &line);
    if (line.size) line.size--; /* without its line end */
    acl_log_add(&w->server->acl,
                &(struct acl_event){.reason = reason,
                                    .context = context,
                                    .object = object,
                                    .username = buf_view(&u->name),
                                    .client = buf_view(&line),
                                    .now_ms = w->thread.wall_ms},
                (uint64_t)w->config->acllog_entries_max);
    buf_clear(&line);
}

static struct bytes object_of(const struct acl_call *call, uint32_t index)
{
    return index ? call->argv[index] : bytes_of(call->route->full_name);
}

bool session_acl_allows(struct session *s, const struct route *route)
{
    const struct resp_reader *r = &s->conn.reader;
    struct acl_call call = {.route = route, .argv = r->argv, .argc = r->argc};
    uint32_t index;
    const char *option;
    if (route->command->flags & CMD_NO_AUTH) return true;
    if (s->must_login) {
        session_reject(s, route, ERR_NO_AUTH);
        return false;
    }
    enum acl_denial denial = acl_check(s->user, &call, &index);
    if (denial == ACL_ALLOWED && acl_check_sort(s->user, &call, &option)) return true;
    struct reply out = netloop_reply(s->conn.netloop, s->resp);
    if (denial == ACL_ALLOWED)
        reply_error(&out, ACL_SORT_TEXT, option);
    else if (denial == ACL_DENIED_COMMAND)
        reply_error(&out, "NOPERM this user has no permissions to run the '%s' command",
                    route->full_name);
    else
        reply_error(&out,
                    "NOPERM this user has no permissions to access one of the %s used as "
                    "arguments",
                    denial == ACL_DENIED_KEY ? "keys" : "channels");
    if (denial != ACL_ALLOWED)
        session_acl_log(s, s->user, denial, s->tx.is_open ? ACL_MULTI : ACL_TOPLEVEL,
                        object_of(&call, index));
    session_reject_with(s, route, &out);
    return false;
}

/* ---- in a transaction ---- */

#define CHANGED_TEXT                                                                               \
    "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC "   \
    "call. This command is no longer allowed for the following reason: "

/* As arguments of what stands for the command. */
#define REFUSAL(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
static const struct bytes refusals[] = {
    [ACL_ALLOWED] = REFUSAL(""),
    [ACL_DENIED_COMMAND] =
        REFUSAL(CHANGED_TEXT "no permission to execute the command or subcommand"),
    [ACL_DENIED_KEY] = REFUSAL(CHANGED_TEXT "no permission to touch the specified keys"),
    [ACL_DENIED_CHANNEL] =
        REFUSAL(CHANGED_TEXT "no permission to access one of the channels used as arguments"),
};
static const struct bytes sort_refusals[] = {
    REFUSAL("ERR BY option of SORT denied due to insufficient ACL permissions."),
    REFUSAL("ERR GET option of SORT denied due to insufficient ACL permissions."),
};

/* In its place its error. */
static void refuse(struct session *s, struct batch_command *c, const struct bytes *text)
{
    c->route = router_refused(&session_worker(s)->server->router, c->route);
    c->argv = (struct bytes *)(uintptr_t)text;
    c->argc = 1;
}

void session_acl_filter_queued(struct session *s)
{
    for (uint32_t i = 0; i < s->tx.count; i++) {
        struct batch_command *c = &s->tx.commands[i];
        struct acl_call call = {.route = c->route, .argv = c->argv, .argc = c->argc};
        uint32_t index;
        const char *option;
        enum acl_denial denial = acl_check(s->user, &call, &index);
        if (denial != ACL_ALLOWED) {
            session_acl_log(s, s->user, denial, ACL_MULTI, object_of(&call, index));
            refuse(s, c, &refusals[denial]);
        } else if (!acl_check_sort(s->user, &call, &option)) {
            refuse(s, c, &sort_refusals[option[0] == 'G']);
        }
    }
}

/* ---- when users change ---- */

struct hearing {
    const struct acl_user *user;
    bool is_pattern, may_hear;
};

static void hears(void *context, struct bytes name)
{
    struct hearing *h = context;
    h->may_hear = h->may_hear && acl_may_hear(h->user, name, h->is_pattern);
}

static bool may_hear_all(struct session *s)
{
    struct hearing h = {.user = s->user, .may_hear = true};
    if (s->subscriber.count == 0) return true;
    pubsub_each(s, CHANNEL_PLAIN, hears, &h);
    pubsub_each(s, CHANNEL_SHARDED, hears, &h);
    h.is_pattern = true;
    pubsub_each(s, CHANNEL_PATTERN, hears, &h);
    return h.may_hear;
}

/* What waits for keys that it may not touch any more is over. */
static void end_waiting(struct session *s)
{
    struct acl_call call;
    uint32_t index;
    if (!s->wait || !blocking_command(s->wait, &call.route, &call.argv, &call.argc)) return;
    enum acl_denial denial = acl_check(s->user, &call, &index);
    if (denial == ACL_ALLOWED) return;
    session_acl_log(s, s->user, denial, ACL_TOPLEVEL, object_of(&call, index));
    session_wait_deny(s);
}

bool session_acl_refresh(struct session *s)
{
    const struct acl_set *users = users_of(s);
    if (s->is_import) {
        s->acl_version = session_worker(s)->users_version;
        return true;
    }
    struct acl_user *now = acl_set_find(users, buf_view(&s->user->name));
    bool is_changed = now != s->user;
    if (!now || now->identity != s->user->identity) return false;
    become(s, now);
    judge(s, users);
    if (!is_changed) return true;
    if (s->is_restricted) end_waiting(s);
    return may_hear_all(s);
}

/* ---- all connections ---- */

struct sweep_part {
    struct call call;
    struct acl_sweep *sweep;
    struct worker *worker;
    uint32_t next_index;
};

struct acl_sweep {
    struct main_request *request;
    uint16_t part_count, waiting;
    struct sweep_part parts[];
};

static size_t sweep_bytes(const struct server *srv)
{
    return sizeof(struct acl_sweep) + srv->mesh.net_count * sizeof(struct sweep_part);
}

static void part_is_back(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct acl_sweep *sweep = container_of(c, struct sweep_part, call)->sweep;
    if (--sweep->waiting > 0) return;
    struct main_request *m = sweep->request;
    mem_free(&srv->mem, sweep, sweep_bytes(srv));
    srv->acl_sweeps--;
    server_answer(srv, m);
}

static void visit(struct sweep_part *part, struct session *s)
{
    const struct main_request *m = part->sweep->request;
    bool is_asker = m->from.net_id == part->worker->net.id && m->from.index == s->conn.index &&
                    m->from.generation == s->conn.generation;
    if (session_acl_refresh(s)) return;
    if (is_asker)
        conn_close_after_reply(&s->conn);
    else
        conn_close(&s->conn);
}

static void part_visits(struct thread *at, struct call *c)
{
    struct sweep_part *part = container_of(c, struct sweep_part, call);
    struct netloop *nl = &part->worker->net;
    unsigned left = CLIENTS_PER_SLICE;
    struct session *s;
    while ((s = clients_next(nl, &part->next_index, &left))) visit(part, s);
    bool is_through = part->next_index >= nl->place_count;
    if (is_through) c->run = part_is_back;
    thread_call(at, is_through ? part->worker->server->thread.id : at->id, c);
}

void acl_sweep(struct server *srv, struct main_request *m)
{
    struct acl_sweep *sweep = mem_alloc_zeroed(&srv->mem, sweep_bytes(srv));
    m->is_deferred = true;
    srv->acl_sweeps++;
    sweep->request = m;
    sweep->part_count = sweep->waiting = srv->mesh.net_count;
    for (uint16_t i = 0; i < sweep->part_count; i++) {
        struct sweep_part *part = &sweep->parts[i];
        part->sweep = sweep;
        part->worker = srv->net_workers[i];
        part->call.run = part_visits;
        thread_call(&srv->thread, srv->net_workers[i]->thread.id, &part->call);
    }
}
