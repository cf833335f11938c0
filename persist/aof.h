/* aof.h: the writer of one shard's append-only log.
 *
 *     aof_append ─▶ buffer ──one write a step──▶ file ──fdatasync──▶ disk
 *                              everysec, no: pwrite in aof_step, fdatasync through the loop
 *                              always: a group commit, one in flight, while the next batch
 *                              gathers: pwrite and a fdatasync through the loop, or, if it is
 *                              large, both through the loop, linked
 *
 * *Stable* is what a reply may tell of: written (everysec, no) or synced (always). A reply for the
 * operation that ended at lsn p may leave when aof_stable_lsn() >= p and R, the lowest txid with a
 * part that is not stable on its shard (or not appended yet), is higher than every txid at or
 * before p; who counts the parts is base/ledger.h. With AOF_ALWAYS that holds for reads as well.
 *
 * When a write fails (disk full, EIO), the file is cut back to its last good record, the buffer is
 * kept, and the write is tried again every second: AOF_RETRYING. When an fdatasync fails, the
 * kernel may have forgotten what it could not write: the file is never synced again, AOF_LOST. Then
 * the owner writes a fresh base and calls aof_abandon; with AOF_ALWAYS it ends the process before
 * any reply of that batch. In both states the owner refuses writes (-MISCONF) and goes on reading.
 *
 * Thread     The shard's.
 * Ownership  Heap: aof_create, aof_destroy. A payload is copied.
 * Limits     The buffer is bounded by buffer_bytes_max and one record.
 * Errors     ERR_IO, logged by env; ERR_ALLOC.
 * Order      Records are stable in the order of aof_append.
 */
#pragma once

#include "base/env.h"
#include "base/mem.h"
#include "persist/segment.h"

enum aof_policy { AOF_ALWAYS, AOF_EVERYSEC, AOF_NO };

enum aof_state {
    AOF_GOOD,
    AOF_RETRYING, /* a write failed: writes are refused until one succeeds */
    AOF_LOST,     /* an fdatasync failed: only aof_abandon leads on */
    AOF_SEALED,   /* ended by aof_seal: complete and synced */
};

struct aof_options {
    struct mem *mem;
    struct env_loop *loop;
    enum aof_policy policy;
    size_t buffer_bytes_max; /* 0: 64 MiB */
    enum segment_kind kind;
    uint32_t generation;
    uint16_t shard;
    uint64_t first_lsn;   /* of a base: 1 */
    uint64_t covered_lsn; /* of a base */
    const char *path;     /* made by aof_prepare, and named by the manifest */
    struct segment_uuid uuid;
};

struct aof_record {
    uint32_t db;
    uint16_t part_count, part; /* {0, 0}: a shard alone, as {1, 0} */
    uint64_t txid;             /* 0: a shard alone. Else they grow from record to record. */
    struct bytes payload;
};

struct aof;

/* Makes the empty file of a segment. It is durable after env_sync_directory; only then may a
 * manifest name it, and only then may it be opened. */
MUST_USE enum err aof_prepare(const char *path);
MUST_USE enum err aof_create(const struct aof_options *options, struct aof **out);
/* Closes the file as it is; nothing may be in flight (aof_is_busy). */
void aof_destroy(struct aof *a);

/* ERR_ALLOC: no memory, or the record is too big. ERR_IO: the buffer is full, which aof_is_full
 * had said. */
MUST_USE enum err aof_append(struct aof *a, const struct aof_record *record, uint64_t *lsn);
/* Once a step of the owner's loop, behind its env_next: takes what has completed, starts what is
 * due. Never waits for a disk, but for one buffered write unless the policy is AOF_ALWAYS. */
void aof_step(struct aof *a, uint64_t now_ns);
/* When aof_step has something to do although nothing is appended and nothing completes. */
uint64_t aof_next_ns(const struct aof *a);

/* Up to here a reply may tell of it. */
uint64_t aof_stable_lsn(const struct aof *a);
uint64_t aof_last_lsn(const struct aof *a);
uint64_t aof_durable_lsn(const struct aof *a);
enum aof_state aof_state_now(const struct aof *a);
/* What the system said when something failed last: "No space left on device". A constant. */
const char *aof_why(const struct aof *a);
/* The buffer has no room for more: take no more commands that write. */
bool aof_is_full(const struct aof *a);
/* The environment works on a request of this log. */
bool aof_is_busy(const struct aof *a);
/* How long the last commit of AOF_ALWAYS took, once; 0: there has been none since. */
uint64_t aof_take_always_ns(struct aof *a);
/* Bytes of the file that hold records, and of the buffers. */
uint64_t aof_size(const struct aof *a);
size_t aof_buffered(const struct aof *a);

void aof_set_policy(struct aof *a, enum aof_policy policy);
/* Every part of every transaction below `txid` is durable on its shard; written with the next mark,
 * so that recovery need not remember older ones. */
void aof_set_resolved(struct aof *a, uint64_t txid);

/* Goes on in the file `path` (aof_prepare) from the next lsn on. False: not now, ask again after
 * the next step. The old file is complete and durable when aof_is_rotating has become false;
 * `*closed_size` is its size, for the manifest. */
MUST_USE bool aof_try_rotate(struct aof *a, const char *path, const struct segment_uuid *uuid,
                             uint64_t now_ns, uint64_t *closed_size);
/* Nobody asks again for now: the log goes on in the old file. */
void aof_rotate_later(struct aof *a);
bool aof_is_rotating(const struct aof *a);
/* What has been written by the next step is synced, whatever the policy. */
void aof_sync_once(struct aof *a);
/* After AOF_LOST: leaves the file, and goes on in `path` from the next lsn on. Nothing that is not
 * stable now, or comes later, is stable before aof_covered. */
MUST_USE enum err aof_abandon(struct aof *a, const char *path, const struct segment_uuid *uuid);
/* A published base holds everything up to the call of aof_abandon. */
void aof_covered(struct aof *a);
/* Between the two. */
bool aof_is_uncovered(const struct aof *a);
/* Ends the log: aof_step writes what is left, ends a base with its SEGMENT_END, cuts what was
 * preallocated and syncs; then the state is AOF_SEALED. */
void aof_seal(struct aof *a);
