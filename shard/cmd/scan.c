/* scan.c: the commands that walk the keys: SCAN, KEYS, RANDOMKEY.
 *
 * A client's SCAN cursor names a shard and a position in it, so the walk goes through the shards
 * one after the other and needs no state anywhere:
 *
 *     63 … 56   55 …                  8   7 … 0
 *     ┌───────┬──────────────────────────┬───────┐
 *     │   0   │ position: top 48 bits    │ shard │
 *     └───────┴──────────────────────────┴───────┘
 *
 * Position 0 is the start of a shard; the end of the last shard is cursor 0, which is also where a
 * client starts. Cursor 0 is sent to every shard, and the reply goes as far as the first one that
 * has more to tell (server/merge_parts.h): a small database is told in one step.
 */
#include "shard/cmd/args.h"
#include "shard/cmd/families.h"

#define CURSOR_SHARD_BITS 8
#define POSITION_UNUSED_BITS 16 /* dict.h: cursors use the top 48 bits only */

uint16_t scan_cursor_shard(uint64_t cursor)
{
    return cursor & ((1 << CURSOR_SHARD_BITS) - 1);
}

static uint64_t cursor_position(uint64_t cursor)
{
    return cursor >> CURSOR_SHARD_BITS << POSITION_UNUSED_BITS;
}

static uint64_t cursor_make(const struct shard *sh, uint64_t position)
{
    if (position != 0) return position >> POSITION_UNUSED_BITS << CURSOR_SHARD_BITS | sh->id;
    return sh->id + 1 < sh->shard_count ? sh->id + 1 : 0;
}

/* ---- collecting ---- */

/* Entries that are to be replied. Their number comes first in a reply, so they are gathered before
 * it. */
struct selection {
    const struct scan_options *options;
    struct buf entries; /* struct entry * */
    bool no_memory;
};

static void select_entry(void *context, struct entry *e, UNUSED uint64_t hash_position)
{
    struct selection *s = context;
    if (s->options->has_type && entry_type(e) != s->options->type) return;
    if (!scan_options_match(s->options, entry_key(e))) return;
    if (s->no_memory || buf_try_reserve(&s->entries, sizeof(struct entry *)) == NULL) {
        s->no_memory = true;
        return;
    }
    buf_append(&s->entries, &(struct entry *){e}, sizeof(struct entry *));
}

static void reply_selection(struct reply *out, const struct selection *s)
{
    size_t count = s->entries.size / sizeof(struct entry *);
    reply_array(out, count);
    for (size_t i = 0; i < count; i++) {
        struct entry *e;
        memcpy(&e, s->entries.data + i * sizeof(struct entry *), sizeof(struct entry *));
        reply_bulk(out, entry_key(e));
    }
}

/* ---- commands ---- */

static enum err cmd_scan(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t cursor;
    struct scan_options options;
    enum err e = arg_scan_cursor(rq, 1, &cursor);
    if (e == OK) e = args_scan_options(rq, 2, SCAN_KEYS, &options);
    if (e != OK) return e;

    struct selection found = {.options = &options, .entries = {.mem = &sh->mem}};
    uint64_t position =
        keyspace_scan(sh, rq->db, cursor_position(cursor), options.count, select_entry, &found);
    if (!found.no_memory) {
        char text[TEXT_I64_BYTES_MAX];
        size_t size = text_from_u64(text, cursor_make(sh, position));
        reply_array(out, 2);
        reply_bulk(out, bytes_make(text, size));
        reply_selection(out, &found);
    }
    buf_clear(&found.entries);
    return found.no_memory ? ERR_ALLOC : OK;
}

static enum err cmd_keys(struct shard *sh, struct request *rq, struct reply *out)
{
    struct scan_options options = {
        .has_pattern = !bytes_equal(rq->argv[1], BYTES_LITERAL("*")),
        .pattern = rq->argv[1],
    };
    struct selection found = {.options = &options, .entries = {.mem = &sh->mem}};
    (void)keyspace_scan(sh, rq->db, 0, UINT64_MAX, select_entry, &found);
    if (!found.no_memory) reply_selection(out, &found);
    buf_clear(&found.entries);
    return found.no_memory ? ERR_ALLOC : OK;
}

/* A part of the split command says how many keys stand behind its proposal, so that the router can
 * choose among the shards by weight. */
static enum err cmd_randomkey(struct shard *sh, struct request *rq, struct reply *out)
{
    struct entry *e = keyspace_random(sh, rq->db);
    if (rq->flags & REQUEST_PART) {
        reply_array(out, 2);
        reply_i64(out, e ? (int64_t)keyspace_size(sh, rq->db) : 0);
    }
    if (e) {
        reply_bulk(out, entry_key(e));
    } else {
        reply_null(out);
    }
    return OK;
}

/* clang-format off */
static const char *const tips_nondeterministic_output_special[] = {"nondeterministic_output", "request_policy:special", NULL};
static const char *const tips_all_shards_nondeterministic_output_order[] = {"request_policy:all_shards", "nondeterministic_output_order", NULL};
static const char *const tips_all_shards_nondeterministic_output[] = {"request_policy:all_shards", "nondeterministic_output", NULL};
static const struct command commands[] = {
    {.name = "scan", .on_shard = cmd_scan, .arity = -2, .plan = PLAN_ONE_SHARD, .merge = MERGE_CURSOR, .flags = CMD_READ, .acl = ACL_KEYSPACE, .keys = KEYS_NONE,
     .since = "2.8.0", .group = "generic", .complexity = "O(1) a call, O(n) for all of n keys",
     .summary = "Walks through the keys of a database, a few in each call.", .tips = tips_nondeterministic_output_special},
    {.name = "keys", .on_shard = cmd_keys, .arity = 2, .plan = PLAN_ALL_SHARDS, .merge = MERGE_CONCAT, .flags = CMD_READ, .acl = ACL_KEYSPACE | ACL_DANGEROUS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "generic", .complexity = "O(n) for n keys in the database",
     .summary = "All keys that match a pattern.", .tips = tips_all_shards_nondeterministic_output_order},
    {.name = "randomkey", .on_shard = cmd_randomkey, .arity = 1, .plan = PLAN_ALL_SHARDS, .merge = MERGE_RANDOM, .flags = CMD_READ, .acl = ACL_KEYSPACE, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "Some key of the database.", .tips = tips_all_shards_nondeterministic_output},
};
/* clang-format on */
const struct command_family scan_family = {"scan", commands, ARRAY_LEN(commands)};
