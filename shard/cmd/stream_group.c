/* stream_group.c: XGROUP, XACK, XPENDING.
 */
#include "shard/cmd/collect.h"
#include "shard/cmd/stream_args.h"
#include "shard/cmd/stream_commands.h"
#include "shard/lazyfree.h"
#include "shard/notify.h"

/* ---- XGROUP ---- */

#define CREATE_WORDS_MAX 8
#define SETID_WORDS_MAX 7

/* CREATE and SETID key group id [MKSTREAM] [ENTRIESREAD n]. */
struct group_options {
    bool make_stream;
    int64_t entries_read;
};

static bool read_entries_read_or_reply(const struct request *rq, uint32_t index,
                                       struct group_options *o, struct reply *out)
{
    enum err e = arg_i64(rq, index, &o->entries_read);
    if (e != OK) {
        reply_err(out, e);
        return false;
    }
    if (o->entries_read >= STREAM_READ_UNKNOWN) return true;
    reply_error(out, "ERR value for ENTRIESREAD must be positive or -1");
    return false;
}

static bool read_group_options_or_reply(const struct request *rq, bool can_make,
                                        struct group_options *o, struct reply *out)
{
    *o = (struct group_options){.entries_read = STREAM_READ_UNKNOWN};
    for (uint32_t i = 5; i < rq->argc; i++) {
        if (can_make && arg_is(rq, i, "mkstream")) {
            o->make_stream = true;
        } else if (i + 1 < rq->argc && arg_is(rq, i, "entriesread")) {
            if (!read_entries_read_or_reply(rq, ++i, o, out)) return false;
        } else {
            stream_reply_wrong_subcommand(rq, "XGROUP", out);
            return false;
        }
    }
    return true;
}

/* That there are not too many is only looked at once key and group are found. */
static bool check_words_or_reply(const struct request *rq, uint32_t words_max, struct reply *out)
{
    if (rq->argc <= words_max) return true;
    stream_reply_wrong_subcommand(rq, "XGROUP", out);
    return false;
}

/* The stream of an XGROUP command. False: the reply is written. */
static bool find_or_reply(struct shard *sh, const struct request *rq, struct stream_target *t,
                          struct reply *out)
{
    enum err e = stream_target_write(sh, rq, 2, t);
    if (e != OK) {
        reply_err(out, e);
    } else if (!t->s) {
        reply_error(out, "ERR The XGROUP subcommand requires the key to exist. Note that for "
                         "CREATE you may want to use the MKSTREAM option to create an empty stream "
                         "automatically.");
    }
    return t->s != NULL;
}

/* The same, and the group. */
static bool find_group_or_reply(struct shard *sh, const struct request *rq, struct stream_target *t,
                                struct stream_group **g, struct reply *out)
{
    return find_or_reply(sh, rq, t, out) && stream_find_subcommand_group_or_reply(rq, t->s, g, out);
}

static void changed(struct shard *sh, const struct stream_target *t, const char *event)
{
    keyspace_touch_changed(sh, &t->key, t->e);
    notify(sh, NOTIFY_STREAM, event, &t->key);
}

/* The group is made in a stream that there is. */
static enum err create_in(struct shard *sh, const struct request *rq, struct stream *s,
                          struct stream_id id, int64_t entries_read)
{
    bool done = stream_group_try_create(&sh->mem, s, rq->argv[3], id, entries_read) != NULL;
    return done ? OK : ERR_ALLOC;
}

static enum err create_group(struct shard *sh, const struct request *rq, struct stream_target *t,
                             struct stream_id id, int64_t entries_read)
{
    if (t->s) {
        enum err e = create_in(sh, rq, t->s, id, entries_read);
        if (e == OK) changed(sh, t, "xgroup-create");
        return e;
    }
    struct stream *s = stream_create(&sh->mem);
    enum err e = create_in(sh, rq, s, id, entries_read);
    if (e != OK) {
        stream_free(&sh->mem, s);
        return e;
    }
    e = keyspace_put_object(sh, &t->key, TYPE_STREAM, ENCODING_STREAM, s, DEADLINE_NONE);
    if (e == OK) notify(sh, NOTIFY_STREAM, "xgroup-create", &t->key);
    return e;
}

enum err cmd_xgroup_create(struct shard *sh, struct request *rq, struct reply *out)
{
    struct group_options o;
    struct stream_target t;
    if (!read_group_options_or_reply(rq, true, &o, out)) return OK;
    if (o.make_stream) {
        enum err e = stream_target_write(sh, rq, 2, &t);
        if (e != OK) return e;
    } else if (!find_or_reply(sh, rq, &t, out)) {
        return OK;
    }
    if (!check_words_or_reply(rq, CREATE_WORDS_MAX, out)) return OK;
    struct stream_id id = t.s ? t.s->last_id : STREAM_ID_MIN;
    if (!arg_is_char(rq, 4, '$') && !arg_stream_id_or_reply(rq, 4, out, &id)) return OK;
    if (t.s && stream_group_find(t.s, rq->argv[3])) {
        reply_error(out, "BUSYGROUP Consumer Group name already exists");
        return OK;
    }
    enum err e = create_group(sh, rq, &t, id, o.entries_read);
    if (e == OK) reply_ok(out);
    return e;
}

/* Unlike in CREATE, "-" and "+" are ids here. */
enum err cmd_xgroup_setid(struct shard *sh, struct request *rq, struct reply *out)
{
    struct group_options o;
    struct stream_target t;
    struct stream_group *g;
    if (!read_group_options_or_reply(rq, false, &o, out)) return OK;
    if (!find_group_or_reply(sh, rq, &t, &g, out)) return OK;
    if (!check_words_or_reply(rq, SETID_WORDS_MAX, out)) return OK;
    struct stream_id id = t.s->last_id;
    if (arg_is_char(rq, 4, '-')) {
        id = STREAM_ID_MIN;
    } else if (arg_is_char(rq, 4, '+')) {
        id = STREAM_ID_MAX;
    } else if (!arg_is_char(rq, 4, '$') && !arg_stream_id_or_reply(rq, 4, out, &id)) {
        return OK;
    }
    g->last_id = id;
    g->entries_read = o.entries_read;
    changed(sh, &t, "xgroup-setid");
    reply_ok(out);
    return OK;
}

enum err cmd_xgroup_destroy(struct shard *sh, struct request *rq, struct reply *out)
{
    struct stream_target t;
    if (!find_or_reply(sh, rq, &t, out)) return OK;
    struct stream_group *g = stream_group_find(t.s, rq->argv[3]);
    if (g) {
        struct stream *aside = stream_group_try_set_aside(&sh->mem, t.s, g);
        if (aside) {
            free_list_root(sh, TYPE_STREAM, ENCODING_STREAM, aside);
        } else {
            stream_group_destroy(&sh->mem, t.s, g);
        }
        changed(sh, &t, "xgroup-destroy");
    }
    reply_i64(out, g != NULL);
    return OK;
}

enum err cmd_xgroup_createconsumer(struct shard *sh, struct request *rq, struct reply *out)
{
    struct stream_target t;
    struct stream_group *g;
    struct stream_consumer *c;
    if (!find_group_or_reply(sh, rq, &t, &g, out)) return OK;
    if (stream_consumer_find(g, rq->argv[4])) {
        reply_i64(out, 0);
        return OK;
    }
    keyspace_touch_changed(sh, &t.key, t.e);
    enum err e = stream_consumer_obtain(sh, &t.key, g, rq->argv[4], &c);
    if (e != OK) return e;
    reply_i64(out, 1);
    return OK;
}

enum err cmd_xgroup_delconsumer(struct shard *sh, struct request *rq, struct reply *out)
{
    struct stream_target t;
    struct stream_group *g;
    if (!find_group_or_reply(sh, rq, &t, &g, out)) return OK;
    struct stream_consumer *c = stream_consumer_find(g, rq->argv[4]);
    uint64_t pending = 0;
    if (c) {
        pending = c->pending.count;
        struct stream *aside = stream_consumer_try_set_aside(&sh->mem, g, c);
        if (aside) {
            free_list_root(sh, TYPE_STREAM, ENCODING_STREAM, aside);
        } else {
            stream_consumer_delete(&sh->mem, g, c);
        }
        changed(sh, &t, "xgroup-delconsumer");
    }
    reply_i64(out, (int64_t)pending);
    return OK;
}

const char *const xgroup_help[] = {
    "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
    "HELP",
    "    Prints this help.",
    NULL,
};

/* ---- XACK ---- */

enum err cmd_xack(struct shard *sh, struct request *rq, struct reply *out)
{
    struct stream_target t;
    enum err e = stream_target_write(sh, rq, 1, &t);
    if (e != OK) return e;
    int64_t acknowledged = 0;
    struct stream_group *g = t.s ? stream_group_find(t.s, rq->argv[2]) : NULL;
    if (g && !args_stream_ids_or_reply(rq, 3, out)) return OK;
    for (uint32_t i = 3; g && i < rq->argc; i++) {
        struct stream_id id;
        CHECK(stream_id_parse(rq->argv[i], 0, &id, NULL));
        acknowledged += stream_pending_remove(&sh->mem, g, id);
    }
    if (acknowledged > 0) keyspace_touch_changed(sh, &t.key, t.e);
    reply_i64(out, acknowledged);
    return OK;
}

/* ---- XPENDING ---- */

struct pending_range {
    int64_t min_idle_ms;
    struct stream_id first, last;
    uint64_t count;
    bool has_consumer;
    struct bytes consumer;
};

/* [IDLE ms] start end count [consumer]; words behind them are not looked at. */
static bool read_pending_range_or_reply(const struct request *rq, struct pending_range *r,
                                        struct reply *out)
{
    *r = (struct pending_range){.min_idle_ms = 0};
    uint32_t at = 3;
    int64_t count = 0;
    enum err e = rq->argc < 6 || rq->argc > 9 ? ERR_SYNTAX : OK;
    if (e == OK && arg_is(rq, 3, "idle")) {
        e = arg_i64(rq, 4, &r->min_idle_ms);
        if (e == OK && rq->argc < 8) e = ERR_SYNTAX;
        at = 5;
    }
    if (e == OK) e = arg_i64(rq, at + 2, &count);
    if (e != OK) {
        reply_err(out, e);
        return false;
    }
    r->count = (uint64_t)MAX(count, 0);
    r->has_consumer = rq->argc > at + 3;
    if (r->has_consumer) r->consumer = rq->argv[at + 3];
    return arg_stream_start_or_reply(rq, at, out, &r->first) &&
           arg_stream_end_or_reply(rq, at + 1, out, &r->last);
}

static void reply_pending_range(struct shard *sh, const struct idtree *pending,
                                const struct pending_range *r, struct reply *out)
{
    struct collection found;
    collection_begin(&found, sh, out);
    struct idtree_place place = idtree_seek(pending, r->first);
    for (; found.count < r->count && idtree_place_exists(place); place = idtree_next(place)) {
        const struct stream_pending *p = idtree_item(place);
        if (stream_id_compare(idtree_id(place), r->last) > 0) break;
        int64_t idle = stream_age_ms(sh, p->delivered_ms);
        if (idle < r->min_idle_ms) continue;
        reply_array(&found.items, 4);
        reply_stream_id(&found.items, idtree_id(place));
        reply_bulk(&found.items, stream_name_view(&p->consumer->name));
        reply_i64(&found.items, idle);
        reply_i64(&found.items, (int64_t)p->delivery_count);
        found.count++;
    }
    reply_array(out, found.count);
    collection_end(&found, sh, out);
}

static void reply_pending_summary(const struct stream_group *g, struct reply *out)
{
    reply_array(out, 4);
    reply_i64(out, (int64_t)g->pending.count);
    if (g->pending.count == 0) {
        reply_null(out);
        reply_null(out);
        reply_null_array(out);
        return;
    }
    reply_stream_id(out, idtree_id(idtree_first(&g->pending)));
    reply_stream_id(out, idtree_id(idtree_last(&g->pending)));
    uint64_t count = 0;
    for (uint32_t i = 0; i < g->consumer_count; i++) count += g->consumers[i]->pending.count > 0;
    reply_array(out, count);
    for (uint32_t i = 0; i < g->consumer_count; i++) {
        const struct stream_consumer *c = g->consumers[i];
        if (c->pending.count == 0) continue;
        reply_array(out, 2);
        reply_bulk(out, stream_name_view(&c->name));
        reply_bulk_i64(out, (int64_t)c->pending.count);
    }
}

static void reply_pending(struct shard *sh, const struct stream_group *g,
                          const struct pending_range *r, struct reply *out)
{
    const struct stream_consumer *c = NULL;
    if (r->has_consumer) {
        c = stream_consumer_find(g, r->consumer);
        if (!c) {
            reply_array(out, 0);
            return;
        }
    }
    reply_pending_range(sh, c ? &c->pending : &g->pending, r, out);
}

enum err cmd_xpending(struct shard *sh, struct request *rq, struct reply *out)
{
    struct pending_range r;
    struct stream_target t;
    struct stream_group *g;
    bool is_summary = rq->argc == 3;
    if (!is_summary && !read_pending_range_or_reply(rq, &r, out)) return OK;
    enum err e = stream_target_read(sh, rq, 1, &t);
    if (e != OK) return e;
    if (!stream_find_group_or_reply(rq, &t, &g, out)) return OK;
    if (is_summary) {
        reply_pending_summary(g, out);
    } else {
        reply_pending(sh, g, &r, out);
    }
    return OK;
}
