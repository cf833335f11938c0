/* world.h: shards that log, clients that wait for replies, and what both may expect of a crash.
 *
 *     ops ──queue, in one order──▶ stream (a shard of a generation) ──aof──▶ simulated disk
 *                                     executes at its own pace
 *
 * Everything is drawn from one seed. An op is a write on one shard, a transaction with parts on
 * several, or a read, which promises that what it saw survives.
 *
 * Thread     one.
 */
#pragma once

#include "persist/aof.h"
#include "persist/manifest.h"
#include "persist/recovery.h"
#include "tests/sim/env_disk.h"
#include "tests/unit/random.h"

#define SHARDS_MAX 7
#define STREAMS_MAX 32
#define OPS_MAX 400
#define ENTRIES_MAX 300
#define DIRECTORY "d"
#define NEVER SIZE_MAX

/* What is wrong on purpose; the checks must find each. */
enum plant {
    PLANT_NONE,
    PLANT_EARLY_ACK,     /* replies leave when a record is appended */
    PLANT_NO_R_RULE,     /* … when their own shard is stable */
    PLANT_APPENDED_ONLY, /* R knows only of parts that were appended */
    PLANT_FREE_READS,    /* reads do not wait (always) */
    PLANT_NO_DIRECTORY_SYNC,
    PLANT_NO_FILE_SYNC,
    PLANT_SAME_UUID,      /* all files have one uuid: what the seed of the checksum is for */
    PLANT_EARLY_RESOLVED, /* marks call transactions resolved that are not durable everywhere */
    PLANT_MUTANT,         /* the bug is in the source */
    PLANT_COUNT
};
extern const char *const plant_names[PLANT_COUNT];

struct op {
    bool is_read, is_gone;
    uint16_t part_count, executed;
    uint64_t txid;
    struct {
        unsigned stream;
        uint64_t lsn; /* 0: not executed */
    } parts[SHARDS_MAX];
    size_t acked_at;  /* length of the trace; NEVER */
    size_t sealed_at; /* found by a recovery whose manifest was complete then */
};

struct entry {
    uint64_t lsn;
    unsigned op;
    uint16_t part;
};

struct stream {
    uint32_t generation;
    uint16_t shard;
    struct aof *aof;                   /* NULL: of an older generation */
    struct entry entries[ENTRIES_MAX]; /* executed */
    unsigned count;
    struct entry queue[ENTRIES_MAX];
    unsigned queue_start, queue_count;
    /* a rotation on its way */
    unsigned rotation; /* 0: none; 1: to be tried; 2: until the old file is durable */
    struct manifest_file next;
    uint32_t open_number; /* of the file that is written */
    uint64_t closed_size, closed_lsn, first_lsn;
};

struct world {
    struct random random;
    struct mem mem;
    struct disk *disk;
    enum aof_policy policy;
    enum plant plant;
    bool has_even_records; /* 64 bytes each, so that sectors of files look alike */
    uint64_t now_ns, next_txid;
    struct manifest manifest;
    struct stream *streams;
    unsigned stream_count, first_stream; /* of the living generation */
    uint16_t shard_count;
    struct op *ops;
    unsigned op_count;
    bool is_stuck; /* it did not settle */
};

void world_init(struct world *w, uint64_t seed, enum plant plant);
void world_deinit(struct world *w);
/* Starts a generation on the disk in use: a manifest, files, writers. ERR_IO: a fault was hit. */
MUST_USE enum err world_boot(struct world *w);
/* So many random things happen. */
void world_run(struct world *w, unsigned events);
/* Until nothing moves any more; faults are over. False if a log is lost and the policy is to end
 * the process. */
MUST_USE bool world_settle(struct world *w);
/* The process is gone, and the memory of the writers with it. */
void world_kill(struct world *w);
/* A payload that names an op and its part. */
size_t world_payload(const struct world *w, unsigned op, uint16_t part, char *out);
#define PAYLOAD_BYTES_MAX 1024

/* What survived a crash at `length` is the truth from now on: so many records per stream. */
void world_adopt(struct world *w, size_t length, const unsigned *survivors);

/* ---- check.c ---- */

/* Recovers from the disk, and compares. NULL, or what is wrong. `survivors` (STREAMS_MAX) gets the
 * count of records per stream. `is_promised`: this crash may not lose what was acknowledged before
 * the trace was `length` long. */
const char *check_disk(struct world *w, struct disk *d, size_t length, bool is_promised,
                       unsigned *survivors);
/* Recovery with a fault at this call fails, or is right. *is_over: there was no such call. */
const char *check_faulty_recovery(struct world *w, struct disk *d, size_t call,
                                  enum disk_fault fault, bool *is_over);
/* The process starts again on what a crash has left (the disk is the world's then), with another
 * number of shards. */
const char *check_restart(struct world *w, struct disk *d, size_t length,
                          const unsigned *survivors);
