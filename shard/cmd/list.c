/* list.c: the list commands. What may wait for an element is built on the core in list.h. */
#include "shard/cmd/list.h"

#include "shard/cmd/families.h"
#include "shard/lazyfree.h"
#include "shard/notify.h"

/* Fewer elements of a list that go at once are freed at once. */
#define SLICED_ELEMENTS 64

static int32_t limit_of(const struct shard *sh)
{
    return sh->config->list_max_listpack_size;
}

static void reply_element(struct reply *out, const struct listpack_value *v)
{
    if (v->text) {
        reply_bulk(out, bytes_make(v->text, v->size));
    } else {
        reply_bulk_i64(out, v->integer);
    }
}

static void reply_place(struct reply *out, const struct list *l, struct quicklist_place place)
{
    struct listpack_value v;
    list_get(l, place, &v);
    reply_element(out, &v);
}

/* ---- opening and closing ---- */

/* For writers: an access, but neither a hit nor a miss. */
static enum err open_list(struct shard *sh, const struct key *k, struct entry **e, struct list *l)
{
    enum err err = keyspace_peek_typed(sh, k, TYPE_LIST, e);
    if (err != OK) return err;
    *l = list_of(*e);
    keyspace_touch(sh, *e);
    return OK;
}

static enum err find_list(struct shard *sh, const struct key *k, struct list *l)
{
    struct entry *e;
    enum err err = keyspace_find(sh, k, TYPE_LIST, &e);
    if (err == OK) *l = list_of(e);
    return err;
}

/* Something was added or replaced. */
static void close_grown(struct shard *sh, const struct key *k, struct entry *e,
                        const struct list *l)
{
    list_store(e, l);
    keyspace_changed(sh, k, e);
}

/* Something was removed: the encoding may go back, and an empty list does not stay. */
static void close_shrunk(struct shard *sh, const struct key *k, struct entry *e, struct list *l,
                         const char *event)
{
    bool is_empty = list_length(l) == 0;
    if (!is_empty) list_shrink(&sh->mem, l, limit_of(sh));
    close_grown(sh, k, e, l);
    notify(sh, NOTIFY_LIST, event, k);
    if (!is_empty) return;
    keyspace_delete(sh, k);
    notify(sh, NOTIFY_GENERIC, "del", k);
}

static const char *push_event(enum list_end end)
{
    return end == LIST_HEAD ? "lpush" : "rpush";
}

static const char *pop_event(enum list_end end)
{
    return end == LIST_HEAD ? "lpop" : "rpop";
}

/* ---- adding ---- */

static uint64_t bytes_of_args(const struct request *rq, uint32_t first)
{
    uint64_t sum = 0;
    for (uint32_t i = first; i < rq->argc; i++) sum += rq->argv[i].size;
    return sum;
}

/* Pushes the arguments from `first` on; none of them if one does not fit. */
static enum err push_args(struct shard *sh, const struct request *rq, uint32_t first,
                          enum list_end end, struct list *l)
{
    uint32_t count = rq->argc - first;
    if (!list_try_prepare(&sh->mem, l, limit_of(sh), count, bytes_of_args(rq, first))) {
        return ERR_ALLOC;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (list_try_push(&sh->mem, l, limit_of(sh), end, rq->argv[first + i])) continue;
        if (i > 0)
            list_delete_range(&sh->mem, l, end == LIST_HEAD ? 0 : list_length(l) - i, i, NULL);
        return ERR_ALLOC;
    }
    return OK;
}

/* A new list under a key that is free. */
static enum err push_to_new(struct shard *sh, const struct request *rq, const struct key *k,
                            enum list_end end, uint64_t *length)
{
    struct list l;
    if (!list_try_create(&sh->mem, &l)) return ERR_ALLOC;
    enum err err = push_args(sh, rq, 2, end, &l);
    if (err != OK) {
        list_free(&sh->mem, &l);
        return err;
    }
    *length = list_length(&l);
    return keyspace_put_object(sh, k, TYPE_LIST, l.encoding, l.root, DEADLINE_NONE);
}

static enum err push(struct shard *sh, struct request *rq, struct reply *out, enum list_end end,
                     bool only_existing)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *e;
    struct list l;
    uint64_t length = 0;
    enum err err = open_list(sh, &k, &e, &l);
    if (err == OK) {
        err = push_args(sh, rq, 2, end, &l);
        length = list_length(&l);
        close_grown(sh, &k, e, &l);
    } else if (err == ERR_NO_KEY) {
        err = only_existing ? OK : push_to_new(sh, rq, &k, end, &length);
    }
    if (err != OK) return err;
    if (length > 0) notify(sh, NOTIFY_LIST, push_event(end), &k);
    reply_i64(out, (int64_t)length);
    return OK;
}

static enum err cmd_lpush(struct shard *sh, struct request *rq, struct reply *out)
{
    return push(sh, rq, out, LIST_HEAD, false);
}

static enum err cmd_rpush(struct shard *sh, struct request *rq, struct reply *out)
{
    return push(sh, rq, out, LIST_TAIL, false);
}

static enum err cmd_lpushx(struct shard *sh, struct request *rq, struct reply *out)
{
    return push(sh, rq, out, LIST_HEAD, true);
}

static enum err cmd_rpushx(struct shard *sh, struct request *rq, struct reply *out)
{
    return push(sh, rq, out, LIST_TAIL, true);
}

/* The first element that is `text`; none if there is no such one. */
static struct quicklist_place find_element(const struct list *l, struct bytes text)
{
    struct listpack_wanted wanted = listpack_wanted_make(text);
    struct quicklist_place place = list_seek(l, 0);
    for (; list_place_exists(place); place = list_next(l, place)) {
        struct listpack_value v;
        list_get(l, place, &v);
        if (listpack_value_is(&v, &wanted)) break;
    }
    return place;
}

static enum err cmd_linsert(struct shard *sh, struct request *rq, struct reply *out)
{
    bool after = arg_is(rq, 2, "after");
    if (!after && !arg_is(rq, 2, "before")) return ERR_SYNTAX;
    struct key k = request_key(sh, rq, 1);
    struct entry *e;
    struct list l;
    enum err err = open_list(sh, &k, &e, &l);
    if (err == ERR_NO_KEY) {
        reply_i64(out, 0);
        return OK;
    }
    if (err != OK) return err;
    struct bytes value = rq->argv[4];
    if (!list_try_prepare(&sh->mem, &l, limit_of(sh), 1, value.size)) return ERR_ALLOC;
    struct quicklist_place pivot = find_element(&l, rq->argv[3]);
    bool found = list_place_exists(pivot);
    bool done = found && list_try_insert(&sh->mem, &l, limit_of(sh), pivot, after, value);
    list_store(e, &l);
    if (found && !done) return ERR_ALLOC;
    if (done) {
        keyspace_changed(sh, &k, e);
        notify(sh, NOTIFY_LIST, "linsert", &k);
    }
    reply_i64(out, done ? (int64_t)list_length(&l) : -1);
    return OK;
}

static enum err cmd_lset(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *e;
    struct list l;
    int64_t index;
    enum err err = open_list(sh, &k, &e, &l);
    if (err == OK) err = arg_i64(rq, 2, &index);
    if (err != OK) return err;
    if (!list_place_exists(list_seek(&l, index))) return ERR_INDEX_RANGE;
    struct bytes value = rq->argv[3];
    bool done = list_try_prepare(&sh->mem, &l, limit_of(sh), 1, value.size);
    done = done && list_try_replace(&sh->mem, &l, limit_of(sh), list_seek(&l, index), value);
    if (done) list_shrink(&sh->mem, &l, limit_of(sh));
    close_grown(sh, &k, e, &l);
    if (!done) return ERR_ALLOC;
    notify(sh, NOTIFY_LIST, "lset", &k);
    reply_ok(out);
    return OK;
}

/* ---- reading ---- */

static enum err cmd_llen(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct list l;
    enum err err = find_list(sh, &k, &l);
    if (err != OK && err != ERR_NO_KEY) return err;
    reply_i64(out, err == OK ? (int64_t)list_length(&l) : 0);
    return OK;
}

static enum err cmd_lindex(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct list l;
    int64_t index;
    enum err err = find_list(sh, &k, &l);
    if (err == ERR_NO_KEY) {
        reply_null(out);
        return OK;
    }
    if (err == OK) err = arg_i64(rq, 2, &index);
    if (err != OK) return err;
    struct quicklist_place place = list_seek(&l, index);
    if (list_place_exists(place)) {
        reply_place(out, &l, place);
    } else {
        reply_null(out);
    }
    return OK;
}

/* An array of `count` elements from that index on; `backwards` towards the head. */
static void reply_elements(struct reply *out, const struct list *l, int64_t index, uint64_t count,
                           bool backwards)
{
    reply_array(out, count);
    struct quicklist_place place = list_seek(l, index);
    for (uint64_t i = 0; i < count; i++) {
        reply_place(out, l, place);
        if (i + 1 < count) place = backwards ? list_prev(l, place) : list_next(l, place);
    }
}

static enum err cmd_lrange(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t start, end;
    enum err err = arg_i64(rq, 2, &start);
    if (err == OK) err = arg_i64(rq, 3, &end);
    if (err != OK) return err;
    struct key k = request_key(sh, rq, 1);
    struct list l;
    err = find_list(sh, &k, &l);
    if (err != OK && err != ERR_NO_KEY) return err;
    uint64_t first = 0, count = 0;
    if (err == OK && !range_clip(start, end, list_length(&l), &first, &count)) count = 0;
    if (count > 0) {
        reply_elements(out, &l, (int64_t)first, count, false);
    } else {
        reply_array(out, 0);
    }
    return OK;
}

/* ---- LPOS ---- */

struct lpos_options {
    int64_t rank;               /* never 0; negative: from the tail */
    uint64_t count, length_max; /* 0: no limit */
    bool has_count;
};

/* A number that is not negative, or the error for that option is written. */
static bool parse_lpos_number_or_reply(const struct request *rq, uint32_t index, const char *name,
                                       struct reply *out, uint64_t *value)
{
    int64_t n;
    if (text_to_i64(rq->argv[index], &n) && n >= 0) {
        *value = (uint64_t)n;
        return true;
    }
    reply_error(out, "ERR %s can't be negative", name);
    return false;
}

static bool parse_lpos_rank_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                                     int64_t *rank)
{
    if (!text_to_i64(rq->argv[index], rank)) {
        reply_err(out, ERR_NOT_INT);
        return false;
    }
    if (*rank == 0) {
        reply_error(out, "ERR RANK can't be zero: use 1 to start from the first match, 2 from the "
                         "second ... or use negative to start from the end of the list");
        return false;
    }
    return true;
}

static bool parse_lpos_or_reply(const struct request *rq, struct reply *out, struct lpos_options *o)
{
    *o = (struct lpos_options){.rank = 1};
    for (uint32_t i = 3; i < rq->argc; i += 2) {
        bool ok;
        if (i + 1 == rq->argc) {
            reply_err(out, ERR_SYNTAX);
            return false;
        }
        if (arg_is(rq, i, "rank")) {
            ok = parse_lpos_rank_or_reply(rq, i + 1, out, &o->rank);
        } else if (arg_is(rq, i, "count")) {
            ok = parse_lpos_number_or_reply(rq, i + 1, "COUNT", out, &o->count);
            o->has_count = true;
        } else if (arg_is(rq, i, "maxlen")) {
            ok = parse_lpos_number_or_reply(rq, i + 1, "MAXLEN", out, &o->length_max);
        } else {
            reply_err(out, ERR_SYNTAX);
            return false;
        }
        if (!ok) return false;
    }
    if (!o->has_count) o->count = 1;
    if (o->rank == INT64_MIN) { /* Redis 7.0 begins at the tail, and stops at no count. */
        o->rank = -1;
        o->count = !o->has_count;
    }
    return true;
}

/* Calls for each match until there are enough; the matches are appended to `found`, an array of
 * int64. */
static bool lpos_find(const struct list *l, struct bytes text, const struct lpos_options *o,
                      struct buf *found)
{
    struct listpack_wanted wanted = listpack_wanted_make(text);
    bool backwards = o->rank < 0;
    uint64_t to_skip = (uint64_t)(backwards ? -o->rank : o->rank) - 1;
    uint64_t length = list_length(l), matches = 0;
    uint64_t seen_max = o->length_max ? MIN(o->length_max, length) : length;
    struct quicklist_place place = list_seek(l, backwards ? -1 : 0);
    for (uint64_t seen = 0; seen < seen_max; seen++) {
        struct listpack_value v;
        list_get(l, place, &v);
        if (listpack_value_is(&v, &wanted) && matches++ >= to_skip) {
            int64_t index = (int64_t)(backwards ? length - 1 - seen : seen);
            char *p = buf_try_reserve(found, sizeof index);
            if (!p) return false;
            memcpy(p, &index, sizeof index);
            found->size += sizeof index;
            if (o->count && found->size / sizeof index == o->count) break;
        }
        place = backwards ? list_prev(l, place) : list_next(l, place);
    }
    return true;
}

static void reply_lpos(struct reply *out, const struct buf *found, bool as_array)
{
    uint64_t count = found->size / sizeof(int64_t);
    if (as_array) reply_array(out, count);
    for (uint64_t i = 0; i < count; i++) {
        int64_t index;
        memcpy(&index, found->data + i * sizeof index, sizeof index);
        reply_i64(out, index);
    }
    if (!as_array && count == 0) reply_null(out);
}

static enum err cmd_lpos(struct shard *sh, struct request *rq, struct reply *out)
{
    struct lpos_options o;
    if (!parse_lpos_or_reply(rq, out, &o)) return OK;
    struct key k = request_key(sh, rq, 1);
    struct list l;
    enum err err = find_list(sh, &k, &l);
    if (err != OK && err != ERR_NO_KEY) return err;
    struct buf found = {.mem = &sh->mem};
    bool done = err == ERR_NO_KEY || lpos_find(&l, rq->argv[2], &o, &found);
    if (done) reply_lpos(out, &found, o.has_count);
    buf_clear(&found);
    return done ? OK : ERR_ALLOC;
}

/* ---- removing ---- */

/* Many nodes are freed in slices. */
static void delete_range(struct shard *sh, struct list *l, uint64_t index, uint64_t count)
{
    bool is_big = l->encoding == ENCODING_QUICKLIST && MIN(count, list_length(l)) > SLICED_ELEMENTS;
    struct quicklist *aside = is_big ? quicklist_try_create(&sh->mem) : NULL;
    list_delete_range(&sh->mem, l, index, count, aside);
    if (aside) free_list_root(sh, TYPE_LIST, ENCODING_QUICKLIST, aside);
}

enum err list_reply_pop(struct shard *sh, const struct key *k, struct entry *e, enum list_end end,
                        struct reply *out)
{
    struct list l = list_of(e);
    struct quicklist_place place = list_seek(&l, end == LIST_HEAD ? 0 : -1);
    reply_place(out, &l, place);
    if (!reply_is_whole(out)) return ERR_ALLOC;
    list_remove(&sh->mem, &l, place);
    close_shrunk(sh, k, e, &l, pop_event(end));
    return OK;
}

enum err list_reply_pop_many(struct shard *sh, const struct key *k, struct entry *e,
                             enum list_end end, uint64_t count, struct reply *out)
{
    struct list l = list_of(e);
    uint64_t length = list_length(&l);
    count = MIN(count, length);
    reply_elements(out, &l, end == LIST_HEAD ? 0 : -1, count, end == LIST_TAIL);
    if (!reply_is_whole(out)) return ERR_ALLOC;
    delete_range(sh, &l, end == LIST_HEAD ? 0 : length - count, count);
    close_shrunk(sh, k, e, &l, pop_event(end));
    return OK;
}

static enum err pop(struct shard *sh, struct request *rq, struct reply *out, enum list_end end)
{
    int64_t count = 1;
    if (rq->argc > 3) return args_wrong_count(rq, out);
    bool has_count = rq->argc == 3;
    if (has_count && (!text_to_i64(rq->argv[2], &count) || count < 0)) return ERR_OUT_OF_RANGE;

    struct key k = request_key(sh, rq, 1);
    struct entry *e;
    struct list l;
    enum err err = open_list(sh, &k, &e, &l);
    if (err != OK && err != ERR_NO_KEY) return err;
    if (err == ERR_NO_KEY && has_count) {
        reply_null_array(out);
    } else if (err == ERR_NO_KEY) {
        reply_null(out);
    } else if (!has_count) {
        return list_reply_pop(sh, &k, e, end, out);
    } else if (count == 0) {
        reply_array(out, 0);
    } else {
        return list_reply_pop_many(sh, &k, e, end, (uint64_t)count, out);
    }
    return OK;
}

static enum err cmd_lpop(struct shard *sh, struct request *rq, struct reply *out)
{
    return pop(sh, rq, out, LIST_HEAD);
}

static enum err cmd_rpop(struct shard *sh, struct request *rq, struct reply *out)
{
    return pop(sh, rq, out, LIST_TAIL);
}

/* Removes up to `count` elements that are `text`; the search starts at the head or the tail. */
static uint64_t remove_elements(struct shard *sh, struct list *l, struct bytes text, uint64_t count,
                                bool backwards)
{
    struct listpack_wanted wanted = listpack_wanted_make(text);
    uint64_t removed = 0;
    struct quicklist_place place = list_seek(l, backwards ? -1 : 0);
    while (list_place_exists(place) && removed < count) {
        struct listpack_value v;
        list_get(l, place, &v);
        bool is_wanted = listpack_value_is(&v, &wanted);
        struct quicklist_place here = place;
        if (backwards) {
            place = list_prev(l, here);
            if (is_wanted) list_remove(&sh->mem, l, here);
        } else {
            place = is_wanted ? list_remove(&sh->mem, l, here) : list_next(l, here);
        }
        removed += is_wanted;
    }
    return removed;
}

static enum err cmd_lrem(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t count;
    enum err err = arg_i64(rq, 2, &count);
    if (err != OK) return err;
    struct key k = request_key(sh, rq, 1);
    struct entry *e;
    struct list l;
    err = open_list(sh, &k, &e, &l);
    if (err != OK && err != ERR_NO_KEY) return err;
    uint64_t removed = 0;
    if (err == OK) {
        uint64_t count_max = count < 0 ? -(uint64_t)count : (uint64_t)count;
        if (count == 0) count_max = UINT64_MAX;
        removed = remove_elements(sh, &l, rq->argv[3], count_max, count < 0);
    }
    if (removed) close_shrunk(sh, &k, e, &l, "lrem");
    reply_i64(out, (int64_t)removed);
    return OK;
}

static enum err cmd_ltrim(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t start, end;
    enum err err = arg_i64(rq, 2, &start);
    if (err == OK) err = arg_i64(rq, 3, &end);
    if (err != OK) return err;
    struct key k = request_key(sh, rq, 1);
    struct entry *e;
    struct list l;
    err = open_list(sh, &k, &e, &l);
    if (err != OK && err != ERR_NO_KEY) return err;
    if (err == OK) {
        uint64_t first = 0, kept = 0;
        if (!range_clip(start, end, list_length(&l), &first, &kept)) first = kept = 0;
        if (kept == 0) {
            keyspace_delete(sh, &k); /* Big ones in slices. */
            notify(sh, NOTIFY_LIST, "ltrim", &k);
            notify(sh, NOTIFY_GENERIC, "del", &k);
        } else {
            delete_range(sh, &l, first + kept, UINT64_MAX);
            delete_range(sh, &l, 0, first);
            close_shrunk(sh, &k, e, &l, "ltrim");
        }
    }
    reply_ok(out);
    return OK;
}

/* ---- moving ---- */

enum err arg_list_end(const struct request *rq, uint32_t index, enum list_end *out)
{
    bool is_left = arg_is(rq, index, "left");
    if (!is_left && !arg_is(rq, index, "right")) return ERR_SYNTAX;
    *out = is_left ? LIST_HEAD : LIST_TAIL;
    return OK;
}

/* Adds one value to a list that may not exist yet. */
static enum err push_one(struct shard *sh, const struct key *k, enum list_end end,
                         struct bytes value)
{
    struct entry *e = NULL;
    struct list l;
    enum err err = open_list(sh, k, &e, &l);
    if (err == ERR_NO_KEY) err = list_try_create(&sh->mem, &l) ? OK : ERR_ALLOC;
    if (err != OK) return err;
    bool done = list_try_prepare(&sh->mem, &l, limit_of(sh), 1, value.size);
    done = done && list_try_push(&sh->mem, &l, limit_of(sh), end, value);
    if (e) {
        close_grown(sh, k, e, &l);
    } else if (done) {
        err = keyspace_put_object(sh, k, TYPE_LIST, l.encoding, l.root, DEADLINE_NONE);
        if (err != OK) return err;
    } else {
        list_free(&sh->mem, &l);
    }
    if (!done) return ERR_ALLOC;
    journal_describe(sh, k, end == LIST_HEAD ? "LPUSH" : "RPUSH", &value, 1);
    return OK;
}

/* From one end of a list to the other. The element is in the list that changes, so it is copied. */
static enum err rotate(struct shard *sh, const struct key *k, enum list_end to_end,
                       struct bytes value)
{
    if (value.size == 0) return push_one(sh, k, to_end, value);
    char *copy = mem_try_alloc(&sh->mem, value.size);
    if (!copy) return ERR_ALLOC;
    memcpy(copy, value.data, value.size);
    enum err err = push_one(sh, k, to_end, bytes_make(copy, value.size));
    mem_free(&sh->mem, copy, value.size);
    return err;
}

enum err list_reply_move(struct shard *sh, const struct list_move *m, struct entry *source,
                         struct reply *out)
{
    char scratch[TEXT_I64_BYTES_MAX];
    struct list l = list_of(source);
    struct quicklist_place place = list_seek(&l, m->from_end == LIST_HEAD ? 0 : -1);
    bool is_same = m->from.db == m->to.db && bytes_equal(m->from.name, m->to.name);
    if (is_same && (m->from_end == m->to_end || list_length(&l) == 1)) {
        reply_place(out, &l, place);
        keyspace_changed(sh, &m->from, source);
        journal_describe_nothing(sh, &m->from);
        notify(sh, NOTIFY_LIST, push_event(m->to_end), &m->to);
        notify(sh, NOTIFY_LIST, pop_event(m->from_end), &m->from);
        return OK;
    }
    struct bytes value = list_text(&l, place, scratch);
    if (!reply_has_room(out, REPLY_STRING_BYTES(value.size))) return ERR_ALLOC;
    enum err err =
        is_same ? rotate(sh, &m->to, m->to_end, value) : push_one(sh, &m->to, m->to_end, value);
    if (err != OK) return err;
    notify(sh, NOTIFY_LIST, push_event(m->to_end), &m->to);
    err = list_reply_pop(sh, &m->from, source, m->from_end, out);
    journal_describe(sh, &m->from, list_pop_name(m->from_end), NULL, 0);
    return err;
}

enum err list_move(struct shard *sh, const struct list_move *m, struct reply *out)
{
    struct entry *source, *target;
    struct list l;
    enum err err = open_list(sh, &m->from, &source, &l);
    if (err == ERR_NO_KEY) {
        reply_null(out);
        return OK;
    }
    if (err != OK) return err;
    err = keyspace_peek_typed(sh, &m->to, TYPE_LIST, &target);
    if (err != OK && err != ERR_NO_KEY) return err;
    return list_reply_move(sh, m, source, out);
}

static enum err move(struct shard *sh, struct request *rq, enum list_end from_end,
                     enum list_end to_end, struct reply *out)
{
    struct list_move m = {request_key(sh, rq, 1), request_key(sh, rq, 2), from_end, to_end};
    return list_move(sh, &m, out);
}

static enum err cmd_lmove(struct shard *sh, struct request *rq, struct reply *out)
{
    enum list_end from_end, to_end;
    enum err err = arg_list_end(rq, 3, &from_end);
    if (err == OK) err = arg_list_end(rq, 4, &to_end);
    return err == OK ? move(sh, rq, from_end, to_end, out) : err;
}

static enum err cmd_rpoplpush(struct shard *sh, struct request *rq, struct reply *out)
{
    return move(sh, rq, LIST_TAIL, LIST_HEAD, out);
}

/* ---- LMPOP ---- */

bool args_lmpop_or_reply(const struct request *rq, uint32_t first, struct reply *out,
                         struct lmpop_options *o)
{
    int64_t key_count;
    *o = (struct lmpop_options){.count = 1};
    if (!text_to_i64(rq->argv[first], &key_count) || key_count <= 0) {
        reply_error(out, "ERR numkeys should be greater than 0");
        return false;
    }
    enum err err = key_count < (int64_t)rq->argc - first - 1 ? OK : ERR_SYNTAX;
    o->key_count = (uint32_t)key_count;
    uint32_t at = o->key_count + first + 1;
    if (err == OK) err = arg_list_end(rq, at, &o->end);
    if (err == OK && rq->argc > at + 1) {
        if (rq->argc == at + 2 || !arg_is(rq, at + 1, "count")) {
            err = ERR_SYNTAX;
        } else if (!text_to_i64(rq->argv[at + 2], &o->count) || o->count <= 0) {
            reply_error(out, "ERR count should be greater than 0");
            return false;
        } else if (rq->argc > at + 3) {
            err = ERR_SYNTAX;
        }
    }
    if (err != OK) reply_err(out, err);
    return err == OK;
}

enum err list_reply_mpop(struct shard *sh, const struct key *k, const struct lmpop_options *o,
                         struct reply *out)
{
    struct entry *e;
    struct list l;
    enum err err = open_list(sh, k, &e, &l);
    if (err != OK) return err;
    reply_array(out, 2);
    reply_bulk(out, k->name);
    err = list_reply_pop_many(sh, k, e, o->end, (uint64_t)o->count, out);
    if (err != OK) return err;
    struct journal_number n;
    struct bytes count = journal_i64(&n, o->count);
    journal_describe(sh, k, list_pop_name(o->end), &count, 1);
    return OK;
}

static enum err cmd_lmpop(struct shard *sh, struct request *rq, struct reply *out)
{
    struct lmpop_options o;
    if (!args_lmpop_or_reply(rq, 1, out, &o)) return OK;
    for (uint32_t i = 0; i < o.key_count; i++) {
        struct key k = request_key(sh, rq, 2 + i);
        enum err err = list_reply_mpop(sh, &k, &o, out);
        if (err != ERR_NO_KEY) return err;
    }
    reply_null_array(out);
    return OK;
}

/* clang-format off */
#define LIST_ROW(row_name, handler, args, row_flags) \
    .name = (row_name), .on_shard = (handler), .arity = (args), .flags = (row_flags), .acl = ACL_LIST, .group = "list"
#define PUSH_COST "O(1) for each value that is added"
static const struct command commands[] = {
    {LIST_ROW("lpush", cmd_lpush, -3, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_INSERT),
     .since = "1.0.0", .complexity = PUSH_COST, .summary = "Puts values in front of a list, which is made if there is none"},
    {LIST_ROW("rpush", cmd_rpush, -3, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST), .touches = TOUCHES_LAST, .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_INSERT),
     .since = "1.0.0", .complexity = PUSH_COST, .summary = "Puts values behind a list, which is made if there is none"},
    {LIST_ROW("lpushx", cmd_lpushx, -3, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_INSERT),
     .since = "2.2.0", .complexity = PUSH_COST, .summary = "Puts values in front of a list, if there is one"},
    {LIST_ROW("rpushx", cmd_rpushx, -3, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST), .touches = TOUCHES_LAST, .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_INSERT),
     .since = "2.2.0", .complexity = PUSH_COST, .summary = "Puts values behind a list, if there is one"},
    {LIST_ROW("lpop", cmd_lpop, -2, CMD_WRITE | CMD_EFFECT | CMD_FAST), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_DELETE),
     .since = "1.0.0", .complexity = "O(1) for each value that is taken", .summary = "Takes the first value of a list, or the first few"},
    {LIST_ROW("rpop", cmd_rpop, -2, CMD_WRITE | CMD_EFFECT | CMD_FAST), .touches = TOUCHES_LAST, .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_DELETE),
     .since = "1.0.0", .complexity = "O(1) for each value that is taken", .summary = "Takes the last value of a list, or the last few"},
    {LIST_ROW("llen", cmd_llen, 2, CMD_READ | CMD_FAST), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RO),
     .since = "1.0.0", .complexity = "O(1)", .summary = "Tells how many values a list has"},
    {LIST_ROW("lrange", cmd_lrange, 4, CMD_READ), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "1.0.0", .complexity = "O(D+N), D being the way from the nearer end to the start, N the values that are shown", .summary = "Shows the values between two positions of a list"},
    {LIST_ROW("lindex", cmd_lindex, 3, CMD_READ), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "1.0.0", .complexity = "O(D), D being the way from the nearer end", .summary = "Shows the value at one position of a list"},
    {LIST_ROW("lset", cmd_lset, 4, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "1.0.0", .complexity = "O(D), D being the way from the nearer end", .summary = "Puts another value at one position of a list"},
    {LIST_ROW("linsert", cmd_linsert, 5, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_INSERT),
     .since = "2.2.0", .complexity = "O(D), D being the way from the head to the neighbour", .summary = "Puts a value next to another one of a list"},
    {LIST_ROW("lrem", cmd_lrem, 4, CMD_WRITE | CMD_EFFECT), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "1.0.0", .complexity = "O(N), N being the length of the list", .summary = "Takes out the values of a list that equal a given one"},
    {LIST_ROW("ltrim", cmd_ltrim, 4, CMD_WRITE | CMD_EFFECT), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "1.0.0", .complexity = "O(N), N being the values that go", .summary = "Keeps only what stands between two positions of a list"},
    {LIST_ROW("lpos", cmd_lpos, -3, CMD_READ), .plan = PLAN_ONE_SHARD, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "6.0.6", .complexity = "O(N), N being the values that are looked at", .summary = "Finds the positions of a value in a list"},
    {LIST_ROW("lmove", cmd_lmove, 5, CMD_WRITE | CMD_DENY_OOM), .plan = PLAN_LOCKED, .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_RW | KEY_INSERT, .begin = 2, .last = 0, .step = 1}},
     .since = "6.2.0", .complexity = "O(1)", .summary = "Takes a value from an end of one list and puts it at an end of another"},
    {LIST_ROW("rpoplpush", cmd_rpoplpush, 3, CMD_WRITE | CMD_DENY_OOM), .plan = PLAN_LOCKED, .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_RW | KEY_INSERT, .begin = 2, .last = 0, .step = 1}},
     .since = "1.2.0", .deprecated_since = "6.2.0", .replaced_by = "`LMOVE` with the `RIGHT` and `LEFT` arguments", .complexity = "O(1)", .summary = "Takes the last value of one list and puts it in front of another"},
    {LIST_ROW("lmpop", cmd_lmpop, -4, CMD_WRITE | CMD_MOVABLE_KEYS), .plan = PLAN_LOCKED, .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .first = 1, .step = 1}},
     .since = "7.0.0", .complexity = "O(K+N), K being the keys that are named, N the values that are taken", .summary = "Takes values from an end of the first list that has some"},
};
/* clang-format on */
const struct command_family list_family = {"list", commands, ARRAY_LEN(commands)};
