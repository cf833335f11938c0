#include "shard/cmd/zset_args.h"

#include <math.h>
#include <stdlib.h>

#include "shard/lazyfree.h"
#include "shard/notify.h"

/* Longer numbers are read from a copy in the shard's memory. */
#define NUMBER_BYTES_SHORT 128

/* ---- keys ---- */

enum err zset_target_find(struct shard *sh, const struct request *rq, uint32_t index,
                          struct zset_target *t)
{
    t->key = request_key(sh, rq, index);
    t->e = peek_touched(sh, &t->key);
    if (!t->e) return OK;
    if (entry_type(t->e) != TYPE_ZSET) return ERR_WRONG_TYPE;
    t->zset = zset_of(t->e);
    return OK;
}

void zset_target_store(struct shard *sh, struct zset_target *t, const char *event)
{
    zset_store(t->e, &t->zset);
    keyspace_changed(sh, &t->key, t->e);
    notify(sh, NOTIFY_ZSET, event, &t->key);
    if (zset_size(&t->zset) > 0) return;
    (void)keyspace_delete(sh, &t->key);
    notify(sh, NOTIFY_GENERIC, "del", &t->key);
}

void zset_target_remove(struct shard *sh, struct zset_target *t, struct zset_slice slice)
{
    struct zset aside;
    if (slice.count > LAZYFREE_EFFORT_MIN &&
        zset_try_set_aside(&sh->mem, &t->zset, slice, &aside)) {
        free_list_root(sh, TYPE_ZSET, aside.encoding, aside.root);
    } else {
        zset_remove_slice(&sh->mem, &t->zset, slice);
    }
}

enum err zset_find_key(struct shard *sh, const struct request *rq, uint32_t index, struct zset *z)
{
    struct key k = request_key(sh, rq, index);
    struct entry *entry;
    enum err e = keyspace_find(sh, &k, TYPE_ZSET, &entry);
    *z = (struct zset){0};
    if (e == OK) *z = zset_of(entry);
    return e == ERR_NO_KEY ? OK : e;
}

enum err zset_put_result(struct shard *sh, const struct request *rq, struct zset *z,
                         const char *event, struct reply *out)
{
    struct key to = request_key(sh, rq, 1);
    uint64_t size = z->root ? zset_size(z) : 0;
    enum err e = OK;
    if (size > 0) {
        e = keyspace_put_object(sh, &to, TYPE_ZSET, z->encoding, z->root, DEADLINE_NONE);
    } else {
        if (z->root) zset_free(&sh->mem, z);
        if (keyspace_delete(sh, &to)) notify(sh, NOTIFY_GENERIC, "del", &to);
    }
    if (e != OK) return e;
    if (size > 0) notify(sh, NOTIFY_ZSET, event, &to);
    reply_i64(out, (int64_t)size);
    return OK;
}

/* ---- ranges ---- */

/* Everything up to the end, or up to a zero byte, must be one number. Nothing is 0. */
static bool read_number(struct shard *sh, struct bytes text, double *out)
{
    char room[NUMBER_BYTES_SHORT];
    size_t copy_bytes = text.size + 1;
    char *copy = copy_bytes <= sizeof room ? room : mem_try_alloc(&sh->mem, copy_bytes);
    if (!copy) return false;
    if (text.size > 0) memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    char *end;
    *out = strtod(copy, &end);
    bool is_number = *end == '\0' && !isnan(*out);
    if (copy != room) mem_free(&sh->mem, copy, copy_bytes);
    return is_number;
}

static bool read_score_bound(struct shard *sh, struct bytes text, double *value, bool *is_open)
{
    *is_open = text.size > 0 && text.data[0] == '(';
    if (*is_open) text = bytes_make(text.data + 1, text.size - 1);
    return read_number(sh, text, value);
}

bool args_score_range_or_reply(struct shard *sh, const struct request *rq, uint32_t min,
                               uint32_t max, struct reply *out, struct zset_score_range *range)
{
    if (read_score_bound(sh, rq->argv[min], &range->min, &range->min_is_open) &&
        read_score_bound(sh, rq->argv[max], &range->max, &range->max_is_open)) {
        return true;
    }
    reply_error(out, "ERR min or max is not a float");
    return false;
}

static bool read_lex_bound(struct bytes text, struct zset_lex_bound *b)
{
    if (text.size == 0) return false;
    char first = text.data[0];
    struct bytes rest = bytes_make(text.data + 1, text.size - 1);
    if (first == '-' || first == '+') {
        *b = (struct zset_lex_bound){.kind = first == '-' ? LEX_LOWEST : LEX_HIGHEST};
        return rest.size == 0 ||
               rest.data[0] == '\0'; /* C strings end there, and Redis reads one */
    }
    *b = (struct zset_lex_bound){.kind = LEX_TEXT, .text = rest, .is_open = first == '('};
    return first == '(' || first == '[';
}

bool args_lex_range_or_reply(const struct request *rq, uint32_t min, uint32_t max,
                             struct reply *out, struct zset_lex_range *range)
{
    if (read_lex_bound(rq->argv[min], &range->min) && read_lex_bound(rq->argv[max], &range->max)) {
        return true;
    }
    reply_error(out, "ERR min or max not valid string range item");
    return false;
}

/* ---- replies ---- */

void reply_zset_slice(struct reply *out, const struct zset *z, struct zset_slice slice,
                      bool reverse, bool with_scores)
{
    struct zset_iterator it;
    struct bytes member;
    double score;
    if (with_scores) {
        reply_pairs_head(out, slice.count);
    } else {
        reply_array(out, slice.count);
    }
    if (slice.count == 0) return;
    zset_iterator_init(&it, z, slice, reverse);
    while (zset_iterator_next(&it, &member, &score)) {
        if (with_scores) {
            reply_pair(out, member, score);
        } else {
            reply_bulk(out, member);
        }
    }
}
