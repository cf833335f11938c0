/* stream_info.c: XINFO.
 */
#include "shard/cmd/collect.h"
#include "shard/cmd/stream_args.h"
#include "shard/cmd/stream_commands.h"

#define FULL_COUNT_DEFAULT 10

/* The stream of an XINFO command. False: the reply is written. */
static bool find_or_reply(struct shard *sh, const struct request *rq, struct stream_target *t,
                          struct reply *out)
{
    enum err e = stream_target_read(sh, rq, 2, t);
    if (e == OK && !t->s) e = ERR_NO_KEY;
    if (e != OK) reply_err(out, e);
    return e == OK;
}

static void reply_field_i64(struct reply *out, const char *name, int64_t value)
{
    reply_bulk_text(out, name);
    reply_i64(out, value);
}

static void reply_field_id(struct reply *out, const char *name, struct stream_id id)
{
    reply_bulk_text(out, name);
    reply_stream_id(out, id);
}

static void reply_name(struct reply *out, const struct stream_name *name)
{
    reply_bulk_text(out, "name");
    reply_bulk(out, stream_name_view(name));
}

/* ---- XINFO STREAM ---- */

static void reply_common(const struct stream *s, struct reply *out)
{
    reply_field_i64(out, "length", (int64_t)s->length);
    reply_field_i64(out, "radix-tree-keys", (int64_t)s->nodes.count);
    /* Listpacks are the leaves, and an empty tree has a root. */
    uint64_t tree_nodes = s->nodes.count + MAX(s->nodes.node_count, 1);
    reply_field_i64(out, "radix-tree-nodes", (int64_t)tree_nodes);
    reply_field_id(out, "last-generated-id", s->last_id);
    reply_field_id(out, "max-deleted-entry-id", s->max_deleted_id);
    reply_field_i64(out, "entries-added", (int64_t)s->entries_added);
    reply_field_id(out, "recorded-first-entry-id", s->first_id);
}

/* The first or the last entry. */
static void reply_end(const struct stream *s, const char *name, bool backwards, struct reply *out)
{
    struct stream_iterator it;
    struct stream_entry e;
    reply_bulk_text(out, name);
    stream_iterator_init(&it, s, STREAM_ID_MIN, STREAM_ID_MAX, backwards);
    if (stream_iterator_next(&it, &e)) {
        reply_stream_entry(out, &e);
    } else {
        reply_null(out);
    }
}

static void reply_lag(const struct stream *s, const struct stream_group *g, struct reply *out)
{
    uint64_t lag;
    reply_bulk_text(out, "entries-read");
    if (g->entries_read == STREAM_READ_UNKNOWN) {
        reply_null(out);
    } else {
        reply_i64(out, g->entries_read);
    }
    reply_bulk_text(out, "lag");
    if (stream_group_lag(s, g, &lag)) {
        reply_i64(out, (int64_t)lag);
    } else {
        reply_null(out);
    }
}

/* At most `count` pending entries, with their consumers or without. */
static void reply_full_pending(const struct idtree *pending, uint64_t count, bool with_consumer,
                               struct reply *out)
{
    count = MIN(count, pending->count);
    reply_bulk_text(out, "pending");
    reply_array(out, count);
    struct idtree_place place = idtree_first(pending);
    for (; count > 0; count--, place = idtree_next(place)) {
        const struct stream_pending *p = idtree_item(place);
        reply_array(out, with_consumer ? 4 : 3);
        reply_stream_id(out, idtree_id(place));
        if (with_consumer) reply_bulk(out, stream_name_view(&p->consumer->name));
        reply_i64(out, p->delivered_ms);
        reply_i64(out, (int64_t)p->delivery_count);
    }
}

static void reply_full_consumer(const struct stream_consumer *c, uint64_t count, struct reply *out)
{
    reply_map(out, 5);
    reply_name(out, &c->name);
    reply_field_i64(out, "seen-time", c->seen_ms);
    reply_field_i64(out, "active-time", c->active_ms);
    reply_field_i64(out, "pel-count", (int64_t)c->pending.count);
    reply_full_pending(&c->pending, count, false, out);
}

static void reply_full_group(const struct stream *s, const struct stream_group *g, uint64_t count,
                             struct reply *out)
{
    reply_map(out, 7);
    reply_name(out, &g->name);
    reply_field_id(out, "last-delivered-id", g->last_id);
    reply_lag(s, g, out);
    reply_field_i64(out, "pel-count", (int64_t)g->pending.count);
    reply_full_pending(&g->pending, count, true, out);
    reply_bulk_text(out, "consumers");
    reply_array(out, g->consumer_count);
    for (uint32_t i = 0; i < g->consumer_count; i++) {
        reply_full_consumer(g->consumers[i], count, out);
    }
}

static void reply_full(const struct stream *s, uint64_t count, struct reply *out)
{
    struct stream_iterator it;
    struct stream_entry e;
    if (count == 0) count = UINT64_MAX;
    reply_map(out, 9);
    reply_common(s, out);
    reply_bulk_text(out, "entries");
    uint64_t entries = MIN(count, s->length);
    reply_array(out, entries);
    stream_iterator_init(&it, s, STREAM_ID_MIN, STREAM_ID_MAX, false);
    for (; entries > 0; entries--) {
        CHECK(stream_iterator_next(&it, &e));
        reply_stream_entry(out, &e);
    }
    reply_bulk_text(out, "groups");
    reply_array(out, s->group_count);
    for (uint32_t i = 0; i < s->group_count; i++) reply_full_group(s, s->groups[i], count, out);
}

static void reply_short(const struct stream *s, struct reply *out)
{
    reply_map(out, 10);
    reply_common(s, out);
    reply_field_i64(out, "groups", s->group_count);
    reply_end(s, "first-entry", false, out);
    reply_end(s, "last-entry", true, out);
}

enum err cmd_xinfo_stream(struct shard *sh, struct request *rq, struct reply *out)
{
    struct stream_target t;
    int64_t count = FULL_COUNT_DEFAULT;
    if (!find_or_reply(sh, rq, &t, out)) return OK;
    if (rq->argc == 3) {
        reply_short(t.s, out);
        return OK;
    }
    bool has_count = rq->argc == 6;
    if (!arg_is(rq, 3, "full") || (rq->argc != 4 && !has_count) ||
        (has_count && !arg_is(rq, 4, "count"))) {
        stream_reply_wrong_subcommand(rq, "XINFO", out);
        return OK;
    }
    if (has_count) {
        enum err e = arg_i64(rq, 5, &count);
        if (e != OK) return e;
        if (count < 0) count = FULL_COUNT_DEFAULT;
    }
    reply_full(t.s, (uint64_t)count, out);
    return OK;
}

/* ---- XINFO GROUPS, CONSUMERS ---- */

enum err cmd_xinfo_groups(struct shard *sh, struct request *rq, struct reply *out)
{
    struct stream_target t;
    if (!find_or_reply(sh, rq, &t, out)) return OK;
    reply_array(out, t.s->group_count);
    for (uint32_t i = 0; i < t.s->group_count; i++) {
        const struct stream_group *g = t.s->groups[i];
        reply_map(out, 6);
        reply_name(out, &g->name);
        reply_field_i64(out, "consumers", g->consumer_count);
        reply_field_i64(out, "pending", (int64_t)g->pending.count);
        reply_field_id(out, "last-delivered-id", g->last_id);
        reply_lag(t.s, g, out);
    }
    return OK;
}

enum err cmd_xinfo_consumers(struct shard *sh, struct request *rq, struct reply *out)
{
    struct stream_target t;
    if (!find_or_reply(sh, rq, &t, out)) return OK;
    struct stream_group *g;
    if (!stream_find_subcommand_group_or_reply(rq, t.s, &g, out)) return OK;
    reply_array(out, g->consumer_count);
    for (uint32_t i = 0; i < g->consumer_count; i++) {
        const struct stream_consumer *c = g->consumers[i];
        bool was_active = c->active_ms != STREAM_NEVER;
        reply_map(out, 4);
        reply_name(out, &c->name);
        reply_field_i64(out, "pending", (int64_t)c->pending.count);
        reply_field_i64(out, "idle", stream_age_ms(sh, c->seen_ms));
        reply_field_i64(out, "inactive", was_active ? stream_age_ms(sh, c->active_ms) : -1);
    }
    return OK;
}

const char *const xinfo_help[] = {
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
    "HELP",
    "    Prints this help.",
    NULL,
};
