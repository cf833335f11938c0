/* The requests of lock and commit turns, and of transactions: what coordinators send to shards, and
 * no client can.
 *
 *     LOCK id key mode key mode …   holds the keys; replies an array: the token, whether a watch of
 *                                   that id is dirty, then one report per key; the token alone
 *                                   where these find no memory
 *     LOCKALL id                    the same for the whole keyspace
 *     FETCH id key mode …           the same reports, of keys that the sender holds already
 *     THAW key deadline frozen      puts a value that was frozen on another shard; replies +OK
 *     THAW key deadline frozen k    the same as a guest; without memory the command that follows,
 *                                   under the lock of k, is refused
 *     DEPART key                    a guest goes; replies +OK
 *     UNLOCK token                  ends the holding; replies +OK
 *     <leave> from to               the first key of a RENAME goes, its value being where the other
 *                                   one lives; replies +OK
 *     <arrive> from to              tells that it has come there; replies +OK
 *     REPORT key                    replies its value as LOCK does in mode "d"
 *     SORT_KEYS key …               the arguments of a SORT: which keys its patterns lead to
 *     EVENTS key db …            replies what has happened here to these guests
 *     EMIT events                publishes that, of the keys that live here; replies +OK
 *     ATTEND header name topic …    somebody subscribes to these channels, or no longer does: the
 *                                   header is a struct attend; replies +OK, and acknowledges in
 *                                   the feed
 *     BLOCK pointer key …           runs the requests of a block (base/block.h)
 *     BLOCKALL pointer              the same; its requests may touch any key
 *     MARK id key …                 watches keys; replies +OK
 *     FORGET id key …               ends all watches of that id; replies +OK
 *     SETTLE id since key …         ends somebody's waiting for these keys (wait_settle); replies
 *                                   +OK or nothing
 *     CLAIM id s                    serves a claim, the reply being that of its command
 *     CLAIM id d                    drops it; replies +OK
 *     AGAIN id                      goes on waiting in the place of one that had been asked
 *     PREPARE key value …           holds the keys, unless its sender does already, and makes the
 *                                   pairs of an MSET; replies two tokens: of the holding, and of
 *                                   what it has made
 *     nx key value …                the same of an MSETNX; but if one of the keys is there, holds
 *                                   and makes nothing, and replies 0
 *     <commit> key value …          puts these pairs, or drops them: a struct prepared_end says
 *                                   which; replies +OK
 *     SNAPSHOT                      begins a snapshot here and now (shard/snapshot.h); replies +OK
 *     PASS                          replies +OK: every turn before this one has run here
 *     EMPTY                         empties all databases, for DEBUG RELOAD; replies +OK
 *
 * Modes: "d" reports the value and its deadline (array of two, or null if there is none), "-"
 * nothing (null), "e" 1 if the key is there, 2 if it may expire, else null, "l" and "r" the first
 * and the last element of a list, "m" whether a set has the member that follows, "L" and "S"
 * nothing, but an error unless there is a list or a set or no key, "x" the same of a stream, and
 * "g" of one that must have the group whose name follows. Behind the mode stand the two
 * bytes of the database that it looks at. Numbers travel as the bytes that they are.
 */
#include "base/block.h"
#include "base/text.h"
#include "shard/cmd/families.h"
#include "shard/cmd/stream_read.h"
#include "shard/notify.h"
#include "shard/object.h"
#include "shard/pairs.h"
#include "shard/shard.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/wait_claim.h"

/* Argument of a THAW. */
enum { THAW_HOST_KEY = 4 };

static void reply_u64_bytes(struct reply *out, uint64_t value)
{
    reply_bulk(out, bytes_make(&value, sizeof value));
}

static uint64_t arg_u64_bytes(const struct request *rq, uint32_t index)
{
    uint64_t value;
    CHECK(rq->argv[index].size == sizeof value);
    memcpy(&value, rq->argv[index].data, sizeof value);
    return value;
}

/* Of a report: the array's head and the deadline. */
#define REPORT_HEAD_BYTES 64

/* False: no memory, which is the reply then. */
static bool report_value(struct shard *sh, const struct entry *e, struct reply *out)
{
    struct buf frozen = {.mem = &sh->mem};
    struct rdb_writer writer = {.out = &frozen};
    if (!e) {
        reply_null(out);
        return true;
    }
    bool fits = object_try_freeze(e, &writer) &&
                reply_try_reserve(out, REPORT_HEAD_BYTES + REPLY_STRING_BYTES(frozen.size));
    if (fits) {
        reply_array(out, 2);
        reply_u64_bytes(out, (uint64_t)entry_deadline_ms(e));
        reply_bulk(out, buf_view(&frozen));
    } else {
        reply_err(out, ERR_ALLOC);
    }
    buf_clear(&frozen);
    return fits;
}

/* ---- holding ---- */

static void report_element(const struct entry *e, bool is_last, struct reply *out)
{
    char scratch[TEXT_I64_BYTES_MAX];
    struct list l = list_of(e);
    struct bytes text = list_text(&l, list_seek(&l, is_last ? -1 : 0), scratch);
    if (reply_try_reserve(out, REPLY_STRING_BYTES(text.size)))
        reply_bulk(out, text);
    else
        reply_err(out, ERR_ALLOC);
}

static void report_member(const struct entry *e, struct bytes member, struct reply *out)
{
    struct set s = set_of(e);
    reply_i64(out, set_has(&s, member));
}

static void report_typed(struct shard *sh, const struct key *k, struct bytes mode,
                         struct reply *out)
{
    bool is_list = strchr("lrL", mode.data[0]) != NULL;
    struct entry *e;
    enum err error = keyspace_peek_typed(sh, k, is_list ? TYPE_LIST : TYPE_SET, &e);
    if (error == ERR_WRONG_TYPE)
        reply_err(out, error);
    else if (error != OK || mode.data[0] == 'L' || mode.data[0] == 'S')
        reply_null(out);
    else if (is_list)
        report_element(e, mode.data[0] == 'r', out);
    else
        report_member(e, bytes_make(mode.data + LOCK_MODE_BYTES, mode.size - LOCK_MODE_BYTES), out);
}

static void report_readable(struct shard *sh, const struct key *k, struct bytes mode,
                            struct reply *out)
{
    struct bytes group = bytes_make(mode.data + LOCK_MODE_BYTES, mode.size - LOCK_MODE_BYTES);
    if (stream_read_check_or_reply(sh, k, mode.data[0] == 'g' ? &group : NULL, out))
        reply_null(out);
}

static void report_existence(const struct entry *e, struct reply *out)
{
    if (e)
        reply_i64(out, entry_deadline_ms(e) ? 2 : 1);
    else
        reply_null(out);
}

static void report_key(struct shard *sh, const struct request *rq, uint32_t index,
                       struct reply *out)
{
    struct bytes mode = rq->argv[index + 1];
    CHECK(mode.size >= LOCK_MODE_BYTES);
    struct key k = request_key(sh, rq, index);
    uint16_t db;
    memcpy(&db, mode.data + 1, sizeof db);
    k.db = db;
    if (mode.data[0] == '-')
        reply_null(out);
    else if (mode.data[0] == 'e')
        report_existence(keyspace_peek(sh, &k), out);
    else if (mode.data[0] == 'd')
        (void)report_value(sh, keyspace_peek(sh, &k), out);
    else if (mode.data[0] == 'x' || mode.data[0] == 'g')
        report_readable(sh, &k, mode, out);
    else
        report_typed(sh, &k, mode, out);
}

static void report_all(struct shard *sh, const struct request *rq, uint64_t token,
                       struct reply *out)
{
    uint64_t id = arg_u64_bytes(rq, 1);
    reply_array(out, 2 + (rq->argc - 2) / 2);
    reply_u64_bytes(out, token);
    reply_i64(out, id && !watch_end(sh, id));
    for (uint32_t i = 2; i + 1 < rq->argc; i += 2) report_key(sh, rq, i, out);
}

static enum err cmd_lock(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t token = locks_take(sh, rq);
    if (!token) return ERR_ALLOC;
    report_all(sh, rq, token, out);
    if (likely(!out->is_lost)) return OK;
    reply_drop(out); /* without the reports, but the holding must be known */
    reply_array(out, 1);
    reply_u64_bytes(out, token);
    return OK;
}

static enum err cmd_fetch(struct shard *sh, struct request *rq, struct reply *out)
{
    report_all(sh, rq, 0, out);
    return OK;
}

static bool any_is_there(struct shard *sh, const struct request *rq)
{
    for (uint32_t i = 1; i < rq->argc; i += 2) {
        struct key k = request_key(sh, rq, i);
        if (keyspace_peek(sh, &k)) return true;
    }
    return false;
}

static enum err cmd_prepare(struct shard *sh, struct request *rq, struct reply *out)
{
    if (bytes_equal(rq->argv[0], BYTES_LITERAL(PREPARE_NEW)) && any_is_there(sh, rq)) {
        reply_i64(out, 0);
        return OK;
    }
    struct pairs *p = mem_try_alloc(&sh->mem, sizeof *p);
    bool is_made = p && pairs_try_make(sh, rq, p), is_held = rq->flags & REQUEST_COMMIT;
    uint64_t token = is_made && !is_held ? locks_take(sh, rq) : 0;
    if (!is_made || (!is_held && !token)) {
        if (is_made) pairs_drop(sh, p);
        mem_free(&sh->mem, p, sizeof *p);
        return ERR_ALLOC;
    }
    reply_array(out, 2);
    reply_u64_bytes(out, token);
    reply_u64_bytes(out, (uint64_t)(uintptr_t)p);
    return OK;
}

static enum err cmd_commit(struct shard *sh, struct request *rq, struct reply *out)
{
    struct prepared_end end;
    CHECK(rq->argv[0].size == sizeof end);
    memcpy(&end, rq->argv[0].data, sizeof end);
    struct pairs *p = (struct pairs *)(uintptr_t)end.token;
    if (end.is_put)
        pairs_put(sh, rq, p);
    else
        pairs_drop(sh, p);
    mem_free(&sh->mem, p, sizeof *p);
    reply_ok(out);
    return OK;
}

static enum err cmd_unlock(struct shard *sh, struct request *rq, struct reply *out)
{
    locks_release(sh, arg_u64_bytes(rq, 1));
    reply_ok(out);
    return OK;
}

static enum err cmd_report(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    (void)report_value(sh, keyspace_peek(sh, &k), out);
    return OK;
}

/* Without memory for them the events are lost. */
static enum err cmd_events(struct shard *sh, struct request *rq, struct reply *out)
{
    struct buf taken = {.mem = &sh->mem};
    for (uint32_t i = 1; i + 1 < rq->argc; i += 2) {
        struct key k = request_key(sh, rq, i);
        uint16_t db;
        CHECK(rq->argv[i + 1].size == sizeof db);
        memcpy(&db, rq->argv[i + 1].data, sizeof db);
        k.db = db;
        (void)!notify_take_guest(sh, &k, &taken);
    }
    bool fits = reply_try_reserve(out, REPLY_STRING_BYTES(taken.size)) != NULL;
    reply_bulk(out, fits ? buf_view(&taken) : BYTES_LITERAL(""));
    buf_clear(&taken);
    return OK;
}

static enum err cmd_emit(struct shard *sh, struct request *rq, struct reply *out)
{
    notify_publish_taken(sh, rq->argv[1]);
    reply_ok(out);
    return OK;
}

static enum err cmd_attend(struct shard *sh, struct request *rq, struct reply *out)
{
    struct attend a;
    CHECK(rq->argv[1].size == sizeof a);
    memcpy(&a, rq->argv[1].data, sizeof a);
    for (uint32_t i = 2; i + 1 < rq->argc; i += 2) {
        struct attend_topic topic;
        CHECK(rq->argv[i + 1].size == sizeof topic);
        memcpy(&topic, rq->argv[i + 1].data, sizeof topic);
        if (a.is_leave)
            channels_leave(sh, a.net_id, &topic, rq->argv[i]);
        else
            channels_join(sh, a.net_id, &topic, rq->argv[i]);
    }
    channels_acknowledge(sh, &a);
    reply_ok(out);
    return OK;
}

/* ---- values on their way ---- */

/* Without a guest the next step of the holding that it belongs to is refused. */
static enum err thaw_refuse(struct shard *sh, struct request *rq)
{
    if (rq->argc > THAW_HOST_KEY) {
        struct key host = request_key(sh, rq, THAW_HOST_KEY);
        locks_set_short(sh, &host);
    }
    return ERR_ALLOC;
}

static enum err cmd_thaw(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *e = object_try_thaw(&sh->mem, rq->argv[3], k.name, (int64_t)arg_u64_bytes(rq, 2));
    if (e && !keyspace_try_make_room(sh, &k)) {
        object_free(&sh->mem, e);
        e = NULL;
    }
    if (!e) return thaw_refuse(sh, rq);
    /* What it replaces has expired on its own shard only, if at all. */
    (void)!keyspace_peek(sh, &k);
    sh->is_quiet = true;
    keyspace_put_entry(sh, &k, e);
    sh->is_quiet = false;
    reply_ok(out);
    return OK;
}

/* Its own shard has the value: commands only read guests. */
static enum err cmd_depart(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    keyspace_delete(sh, &k);
    reply_ok(out);
    return OK;
}

/* RENAME and RENAMENX, as the client sent them: the value is where the second key lives. */
static enum err cmd_leave(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    keyspace_delete(sh, &k);
    notify(sh, NOTIFY_GENERIC, "rename_from", &k);
    reply_ok(out);
    return OK;
}

static enum err cmd_arrive(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 2);
    notify(sh, NOTIFY_GENERIC, "rename_to", &k);
    reply_ok(out);
    return OK;
}

/* ---- transactions ---- */

static enum err cmd_block(struct shard *sh, struct request *rq, struct reply *out)
{
    struct block *b;
    CHECK(rq->argv[1].size == sizeof b);
    memcpy(&b, rq->argv[1].data, sizeof b);
    shard_run_block(sh, b, out);
    return OK;
}

static enum err cmd_mark(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t id = arg_u64_bytes(rq, 1);
    for (uint32_t i = 2; i < rq->argc; i++) {
        struct key k = request_key(sh, rq, i);
        enum err e = watch_add(sh, id, &k);
        if (e != OK) return e;
    }
    reply_ok(out);
    return OK;
}

/* The keys are named so that it comes behind a MARK that waits for a lock. */
static enum err cmd_forget(struct shard *sh, struct request *rq, struct reply *out)
{
    (void)!watch_end(sh, arg_u64_bytes(rq, 1));
    reply_ok(out);
    return OK;
}

/* ---- waiting ---- */

static struct wait_id arg_wait_id(const struct request *rq, uint32_t index)
{
    struct wait_id id;
    CHECK(rq->argv[index].size == sizeof id);
    memcpy(&id, rq->argv[index].data, sizeof id);
    return id;
}

static enum err cmd_settle(struct shard *sh, struct request *rq, struct reply *out)
{
    struct wait_id id = arg_wait_id(rq, 1);
    struct turn_point since;
    CHECK(rq->argv[2].size == sizeof since);
    memcpy(&since, rq->argv[2].data, sizeof since);
    if (wait_settle(sh, rq, &id, since, 3)) reply_ok(out);
    return OK;
}

static enum err cmd_claim(struct shard *sh, struct request *rq, struct reply *out)
{
    struct wait_id id = arg_wait_id(rq, 1);
    bool is_served = rq->argv[2].data[0] == 's';
    wait_end_claim(sh, &id, is_served ? out : NULL);
    if (!is_served) reply_ok(out);
    return OK;
}

static enum err cmd_again(struct shard *sh, struct request *rq, UNUSED struct reply *out)
{
    struct wait_id id = arg_wait_id(rq, 1);
    wait_again(sh, rq, &id);
    return OK;
}

/* ---- of the main thread, to all shards in one turn ---- */

static enum err cmd_snapshot(struct shard *sh, UNUSED struct request *rq, struct reply *out)
{
    snapshot_begin(sh, SNAPSHOT_RECORDS);
    reply_ok(out);
    return OK;
}

static enum err cmd_empty(struct shard *sh, UNUSED struct request *rq, struct reply *out)
{
    journal_mute(sh, true); /* what is loaded instead is the same, and muted, too */
    for (uint32_t db = 0; db < sh->keys.database_count; db++) keyspace_flush(sh, db);
    journal_mute(sh, false);
    tracking_note_flush(sh);
    reply_ok(out);
    return OK;
}

/* Everything before it has run, as it waits for locks. */
static enum err cmd_rest(struct shard *sh, UNUSED struct request *rq, struct reply *out)
{
    counter_add(&sh->counters.rests, 1);
    reply_ok(out);
    return OK;
}

/* clang-format off */
static const struct command commands[] = {
    {.name = "lock", .on_shard = cmd_lock, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = {{.flags = KEY_RW, .begin = 2, .last = -1, .step = 2}}, .group = "internal", .summary = "Holds keys for a commit turn."},
    {.name = "lockall", .on_shard = cmd_lock, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Holds the whole keyspace for a commit turn."},
    {.name = "fetch", .on_shard = cmd_fetch, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = {{.flags = KEY_RW, .begin = 2, .last = -1, .step = 2}}, .group = "internal", .summary = "Reports keys that are held."},
    {.name = "thaw", .on_shard = cmd_thaw, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = KEYS_FIRST(KEY_OW), .group = "internal", .summary = "Puts a value that came from another shard."},
    {.name = "depart", .on_shard = cmd_depart, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = KEYS_FIRST(KEY_RM), .group = "internal", .summary = "Takes a guest's value away again."},
    {.name = "leave", .on_shard = cmd_leave, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE,
     .keys = KEYS_FIRST(KEY_RM), .group = "internal", .summary = "Ends a key that has got another name elsewhere."},
    {.name = "arrive", .on_shard = cmd_arrive, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Tells that a key has got its new name."},
    {.name = "unlock", .on_shard = cmd_unlock, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Ends a commit turn."},
    {.name = "prepare", .on_shard = cmd_prepare, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = {{.flags = KEY_OW, .begin = 1, .last = -1, .step = 2}}, .group = "internal", .summary = "Makes the pairs of an MSET."},
    {.name = "commit", .on_shard = cmd_commit, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = {{.flags = KEY_OW, .begin = 1, .last = -1, .step = 2}}, .group = "internal", .summary = "Puts what was made."},
    {.name = "report", .on_shard = cmd_report, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_ERRAND,
     .keys = KEYS_FIRST(KEY_RO), .group = "internal", .summary = "Copies a value for another shard."},
    {.name = "sort_keys", .on_shard = cmd_sort_keys, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_ERRAND,
     .keys = KEYS_FIRST(KEY_RO), .group = "internal", .summary = "Tells which keys a SORT needs besides its own."},
    {.name = "events", .on_shard = cmd_events, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Fetches events of guests."},
    {.name = "emit", .on_shard = cmd_emit, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Publishes events of guests at home."},
    {.name = "attend", .on_shard = cmd_attend, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_PUBSUB | CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Notes who subscribes to channels."},
    {.name = "block", .on_shard = cmd_block, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = {{.flags = KEY_RW, .begin = 2, .last = -1, .step = 1}}, .group = "internal", .summary = "Runs several requests as one."},
    {.name = "blockall", .on_shard = cmd_block, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Runs several requests, of any keys, as one."},
    {.name = "mark", .on_shard = cmd_mark, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_ERRAND,
     .keys = {{.flags = KEY_RO, .begin = 2, .last = -1, .step = 1}}, .group = "internal", .summary = "Watches keys."},
    {.name = "forget", .on_shard = cmd_forget, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_ERRAND,
     .keys = {{.flags = KEY_RO, .begin = 2, .last = -1, .step = 1}}, .group = "internal", .summary = "Watches them no longer."},
    {.name = "settle", .on_shard = cmd_settle, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = {{.flags = KEY_RW, .begin = 3, .last = -1, .step = 1}}, .group = "internal", .summary = "Ends the waiting for keys."},
    {.name = "claim", .on_shard = cmd_claim, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Ends a claim."},
    {.name = "again", .on_shard = cmd_again, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Goes on waiting."},
    {.name = "snapshot", .on_shard = cmd_snapshot, .arity = 1, .plan = PLAN_ALL_SHARDS, .flags = CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Begins a snapshot."},
    {.name = "empty", .on_shard = cmd_empty, .arity = 1, .plan = PLAN_ALL_SHARDS, .flags = CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Empties all databases."},
    {.name = "rest", .on_shard = cmd_rest, .arity = 1, .plan = PLAN_ALL_SHARDS, .flags = CMD_ERRAND,
     .keys = KEYS_NONE, .group = "internal", .summary = "Waits until what holds keys is over."},
};
/* clang-format on */
const struct command_family internal_family = {"internal", commands, ARRAY_LEN(commands)};
