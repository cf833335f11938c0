#include "server/tracking.h"

#include <stdio.h>

#include "base/text.h"
#include "server/server.h"
#include "server/worker.h"

/* ---- telling ---- */

/* But not behind a command that waits: what it waits for may never come. That of a subscription
 * does. */
void tracking_push(struct session *s, const struct bytes *pieces, unsigned count)
{
    struct conn *c = &s->conn;
    bool waits_for_others = s->is_waiting && !s->subscriber.change;
    uint32_t last = c->slot_tail - 1 - waits_for_others;
    conn_push(c, &last, pieces, count);
}

static bool is_own_change(const struct session *s, const struct feed_head *head)
{
    const struct conn *c = &s->conn;
    return s->tracking.is_noloop && head->source_net_id == c->netloop->id &&
           head->source_index == c->index && head->source_generation == c->generation;
}

void tracking_tell(struct session *s, const struct feed_head *head, struct bytes key)
{
    char text[64];
    if (!s->tracking.is_on || is_own_change(s, head)) return;
    if (s->tracking.redirect.id) {
        redirect_tell(s, REDIRECT_KEY, key);
        return;
    }
    if (s->resp != 3) return;
    int size = snprintf(text, sizeof text, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$%zu\r\n", key.size);
    struct bytes pieces[] = {bytes_make(text, (size_t)size), key, BYTES_LITERAL("\r\n")};
    tracking_push(s, pieces, ARRAY_LEN(pieces));
}

void tracking_tell_keys(struct session *s, struct bytes keys)
{
    if (!s->tracking.is_on) return;
    if (s->tracking.redirect.id) {
        redirect_tell(s, REDIRECT_KEYS, keys);
    } else if (s->resp == 3) {
        struct bytes pieces[] = {BYTES_LITERAL(">2\r\n$10\r\ninvalidate\r\n"), keys};
        tracking_push(s, pieces, ARRAY_LEN(pieces));
    }
}

void tracking_tell_reader(struct worker *w, const struct feed_head *head, const char *body)
{
    uint64_t place;
    memcpy(&place, body, sizeof place);
    struct conn *c = netloop_conn(&w->net, (uint32_t)(place >> 32), (uint32_t)place);
    if (!c || c->is_closing || session_of(c)->tracking.is_bcast) return;
    tracking_tell(session_of(c), head, bytes_make(body + sizeof place, head->message_bytes));
}

void tracking_tell_all(struct session *s)
{
    struct bytes text = BYTES_LITERAL(">2\r\n$10\r\ninvalidate\r\n_\r\n");
    if (!s->tracking.is_on) return;
    if (s->tracking.redirect.id)
        redirect_tell(s, REDIRECT_ALL, BYTES_LITERAL(""));
    else if (s->resp == 3)
        tracking_push(s, &text, 1);
}

/* Every shard tells of a flush; it is over when the last one has. What only one shard tells (the
 * token says so) is told at once. */
void tracking_tell_flush(struct worker *w, const struct feed_head *head)
{
    struct net_tracking *t = &w->tracking;
    if (!head->token && ++t->flushes % w->server->mesh.shard_count != 0) return;
    dlist_each (link, &t->clients)
        tracking_tell_all(container_of(link, struct session, tracking.link));
}

/* ---- state ---- */

void tracking_open(struct session *s)
{
    s->tracking = (struct client_tracking){0};
    dlist_init(&s->tracking.link);
}

static void count_change(struct session *s, bool is_more)
{
    struct counter *c = &session_worker(s)->tracking.count;
    counter_set(c, counter_read(c) + (is_more ? 1 : UINT64_MAX));
}

static void start(struct session *s, const struct client_tracking *wanted)
{
    struct client_tracking *t = &s->tracking;
    if (!t->is_on) {
        dlist_push_back(&session_worker(s)->tracking.clients, &t->link);
        count_change(s, true);
    }
    t->is_on = true;
    t->is_bcast = wanted->is_bcast;
    t->is_optin = wanted->is_optin;
    t->is_optout = wanted->is_optout;
    t->is_noloop = wanted->is_noloop;
    t->redirect = wanted->redirect;
}

void tracking_stop(struct session *s)
{
    if (!s->tracking.is_on) return;
    dlist_remove(&s->tracking.link);
    count_change(s, false);
    tracking_open(s);
}

/* ---- CLIENT TRACKING ---- */

struct tracking_request {
    struct client_tracking wanted;
    struct bytes *prefixes; /* behind a place for a name */
    uint32_t prefix_count;
    const struct redirect *found; /* NULL: nobody has searched yet */
    uint64_t search_id;           /* who must be found first; 0: nobody */
};

static enum err read_redirect(struct bytes text, struct tracking_request *r, struct reply *out)
{
    int64_t id;
    if (r->wanted.redirect.id) {
        reply_error(out, "ERR A client can only redirect to a single other client");
    } else if (!text_to_i64(text, &id)) {
        return ERR_NOT_INT;
    } else if (id > 0 && !r->found) {
        r->search_id = (uint64_t)id;
    } else if (id <= 0 || r->found->id == 0) {
        reply_error(out, "ERR The client ID you want redirect to does not exist");
    } else {
        r->wanted.redirect = *r->found;
    }
    return OK;
}

/* Ends with the first error, or where somebody must be searched. */
static enum err read_options(const struct request *rq, struct tracking_request *r,
                             struct reply *out)
{
    enum err e = OK;
    for (uint32_t i = 3; i < rq->argc && e == OK && out->error_count == 0 && !r->search_id; i++) {
        bool has_more = i + 1 < rq->argc;
        if (bytes_equal_nocase(rq->argv[i], "bcast"))
            r->wanted.is_bcast = true;
        else if (bytes_equal_nocase(rq->argv[i], "optin"))
            r->wanted.is_optin = true;
        else if (bytes_equal_nocase(rq->argv[i], "optout"))
            r->wanted.is_optout = true;
        else if (bytes_equal_nocase(rq->argv[i], "noloop"))
            r->wanted.is_noloop = true;
        else if (bytes_equal_nocase(rq->argv[i], "prefix") && has_more)
            r->prefixes[1 + r->prefix_count++] = rq->argv[++i];
        else if (bytes_equal_nocase(rq->argv[i], "redirect") && has_more)
            e = read_redirect(rq->argv[++i], r, out);
        else
            e = ERR_SYNTAX;
    }
    return e;
}

/* The first reason why not; NULL: none. */
static const char *refusal(const struct client_tracking *now, const struct tracking_request *r)
{
    const struct client_tracking *w = &r->wanted;
    if (r->prefix_count > 0 && !w->is_bcast)
        return "ERR PREFIX option requires BCAST mode to be enabled";
    if (now->is_on && now->is_bcast != w->is_bcast)
        return "ERR You can't switch BCAST mode on/off before disabling tracking for this client, "
               "and then re-enabling it with a different mode.";
    if (w->is_bcast && (w->is_optin || w->is_optout))
        return "ERR OPTIN and OPTOUT are not compatible with BCAST";
    if (w->is_optin && w->is_optout) return "ERR You can't specify both OPTIN mode and OPTOUT mode";
    if ((w->is_optin && now->is_optout) || (w->is_optout && now->is_optin))
        return "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, "
               "and then re-enabling it with a different mode.";
    return NULL;
}

static bool overlap(struct bytes a, struct bytes b)
{
    size_t size = MIN(a.size, b.size);
    return bytes_equal(bytes_make(a.data, size), bytes_make(b.data, size));
}

static bool reply_overlap(struct bytes a, const char *what, struct bytes b, struct reply *out)
{
    reply_error(out,
                "ERR Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single client "
                "must not overlap.",
                (int)MIN(a.size, (size_t)INT32_MAX), a.data, what,
                (int)MIN(b.size, (size_t)INT32_MAX), b.data);
    return true;
}

struct overlap_search {
    struct bytes prefix;
    struct reply *out;
    bool found;
};

static void search_overlap(void *context, struct bytes name)
{
    struct overlap_search *o = context;
    if (!o->found && overlap(o->prefix, name))
        o->found = reply_overlap(o->prefix, "an existing", name, o->out);
}

static bool has_overlap(struct session *s, const struct tracking_request *r, struct reply *out)
{
    for (uint32_t i = 1; i <= r->prefix_count; i++) {
        struct overlap_search o = {.prefix = r->prefixes[i], .out = out};
        pubsub_each(s, CHANNEL_PREFIX, search_overlap, &o);
        if (o.found) return true;
        for (uint32_t k = i + 1; k <= r->prefix_count; k++)
            if (overlap(r->prefixes[i], r->prefixes[k]))
                return reply_overlap(r->prefixes[i], "another provided", r->prefixes[k], out);
    }
    return false;
}

static enum err switch_on(struct session *s, struct request *rq, struct tracking_request *r,
                          struct reply *out)
{
    const char *why = refusal(&s->tracking, r);
    if (why) {
        reply_error(out, "%s", why);
        return OK;
    }
    if (has_overlap(s, r, out)) return OK;
    enum err e;
    if (!r->wanted.is_bcast) {
        start(s, &r->wanted);
        reply_ok(out);
        return OK;
    }
    if (r->prefix_count == 0) r->prefixes[1 + r->prefix_count++] = BYTES_LITERAL("");
    struct request prefixes = {
        .argv = r->prefixes, .argc = 1 + r->prefix_count, .command_id = rq->command_id};
    e = pubsub_subscribe(s, CHANNEL_PREFIX, &prefixes, out);
    if (e == OK) start(s, &r->wanted);
    return e;
}

static enum err switch_off(struct session *s, struct request *rq, struct reply *out)
{
    tracking_stop(s);
    struct request all = {.argc = 1, .command_id = rq->command_id};
    if (s->subscriber.counts[CHANNEL_PREFIX] > 0)
        return pubsub_unsubscribe(s, CHANNEL_PREFIX, &all, out);
    reply_ok(out);
    return OK;
}

static void go_on(struct session *s, struct request *rq, const struct redirect *found,
                  struct reply *out);

static enum err run(struct session *s, struct request *rq, const struct redirect *found,
                    struct reply *out)
{
    struct mem *mem = &s->conn.netloop->mem;
    bool is_on = bytes_equal_nocase(rq->argv[2], "on");
    if (!is_on && !bytes_equal_nocase(rq->argv[2], "off")) return ERR_SYNTAX;
    size_t bytes = (rq->argc + 1) * sizeof(struct bytes);
    struct tracking_request r = {.prefixes = mem_try_alloc(mem, bytes), .found = found};
    if (!r.prefixes) return ERR_ALLOC;
    enum err e = read_options(rq, &r, out);
    if (e == OK && out->error_count == 0) {
        if (r.search_id)
            e = redirect_search(s, r.search_id, rq, go_on);
        else
            e = is_on ? switch_on(s, rq, &r, out) : switch_off(s, rq, out);
    }
    mem_free(mem, r.prefixes, bytes);
    return e;
}

static void go_on(struct session *s, struct request *rq, const struct redirect *found,
                  struct reply *out)
{
    enum err e = run(s, rq, found, out);
    if (e != OK) reply_err(out, e);
}

enum err cmd_client_tracking(struct session *s, struct request *rq, struct reply *out)
{
    return run(s, rq, NULL, out);
}

/* ---- CLIENT CACHING, TRACKINGINFO, GETREDIR ---- */

enum err cmd_client_caching(struct session *s, struct request *rq, struct reply *out)
{
    struct client_tracking *t = &s->tracking;
    if (!t->is_on) {
        reply_error(out, "ERR CLIENT CACHING can be called only when the client is in tracking "
                         "mode with OPTIN or OPTOUT mode enabled");
    } else if (bytes_equal_nocase(rq->argv[2], "yes")) {
        if (t->is_optin)
            t->caching = CACHING_YES;
        else
            reply_error(out, "ERR CLIENT CACHING YES is only valid when tracking is enabled in "
                             "OPTIN mode.");
    } else if (bytes_equal_nocase(rq->argv[2], "no")) {
        if (t->is_optout)
            t->caching = CACHING_NO;
        else
            reply_error(out, "ERR CLIENT CACHING NO is only valid when tracking is enabled in "
                             "OPTOUT mode.");
    } else {
        return ERR_SYNTAX;
    }
    if (out->error_count == 0) reply_ok(out);
    return OK;
}

static void reply_prefix(void *context, struct bytes name)
{
    reply_bulk(context, name);
}

int64_t tracking_redirect(const struct session *s)
{
    return s->tracking.is_on ? (int64_t)s->tracking.redirect.id : -1;
}

enum err cmd_client_trackinginfo(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    const struct client_tracking *t = &s->tracking;
    const struct {
        bool is_set;
        const char *name;
    } flags[] = {{!t->is_on, "off"},
                 {t->is_on, "on"},
                 {t->is_bcast, "bcast"},
                 {t->is_optin, "optin"},
                 {t->caching == CACHING_YES, "caching-yes"},
                 {t->is_optout, "optout"},
                 {t->caching == CACHING_NO, "caching-no"},
                 {t->is_noloop, "noloop"},
                 {t->redirect.is_broken, "broken_redirect"}};
    unsigned count = 0;
    for (unsigned i = 0; i < ARRAY_LEN(flags); i++) count += flags[i].is_set;
    reply_map(out, 3);
    reply_bulk_text(out, "flags");
    reply_set(out, count);
    for (unsigned i = 0; i < ARRAY_LEN(flags); i++)
        if (flags[i].is_set) reply_bulk_text(out, flags[i].name);
    reply_bulk_text(out, "redirect");
    reply_i64(out, tracking_redirect(s));
    reply_bulk_text(out, "prefixes");
    reply_array(out, s->subscriber.counts[CHANNEL_PREFIX]);
    pubsub_each(s, CHANNEL_PREFIX, reply_prefix, out);
    return OK;
}

enum err cmd_client_getredir(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    reply_i64(out, tracking_redirect(s));
    return OK;
}
