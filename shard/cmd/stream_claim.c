/* stream_claim.c: XCLAIM and XAUTOCLAIM: pending entries become another consumer's.
 */
#include "shard/cmd/collect.h"
#include "shard/cmd/stream_args.h"
#include "shard/cmd/stream_commands.h"
#include "shard/notify.h"

#define AUTOCLAIM_COUNT_DEFAULT 100
#define AUTOCLAIM_LOOKS 10 /* pending entries looked at for each that may be claimed */
#define AUTOCLAIM_COUNT_MAX (INT64_MAX / STREAM_ID_BYTES)

/* What both commands do to an entry. */
struct claim {
    struct shard *shard;
    struct stream_target t;
    struct stream_group *group;
    struct stream_consumer *consumer;
    int64_t min_idle_ms;
    bool just_ids; /* JUSTID: deliveries are not counted either */
    bool force;
    int64_t delivered_ms;
    int64_t retry_count; /* -1: one more than before */
    struct collection claimed;
};

static bool read_min_idle_or_reply(const struct request *rq, const char *command, struct claim *c,
                                   struct reply *out)
{
    if (arg_i64(rq, 4, &c->min_idle_ms) == OK) {
        c->min_idle_ms = MAX(c->min_idle_ms, 0);
        return true;
    }
    reply_error(out, "ERR Invalid min-idle-time argument for %s", command);
    return false;
}

static bool is_idle_enough(const struct claim *c, const struct stream_pending *p)
{
    return c->min_idle_ms == 0 || c->shard->wall_ms - p->delivered_ms >= c->min_idle_ms;
}

/* `e` is the entry of what is pending as `p`. */
static void take(struct claim *c, struct stream_pending *p, struct stream_entry *e)
{
    stream_pending_move(&c->shard->mem, p, e->id, c->consumer);
    p->delivered_ms = c->delivered_ms;
    if (c->retry_count >= 0) {
        p->delivery_count = (uint64_t)c->retry_count;
    } else if (!c->just_ids) {
        p->delivery_count++;
    }
    c->consumer->active_ms = c->shard->wall_ms;
    stream_journal_pending(c->shard, &c->t.key, c->group, e->id, p);
    c->claimed.count++;
    if (c->just_ids) {
        reply_stream_id(&c->claimed.items, e->id);
    } else {
        reply_stream_entry(&c->claimed.items, e);
    }
}

/* ---- XCLAIM ---- */

static bool invalid_option(struct reply *out, const char *option)
{
    reply_error(out, "ERR Invalid %s option argument for XCLAIM", option);
    return false;
}

/* One option at argv[*i], which is left at its last word. */
static bool read_option_or_reply(const struct request *rq, uint32_t *i, struct claim *c,
                                 struct stream_id *last_id, struct reply *out)
{
    bool has_value = *i + 1 < rq->argc;
    if (arg_is(rq, *i, "force")) {
        c->force = true;
        return true;
    }
    if (arg_is(rq, *i, "justid")) {
        c->just_ids = true;
        return true;
    }
    if (has_value && arg_is(rq, *i, "idle")) {
        int64_t idle;
        if (arg_i64(rq, ++*i, &idle) != OK) return invalid_option(out, "IDLE");
        if (__builtin_sub_overflow(c->shard->wall_ms, idle, &c->delivered_ms)) c->delivered_ms = -1;
        return true;
    }
    if (has_value && arg_is(rq, *i, "time")) {
        return arg_i64(rq, ++*i, &c->delivered_ms) == OK || invalid_option(out, "TIME");
    }
    if (has_value && arg_is(rq, *i, "retrycount")) {
        return arg_i64(rq, ++*i, &c->retry_count) == OK || invalid_option(out, "RETRYCOUNT");
    }
    if (has_value && arg_is(rq, *i, "lastid"))
        return arg_stream_id_or_reply(rq, ++*i, out, last_id);
    reply_error(out, "ERR Unrecognized XCLAIM option '%.*s'", (int)rq->argv[*i].size,
                rq->argv[*i].data);
    return false;
}

static void claim_id(struct claim *c, struct stream_id id)
{
    struct mem *mem = &c->shard->mem;
    struct stream_pending *p = stream_pending_find(c->group, id);
    struct stream_entry e;
    if (!stream_find(c->t.s, id, &e)) {
        if (p && stream_pending_remove(mem, c->group, id))
            stream_journal_acknowledged(c->shard, &c->t.key, c->group, id);
        return;
    }
    if (!p && c->force) {
        p = stream_pending_add(mem, c->group, c->consumer, id);
        p->delivery_count = 1;
    } else if (!p || !is_idle_enough(c, p)) {
        return;
    }
    take(c, p, &e);
}

/* The consumer has asked for something. */
static enum err begin(struct claim *c, struct bytes consumer, const struct reply *out)
{
    keyspace_touch_changed(c->shard, &c->t.key, c->t.e);
    journal_describe_nothing(c->shard, &c->t.key);
    enum err e = stream_consumer_obtain(c->shard, &c->t.key, c->group, consumer, &c->consumer);
    if (e == OK) collection_begin(&c->claimed, c->shard, out);
    return e;
}

static void finish(struct claim *c, struct reply *out)
{
    reply_array(out, c->claimed.count);
    collection_end(&c->claimed, c->shard, out);
}

enum err cmd_xclaim(struct shard *sh, struct request *rq, struct reply *out)
{
    struct claim c = {.shard = sh, .delivered_ms = -1, .retry_count = -1};
    struct stream_id id, last_id = STREAM_ID_MIN;
    enum err e = stream_target_write(sh, rq, 1, &c.t);
    if (e != OK) return e;
    if (!stream_find_group_or_reply(rq, &c.t, &c.group, out)) return OK;
    if (!read_min_idle_or_reply(rq, "XCLAIM", &c, out)) return OK;
    uint32_t end = 5;
    while (end < rq->argc && stream_id_parse(rq->argv[end], 0, &id, NULL)) end++;
    for (uint32_t i = end; i < rq->argc; i++) {
        if (!read_option_or_reply(rq, &i, &c, &last_id, out)) return OK;
    }
    if (c.delivered_ms < 0 || c.delivered_ms > sh->wall_ms) c.delivered_ms = sh->wall_ms;
    e = begin(&c, rq->argv[3], out);
    if (e != OK) return e;
    if (stream_id_compare(last_id, c.group->last_id) > 0) {
        c.group->last_id = last_id;
        stream_journal_position(sh, &c.t.key, c.group);
    }
    for (uint32_t i = 5; i < end; i++) {
        CHECK(stream_id_parse(rq->argv[i], 0, &id, NULL));
        claim_id(&c, id);
    }
    finish(&c, out);
    return OK;
}

/* ---- XAUTOCLAIM ---- */

static bool read_autoclaim_or_reply(const struct request *rq, struct claim *c,
                                    struct stream_id *start, uint64_t *count, struct reply *out)
{
    if (!read_min_idle_or_reply(rq, "XAUTOCLAIM", c, out)) return false;
    if (!arg_stream_start_or_reply(rq, 5, out, start)) return false;
    for (uint32_t i = 6; i < rq->argc; i++) {
        if (i + 1 < rq->argc && arg_is(rq, i, "count")) {
            int64_t n;
            if (arg_i64(rq, ++i, &n) != OK || n < 1 || n > AUTOCLAIM_COUNT_MAX) {
                reply_error(out, "ERR COUNT must be > 0");
                return false;
            }
            *count = (uint64_t)n;
        } else if (arg_is(rq, i, "justid")) {
            c->just_ids = true;
        } else {
            reply_err(out, ERR_SYNTAX);
            return false;
        }
    }
    return true;
}

/* Claims from `*at` on, which is left where the next call goes on, 0-0 at the end. */
static void claim_range(struct claim *c, struct stream_id *at, uint64_t count,
                        struct collection *deleted)
{
    uint64_t looks = count * AUTOCLAIM_LOOKS;
    struct idtree_place place = idtree_seek(&c->group->pending, *at);
    for (; looks > 0 && count > 0 && idtree_place_exists(place); looks--) {
        struct stream_id id = idtree_id(place);
        struct stream_pending *p = idtree_item(place);
        struct stream_entry e;
        place = idtree_next(place);
        if (!stream_find(c->t.s, id, &e)) {
            if (stream_pending_remove(&c->shard->mem, c->group, id))
                stream_journal_acknowledged(c->shard, &c->t.key, c->group, id);
            place = idtree_seek(&c->group->pending, id);
            reply_stream_id(&deleted->items, id);
            deleted->count++;
            count--;
        } else if (is_idle_enough(c, p)) {
            take(c, p, &e);
            count--;
        }
    }
    *at = idtree_place_exists(place) ? idtree_id(place) : STREAM_ID_MIN;
}

enum err cmd_xautoclaim(struct shard *sh, struct request *rq, struct reply *out)
{
    struct claim c = {.shard = sh, .delivered_ms = sh->wall_ms, .retry_count = -1};
    struct stream_id at;
    uint64_t count = AUTOCLAIM_COUNT_DEFAULT;
    struct collection deleted;
    if (!read_autoclaim_or_reply(rq, &c, &at, &count, out)) return OK;
    enum err e = stream_target_write(sh, rq, 1, &c.t);
    if (e != OK) return e;
    if (!stream_find_group_or_reply(rq, &c.t, &c.group, out)) return OK;
    e = begin(&c, rq->argv[3], out);
    if (e != OK) return e;
    collection_begin(&deleted, sh, out);
    claim_range(&c, &at, count, &deleted);
    reply_array(out, 3);
    reply_stream_id(out, at);
    finish(&c, out);
    reply_array(out, deleted.count);
    collection_end(&deleted, sh, out);
    return OK;
}
