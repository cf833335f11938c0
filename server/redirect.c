#include "server/redirect.h"

#include <stdio.h>

#include "base/log.h"
#include "server/server.h"
#include "server/worker.h"

/* ---- what travels ---- */

enum item_kind {
    ITEM_KEY = REDIRECT_KEY,   /* to the target: a key has changed, its name is behind */
    ITEM_KEYS = REDIRECT_KEYS, /* an array of names is behind */
    ITEM_ALL = REDIRECT_ALL,   /* all keys have */
    ITEM_CUT,                  /* invalidations are missing */
    ITEM_BROKEN,               /* back: the target has gone */
};

struct item {
    uint64_t text_bytes;
    uint64_t target_id;
    uint32_t kind;
    uint32_t target_index, target_generation;
    uint32_t tracker_index, tracker_generation;
    uint32_t padding;
};

static struct session *session_at(struct worker *w, uint32_t index, uint32_t generation)
{
    struct conn *c = netloop_conn(&w->net, index, generation);
    return c && !c->is_closing ? session_of(c) : NULL;
}

static bool send_item(struct worker *w, uint16_t net_id, const struct item *item, struct bytes text)
{
    struct feed *f = &w->redirects.feeds[net_id];
    size_t size = sizeof *item + text.size;
    bool has_room = feed_waiting_bytes(f) + size <= REDIRECT_WAITING_BYTES_MAX;
    if (text.size && (!has_room || !buf_try_reserve(&f->filling, size))) return false;
    buf_append(&f->filling, item, sizeof *item);
    buf_append(&f->filling, text.data, text.size);
    w->redirects.has_news = true;
    return true;
}

/* ---- on the target's thread ---- */

static void tell_target(struct session *s, uint32_t kind, struct bytes text)
{
    char head[96];
    const char *word = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
    if (s->resp == 3)
        word = ">2\r\n$10\r\ninvalidate\r\n";
    else if (s->subscriber.count == 0)
        return; /* there is no form in which it could be told */
    if (kind == ITEM_KEY) {
        int size = snprintf(head, sizeof head, "%s*1\r\n$%zu\r\n", word, text.size);
        struct bytes pieces[] = {bytes_make(head, (size_t)size), text, BYTES_LITERAL("\r\n")};
        tracking_push(s, pieces, ARRAY_LEN(pieces));
        return;
    }
    if (kind == ITEM_ALL) text = bytes_of(s->resp == 3 ? "_\r\n" : "$-1\r\n");
    struct bytes pieces[] = {bytes_of(word), text};
    tracking_push(s, pieces, ARRAY_LEN(pieces));
}

static void cut_target(struct worker *w, struct session *s)
{
    log_warning("Client id=%llu closed: it cannot keep up with redirected invalidations",
                (unsigned long long)s->conn.id);
    counter_add(&w->net.counters.connections_cut_output, 1);
    conn_close(&s->conn);
}

/* ---- on the tracker's thread ---- */

/* As Redis, it is told with each invalidation that finds nobody. */
static void tell_broken(struct session *s)
{
    char text[64];
    s->tracking.redirect.is_broken = true;
    if (s->resp != 3) return;
    int size = snprintf(text, sizeof text, ">2\r\n$21\r\ntracking-redir-broken\r\n:%llu\r\n",
                        (unsigned long long)s->tracking.redirect.id);
    struct bytes piece = bytes_make(text, (size_t)size);
    tracking_push(s, &piece, 1);
}

static void is_broken(struct worker *w, const struct item *item)
{
    struct session *s = session_at(w, item->tracker_index, item->tracker_generation);
    /* Meanwhile it may have been told to do something else. */
    if (s && s->tracking.is_on && s->tracking.redirect.id == item->target_id) tell_broken(s);
}

/* False: the target has gone. */
static bool run_item(struct worker *w, const struct item *item, struct bytes text)
{
    if (item->kind == ITEM_BROKEN) {
        is_broken(w, item);
        return true;
    }
    struct session *target = session_at(w, item->target_index, item->target_generation);
    if (!target) return false;
    if (item->kind == ITEM_CUT)
        cut_target(w, target);
    else
        tell_target(target, item->kind, text);
    return true;
}

static size_t read_feed(struct thread *at, uint16_t sender_id, struct bytes data)
{
    struct worker *w = at->owner;
    struct item item;
    memcpy(&item, data.data, sizeof item);
    if (!run_item(w, &item, bytes_make(data.data + sizeof item, item.text_bytes))) {
        struct item back = item;
        back.kind = ITEM_BROKEN;
        back.text_bytes = 0;
        (void)send_item(w, sender_id, &back, BYTES_LITERAL(""));
    }
    return sizeof item + item.text_bytes;
}

/* The net thread that gave an id says so by it (netloop.c). */
static uint16_t net_of(const struct worker *w, uint64_t client_id)
{
    return (uint16_t)((client_id - 1) % w->server->mesh.net_count);
}

void redirect_tell(struct session *s, enum redirect_what what, struct bytes text)
{
    struct worker *w = session_worker(s);
    const struct redirect *to = &s->tracking.redirect;
    if (to->is_broken) {
        tell_broken(s);
        return;
    }
    struct item item = {.kind = what,
                        .text_bytes = text.size,
                        .target_id = to->id,
                        .target_index = to->index,
                        .target_generation = to->generation,
                        .tracker_index = s->conn.index,
                        .tracker_generation = s->conn.generation};
    uint16_t net_id = net_of(w, to->id);
    if (net_id == w->net.id) {
        if (!run_item(w, &item, text)) tell_broken(s);
    } else if (!send_item(w, net_id, &item, text)) {
        item.kind = ITEM_CUT;
        item.text_bytes = 0;
        (void)send_item(w, net_id, &item, BYTES_LITERAL(""));
        tell_broken(s);
    }
}

/* ---- the search ---- */

struct search {
    struct call call;
    struct netloop *netloop; /* of who asks */
    struct session_ref from;
    struct redirect found;
    uint64_t id;
    redirect_found_fn *fn;
    uint16_t command_id;
    uint32_t argc;
    size_t bytes;        /* of this block, the names included */
    struct bytes argv[]; /* then their bytes */
};

static void search_is_back(UNUSED struct thread *at, struct call *c)
{
    struct search *q = container_of(c, struct search, call);
    struct netloop *nl = q->netloop;
    struct session *s = session_find(nl, q->from);
    if (s) {
        struct reply out = netloop_reply(nl, s->resp);
        struct request rq = {.argv = q->argv, .argc = q->argc, .command_id = q->command_id};
        s->resumed_slot = q->from.slot;
        s->is_resumed = true;
        q->fn(s, &rq, &q->found, &out);
        s->is_resumed = false;
        bool answers_later = s->subscriber.change != NULL;
        if (!answers_later) session_answer(nl, q->from, &out);
        netloop_reply_drop(nl, &out);
    }
    nl->errands--;
    mem_free(&nl->mem, q, q->bytes);
}

static void search_arrives(struct thread *at, struct call *c)
{
    struct search *q = container_of(c, struct search, call);
    struct worker *w = at->owner;
    for (uint32_t i = 0; i < w->net.place_count; i++) {
        const struct conn *conn = netloop_conn_at(&w->net, i);
        if (!conn || conn->is_closing || conn->id != q->id) continue;
        q->found =
            (struct redirect){.id = q->id, .index = conn->index, .generation = conn->generation};
    }
    c->run = search_is_back;
    thread_call(at, q->netloop->thread->id, c);
}

enum err redirect_search(struct session *s, uint64_t id, const struct request *rq,
                         redirect_found_fn *fn)
{
    struct worker *w = session_worker(s);
    size_t bytes = sizeof(struct search) + rq->argc * sizeof(struct bytes);
    for (uint32_t i = 0; i < rq->argc; i++) bytes += rq->argv[i].size;
    struct search *q = mem_try_alloc(&w->net.mem, bytes);
    if (!q) return ERR_ALLOC;
    *q = (struct search){.netloop = &w->net,
                         .id = id,
                         .fn = fn,
                         .command_id = rq->command_id,
                         .argc = rq->argc,
                         .bytes = bytes};
    char *text = (char *)&q->argv[rq->argc];
    for (uint32_t i = 0; i < rq->argc; i++) {
        memcpy(text, rq->argv[i].data, rq->argv[i].size);
        q->argv[i] = bytes_make(text, rq->argv[i].size);
        text += rq->argv[i].size;
    }
    q->from = session_defer(s);
    q->call.run = search_arrives;
    w->net.errands++;
    thread_call(&w->thread, w->server->mesh.net_threads[net_of(w, id)]->id, &q->call);
    return OK;
}

/* ---- life ---- */

void redirects_flush(struct worker *w)
{
    struct mesh *mesh = &w->server->mesh;
    if (likely(!w->redirects.has_news)) return;
    w->redirects.has_news = false;
    for (uint16_t i = 0; i < mesh->net_count; i++) {
        feed_flush(&w->redirects.feeds[i], &w->thread, mesh->net_threads[i]->id);
        w->redirects.has_news |= feed_waiting_bytes(&w->redirects.feeds[i]) > 0;
    }
}

void redirects_init(struct worker *w)
{
    uint16_t net_count = w->server->mesh.net_count;
    w->redirects.feeds = mem_alloc_zeroed(&w->net.mem, net_count * sizeof(struct feed));
    for (uint16_t i = 0; i < net_count; i++)
        feed_init(&w->redirects.feeds[i], &w->net.mem, w->net.id, read_feed);
}

void redirects_deinit(struct worker *w)
{
    uint16_t net_count = w->server->mesh.net_count;
    for (uint16_t i = 0; i < net_count; i++) feed_deinit(&w->redirects.feeds[i]);
    mem_free(&w->net.mem, w->redirects.feeds, net_count * sizeof(struct feed));
}

bool redirects_are_settled(const struct worker *w)
{
    for (uint16_t i = 0; i < w->server->mesh.net_count; i++)
        if (!feed_is_empty(&w->redirects.feeds[i])) return false;
    return true;
}
