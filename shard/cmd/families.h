/* families.h: the command tables of the shard, one per file of this folder, and the few functions
 * that go with them.
 *
 * Thread     Tables are constant data. The router lists the families.
 */
#pragma once

#include "base/command.h"

extern const struct command_family string_family;
extern const struct command_family lcs_family;
extern const struct command_family generic_family;
extern const struct command_family expire_family;
extern const struct command_family scan_family;
extern const struct command_family dump_family;
extern const struct command_family
    server_family; /* the commands of Redis's group "server" that a shard runs */
extern const struct command_family bits_family;
extern const struct command_family hyperloglog_family;
extern const struct command_family list_family;
extern const struct command_family list_blocking_family;
extern const struct command_family set_family;
extern const struct command_family zset_family;
extern const struct command_family zset_blocking_family;
extern const struct command_family geo_family;
extern const struct command_family sort_family;
extern const struct command_family hash_family;
extern const struct command_family hash_expire_family;
extern const struct command_family stream_family;
extern const struct command_family publish_family;

/* [any] The shard that a client's SCAN cursor goes on with; the caller takes it modulo its shard
 * count. */
uint16_t scan_cursor_shard(uint64_t cursor);

/* [shard] DEBUG OBJECT key: argv[2] is the key. The row of DEBUG is the server's. */
enum err cmd_debug_object(struct shard *sh, struct request *rq, struct reply *out);
/* [shard] DEBUG HTSTATS db, a verbatim text of this shard's table, for MERGE_TEXT; HTSTATS-KEY key;
 * LISTPACK key. */
enum err cmd_debug_htstats_part(struct shard *sh, struct request *rq, struct reply *out);
enum err cmd_debug_htstats_key(struct shard *sh, struct request *rq, struct reply *out);
enum err cmd_debug_listpack(struct shard *sh, struct request *rq, struct reply *out);
/* [shard] DEBUG DIGEST-VALUE key …: an array with a status for each key. */
enum err cmd_debug_digest_value(struct shard *sh, struct request *rq, struct reply *out);
/* [shard] DEBUG DIGEST on one shard: an array with one string per database that has keys: its
 * number, 4 bytes as they are in memory, and the digest of its keys. For MERGE_DIGEST. */
enum err cmd_debug_digest_part(struct shard *sh, struct request *rq, struct reply *out);
#define DIGEST_PART_BYTES (sizeof(uint32_t) + 20)

/* [any] LCS of two values that lie anywhere: for a coordinator whose keys live on two shards. The
 * options are read from rq->argv[3] on; only argv and argc are looked at. A missing key is an empty
 * string; a value that is no string gets lcs_reply_wrong_type, before the options are looked at. */
struct lcs_request {
    struct bytes a, b;
    struct mem *mem;          /* of the calling thread */
    uint64_t table_bytes_max; /* proto-max-bulk-len */
};
MUST_USE enum err lcs_reply(const struct lcs_request *lr, const struct request *rq,
                            struct reply *out);
enum err lcs_reply_wrong_type(struct reply *out);

/* Not for clients: rows by index, for coordinators. */
extern const struct command_family internal_family;
#define LOCK_MODE_BYTES 3 /* of an argument: the mode and the database */
#define PREPARE_NEW "nx"  /* the first argument of the PREPARE of an MSETNX */
/* The first argument of a COMMIT. */
struct prepared_end {
    uint64_t token; /* of the PREPARE */
    bool is_put;    /* else what was made is dropped */
};
enum internal_command {
    INTERNAL_LOCK,
    INTERNAL_LOCK_ALL,
    INTERNAL_FETCH,
    INTERNAL_THAW,
    INTERNAL_DEPART,
    INTERNAL_LEAVE,
    INTERNAL_ARRIVE,
    INTERNAL_UNLOCK,
    INTERNAL_PREPARE,
    INTERNAL_COMMIT,
    INTERNAL_REPORT,
    INTERNAL_SORT_KEYS,
    INTERNAL_EVENTS,
    INTERNAL_EMIT,
    INTERNAL_ATTEND,
    INTERNAL_BLOCK,
    INTERNAL_BLOCK_ALL,
    INTERNAL_MARK,
    INTERNAL_FORGET,
    INTERNAL_SETTLE,
    INTERNAL_CLAIM,
    INTERNAL_AGAIN,
    INTERNAL_SNAPSHOT,
    INTERNAL_EMPTY,
    INTERNAL_REST
};
/* [shard] For SORT with the arguments of the request: the names of the keys that BY and GET lead
 * to, as an array, in any order, maybe repeated; more than LIMIT needs. */
enum err cmd_sort_keys(struct shard *sh, struct request *rq, struct reply *out);
