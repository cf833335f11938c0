#include "server/clients.h"

#include "server/server.h"
#include "server/worker.h"

/* ---- which connections ---- */

bool client_type_of_name(struct bytes name, enum client_type *out)
{
    static const struct {
        const char *name;
        enum client_type type;
    } types[] = {{"normal", CLIENT_NORMAL},
                 {"slave", CLIENT_REPLICA},
                 {"replica", CLIENT_REPLICA},
                 {"pubsub", CLIENT_PUBSUB},
                 {"master", CLIENT_MASTER}};
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        if (!bytes_equal_nocase(name, types[i].name)) continue;
        *out = types[i].type;
        return true;
    }
    return false;
}

static bool set_name(char name[ENV_NAME_BYTES_MAX], struct bytes given)
{
    if (given.size >= ENV_NAME_BYTES_MAX || memchr(given.data, '\0', given.size)) return false;
    memcpy(name, given.data, given.size);
    name[given.size] = '\0';
    return true;
}

void client_filter_set_addr(struct client_filter *f, struct bytes addr)
{
    f->has_addr = true;
    if (!set_name(f->addr, addr)) f->is_impossible = true;
}

void client_filter_set_laddr(struct client_filter *f, struct bytes laddr)
{
    f->has_laddr = true;
    if (!set_name(f->laddr, laddr)) f->is_impossible = true;
}

static bool addresses_fit(const struct client_filter *f, const struct session *s)
{
    char name[ENV_NAME_BYTES_MAX];
    if (f->has_addr) {
        env_peer_name(s->conn.socket.fd, name);
        if (strcmp(name, f->addr) != 0) return false;
    }
    if (f->has_laddr) {
        env_local_name(s->conn.socket.fd, name);
        if (strcmp(name, f->laddr) != 0) return false;
    }
    return true;
}

bool client_filter_fits(const struct clients_walk *walk, struct session *s)
{
    const struct client_filter *f = &walk->filter;
    uint64_t age_ms = thread_now_ms(&session_worker(s)->thread) - s->conn.opened_ms;
    if (f->is_impossible) return false;
    if (f->has_id && s->conn.id != f->id) return false;
    if (f->has_type && f->type != (s->subscriber.count ? CLIENT_PUBSUB : CLIENT_NORMAL))
        return false; /* there are no others */
    if (f->age_s > 0 && (int64_t)(age_ms / 1000) < f->age_s) return false;
    if (f->skip_asker && s->conn.id == walk->asker_id) return false;
    if (f->user && !bytes_equal(buf_view(&f->user->name), buf_view(&s->user->name))) return false;
    return addresses_fit(f, s);
}

/* ---- the walk ---- */

static size_t parts_bytes(const struct clients_walk *walk)
{
    return walk->part_count * sizeof *walk->parts;
}

uint64_t clients_matches(const struct clients_walk *walk)
{
    uint64_t n = 0;
    for (uint16_t i = 0; i < walk->part_count; i++) n += walk->parts[i].matches;
    return n;
}

static void walk_end(struct clients_walk *walk)
{
    struct netloop *nl = walk->netloop;
    size_t ids_bytes = walk->ids.count * sizeof(uint64_t);
    if (walk->ids.asked) mem_free(&nl->mem, walk->ids.asked, ids_bytes);
    if (walk->ids.sorted) mem_free(&nl->mem, walk->ids.sorted, ids_bytes);
    mem_free(&nl->mem, walk->parts, parts_bytes(walk));
    if (walk->filter.user) acl_user_unref(walk->filter.user);
    mem_free(&nl->mem, walk, sizeof *walk);
    nl->errands--;
}

static void part_is_freed(UNUSED struct thread *at, struct call *c)
{
    struct clients_walk *walk = container_of(c, struct clients_part, call)->walk;
    if (--walk->waiting == 0) walk_end(walk);
}

static void part_is_done_with(struct thread *at, struct call *c)
{
    buf_clear(&container_of(c, struct clients_part, call)->collected);
    c->run = part_is_freed;
    thread_call(at, c->from, c);
}

static void count_error(const struct session *s, const struct reply *out)
{
    struct worker *w = session_worker(s);
    if (!s->exec) counter_add(&w->routes[s->last_route->id].failed, 1);
    worker_count_error(
        w, bytes_make(out->first->data + 1, (size_t)(out->cursor - out->last->data - 1)));
}

static void walk_answer(struct thread *at, struct clients_walk *walk)
{
    struct netloop *nl = walk->netloop;
    if (session_find(nl, walk->from)) {
        struct reply out = netloop_reply(nl, walk->resp);
        walk->question->answer(walk, &out);
        if (out.error_count) count_error(session_find(nl, walk->from), &out);
        session_answer(nl, walk->from, &out);
        netloop_reply_drop(nl, &out);
    }
    walk->waiting = walk->part_count;
    for (uint16_t i = 0; i < walk->part_count; i++) {
        struct call *c = &walk->parts[i].call;
        c->run = part_is_done_with;
        thread_call(at, c->from, c);
    }
}

static void part_is_back(struct thread *at, struct call *c)
{
    struct clients_walk *walk = container_of(c, struct clients_part, call)->walk;
    if (--walk->waiting == 0) walk_answer(at, walk);
}

static void part_goes_home(struct clients_part *part)
{
    struct thread *at = part->at;
    part->call.run = part_is_back;
    thread_call(at, part->walk->netloop->thread->id, &part->call);
}

static void visit_counts(struct session_wait_asker *asker, bool was_unblocked)
{
    struct clients_part *part = container_of(asker, struct clients_part, asker);
    part->matches += was_unblocked;
    part->is_held = false;
    if (part->is_through) part_goes_home(part);
}

struct session_wait_asker *clients_hold(struct clients_part *part)
{
    part->is_held = true;
    part->asker.on_outcome = visit_counts;
    return &part->asker;
}

void clients_release(struct clients_part *part)
{
    part->is_held = false;
}

struct session *clients_next(struct netloop *nl, uint32_t *next, unsigned *left)
{
    while (*left > 0 && *next < nl->place_count) {
        struct conn *conn = netloop_conn_at(nl, (*next)++);
        if (!conn || conn->is_closing) continue;
        --*left;
        return session_of(conn);
    }
    return NULL;
}

/* One slice of a net thread's connections; then the call goes on to this thread's next step, or
 * home. */
static void part_visits(struct thread *at, struct call *c)
{
    struct clients_part *part = container_of(c, struct clients_part, call);
    const struct clients_walk *walk = part->walk;
    struct worker *w = at->owner;
    unsigned left = CLIENTS_PER_SLICE;
    struct session *s;
    part->at = at;
    part->collected.mem = &w->net.mem;
    while ((s = clients_next(&w->net, &part->next_index, &left)))
        if (walk->question->visit(part, s)) part->matches++;
    part->is_through = part->next_index >= w->net.place_count;
    if (!part->is_through)
        thread_call(at, at->id, c);
    else if (!part->is_held)
        part_goes_home(part);
}

void clients_ask(struct session *s, const struct clients_walk *question)
{
    struct worker *w = session_worker(s);
    struct mesh *mesh = &w->server->mesh;
    struct clients_walk *walk = mem_alloc(&w->net.mem, sizeof *walk);
    *walk = *question;
    walk->netloop = &w->net;
    walk->from = session_defer(s);
    walk->asker_id = s->conn.id;
    walk->resp = s->resp;
    walk->part_count = walk->waiting = mesh->net_count;
    walk->parts = mem_alloc_zeroed(&w->net.mem, parts_bytes(walk));
    w->net.errands++;
    for (uint16_t i = 0; i < walk->part_count; i++) {
        struct clients_part *part = &walk->parts[i];
        part->walk = walk;
        part->call.run = part_visits;
        thread_call(&w->thread, mesh->net_threads[i]->id, &part->call);
    }
}
