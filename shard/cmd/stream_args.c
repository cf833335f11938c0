#include "shard/cmd/stream_args.h"

#include "shard/notify.h"

/* ---- finding ---- */

static enum err target(enum err e, struct stream_target *out)
{
    if (e == ERR_NO_KEY) return OK;
    if (e == OK) out->s = stream_of(out->e);
    return e;
}

enum err stream_target_read(struct shard *sh, const struct request *rq, uint32_t index,
                            struct stream_target *out)
{
    *out = (struct stream_target){.key = request_key(sh, rq, index)};
    return target(keyspace_find(sh, &out->key, TYPE_STREAM, &out->e), out);
}

enum err stream_target_write(struct shard *sh, const struct request *rq, uint32_t index,
                             struct stream_target *out)
{
    *out = (struct stream_target){.key = request_key(sh, rq, index)};
    return target(keyspace_peek_typed(sh, &out->key, TYPE_STREAM, &out->e), out);
}

bool stream_find_group_or_reply(const struct request *rq, const struct stream_target *t,
                                struct stream_group **out_group, struct reply *out)
{
    struct bytes key = rq->argv[1], group = rq->argv[2];
    *out_group = t->s ? stream_group_find(t->s, group) : NULL;
    if (*out_group) return true;
    reply_error(out, "NOGROUP No such key '%.*s' or consumer group '%.*s'", (int)key.size, key.data,
                (int)group.size, group.data);
    return false;
}

bool stream_find_subcommand_group_or_reply(const struct request *rq, const struct stream *s,
                                           struct stream_group **out_group, struct reply *out)
{
    struct bytes key = rq->argv[2], group = rq->argv[3];
    *out_group = stream_group_find(s, group);
    if (*out_group) return true;
    reply_error(out, "NOGROUP No such consumer group '%.*s' for key name '%.*s'", (int)group.size,
                group.data, (int)key.size, key.data);
    return false;
}

void stream_reply_wrong_subcommand(const struct request *rq, const char *container,
                                   struct reply *out)
{
    reply_error(out, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
                (int)MIN(rq->argv[1].size, (size_t)128), rq->argv[1].data, container);
}

void stream_journal_pending(struct shard *sh, const struct key *k, const struct stream_group *g,
                            struct stream_id id, const struct stream_pending *p)
{
    if (!journal_is_on(sh)) return;
    if (p->delivery_count > INT64_MAX) {
        journal_fall_back(sh, k);
        return;
    }
    char text[STREAM_ID_TEXT_BYTES_MAX];
    struct journal_number time, count;
    const struct bytes args[] = {
        stream_name_view(&g->name),  stream_name_view(&p->consumer->name),
        BYTES_LITERAL("0"),          bytes_make(text, stream_id_text(id, text)),
        BYTES_LITERAL("TIME"),       journal_i64(&time, p->delivered_ms),
        BYTES_LITERAL("RETRYCOUNT"), journal_i64(&count, (int64_t)p->delivery_count),
        BYTES_LITERAL("FORCE"),      BYTES_LITERAL("JUSTID")};
    journal_describe(sh, k, "XCLAIM", args, ARRAY_LEN(args));
}

void stream_journal_acknowledged(struct shard *sh, const struct key *k,
                                 const struct stream_group *g, struct stream_id id)
{
    if (!journal_is_on(sh)) return;
    char text[STREAM_ID_TEXT_BYTES_MAX];
    const struct bytes args[] = {stream_name_view(&g->name),
                                 bytes_make(text, stream_id_text(id, text))};
    journal_describe(sh, k, "XACK", args, ARRAY_LEN(args));
}

void stream_journal_position(struct shard *sh, const struct key *k, const struct stream_group *g)
{
    if (!journal_is_on(sh)) return;
    if (g->entries_read < STREAM_READ_UNKNOWN) { /* a client began near the end of numbers */
        journal_fall_back(sh, k);
        return;
    }
    char text[STREAM_ID_TEXT_BYTES_MAX];
    struct journal_number read;
    const struct bytes argv[] = {BYTES_LITERAL("XGROUP"),
                                 BYTES_LITERAL("SETID"),
                                 k->name,
                                 stream_name_view(&g->name),
                                 bytes_make(text, stream_id_text(g->last_id, text)),
                                 BYTES_LITERAL("ENTRIESREAD"),
                                 journal_i64(&read, g->entries_read)};
    journal_describe_as(sh, k, argv, ARRAY_LEN(argv));
}

enum err stream_consumer_obtain(struct shard *sh, const struct key *k, struct stream_group *g,
                                struct bytes name, struct stream_consumer **out)
{
    struct stream_consumer *c = stream_consumer_find(g, name);
    if (!c) {
        c = stream_consumer_try_create(&sh->mem, g, name, sh->wall_ms);
        if (!c) return ERR_ALLOC;
        notify(sh, NOTIFY_STREAM, "xgroup-createconsumer", k);
        const struct bytes argv[] = {BYTES_LITERAL("XGROUP"), BYTES_LITERAL("CREATECONSUMER"),
                                     k->name, stream_name_view(&g->name), name};
        journal_describe_as(sh, k, argv, ARRAY_LEN(argv));
    }
    c->seen_ms = sh->wall_ms;
    *out = c;
    return OK;
}

/* ---- ids ---- */

static bool invalid_id(struct reply *out)
{
    reply_error(out, "ERR Invalid stream ID specified as stream command argument");
    return false;
}

bool arg_is_char(const struct request *rq, uint32_t index, char c)
{
    struct bytes text = rq->argv[index];
    return text.size > 0 && text.data[0] == c && (text.size == 1 || text.data[1] == 0);
}

bool arg_stream_id_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                            struct stream_id *id)
{
    return stream_id_parse(rq->argv[index], 0, id, NULL) || invalid_id(out);
}

bool args_stream_ids_or_reply(const struct request *rq, uint32_t first, struct reply *out)
{
    struct stream_id ignored;
    for (uint32_t i = first; i < rq->argc; i++) {
        if (!arg_stream_id_or_reply(rq, i, out, &ignored)) return false;
    }
    return true;
}

/* One end; `*is_open` with '('. */
static bool interval_end(const struct request *rq, uint32_t index, uint64_t missing_seq,
                         struct stream_id *id, bool *is_open)
{
    struct bytes text = rq->argv[index];
    *is_open = text.size > 1 && text.data[0] == '(';
    if (*is_open) {
        return stream_id_parse(bytes_make(text.data + 1, text.size - 1), missing_seq, id, NULL);
    }
    bool is_lowest = arg_is_char(rq, index, '-');
    if (!is_lowest && !arg_is_char(rq, index, '+')) {
        return stream_id_parse(text, missing_seq, id, NULL);
    }
    *id = is_lowest ? STREAM_ID_MIN : STREAM_ID_MAX;
    return true;
}

bool arg_stream_start_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                               struct stream_id *id)
{
    bool is_open;
    if (!interval_end(rq, index, 0, id, &is_open)) return invalid_id(out);
    if (!is_open || stream_id_next(id)) return true;
    reply_error(out, "ERR invalid start ID for the interval");
    return false;
}

bool arg_stream_end_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                             struct stream_id *id)
{
    bool is_open;
    if (!interval_end(rq, index, UINT64_MAX, id, &is_open)) return invalid_id(out);
    if (!is_open || stream_id_prev(id)) return true;
    reply_error(out, "ERR invalid end ID for the interval");
    return false;
}

/* ---- replies ---- */

void reply_stream_id(struct reply *out, struct stream_id id)
{
    char text[STREAM_ID_TEXT_BYTES_MAX];
    reply_bulk(out, bytes_make(text, stream_id_text(id, text)));
}

void reply_stream_entry(struct reply *out, struct stream_entry *e)
{
    char scratch[2][TEXT_I64_BYTES_MAX];
    struct bytes field, value;
    reply_array(out, 2);
    reply_stream_id(out, e->id);
    reply_array(out, 2 * e->pair_count);
    for (uint64_t i = 0; i < e->pair_count; i++) {
        stream_entry_next_pair(e, &field, scratch[0], &value, scratch[1]);
        reply_bulk(out, field);
        reply_bulk(out, value);
    }
}
