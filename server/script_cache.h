/* script_cache.h: the scripts of the server by the SHA-1 of their text, for all threads.
 *
 * Thread     Publication and whatever is not found in a thread's own table takes a mutex; the usual
 *            lookup is in the thread's own table, which is right while the generation is.
 * Ownership  A script is counted: the cache has one count, each table and each run one more.
 * Order      What SCRIPT LOAD has answered is found from then on by every thread, until a FLUSH.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/sha1.h"

#define SCRIPT_SHA_BYTES (2 * SHA1_BYTES)

struct library;

enum script_flags {
    SCRIPT_NO_WRITES = 1 << 0,
    SCRIPT_ALLOW_OOM = 1 << 1,
    SCRIPT_ALLOW_STALE = 1 << 2,
    SCRIPT_NO_CLUSTER = 1 << 3,
    SCRIPT_ALLOW_CROSS_SLOT = 1 << 4,
};
#define SCRIPT_FLAG_COUNT 5
extern const char *const script_flag_names[SCRIPT_FLAG_COUNT]; /* by bit */
/* 0: there is none of that name. */
uint32_t script_flag_of(struct bytes name);

/* What is known of a script from its runs. */
enum script_habit {
    HABIT_UNDECLARED = 1 << 0, /* touches keys that it does not declare, or needs a net thread */
    HABIT_LONG = 1 << 1,       /* has run longer than a shard should be kept */
    HABIT_PUBLISHES = 1 << 2,
};

struct script {
    _Atomic uint32_t refs;
    _Atomic uint32_t habits;      /* enum script_habit */
    _Atomic uint32_t modest_runs; /* that touched only what they declared */
    uint32_t flags;               /* enum script_flags */
    bool has_shebang;
    int64_t id;              /* never used again; negative for functions */
    struct library *library; /* of a function: counted in its stead; else NULL */
    const char *label;       /* what errors call it: the digest, or the function's name */
    char sha[SCRIPT_SHA_BYTES + 1];
    const char *text; /* of a function: its library's code */
    size_t size;
    int first_line, last_line; /* of a function, in the text; else 0 */
    struct script *next;       /* in a bucket of the cache */
};

struct script_cache {
    pthread_mutex_t mutex;
    struct mem mem; /* under the mutex */
    struct script **buckets;
    uint32_t bucket_count;
    int64_t ids;
    _Atomic uint64_t generation;
    _Atomic uint64_t count, bytes; /* of the scripts that can be found */
};

/* A thread's own. Both kinds of lookup go through the same slots. */
#define SCRIPT_TABLE_SLOTS 1024
struct script_table {
    struct script_cache *cache;
    uint64_t generation;
    uint64_t seed;
    struct script *by_text[SCRIPT_TABLE_SLOTS], *by_sha[SCRIPT_TABLE_SLOTS];
};

void script_cache_init(struct script_cache *c);
void script_cache_deinit(struct script_cache *c);
/* All scripts are forgotten; runs under way go on. */
void script_cache_flush(struct script_cache *c);
/* Adds a script, or finds the same one; counted for the caller. NULL: no memory. */
MUST_USE struct script *script_cache_add(struct script_cache *c, struct bytes text, uint32_t flags,
                                         bool has_shebang);
bool script_cache_has(struct script_cache *c, struct bytes sha);
void script_ref(struct script *s);
void script_unref(struct script_cache *c, struct script *s);

void script_table_init(struct script_table *t, struct script_cache *c, uint64_t seed);
void script_table_deinit(struct script_table *t);
/* Lets go of everything if there was a flush; each lookup does so by itself. */
void script_table_refresh(struct script_table *t);
/* NULL: not there. Borrowed: count it to keep it beyond the next lookup. */
struct script *script_table_find_text(struct script_table *t, struct bytes text);
struct script *script_table_find_sha(struct script_table *t, struct bytes sha);
/* Takes over the caller's count. */
void script_table_put(struct script_table *t, struct script *s);

#define SCRIPT_SHEBANG_BYTES_MAX 65536
/* Reads "#!lua flags=…", if there is one. False: `error` says what is wrong with it. */
MUST_USE bool script_read_shebang(struct bytes text, uint32_t *flags, bool *has_shebang,
                                  struct buf *error);
