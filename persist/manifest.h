/* manifest.h: which files make up the data set: one manifest for all shards.
 *
 *     shoal manifest 1
 *     server 0f3c…                            16 bytes, hexadecimal
 *     seed 00c0ffee00c0ffee                   of the hash that places keys
 *     horizon 812                             every transaction below this txid is resolved
 *     generation 3 shards 4                   oldest first
 *     base 0 1 9ac1… 500 8192                 shard, number, uuid, first lsn, bytes
 *     segment 0 2 77d0… 500 65536             closed: exactly so many bytes
 *     segment 0 3 b01d… 0 0                   open: written to until the process ended
 *     crc 1c2d3e4f                            CRC-32C of everything before this line
 *
 * A *generation* is the life of one process, or of one number of shards. Generations are loaded one
 * after the other; in one generation a shard's files, in the order of their numbers, hold its
 * effects in the order of their lsn, and shards are independent of each other. A base replaces
 * everything that older generations hold for the keys of its shard, by the number of shards of its
 * own generation; its "first lsn" is that of the segment behind it.
 *
 * A base has no parts of transactions, so recovery could take those of other shards for incomplete:
 * a base that holds transactions up to txid t is published only when all up to t are durable on all
 * shards, in the manifest whose horizon is above t.
 *
 * The manifest is the only list of files: what it does not name is never loaded.
 *
 * Thread     one at a time.
 * Ownership  The caller's memory: init, deinit.
 * Limits     MANIFEST_BYTES_MAX, MANIFEST_GENERATIONS_MAX.
 * Errors     The parser takes exactly what the encoder writes, byte for byte; `why` (256 bytes)
 *            says what is wrong.
 */
#pragma once

#include "base/env.h"
#include "base/mem.h"
#include "persist/segment.h"

#define MANIFEST_NAME "shoal.manifest"
#define MANIFEST_BYTES_MAX (16u << 20)
#define MANIFEST_GENERATIONS_MAX 1024
#define MANIFEST_SHARDS_MAX 4096
#define MANIFEST_FILE_NAME_BYTES 64
#define MANIFEST_WHY_BYTES 256

struct manifest_generation {
    uint32_t number;
    uint16_t shard_count;
};

struct manifest_file {
    enum segment_kind kind;
    uint32_t generation;
    uint16_t shard;
    uint32_t number; /* grows within a shard of a generation */
    struct segment_uuid uuid;
    uint64_t first_lsn; /* of a base: of what follows it. 0: open */
    uint64_t size;      /* 0: open */
};

struct manifest {
    struct segment_uuid server;
    uint64_t hash_seed;
    uint64_t horizon;
    /* Sorted: by number; by generation, shard and number. */
    struct manifest_generation *generations;
    struct manifest_file *files;
    unsigned generation_count, file_count;
    /* ---- private ---- */
    struct mem *mem;
    unsigned generation_capacity, file_capacity;
};

void manifest_init(struct manifest *m, struct mem *mem);
void manifest_deinit(struct manifest *m);
/* Its number is higher than all that are there. */
void manifest_add_generation(struct manifest *m, uint32_t number, uint16_t shard_count);
/* Of a generation that is there; its number is new there. */
void manifest_add_file(struct manifest *m, const struct manifest_file *f);
/* NULL if there is none. */
struct manifest_file *manifest_find(const struct manifest *m, const struct segment_uuid *uuid);
void manifest_remove_file(struct manifest *m, unsigned index);
/* Forgets generations without files, but for the last one. */
void manifest_drop_empty_generations(struct manifest *m);
static inline const struct manifest_generation *manifest_last(const struct manifest *m)
{
    return &m->generations[m->generation_count - 1];
}

/* "g3-s0-2.aof", "g3-s0-1.base". */
void manifest_file_name(const struct manifest_file *f, char out[MANIFEST_FILE_NAME_BYTES]);

void manifest_encode(const struct manifest *m, struct buf *out);
/* `m` is initialised and empty; on failure it may hold a part. */
MUST_USE bool manifest_parse(struct manifest *m, struct bytes text, char *why);

/* Replaces the manifest of a directory, durably. */
MUST_USE enum err manifest_write(const struct manifest *m, const char *directory);
/* ERR_NO_KEY: there is none. ERR_IO, with `why`: it cannot be read or is not valid. */
MUST_USE enum err manifest_read(struct manifest *m, const char *directory, char *why);
/* Removes segments, bases and temporary files that the manifest does not name: at the start, so
 * that their names are free, and after manifest_write. */
void manifest_remove_strangers(const struct manifest *m, const char *directory);
