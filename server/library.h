/* library.h: the libraries of functions of the server, for all threads.
 *
 *     code ─▶ library_read_metadata ─▶ lua_vm_load_library (a draft) ─▶ library_make
 *          ─▶ functions_add ─▶ a new set ─▶ every thread, at its next FCALL
 *
 * A set of libraries never changes. Whoever changes something publishes another set, so a thread
 * that has one finds functions without a lock, and lists, dumps and snapshots are of one moment.
 *
 * Thread     any. Changes, and taking a set, go through a mutex; functions_refresh takes it only
 *            when there is a newer set.
 * Ownership  Sets and libraries are counted. A function is its library's: counting its script is
 *            counting the library.
 * Errors     Texts for the client, in `error`; then nothing has changed.
 * Order      What FUNCTION LOAD has answered is found from then on by every thread.
 */
#pragma once

#include "server/script_cache.h"

#define LIBRARY_LOAD_MS_MAX 500

struct function {
    struct script script; /* its label is the name */
    struct bytes description;
    bool has_description;
};

struct library {
    _Atomic uint32_t refs;
    struct functions *home;
    size_t bytes; /* of this allocation */
    struct bytes name, code;
    uint32_t function_count;
    struct function functions[]; /* as they were registered; texts stand behind them */
};

struct library_set {
    _Atomic uint32_t refs;
    size_t bytes; /* of this allocation */
    uint32_t library_count, function_count, bucket_count;
    struct library **libraries; /* by name */
    struct function **buckets;  /* open addressing; the case of names does not matter */
};

struct functions {
    pthread_mutex_t mutex;
    struct mem mem; /* under the mutex, as is what follows */
    struct library_set *set;
    int64_t ids;
    /* ---- any thread reads ---- */
    _Atomic uint64_t version; /* grows with each change */
    _Atomic uint64_t library_count, function_count, bytes;
};

/* What a loading phase has registered, before it becomes a library. */
struct drafted_function {
    size_t name_at, name_size, description_at, description_size; /* in `text` */
    bool has_description;
    uint32_t flags; /* enum script_flags */
    int first_line, last_line;
};
struct library_draft {
    struct bytes name, code; /* the caller's */
    struct buf functions;    /* struct drafted_function */
    struct buf text;
    int callbacks; /* of the Lua state: a table, in the same order */
    bool is_again; /* loaded before: it need not log once more */
};

void functions_init(struct functions *f);
void functions_deinit(struct functions *f);

/* The name in the first line of a library's code, in `words`, which the caller clears. False:
 * `error` says why not. */
MUST_USE bool library_read_metadata(struct bytes code, struct buf *words, struct bytes *name,
                                    struct buf *error);
/* Whether a name of a library or function is one. */
bool library_name_is_valid(struct bytes name);

static inline uint32_t draft_count(const struct library_draft *d)
{
    return (uint32_t)(d->functions.size / sizeof(struct drafted_function));
}
static inline const struct drafted_function *draft_function(const struct library_draft *d,
                                                            uint32_t i)
{
    return (const struct drafted_function *)(const void *)d->functions.data + i;
}
void library_draft_clear(struct library_draft *d);

/* Counted for the caller. NULL: no memory. */
MUST_USE struct library *library_make(struct functions *f, const struct library_draft *d);
void library_ref(struct library *l);
void library_unref(struct library *l);

/* The present set, counted for the caller. */
struct library_set *functions_take(struct functions *f);
void library_set_unref(struct functions *f, struct library_set *set);
/* Exchanges a set that is not the present one any more. */
void functions_refresh(struct functions *f, struct library_set **set, uint64_t *version);

/* NULL: not there. */
struct function *library_set_find_function(const struct library_set *set, struct bytes name);
struct library *library_set_find(const struct library_set *set, struct bytes name);

/* ADD refuses libraries that are there, REPLACE exchanges them, FLUSH drops all others. */
enum functions_policy { FUNCTIONS_ADD, FUNCTIONS_REPLACE, FUNCTIONS_FLUSH };
/* All of them or none. `quote`: the name of a library that is there already, as FUNCTION LOAD
 * quotes it. */
MUST_USE bool functions_add(struct functions *f, struct library *const *libraries, uint32_t count,
                            enum functions_policy policy, bool quote, struct buf *error);
/* False: no such library, or no memory. */
MUST_USE bool functions_delete(struct functions *f, struct bytes name, struct buf *error);
MUST_USE bool functions_flush(struct functions *f);

/* Appends what FUNCTION DUMP answers. False: no memory. */
MUST_USE bool functions_dump(const struct library_set *set, bool compress, struct buf *out);
/* Calls `each` with the code of every library of such a payload, until it returns false. False:
 * `error` says what is wrong, unless `each` has said so. */
typedef bool functions_code_fn(void *context, struct bytes code, struct buf *error);
MUST_USE bool functions_read_dump(struct bytes payload, struct mem *mem, functions_code_fn *each,
                                  void *context, struct buf *error);
