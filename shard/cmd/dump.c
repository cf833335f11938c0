/* dump.c: DUMP and RESTORE, values that travel between servers; DEBUG DIGEST and DIGEST-VALUE,
 * which tell whether they arrived. */
#include "shard/dump.h"

#include "shard/cmd/families.h"
#include "shard/cmd/hash.h"
#include "shard/digest.h"
#include "shard/notify.h"

/* The entry without the fields of a hash that have expired; NULL if there is none, or no field is
 * left. */
static struct entry *find_live(struct shard *sh, const struct key *k)
{
    struct entry *e = keyspace_find_any(sh, k);
    if (!e || entry_type(e) != TYPE_HASH) return e;
    struct hash_target t = {.key = *k, .entry = e};
    return hash_open_entry(sh, HASH_SWEEP_ALL, &t) == OK ? e : NULL;
}

static enum err cmd_dump(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *e = find_live(sh, &k);
    if (!e) {
        reply_null(out);
        return OK;
    }
    struct buf payload = {.mem = &sh->mem};
    bool done = dump_try_append(e, sh->config->rdb_compression, &payload);
    if (done) reply_bulk(out, buf_view(&payload));
    buf_clear(&payload);
    return done ? OK : ERR_ALLOC;
}

struct restore_options {
    bool replace, absolute_ttl;
    int64_t idle_s, frequency; /* -1: not given */
};

static bool arg_access_or_reply(const struct request *rq, uint32_t index, int64_t max,
                                const char *text, struct reply *out, int64_t *value)
{
    enum err e = arg_i64(rq, index, value);
    if (e != OK) {
        reply_err(out, e);
    } else if (*value < 0 || *value > max) {
        reply_error(out, "%s", text);
    } else {
        return true;
    }
    return false;
}

static bool parse_options_or_reply(const struct request *rq, struct reply *out,
                                   struct restore_options *o)
{
    for (uint32_t i = 4; i < rq->argc; i++) {
        bool has_value = i + 1 < rq->argc;
        if (arg_is(rq, i, "replace")) {
            o->replace = true;
        } else if (arg_is(rq, i, "absttl")) {
            o->absolute_ttl = true;
        } else if (arg_is(rq, i, "idletime") && has_value && o->frequency < 0) {
            if (!arg_access_or_reply(rq, ++i, INT64_MAX, "ERR Invalid IDLETIME value, must be >= 0",
                                     out, &o->idle_s)) {
                return false;
            }
        } else if (arg_is(rq, i, "freq") && has_value && o->idle_s < 0) {
            if (!arg_access_or_reply(rq, ++i, UINT8_MAX,
                                     "ERR Invalid FREQ value, must be >= 0 and <= 255", out,
                                     &o->frequency)) {
                return false;
            }
        } else {
            reply_err(out, ERR_SYNTAX);
            return false;
        }
    }
    return true;
}

/* The deadline, 0 for none. One beyond the end of time has passed, as in Redis, where it wraps. */
static bool arg_ttl_or_reply(const struct shard *sh, const struct request *rq, bool is_absolute,
                             struct reply *out, int64_t *deadline_ms)
{
    int64_t ttl;
    enum err e = arg_i64(rq, 2, &ttl);
    if (e != OK) {
        reply_err(out, e);
        return false;
    }
    if (ttl < 0) {
        reply_error(out, "ERR Invalid TTL value, must be >= 0");
        return false;
    }
    *deadline_ms = ttl;
    if (ttl == 0 || is_absolute) return true;
    if (__builtin_add_overflow(ttl, sh->wall_ms, deadline_ms)) *deadline_ms = 1;
    return true;
}

/* True of a hash all of whose fields have expired on the way. */
static bool is_spent(const struct entry *e)
{
    if (entry_type(e) != TYPE_HASH) return false;
    struct hash h = hash_of(e);
    return hash_length(&h) == 0;
}

/* Puts the value under its key; what was there goes. */
static void restore_entry(struct shard *sh, const struct key *k, struct entry *e,
                          const struct restore_options *o)
{
    bool is_late = entry_has_deadline(e) && entry_deadline_ms(e) <= sh->now_ms;
    if (is_late || is_spent(e)) {
        object_free(&sh->mem, e);
        if (keyspace_delete(sh, k)) notify(sh, NOTIFY_GENERIC, "del", k);
        return;
    }
    keyspace_put_entry(sh, k, e);
    keyspace_set_access(sh, e, o->idle_s, o->frequency);
    notify(sh, NOTIFY_GENERIC, "restore", k);
}

static enum err cmd_restore(struct shard *sh, struct request *rq, struct reply *out)
{
    struct restore_options o = {.idle_s = -1, .frequency = -1};
    int64_t deadline_ms;
    struct bytes value;
    if (!parse_options_or_reply(rq, out, &o)) return OK;
    struct key k = request_key(sh, rq, 1);
    if (!o.replace && peek_touched(sh, &k)) return ERR_BUSY_KEY;
    if (!arg_ttl_or_reply(sh, rq, o.absolute_ttl, out, &deadline_ms)) return OK;
    if (!(sh->config->skip_checksum ? dump_is_known : dump_is_intact)(rq->argv[3], &value)) {
        reply_error(out, "ERR DUMP payload version or checksum are wrong");
        return OK;
    }
    uint64_t refused = sh->mem.refused_count;
    struct entry *e = dump_try_read(&sh->mem, value, k.name, deadline_ms, sh->now_ms);
    if (!e && sh->mem.refused_count != refused) return ERR_ALLOC;
    if (!e) {
        reply_error(out, "ERR Bad data format");
        return OK;
    }
    restore_entry(sh, &k, e, &o);
    reply_ok(out);
    return OK;
}

/* ---- digests ---- */

enum err cmd_debug_digest_value(struct shard *sh, struct request *rq, struct reply *out)
{
    if (!(rq->flags & REQUEST_PART)) reply_array(out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) {
        struct key k = request_key(sh, rq, i);
        struct entry *e = keyspace_peek(sh, &k);
        struct digest digest = {0};
        char hex[2 * SHA1_BYTES + 1] = "";
        if (e) digest_mix_value(&digest, e);
        sha1_to_hex(digest.bytes, hex);
        reply_status(out, hex);
    }
    return OK;
}

static void add_key(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct digest digest = {0};
    digest_mix(&digest, entry_key(e));
    digest_mix_value(&digest, e);
    digest_add(context, digest_view(&digest));
}

enum err cmd_debug_digest_part(struct shard *sh, UNUSED struct request *rq, struct reply *out)
{
    uint32_t used = 0;
    for (uint32_t db = 0; db < sh->keys.database_count; db++) used += keyspace_size(sh, db) > 0;
    reply_array(out, used);
    for (uint32_t db = 0; db < sh->keys.database_count; db++) {
        if (keyspace_size(sh, db) == 0) continue;
        struct digest sum = {0};
        uint64_t cursor = 0;
        do cursor = keyspace_scan(sh, db, cursor, UINT64_MAX, add_key, &sum);
        while (cursor != 0);
        char part[DIGEST_PART_BYTES];
        memcpy(part, &db, sizeof db);
        memcpy(part + sizeof db, sum.bytes, sizeof sum.bytes);
        reply_bulk(out, bytes_make(part, sizeof part));
    }
    return OK;
}

/* clang-format off */
static const char *const tips_nondeterministic_output[] = {"nondeterministic_output", NULL};
static const struct command commands[] = {
    {.name = "dump", .on_shard = cmd_dump, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.6.0", .group = "generic", .complexity = "O(n) for n elements and their bytes",
     .summary = "The value of a key as bytes that RESTORE reads.", .tips = tips_nondeterministic_output},
    {.name = "restore", .on_shard = cmd_restore, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_KEYSPACE | ACL_DANGEROUS, .keys = KEYS_FIRST(KEY_OW | KEY_UPDATE),
     .since = "2.6.0", .group = "generic", .complexity = "O(n) for n elements and their bytes; O(n log n) for a sorted set",
     .summary = "Creates a key from the bytes that DUMP gave."},
};
/* clang-format on */
const struct command_family dump_family = {"dump", commands, ARRAY_LEN(commands)};
