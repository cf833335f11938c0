/* entry.h: one allocation for a key, its deadline and its value (or a pointer to it). Also the
 * element of big sets and hashes.
 *
 *      byte 0        1      2..4    5         6..7        8
 *     ┌─────────────┬──────┬───────┬──────────┬───────────┬──────────┬────────────┬─────┬───────┐
 *     │ type | enc  │flags │ clock │ key size │value size │[deadline]│[long key   │ key │ value │
 *     │  4      4   │ 4+4  │  24   │ 8        │ 16        │ 8, ms    │ size] 4, … │     │ part  │
 *     └─────────────┴──────┴───────┴──────────┴───────────┴──────────┴────────────┴─────┴───────┘
 *     deadline only with ENTRY_DEADLINE; long key size (u32, padded to 8) only with ENTRY_LONG_KEY.
 *     The value part, by encoding:
 *       INT                 int64, not aligned
 *       EMBSTR, RAW         value_size bytes, when !ENTRY_POINTER
 *       RAW                 struct big_string, when ENTRY_POINTER (over ENTRY_EMBED_BYTES_MAX)
 *       all others          void *root of the type's own structure, ENTRY_POINTER set
 *
 * A 16-byte key with a 32-byte string is 56 bytes, 64 with a deadline: the same class of jemalloc.
 *
 * Thread     [shard]
 * Ownership  Whoever made it, until it is put in a dict. Changing the value may move the entry: go
 *            through keyspace.h.
 * Limits     Keys < 4 GiB, embedded values ≤ ENTRY_EMBED_BYTES_MAX. At least 16 bytes, so that
 *            addresses are aligned to 16, which dict.h needs.
 */
#pragma once

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "shard/defrag_walk.h"

enum type { TYPE_STRING, TYPE_LIST, TYPE_SET, TYPE_ZSET, TYPE_HASH, TYPE_STREAM, TYPE_COUNT };

enum encoding {
    ENCODING_RAW,
    ENCODING_INT,
    ENCODING_EMBSTR,
    ENCODING_LISTPACK,
    ENCODING_QUICKLIST,
    ENCODING_INTSET,
    ENCODING_HASHTABLE,
    ENCODING_SKIPLIST,
    ENCODING_STREAM,
    ENCODING_COUNT
};

enum entry_flags {
    ENTRY_DEADLINE = 1 << 0,
    ENTRY_LONG_KEY = 1 << 1,
    ENTRY_POINTER = 1 << 2,
    ENTRY_COLOUR = 1 << 3, /* of snapshot.h; means nothing outside of a database's table */
};

#define ENTRY_EMBED_BYTES_MAX 1024
/* Longer text has the encoding "raw". */
#define ENTRY_EMBSTR_BYTES_MAX 44

struct entry {
    uint8_t type_encoding; /* low nibble: enum type; high nibble: enum encoding */
    uint8_t flags; /* enum entry_flags in the low nibble; the high one belongs to the clock */
    uint8_t clock[3];
    uint8_t key_size;    /* when !ENTRY_LONG_KEY */
    uint16_t value_size; /* embedded string */
    char rest[];
};
_Static_assert(sizeof(struct entry) == 8, "header of an entry");
_Static_assert(offsetof(struct entry, clock) == offsetof(struct entry, flags) + 1, "one word");

/* A string value too big to embed. */
struct big_string {
    char *data;
    size_t size;
    size_t capacity;
};

static inline enum type entry_type(const struct entry *e)
{
    return (enum type)(e->type_encoding & 15);
}
static inline enum encoding entry_encoding(const struct entry *e)
{
    return (enum encoding)(e->type_encoding >> 4);
}
static inline bool entry_has_deadline(const struct entry *e)
{
    return e->flags & ENTRY_DEADLINE;
}
/* The access clock, 28 bits whose meaning is the keyspace's: LRU: sixteenths of a second; LFU:
 * minutes in 16 bits, then the counter in 8; S3-FIFO: s3fifo.h. */
static inline uint32_t entry_clock(const struct entry *e)
{
    uint32_t word; /* flags and clock */
    memcpy(&word, (const char *)e + offsetof(struct entry, flags), sizeof word);
    return word >> 8 | (word & 0xf0) << 20;
}
static inline void entry_set_clock(struct entry *e, uint32_t clock)
{
    for (unsigned i = 0; i < 3; i++) e->clock[i] = (uint8_t)(clock >> (8 * i));
    e->flags = (uint8_t)((e->flags & 0x0f) | (clock >> 20 & 0xf0));
}
static inline unsigned entry_colour(const struct entry *e)
{
    return e->flags & ENTRY_COLOUR;
}
static inline void entry_set_colour(struct entry *e, unsigned colour)
{
    e->flags = (uint8_t)((e->flags & ~ENTRY_COLOUR) | colour);
}
/* Milliseconds since 1970; 0: none. */
static inline int64_t entry_deadline_ms(const struct entry *e)
{
    int64_t ms = 0;
    if (entry_has_deadline(e)) memcpy(&ms, e->rest, sizeof ms);
    return ms;
}
static inline struct bytes entry_key(const struct entry *e)
{
    const char *p = e->rest + (e->flags & ENTRY_DEADLINE ? 8 : 0);
    if (likely(!(e->flags & ENTRY_LONG_KEY))) return (struct bytes){p, e->key_size};
    uint32_t size;
    memcpy(&size, p, sizeof size);
    return (struct bytes){p + 8, size};
}
/* Where the value part starts. Not aligned. */
static inline char *entry_value_part(const struct entry *e)
{
    struct bytes key = entry_key(e);
    return (char *)(uintptr_t)(key.data + key.size);
}
static inline bool entry_has_key(const struct entry *e, struct bytes key)
{
    struct bytes own = entry_key(e);
    if (own.size != key.size) return false;
    if (key.size - 8 > 24) return key.size == 0 || memcmp(own.data, key.data, key.size) == 0;
    /* 8 … 16 bytes are two words that may overlap, 17 … 32 are four: the most common keys without
     * a call. */
    uint64_t a[4], b[4];
    memcpy(&a[0], own.data, 8);
    memcpy(&b[0], key.data, 8);
    memcpy(&a[1], own.data + own.size - 8, 8);
    memcpy(&b[1], key.data + key.size - 8, 8);
    uint64_t differs = (a[0] ^ b[0]) | (a[1] ^ b[1]);
    if (key.size <= 16) return differs == 0;
    memcpy(&a[2], own.data + 8, 8);
    memcpy(&b[2], key.data + 8, 8);
    memcpy(&a[3], own.data + own.size - 16, 8);
    memcpy(&b[3], key.data + key.size - 16, 8);
    return (differs | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}
/* Bytes of the allocation that `e` itself is, without what it points to. */
size_t entry_bytes(const struct entry *e);

/* A string's bytes. An integer is printed to `scratch` (TEXT_I64_BYTES_MAX); the view is valid
 * until the entry changes. */
struct bytes entry_string(const struct entry *e, char *scratch);
/* Only for ENCODING_INT. */
int64_t entry_integer(const struct entry *e);
/* The root of a collection: of the type's own structure. */
static inline void *entry_root(const struct entry *e)
{
    void *root;
    memcpy(&root, entry_value_part(e), sizeof root);
    return root;
}
static inline void entry_set_root(struct entry *e, void *root)
{
    memcpy(entry_value_part(e), &root, sizeof root);
}
static inline void entry_set_encoding(struct entry *e, enum encoding encoding)
{
    e->type_encoding = (uint8_t)((e->type_encoding & 15) | (unsigned)encoding << 4);
}

static inline struct big_string entry_big_string(const struct entry *e)
{
    struct big_string b;
    memcpy(&b, entry_value_part(e), sizeof b);
    return b;
}
static inline void entry_set_big_string(struct entry *e, const struct big_string *b)
{
    memcpy(entry_value_part(e), b, sizeof *b);
}

/* ---- making; all return NULL when there is no memory ---- */

/* `deadline_ms` 0: none. A string of at most ENTRY_EMBED_BYTES_MAX is embedded, a longer one
 * allocated beside. `encoding` is RAW, EMBSTR or INT (value then holds the int64's 8 bytes). */
MUST_USE struct entry *entry_try_make_string(struct mem *mem, struct bytes key, struct bytes value,
                                             enum encoding encoding, int64_t deadline_ms);
/* A collection; takes over `root`. */
MUST_USE struct entry *entry_try_make_object(struct mem *mem, struct bytes key, enum type type,
                                             enum encoding encoding, void *root,
                                             int64_t deadline_ms);
/* A raw string of `size` zero bytes, without room to grow: most are written once (SETRANGE, BITOP).
 */
MUST_USE struct entry *entry_try_make_blank(struct mem *mem, struct bytes key, size_t size,
                                            int64_t deadline_ms);
/* The same, but the bytes are for the caller to write before anybody reads them. */
MUST_USE struct entry *entry_try_make_unset(struct mem *mem, struct bytes key, size_t size,
                                            int64_t deadline_ms);
/* Another entry with the same value: what `e` points to is shared until the caller frees one of the
 * shells. */
MUST_USE struct entry *entry_try_reshell(struct mem *mem, const struct entry *e, struct bytes key,
                                         int64_t deadline_ms);
/* Frees the entry and a big string; never a collection (object_free does). */
void entry_free_string(struct mem *mem, struct entry *e);
/* Frees the allocation of the entry only; what it points to has been moved elsewhere. */
void entry_free_shell(struct mem *mem, struct entry *e);

/* The entry, or the one that took its place; what it points to stays. */
struct entry *entry_defrag(struct defrag_walk *w, struct entry *e);

/* ---- changing in place; false, with nothing changed, if that needs another size class ---- */

/* Another value for an embedded string. `value` may not point into `e`. */
MUST_USE bool entry_overwrite_string(struct entry *e, struct bytes value, enum encoding encoding,
                                     int64_t deadline_ms);
/* Another deadline; 0 removes it. */
MUST_USE bool entry_change_deadline(struct entry *e, int64_t deadline_ms);
/* Another size for an embedded string: raw from then on, new bytes are zero. */
MUST_USE bool entry_resize_string(struct entry *e, size_t size);
/* Another size, not smaller, for a big string, whose capacity grows by doubling, or in steps of
 * 1 MiB. New bytes are zero. False when there is no memory. */
MUST_USE bool entry_try_grow_big_string(struct mem *mem, struct entry *e, size_t size);

/* Name for OBJECT ENCODING. */
const char *encoding_name(enum encoding e);
/* Name for TYPE. */
const char *type_name(enum type t);
