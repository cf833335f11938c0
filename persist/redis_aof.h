/* redis_aof.h: the append-only files of a Redis server: their manifest, and the commands in them.
 *
 *     file appendonly.aof.1.base.rdb seq 1 type b      the manifest: b base, i increment, h history
 *     file appendonly.aof.1.incr.aof seq 1 type i
 *
 *     #TS:1700000000                                   a file: annotations, and commands as RESP
 *     *3 $3 SET $1 a $1 1
 *
 * Thread     any; a reader belongs to one.
 * Ownership  The caller's memory: init, deinit; open, close. Arguments are valid until the next
 *            call.
 * Limits     A command is kept in memory whole; what a length claims reserves nothing.
 * Errors     `fault` is a phrase for a log line, `offset` the place in the file.
 * Source     The documentation of Redis 7.0 and the files that it writes.
 */
#pragma once

#include "base/env.h"
#include "base/mem.h"
#include "base/resp.h"

#define REDIS_AOF_NAME_BYTES 256
#define REDIS_AOF_WHY_BYTES 512

struct redis_aof_file {
    char name[REDIS_AOF_NAME_BYTES];
    uint64_t number;
};

struct redis_aof_manifest {
    bool has_base;
    struct redis_aof_file base;
    struct redis_aof_file *increments; /* in their order */
    unsigned increment_count, increment_capacity;
    struct mem *mem;
};

void redis_aof_manifest_init(struct redis_aof_manifest *m, struct mem *mem);
void redis_aof_manifest_deinit(struct redis_aof_manifest *m);
/* `m` is initialised and empty. False with `why` (REDIS_AOF_WHY_BYTES). */
MUST_USE bool redis_aof_manifest_parse(struct redis_aof_manifest *m, struct bytes text, char *why);

enum redis_aof_found {
    REDIS_AOF_COMMAND,
    REDIS_AOF_END,
    REDIS_AOF_CUT,    /* it ends within a command */
    REDIS_AOF_BROKEN, /* what stands there is no command */
    REDIS_AOF_FAILURE /* it cannot be read, or is too big for the memory */
};

struct redis_aof_reader {
    struct bytes *argv; /* of REDIS_AOF_COMMAND */
    uint32_t argc;
    uint64_t offset; /* of the last command, or of what was found */
    uint64_t end;    /* behind the last command */
    uint64_t size;   /* of the file */
    const char *fault;
    /* ---- private ---- */
    struct mem *mem;
    struct env_file file;
    struct resp_reader resp;
    char *window;
    uint64_t window_offset, window_end;
    char first; /* byte at `end`, if that lies before the window */
};

/* Reads from `offset` on. False: close it all the same. */
MUST_USE bool redis_aof_open(struct redis_aof_reader *r, struct mem *mem, const char *path,
                             uint64_t offset);
void redis_aof_close(struct redis_aof_reader *r);
MUST_USE enum redis_aof_found redis_aof_next(struct redis_aof_reader *r);
