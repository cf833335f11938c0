/* set.c: the commands of one set, and SMOVE. Those that combine sets are in set_algebra.c.
 *
 * Reads go through keyspace_find and count as hits and misses; writers are accesses only.
 */
#include "shard/type/set.h"
#include "shard/cmd/args.h"
#include "shard/cmd/collect.h"
#include "shard/cmd/families.h"
#include "shard/cmd/set_algebra.h"
#include "shard/notify.h"

/* Members that one SRANDMEMBER with a negative count may ask for. */
#define RANDOM_REPEATED_MAX ((int64_t)1 << 24)

/* SADD of fewer arguments needs no memory to remember which members were new. */
#define MEMBERS_SHORT 256

/* ---- finding ---- */

/* A set to be written; `e` NULL: there is no key. */
struct target {
    struct key key;
    struct entry *e;
    struct set set;
};

static enum err target_find(struct shard *sh, const struct request *rq, uint32_t index,
                            struct target *t)
{
    t->key = request_key(sh, rq, index);
    t->e = peek_touched(sh, &t->key);
    if (!t->e) return OK;
    if (entry_type(t->e) != TYPE_SET) return ERR_WRONG_TYPE;
    t->set = set_of(t->e);
    return OK;
}

/* After a removal that may have left nothing. */
static void target_store(struct shard *sh, struct target *t, const char *event)
{
    set_store(t->e, &t->set);
    keyspace_changed(sh, &t->key, t->e);
    notify(sh, NOTIFY_SET, event, &t->key);
    if (set_size(&t->set) > 0) return;
    (void)keyspace_delete(sh, &t->key);
    notify(sh, NOTIFY_GENERIC, "del", &t->key);
}

/* The set at argv[1] to be read; `root` NULL: there is no key. */
static enum err find_set(struct shard *sh, const struct request *rq, struct set *s)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *entry;
    enum err e = keyspace_find(sh, &k, TYPE_SET, &entry);
    *s = (struct set){0};
    if (e == OK) *s = set_of(entry);
    return e == ERR_NO_KEY ? OK : e;
}

/* ---- adding and removing ---- */

/* All or none. `was_new` has a bit for each argument. */
static enum err try_add_members(struct shard *sh, const struct request *rq, struct set *s,
                                uint64_t *was_new, uint64_t *added)
{
    for (uint32_t i = 2; i < rq->argc; i++) {
        bool is_new = false;
        if (set_try_add(&sh->mem, sh->config, s, rq->argv[i], &is_new)) {
            was_new[i / 64] |= (uint64_t)is_new << (i % 64);
            *added += is_new;
            continue;
        }
        while (--i >= 2)
            if (was_new[i / 64] >> (i % 64) & 1) set_remove(&sh->mem, s, rq->argv[i]);
        *added = 0;
        return ERR_ALLOC;
    }
    return OK;
}

static enum err add_members(struct shard *sh, const struct request *rq, struct set *s,
                            uint64_t *added)
{
    uint64_t room[MEMBERS_SHORT / 64] = {0}, *was_new = room;
    size_t bytes = (rq->argc / 64 + 1) * sizeof *was_new;
    if (rq->argc >= MEMBERS_SHORT) {
        was_new = mem_try_alloc(&sh->mem, bytes);
        if (!was_new) return ERR_ALLOC;
        memset(was_new, 0, bytes);
    }
    enum err e = try_add_members(sh, rq, s, was_new, added);
    if (was_new != room) mem_free(&sh->mem, was_new, bytes);
    return e;
}

static enum err cmd_sadd(struct shard *sh, struct request *rq, struct reply *out)
{
    struct target t;
    enum err e = target_find(sh, rq, 1, &t);
    if (e != OK) return e;

    uint64_t added = 0, expected = rq->argc - 2;
    if (t.e) {
        if (!set_try_expect(&sh->mem, sh->config, &t.set, expected)) return ERR_ALLOC;
        e = add_members(sh, rq, &t.set, &added);
        set_store(t.e, &t.set);
        if (added) keyspace_changed(sh, &t.key, t.e);
    } else {
        if (!set_try_create(&sh->mem, sh->config, rq->argv[2], expected, &t.set)) return ERR_ALLOC;
        e = add_members(sh, rq, &t.set, &added);
        if (e != OK) {
            set_free(&sh->mem, &t.set);
            return e;
        }
        e = keyspace_put_object(sh, &t.key, TYPE_SET, t.set.encoding, t.set.root, DEADLINE_NONE);
    }
    if (added && (e == OK || t.e)) notify(sh, NOTIFY_SET, "sadd", &t.key);
    if (e == OK) reply_i64(out, (int64_t)added);
    return e;
}

static enum err cmd_srem(struct shard *sh, struct request *rq, struct reply *out)
{
    struct target t;
    enum err e = target_find(sh, rq, 1, &t);
    if (e != OK) return e;
    int64_t removed = 0;
    for (uint32_t i = 2; t.e && i < rq->argc; i++) {
        removed += set_remove(&sh->mem, &t.set, rq->argv[i]);
    }
    if (removed > 0) target_store(sh, &t, "srem");
    reply_i64(out, removed);
    return OK;
}

/* Puts a member into a set that may not exist yet. */
static enum err add_one(struct shard *sh, struct target *t, struct bytes member, bool *is_new)
{
    bool added = true;
    *is_new = true;
    if (t->e) {
        bool done = set_try_add(&sh->mem, sh->config, &t->set, member, &added);
        set_store(t->e, &t->set);
        if (done && added) keyspace_changed(sh, &t->key, t->e);
        *is_new = added;
        return done ? OK : ERR_ALLOC;
    }
    if (!set_try_create(&sh->mem, sh->config, member, 1, &t->set)) return ERR_ALLOC;
    if (!set_try_add(&sh->mem, sh->config, &t->set, member, &added)) {
        set_free(&sh->mem, &t->set);
        return ERR_ALLOC;
    }
    return keyspace_put_object(sh, &t->key, TYPE_SET, t->set.encoding, t->set.root, DEADLINE_NONE);
}

/* A missing source is no error, whatever the target is. */
static enum err cmd_smove(struct shard *sh, struct request *rq, struct reply *out)
{
    struct target from, to;
    enum err e_from = target_find(sh, rq, 1, &from), e_to = target_find(sh, rq, 2, &to);
    if (e_from == OK && !from.e) {
        reply_i64(out, 0);
        return OK;
    }
    if (e_from != OK || e_to != OK) return ERR_WRONG_TYPE;

    bool is_member = set_has(&from.set, rq->argv[3]);
    if (is_member && from.e != to.e) {
        bool is_new, is_new_key = !to.e;
        sh->is_quiet = true; /* events of the source come first, but only the target can fail */
        enum err e = add_one(sh, &to, rq->argv[3], &is_new);
        sh->is_quiet = false;
        if (e != OK) return e;
        if (is_new) journal_describe(sh, &to.key, "SADD", &rq->argv[3], 1);
        (void)set_remove(&sh->mem, &from.set, rq->argv[3]);
        target_store(sh, &from, "srem");
        journal_describe(sh, &from.key, "SREM", &rq->argv[3], 1);
        if (is_new_key) notify(sh, NOTIFY_NEW, "new", &to.key);
        if (is_new) notify(sh, NOTIFY_SET, "sadd", &to.key);
    }
    reply_i64(out, is_member);
    return OK;
}

/* ---- asking ---- */

static enum err cmd_sismember(struct shard *sh, struct request *rq, struct reply *out)
{
    struct set s;
    enum err e = find_set(sh, rq, &s);
    if (e == OK) reply_i64(out, s.root && set_has(&s, rq->argv[2]));
    return e;
}

static enum err cmd_smismember(struct shard *sh, struct request *rq, struct reply *out)
{
    struct set s;
    enum err e = find_set(sh, rq, &s);
    if (e != OK) return e;
    reply_array(out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) reply_i64(out, s.root && set_has(&s, rq->argv[i]));
    return OK;
}

static enum err cmd_scard(struct shard *sh, struct request *rq, struct reply *out)
{
    struct set s;
    enum err e = find_set(sh, rq, &s);
    if (e == OK) reply_i64(out, s.root ? (int64_t)set_size(&s) : 0);
    return e;
}

static bool reply_member(void *context, struct bytes member)
{
    reply_bulk(context, member);
    return true;
}

static enum err cmd_smembers(struct shard *sh, struct request *rq, struct reply *out)
{
    struct set s;
    enum err e = find_set(sh, rq, &s);
    if (e != OK) return e;
    reply_set(out, s.root ? set_size(&s) : 0);
    if (s.root) (void)set_each(&s, reply_member, out);
    return OK;
}

/* ---- by chance ---- */

/* Members that were taken out, as the journal wants them. */
struct popped {
    struct buf names;
    bool is_incomplete; /* no memory for them */
};

/* False: no memory to reply it, so it stays. */
static bool pop_one(struct shard *sh, struct target *t, struct popped *popped, struct reply *out)
{
    char scratch[TEXT_I64_BYTES_MAX];
    struct bytes member = set_random(&t->set, shard_random(sh), scratch);
    if (!reply_has_room(out, REPLY_STRING_BYTES(member.size))) return false;
    reply_bulk(out, member);
    popped->is_incomplete |= journal_is_on(sh) && !journal_add_bulk(&popped->names, member);
    (void)set_remove(&sh->mem, &t->set, member);
    return true;
}

/* How many there was memory for to reply them. */
static uint32_t pop_several(struct shard *sh, struct target *t, uint32_t count, struct reply *out)
{
    struct popped popped = {.names = {.mem = &sh->mem}};
    uint32_t done = 0;
    while (done < count && pop_one(sh, t, &popped, out)) done++;
    if (done > 0) target_store(sh, t, "spop");
    if (done > 0 && !popped.is_incomplete)
        journal_describe_bulks(sh, &t->key, "SREM", buf_view(&popped.names), done);
    buf_clear(&popped.names);
    return done;
}

static enum err pop_some(struct shard *sh, struct request *rq, struct target *t, struct reply *out)
{
    int64_t count;
    if (rq->argc > 3) return ERR_SYNTAX;
    if (!text_to_i64(rq->argv[2], &count) || count < 0) return ERR_OUT_OF_RANGE;
    enum err e = target_find(sh, rq, 1, t);
    if (e != OK) return e;
    if (!t->e || count == 0) {
        reply_set(out, 0);
        return OK;
    }
    uint64_t size = set_size(&t->set);
    if ((uint64_t)count >= size) {
        reply_set(out, size);
        (void)set_each(&t->set, reply_member, out);
        if (!reply_is_whole(out)) return ERR_ALLOC;
        (void)keyspace_delete(sh, &t->key);
        notify(sh, NOTIFY_SET, "spop", &t->key);
        notify(sh, NOTIFY_GENERIC, "del", &t->key);
        return OK;
    }
    reply_set(out, (uint64_t)count);
    uint32_t done = pop_several(sh, t, (uint32_t)count, out);
    if (unlikely(done == 0)) {
        reply_drop(out);
        return ERR_ALLOC;
    }
    if (unlikely(done < count)) reply_shorten(out, (uint64_t)count, done);
    return OK;
}

static enum err cmd_spop(struct shard *sh, struct request *rq, struct reply *out)
{
    struct target t;
    if (rq->argc > 2) return pop_some(sh, rq, &t, out);
    enum err e = target_find(sh, rq, 1, &t);
    if (e != OK) return e;
    if (t.e) return pop_several(sh, &t, 1, out) ? OK : ERR_ALLOC;
    reply_null(out);
    return OK;
}

static void reply_random(struct shard *sh, const struct set *s, struct reply *out)
{
    char scratch[TEXT_I64_BYTES_MAX];
    reply_bulk(out, set_random(s, shard_random(sh), scratch));
}

/* Chooses so that every subset of that size is equally likely: Knuth, 3.4.2, algorithm S. */
struct sampling {
    struct shard *shard;
    struct reply *out;
    uint64_t left, wanted;
};

static bool sample_member(void *context, struct bytes member)
{
    struct sampling *s = context;
    if (shard_random(s->shard) % s->left < s->wanted) {
        reply_bulk(s->out, member);
        s->wanted--;
    }
    s->left--;
    return s->wanted > 0;
}

/* A few of many members: throws until enough different ones have come. */
static enum err reply_few(struct shard *sh, const struct set *s, uint64_t count, struct reply *out)
{
    struct collection found;
    struct set seen;
    char scratch[TEXT_I64_BYTES_MAX];
    if (!set_try_create(&sh->mem, sh->config, BYTES_LITERAL(""), UINT64_MAX, &seen)) {
        return ERR_ALLOC;
    }
    collection_begin(&found, sh, out);
    bool added, has_memory = true;
    while (found.count < count && has_memory) {
        struct bytes member = set_random(s, shard_random(sh), scratch);
        has_memory = set_try_add(&sh->mem, sh->config, &seen, member, &added);
        if (!has_memory || !added) continue;
        reply_bulk(&found.items, member);
        found.count++;
    }
    set_free(&sh->mem, &seen);
    if (!has_memory) {
        collection_drop(&found, sh);
        return ERR_ALLOC;
    }
    reply_array(out, count);
    collection_end(&found, sh, out);
    return OK;
}

static enum err reply_distinct(struct shard *sh, const struct set *s, uint64_t count,
                               struct reply *out)
{
    uint64_t size = set_size(s);
    count = MIN(count, size);
    if (s->encoding == ENCODING_HASHTABLE && count < size / 3) return reply_few(sh, s, count, out);
    reply_array(out, count);
    struct sampling sampling = {.shard = sh, .out = out, .left = size, .wanted = count};
    if (count > 0) (void)set_each(s, sample_member, &sampling);
    return OK;
}

static enum err cmd_srandmember(struct shard *sh, struct request *rq, struct reply *out)
{
    struct set s;
    int64_t count = 0;
    if (rq->argc > 3) return ERR_SYNTAX;
    if (rq->argc == 3 && !arg_random_count_or_reply(rq, 2, out, &count)) return OK;
    enum err e = find_set(sh, rq, &s);
    if (e != OK) return e;
    if (rq->argc == 2) {
        if (s.root) {
            reply_random(sh, &s, out);
        } else {
            reply_null(out);
        }
        return OK;
    }
    if (!s.root) {
        reply_array(out, 0);
        return OK;
    }
    if (count >= 0) return reply_distinct(sh, &s, (uint64_t)count, out);
    if (count < -RANDOM_REPEATED_MAX) return ERR_ALLOC;
    reply_array(out, (uint64_t)-count);
    for (; count < 0; count++) reply_random(sh, &s, out);
    return OK;
}

/* ---- SSCAN ---- */

struct scanning {
    struct collection found;
    const struct scan_options *options;
};

static bool scan_member(void *context, struct bytes member)
{
    struct scanning *s = context;
    if (!scan_options_match(s->options, member)) return true;
    reply_bulk(&s->found.items, member);
    s->found.count++;
    return true;
}

/* Without a key the options are not looked at. */
static enum err cmd_sscan(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t cursor;
    struct set s;
    enum err e = arg_scan_cursor(rq, 2, &cursor);
    if (e == OK) e = find_set(sh, rq, &s);
    if (e != OK) return e;
    if (!s.root) {
        reply_scan_head(out, 0, 0);
        return OK;
    }
    struct scan_options options;
    e = args_scan_options(rq, 3, SCAN_ELEMENTS, &options);
    if (e != OK) return e;
    struct scanning scanning = {.options = &options};
    collection_begin(&scanning.found, sh, out);
    cursor = set_scan(&s, cursor_to_position(cursor), options.count, scan_member, &scanning);
    reply_scan_head(out, cursor, scanning.found.count);
    collection_end(&scanning.found, sh, out);
    return OK;
}

/* clang-format off */
#define READ_FIRST {{.flags = KEY_RO | KEY_ACCESS, .begin = 1, .last = 0, .step = 1}}
#define READ_ALL {{.flags = KEY_RO | KEY_ACCESS, .begin = 1, .last = -1, .step = 1}}
#define READ_COUNTED {{.flags = KEY_RO | KEY_ACCESS, .begin = 1, .count_index = 0, .first = 1, .step = 1}}
#define STORE_FROM_REST(target_flags) {{.flags = (target_flags), .begin = 1, .last = 0, .step = 1}, {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .last = -1, .step = 1}}
static const char *const tips_any_order[] = {"nondeterministic_output_order", NULL};
static const char *const tips_any_output[] = {"nondeterministic_output", NULL};
static const struct command commands[] = {
    {.name = "sadd", .on_shard = cmd_sadd, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_SET, .keys = KEYS_FIRST(KEY_RW | KEY_INSERT),
     .since = "1.0.0", .group = "set", .complexity = "O(N) for N members to add",
     .summary = "Adds members to a set, which is created if there is none."},
    {.name = "srem", .on_shard = cmd_srem, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_FAST, .acl = ACL_SET, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "1.0.0", .group = "set", .complexity = "O(N) for N members to remove",
     .summary = "Takes members out of a set; the last one takes the key with it."},
    {.name = "sismember", .on_shard = cmd_sismember, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SET, .keys = KEYS_FIRST(KEY_RO),
     .since = "1.0.0", .group = "set", .complexity = "O(1)",
     .summary = "Tells whether a value is a member of a set."},
    {.name = "smismember", .on_shard = cmd_smismember, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SET, .keys = READ_FIRST,
     .since = "6.2.0", .group = "set", .complexity = "O(N) for N values to look up",
     .summary = "Tells for each of several values whether it is a member of a set."},
    {.name = "scard", .on_shard = cmd_scard, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_SET, .keys = KEYS_FIRST(KEY_RO),
     .since = "1.0.0", .group = "set", .complexity = "O(1)",
     .summary = "Counts the members of a set."},
    {.name = "smembers", .on_shard = cmd_smembers, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SET, .keys = READ_FIRST,
     .since = "1.0.0", .group = "set", .complexity = "O(N) for a set of N members",
     .summary = "Returns every member of a set.", .tips = tips_any_order},
    {.name = "spop", .on_shard = cmd_spop, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_SET, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_DELETE),
     .since = "1.0.0", .group = "set", .complexity = "O(1) for one member, O(N) for a count of N",
     .summary = "Takes members chosen by chance out of a set and returns them.", .tips = tips_any_output},
    {.name = "srandmember", .on_shard = cmd_srandmember, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SET, .keys = READ_FIRST,
     .since = "1.0.0", .group = "set", .complexity = "O(1) for one member, O(N) for a count of N, positive or not",
     .summary = "Returns members chosen by chance, which stay in the set.", .tips = tips_any_output},
    {.name = "smove", .on_shard = cmd_smove, .arity = 4, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_SET, .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_RW | KEY_INSERT, .begin = 2, .last = 0, .step = 1}},
     .since = "1.0.0", .group = "set", .complexity = "O(1)",
     .summary = "Moves one member from a set to another."},
    {.name = "sscan", .on_shard = cmd_sscan, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_SET, .keys = READ_FIRST,
     .since = "2.8.0", .group = "set", .complexity = "O(1) for a call, O(N) for a walk through all of N members",
     .summary = "Walks through the members of a set, some at a time.", .tips = tips_any_output},
    {.name = "sinter", .on_shard = cmd_sinter, .arity = -2, .plan = PLAN_LOCKED, .flags = CMD_READ, .acl = ACL_SET, .keys = READ_ALL,
     .since = "1.0.0", .group = "set", .complexity = "O(N * M) at worst: N members of the smallest of M sets",
     .summary = "Returns what several sets have in common.", .tips = tips_any_order},
    {.name = "sinterstore", .on_shard = cmd_sinterstore, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_SET, .keys = STORE_FROM_REST(KEY_RW | KEY_UPDATE),
     .since = "1.0.0", .group = "set", .complexity = "O(N * M) at worst: N members of the smallest of M sets",
     .summary = "Stores what several sets have in common under a key."},
    {.name = "sintercard", .on_shard = cmd_sintercard, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_READ | CMD_MOVABLE_KEYS, .acl = ACL_SET, .keys = READ_COUNTED,
     .since = "7.0.0", .group = "set", .complexity = "O(N * M) at worst: N members of the smallest of M sets",
     .summary = "Counts what several sets have in common, up to a limit."},
    {.name = "sunion", .on_shard = cmd_sunion, .arity = -2, .plan = PLAN_LOCKED, .flags = CMD_READ, .acl = ACL_SET, .keys = READ_ALL,
     .since = "1.0.0", .group = "set", .complexity = "O(N) for N members in all sets together",
     .summary = "Returns the members of several sets, each once.", .tips = tips_any_order},
    {.name = "sunionstore", .on_shard = cmd_sunionstore, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_SET, .keys = STORE_FROM_REST(KEY_OW | KEY_UPDATE),
     .since = "1.0.0", .group = "set", .complexity = "O(N) for N members in all sets together",
     .summary = "Stores the members of several sets under a key."},
    {.name = "sdiff", .on_shard = cmd_sdiff, .arity = -2, .plan = PLAN_LOCKED, .flags = CMD_READ, .acl = ACL_SET, .keys = READ_ALL,
     .since = "1.0.0", .group = "set", .complexity = "O(N) for N members in all sets together",
     .summary = "Returns the members of the first set that no other has.", .tips = tips_any_order},
    {.name = "sdiffstore", .on_shard = cmd_sdiffstore, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_SET, .keys = STORE_FROM_REST(KEY_OW | KEY_UPDATE),
     .since = "1.0.0", .group = "set", .complexity = "O(N) for N members in all sets together",
     .summary = "Stores the members of the first set that no other has under a key."},
};
/* clang-format on */
const struct command_family set_family = {"set", commands, ARRAY_LEN(commands)};
