#include "shard/cmd/stream_read.h"

#include "shard/cmd/collect.h"
#include "shard/cmd/families.h"
#include "shard/cmd/stream_commands.h"
#include "shard/notify.h"

/* ---- arguments ---- */

static bool error(struct reply *out, enum err e)
{
    if (e != OK) reply_err(out, e);
    return e == OK;
}

static bool read_timeout_or_reply(const struct request *rq, uint32_t index, struct stream_reader *r,
                                  struct reply *out)
{
    r->blocks = true;
    if (arg_i64(rq, index, &r->timeout_ms) != OK) return error(out, ERR_TIMEOUT_NOT_INT);
    return error(out, r->timeout_ms < 0 ? ERR_TIMEOUT_NEGATIVE : OK);
}

static bool read_count_or_reply(const struct request *rq, uint32_t index, struct stream_reader *r,
                                struct reply *out)
{
    int64_t count;
    enum err e = arg_i64(rq, index, &count);
    if (e == OK) r->count = (uint64_t)MAX(count, 0);
    return error(out, e);
}

/* STREAMS at argv[index]: the rest are keys and as many ids. */
static bool read_keys_or_reply(const struct request *rq, uint32_t index, struct stream_reader *r,
                               struct reply *out)
{
    uint32_t words = rq->argc - index - 1;
    r->first_key = index + 1;
    r->key_count = words / 2;
    if (words % 2 == 0) return true;
    reply_error(out, "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must "
                     "be specified.");
    return false;
}

static bool of_group_or_reply(const char *option, bool by_group, struct reply *out)
{
    if (by_group) return true;
    reply_error(out, "ERR The %s option is only supported by XREADGROUP. You called XREAD instead.",
                option);
    return false;
}

/* One option at argv[*i], which is left at its last word. */
static bool read_option_or_reply(const struct request *rq, uint32_t *i, bool by_group,
                                 struct stream_reader *r, struct reply *out)
{
    uint32_t more = rq->argc - *i - 1;
    if (more >= 1 && arg_is(rq, *i, "block")) return read_timeout_or_reply(rq, ++*i, r, out);
    if (more >= 1 && arg_is(rq, *i, "count")) return read_count_or_reply(rq, ++*i, r, out);
    if (more >= 1 && arg_is(rq, *i, "streams")) return read_keys_or_reply(rq, *i, r, out);
    if (more >= 2 && arg_is(rq, *i, "group")) {
        if (!of_group_or_reply("GROUP", by_group, out)) return false;
        r->by_group = true;
        r->group = rq->argv[++*i];
        r->consumer = rq->argv[++*i];
        return true;
    }
    if (arg_is(rq, *i, "noack")) {
        r->no_ack = true;
        return of_group_or_reply("NOACK", by_group, out);
    }
    return error(out, ERR_SYNTAX);
}

bool stream_reader_parse_or_reply(const struct request *rq, bool by_group, struct stream_reader *r,
                                  struct reply *out)
{
    *r = (struct stream_reader){.blocks = false};
    for (uint32_t i = 1; i < rq->argc && r->first_key == 0; i++) {
        if (!read_option_or_reply(rq, &i, by_group, r, out)) return false;
    }
    if (r->first_key == 0) return error(out, ERR_SYNTAX);
    if (!by_group || r->by_group) return true;
    reply_error(out, "ERR Missing GROUP option for XREADGROUP");
    return false;
}

bool xread_is_plain(const struct bytes *argv, uint32_t argc, uint32_t *first)
{
    uint32_t i = 1;
    int64_t count;
    struct stream_id id;
    while (i + 1 < argc && bytes_equal_nocase(argv[i], "count") &&
           text_to_i64(argv[i + 1], &count)) {
        i += 2;
    }
    if (i >= argc || !bytes_equal_nocase(argv[i], "streams")) return false;
    uint32_t words = argc - ++i;
    if (words == 0 || words % 2 != 0) return false;
    for (uint32_t at = i + words / 2; at < argc; at++) {
        bool is_last = bytes_equal(argv[at], BYTES_LITERAL("$"));
        if (!is_last && !stream_id_parse(argv[at], 0, &id, NULL)) return false;
    }
    *first = i;
    return true;
}

/* ---- where to go on ---- */

static bool group_exists_or_reply(const struct stream_reader *r, const struct stream_target *t,
                                  struct reply *out)
{
    if (!r->by_group || (t->s && stream_group_find(t->s, r->group))) return true;
    reply_error(out,
                "NOGROUP No such key '%.*s' or consumer group '%.*s' in XREADGROUP with GROUP "
                "option",
                (int)t->key.name.size, t->key.name.data, (int)r->group.size, r->group.data);
    return false;
}

/* "$" */
static bool last_id_or_reply(const struct stream_reader *r, const struct stream *s,
                             struct stream_id *after, struct reply *out)
{
    *after = s ? s->last_id : STREAM_ID_MIN;
    if (!r->by_group) return true;
    reply_error(out, "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read "
                     "the history of this consumer by specifying a proper ID, or use the > ID to "
                     "get new messages. The $ ID would just return an empty result set.");
    return false;
}

/* ">" */
static bool new_id_or_reply(const struct stream_reader *r, struct stream_id *after,
                            struct reply *out)
{
    *after = STREAM_AFTER_DELIVERED;
    if (r->by_group) return true;
    reply_error(out, "ERR The > ID can be specified only when calling XREADGROUP using the GROUP "
                     "<group> <consumer> option.");
    return false;
}

bool stream_reader_after_or_reply(struct shard *sh, const struct request *rq,
                                  const struct stream_reader *r, uint32_t number,
                                  struct stream_id *after, struct reply *out)
{
    uint32_t key_at = r->first_key + number, id_at = key_at + r->key_count;
    struct stream_target t;
    if (!error(out, stream_target_read(sh, rq, key_at, &t))) return false;
    if (!group_exists_or_reply(r, &t, out)) return false;
    if (arg_is_char(rq, id_at, '$')) return last_id_or_reply(r, t.s, after, out);
    if (arg_is_char(rq, id_at, '>')) return new_id_or_reply(r, after, out);
    return arg_stream_id_or_reply(rq, id_at, out, after);
}

/* ---- reading ---- */

void stream_reader_head(struct reply *out, uint64_t key_count)
{
    if (out->resp == 2) {
        reply_array(out, key_count);
    } else {
        reply_map(out, key_count);
    }
}

/* One reading of one key. */
struct reading {
    struct shard *shard;
    const struct stream_reader *reader;
    const struct stream *s;
    struct stream_group *group; /* NULL: XREAD */
    struct stream_consumer *consumer;
    const struct key *key;
    struct collection entries;
};

/* An entry goes to the consumer. It may be pending already if the group was set back. */
static void deliver(struct reading *rd, struct stream_id id)
{
    struct mem *mem = &rd->shard->mem;
    if (stream_id_compare(id, rd->group->last_id) > 0) stream_group_advance(rd->s, rd->group, id);
    if (rd->reader->no_ack) return;
    struct stream_pending *p = stream_pending_find(rd->group, id);
    if (p) {
        stream_pending_move(mem, p, id, rd->consumer);
    } else {
        p = stream_pending_add(mem, rd->group, rd->consumer, id);
    }
    p->delivered_ms = rd->shard->wall_ms;
    p->delivery_count = 1;
    rd->consumer->active_ms = rd->shard->wall_ms;
    stream_journal_pending(rd->shard, rd->key, rd->group, id, p);
}

static bool has_room(const struct reading *rd)
{
    return rd->reader->count == 0 || rd->entries.count < rd->reader->count;
}

static void read_new(struct reading *rd, struct stream_id after)
{
    struct stream_iterator it;
    struct stream_entry e;
    if (!stream_id_next(&after)) return;
    stream_iterator_init(&it, rd->s, after, STREAM_ID_MAX, false);
    while (has_room(rd) && stream_iterator_next(&it, &e)) {
        if (rd->group) deliver(rd, e.id);
        reply_stream_entry(&rd->entries.items, &e);
        rd->entries.count++;
    }
}

/* What is pending for the consumer; of an entry that was deleted only the id is left. */
static void read_history(struct reading *rd, struct stream_id after)
{
    if (!stream_id_next(&after)) return;
    struct idtree_place place = idtree_seek(&rd->consumer->pending, after);
    for (; has_room(rd) && idtree_place_exists(place); place = idtree_next(place)) {
        struct stream_entry e;
        struct stream_pending *p = idtree_item(place);
        if (stream_find(rd->s, idtree_id(place), &e)) {
            reply_stream_entry(&rd->entries.items, &e);
            p->delivered_ms = rd->shard->wall_ms;
            p->delivery_count++;
            stream_journal_pending(rd->shard, rd->key, rd->group, idtree_id(place), p);
        } else {
            reply_array(&rd->entries.items, 2);
            reply_stream_id(&rd->entries.items, idtree_id(place));
            reply_null_array(&rd->entries.items);
        }
        rd->entries.count++;
    }
}

static void finish(struct reading *rd, const struct key *k, struct reply *out)
{
    if (out->resp == 2 || rd->reader->is_part) reply_array(out, 2);
    reply_bulk(out, k->name);
    reply_array(out, rd->entries.count);
    collection_end(&rd->entries, rd->shard, out);
}

enum err stream_reader_read(struct shard *sh, const struct stream_reader *r, const struct key *k,
                            struct stream_id after, struct reply *out, bool *found)
{
    struct reading rd = {.shard = sh, .reader = r, .key = k};
    struct entry *entry;
    *found = false;
    enum err e = keyspace_peek_typed(sh, k, TYPE_STREAM, &entry);
    if (e != OK) return e == ERR_NO_KEY ? OK : e;
    rd.s = stream_of(entry);
    bool only_new = true;
    if (r->by_group) {
        rd.group = stream_group_find(rd.s, r->group);
        if (!rd.group) return OK;
        keyspace_touch_changed(sh, k, entry);
        journal_describe_nothing(sh, k);
        e = stream_consumer_obtain(sh, k, rd.group, r->consumer, &rd.consumer);
        if (e != OK) return e;
        only_new = stream_id_compare(after, STREAM_AFTER_DELIVERED) == 0;
        if (only_new) after = rd.group->last_id;
    }
    collection_begin(&rd.entries, sh, out);
    if (only_new) {
        read_new(&rd, after);
        if (rd.group && rd.entries.count > 0) stream_journal_position(sh, k, rd.group);
    } else {
        read_history(&rd, after);
    }
    *found = rd.entries.count > 0 || !only_new;
    if (*found) {
        finish(&rd, k, out);
    } else {
        collection_drop(&rd.entries, sh);
    }
    return OK;
}

/* ---- commands ---- */

/* A part of a command that was split: one value per key, null where there is nothing. */
static enum err read_part(struct shard *sh, const struct request *rq, const struct stream_reader *r,
                          const struct stream_id *after, struct reply *out)
{
    for (uint32_t i = 0; i < r->key_count; i++) {
        bool found;
        struct key k = request_key(sh, rq, r->first_key + i);
        CHECK(stream_reader_read(sh, r, &k, after[i], out, &found) == OK);
        if (!found) reply_null_array(out);
    }
    return OK;
}

static enum err read_keys(struct shard *sh, const struct request *rq, const struct stream_reader *r,
                          const struct stream_id *after, struct reply *out)
{
    struct collection keys;
    enum err e = OK;
    collection_begin(&keys, sh, out);
    for (uint32_t i = 0; i < r->key_count && e == OK; i++) {
        bool found = false;
        struct key k = request_key(sh, rq, r->first_key + i);
        e = stream_reader_read(sh, r, &k, after[i], &keys.items, &found);
        keys.count += found;
    }
    if (e != OK || keys.count == 0) {
        collection_drop(&keys, sh);
        if (e == OK) reply_null_array(out);
        return e;
    }
    stream_reader_head(out, keys.count);
    collection_end(&keys, sh, out);
    return OK;
}

/* All ids are read before anything is delivered. */
static enum err run(struct shard *sh, const struct request *rq, bool by_group, struct reply *out)
{
    struct stream_reader r;
    if (!stream_reader_parse_or_reply(rq, by_group, &r, out)) return OK;
    size_t size = r.key_count * sizeof(struct stream_id);
    struct stream_id *after = mem_try_alloc(&sh->mem, size);
    if (!after) return ERR_ALLOC;
    bool is_good = true;
    for (uint32_t i = 0; i < r.key_count && is_good; i++) {
        is_good = stream_reader_after_or_reply(sh, rq, &r, i, &after[i], out);
    }
    enum err e = OK;
    if (is_good) {
        r.is_part = rq->flags & REQUEST_PART;
        e = r.is_part ? read_part(sh, rq, &r, after, out) : read_keys(sh, rq, &r, after, out);
    }
    mem_free(&sh->mem, after, size);
    return e;
}

enum err cmd_xread(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(sh, rq, false, out);
}

enum err cmd_xreadgroup(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(sh, rq, true, out);
}
