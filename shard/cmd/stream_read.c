#include "shard/cmd/stream_read.h"

#include "shard/cmd/collect.h"
#include "shard/cmd/families.h"
#include "shard/cmd/stream_commands.h"
#include "shard/notify.h"

/* ---- arguments ---- */

static bool error(struct reply *out, enum err e)
{
    if (e != OK && out) reply_err(out, e);
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
    if (out)
        reply_error(out, "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' "
                         "must be specified.");
    return false;
}

static bool of_group_or_reply(const char *option, bool by_group, struct reply *out)
{
    if (by_group) return true;
    if (out)
        reply_error(out,
                    "ERR The %s option is only supported by XREADGROUP. You called XREAD instead.",
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
    if (out) reply_error(out, "ERR Missing GROUP option for XREADGROUP");
    return false;
}

bool stream_read_is_plain(const struct bytes *argv, uint32_t argc, bool by_group,
                          struct stream_reader *r)
{
    const struct request rq = {.argv = (void *)(uintptr_t)argv, .argc = argc};
    struct stream_id id;
    if (!stream_reader_parse_or_reply(&rq, by_group, r, NULL)) return false;
    struct bytes special = by_group ? BYTES_LITERAL(">") : BYTES_LITERAL("$");
    for (uint32_t i = 0; i < r->key_count; i++) {
        struct bytes after = argv[r->first_key + r->key_count + i];
        if (!bytes_equal(after, special) && !stream_id_parse(after, 0, &id, NULL)) return false;
    }
    return r->key_count > 0;
}

/* ---- where to go on ---- */

static bool group_exists_or_reply(const struct bytes *group, const struct stream *s,
                                  const struct key *k, struct reply *out)
{
    if (!group || (s && stream_group_find(s, *group))) return true;
    reply_error(out,
                "NOGROUP No such key '%.*s' or consumer group '%.*s' in XREADGROUP with GROUP "
                "option",
                (int)k->name.size, k->name.data, (int)group->size, group->data);
    return false;
}

bool stream_read_check_or_reply(struct shard *sh, const struct key *k, const struct bytes *group,
                                struct reply *out)
{
    struct entry *entry;
    enum err e = keyspace_peek_typed(sh, k, TYPE_STREAM, &entry);
    if (e == ERR_WRONG_TYPE) return error(out, e);
    return group_exists_or_reply(group, e == OK ? stream_of(entry) : NULL, k, out);
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
    const struct bytes *group = r->by_group ? &r->group : NULL;
    if (!group_exists_or_reply(group, t.s, &t.key, out)) return false;
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

/* ---- waiting ---- */

static bool has_entry_behind(const struct stream *s, struct stream_id after)
{
    struct stream_iterator it;
    struct stream_entry e;
    if (stream_id_compare(s->last_id, after) <= 0 || !stream_id_next(&after)) return false;
    stream_iterator_init(&it, s, after, STREAM_ID_MAX, false);
    return stream_iterator_next(&it, &e);
}

static struct stream *stream_at(struct shard *sh, const struct key *k)
{
    struct entry *e = keyspace_peek(sh, k);
    return e && entry_type(e) == TYPE_STREAM ? stream_of(e) : NULL;
}

static bool has_more(struct shard *sh, const struct request *rq, const struct key *k,
                     uint32_t index)
{
    struct stream_reader r;
    struct stream_id after;
    const struct stream *s = stream_at(sh, k);
    if (!s) return false;
    CHECK(stream_reader_parse_or_reply(rq, false, &r, NULL));
    CHECK(stream_id_parse(rq->argv[index + r.key_count], 0, &after, NULL));
    return has_entry_behind(s, after);
}

/* Whoever waits with a group waits for new entries of all its keys, or for an error. */
static bool has_new_or_error(struct shard *sh, const struct request *rq, const struct key *k,
                             UNUSED uint32_t index)
{
    struct stream_reader r;
    const struct stream *s = stream_at(sh, k);
    CHECK(stream_reader_parse_or_reply(rq, true, &r, NULL));
    const struct stream_group *g = s ? stream_group_find(s, r.group) : NULL;
    return !g || has_entry_behind(s, g->last_id);
}

static const struct wait_rule read_rule = {.is_ready = has_more, .is_shared = true};
static const struct wait_rule group_rule = {.is_ready = has_new_or_error, .sees_absence = true};

/* The ids are what they were when the command was first run: "$" is none. */
static enum err begin_to_wait(struct shard *sh, struct request *rq, const struct stream_reader *r,
                              const struct stream_id *after)
{
    struct wait_keys keys = {r->by_group ? &group_rule : &read_rule, r->first_key, r->key_count};
    size_t size = r->key_count * (sizeof(struct bytes) + STREAM_ID_TEXT_BYTES_MAX);
    char *room = r->by_group ? NULL : mem_try_alloc(&sh->mem, size);
    if (!room && !r->by_group) return ERR_ALLOC;
    struct bytes *resolved = (struct bytes *)(void *)room;
    char *at = room + r->key_count * sizeof *resolved;
    for (uint32_t i = 0; i < r->key_count && room; i++, at += STREAM_ID_TEXT_BYTES_MAX) {
        bool is_open = arg_is_char(rq, r->first_key + r->key_count + i, '$');
        resolved[i] = is_open ? bytes_make(at, stream_id_text(after[i], at)) : (struct bytes){0};
    }
    bool waits = wait_for_keys(sh, rq, &keys, resolved);
    if (room) mem_free(&sh->mem, room, size);
    return waits ? OK : ERR_ALLOC;
}

/* ---- commands ---- */

/* What an XREAD or XREADGROUP does now. */
struct reading_run {
    struct shard *shard;
    struct request *rq;
    struct stream_reader reader;
    struct stream_id *after; /* by key */
    uint32_t from, to;       /* of these keys */
    bool only_here;          /* and of these only what lives here */
};

static bool is_meant(const struct reading_run *r, uint32_t i)
{
    struct key k = request_key(r->shard, r->rq, r->reader.first_key + i);
    return !r->only_here || shard_owns_key(r->shard, &k);
}

/* All ids are read before anything is delivered. False: the error is written, at key *failed. */
static bool read_ids_or_reply(struct reading_run *r, struct reply *out, uint32_t *failed)
{
    for (uint32_t i = r->from; i < r->to; i++) {
        if (!is_meant(r, i)) continue;
        *failed = i;
        if (!stream_reader_after_or_reply(r->shard, r->rq, &r->reader, i, &r->after[i], out))
            return false;
    }
    return true;
}

/* What all keys have. With `with_null` one value per key, null where there is nothing. */
static enum err collect(struct reading_run *r, bool with_null, struct collection *keys)
{
    enum err e = OK;
    for (uint32_t i = r->from; i < r->to && e == OK; i++) {
        bool found = false;
        struct key k = request_key(r->shard, r->rq, r->reader.first_key + i);
        if (!is_meant(r, i)) continue;
        e = stream_reader_read(r->shard, &r->reader, &k, r->after[i], &keys->items, &found);
        if (e == OK && !found && with_null) reply_null_array(&keys->items);
        keys->count += found;
    }
    return e;
}

/* A part of a command that was split: one value per key. */
static enum err run_part(struct reading_run *r, struct reply *out)
{
    uint32_t failed;
    if (!read_ids_or_reply(r, out, &failed)) return OK;
    struct collection keys;
    collection_begin(&keys, r->shard, out);
    enum err e = collect(r, true, &keys);
    if (e != OK)
        collection_drop(&keys, r->shard);
    else
        collection_end(&keys, r->shard, out);
    return e;
}

/* The part of one that may wait: its coordinator must know what was there at once. */
static enum err run_claimant(struct reading_run *r, struct reply *out)
{
    uint32_t at = 0;
    struct collection keys;
    enum err e = OK;
    collection_begin(&keys, r->shard, out);
    bool is_good = read_ids_or_reply(r, &keys.items, &at);
    if (is_good) e = collect(r, true, &keys);
    if (e == OK && is_good && keys.count == 0) {
        collection_drop(&keys, r->shard);
        return begin_to_wait(r->shard, r->rq, &r->reader, r->after);
    }
    if (e != OK) reply_err(&keys.items, e);
    wait_report_first(r->shard, r->rq, r->reader.first_key + at, out);
    collection_end(&keys, r->shard, out);
    return OK;
}

static enum err run_whole(struct reading_run *r, struct reply *out)
{
    uint32_t failed;
    if (!read_ids_or_reply(r, out, &failed)) return OK;
    struct collection keys;
    collection_begin(&keys, r->shard, out);
    enum err e = collect(r, false, &keys);
    if (e == OK && keys.count > 0) {
        stream_reader_head(out, keys.count);
        collection_end(&keys, r->shard, out);
        return OK;
    }
    collection_drop(&keys, r->shard);
    if (e != OK) return e;
    bool may_wait = r->reader.blocks && r->rq->flags & REQUEST_MAY_WAIT;
    if (may_wait) return begin_to_wait(r->shard, r->rq, &r->reader, r->after);
    reply_null_array(out);
    return OK;
}

static enum err run(struct shard *sh, struct request *rq, bool by_group, struct reply *out)
{
    struct reading_run r = {.shard = sh, .rq = rq};
    if (!stream_reader_parse_or_reply(rq, by_group, &r.reader, out)) return OK;
    size_t size = r.reader.key_count * sizeof *r.after;
    r.after = mem_try_alloc(&sh->mem, size);
    if (!r.after) return ERR_ALLOC;
    uint32_t served = wait_served_key(&sh->waits);
    bool is_claimant = !served && rq->flags & REQUEST_CLAIM;
    r.from = served ? served - r.reader.first_key : 0;
    r.to = served ? r.from + 1 : r.reader.key_count;
    r.only_here = is_claimant;
    r.reader.is_part = is_claimant || rq->flags & REQUEST_PART;
    enum err e = is_claimant                ? run_claimant(&r, out)
                 : rq->flags & REQUEST_PART ? run_part(&r, out)
                                            : run_whole(&r, out);
    mem_free(&sh->mem, r.after, size);
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
