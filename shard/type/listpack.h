/* listpack.h: a sequence of short strings and integers in one block of memory, which can be walked
 * from both ends.
 *
 *     ┌───────────────┬──────────┬─────────┬─────────┬─────┬──────┐
 *     │ total bytes   │ count    │ element │ element │  …  │ 0xff │
 *     │ 4, little end │ 2, little│         │         │     │      │
 *     └───────────────┴──────────┴─────────┴─────────┴─────┴──────┘
 *     A count of 65535 says that only a walk can tell.
 *
 *     element:  | head and value | back length: bytes of head and value |
 *       0xxxxxxx                          integer 0 … 127
 *       10xxxxxx  text                    text of up to 63 bytes
 *       110xxxxx xxxxxxxx                 13-bit integer, most significant bits first
 *       1110xxxx xxxxxxxx  text           text of up to 4095 bytes
 *       11110000  4 bytes, little  text   text of up to 2^32 - 1 bytes
 *       11110001 … 11110100               16-, 24-, 32-, 64-bit integer, little endian
 *     The back length has 7 bits in a byte, the least significant in the last one, and is read from
 *     right to left: bit 7 says that there is another byte to the left. Up to 127 takes one byte,
 *     below 16383 two, below 2097151 three, below 268435455 four, more five.
 *
 * An element is named by its position `at`, the offset of its head: positions survive a
 * reallocation, but only those before a change stay valid through it. 0 is "none" or "the end".
 * Text that is an integer (as text_to_i64 reads it) is always stored as one.
 *
 * Thread     [shard]
 * Ownership  The block belongs to the caller. A function that takes `struct listpack **` may move
 *            it. Views of elements are valid until the next change. No argument may point into the
 *            listpack that is being changed.
 * Limits     LISTPACK_BYTES_MAX in all. The block takes exactly the size class of its bytes.
 * Errors     Functions with `try` change nothing when there is no memory, or the limit is reached.
 * Source     The listpack specification (Sanfilippo, 2017), so that DUMP payloads travel.
 */
#pragma once

#include "base/bytes.h"
#include "base/mem.h"
#include "base/text.h"

struct listpack; /* its bytes */

#define LISTPACK_HEADER_BYTES 6
#define LISTPACK_EMPTY_BYTES 7
#define LISTPACK_BYTES_MAX ((size_t)1 << 30)
/* Of the gap in front of a listpack in a block with room. */
#define LISTPACK_GAP_BYTES_MAX ((1u << 20) - 1)
/* What an element of `size` bytes takes at most. */
#define LISTPACK_ELEMENT_BYTES_MAX(size) ((size) + 5 + 5)

/* An element: text, or an integer when text is NULL. */
struct listpack_value {
    const char *text;
    size_t size;
    int64_t integer;
};

/* ---- the whole ---- */

/* Empty. NULL when there is no memory. */
MUST_USE struct listpack *listpack_try_create(struct mem *mem);
MUST_USE struct listpack *listpack_try_copy(struct mem *mem, const struct listpack *lp);
/* NULL is allowed. */
void listpack_free(struct mem *mem, struct listpack *lp);
/* How many elements; O(1) below 65535, else O(n). */
uint64_t listpack_length(const struct listpack *lp);
/* Bytes of the serialised form, header and end included. */
size_t listpack_bytes(const struct listpack *lp);
/* Bytes of memory that the block takes. */
size_t listpack_allocated(const struct listpack *lp);
/* The serialised form itself: what DUMP writes. */
struct bytes listpack_view(const struct listpack *lp);
/* A listpack from serialised bytes that may come from anywhere; NULL if they are not a listpack in
 * every detail, or there is no memory. */
MUST_USE struct listpack *listpack_try_from_bytes(struct mem *mem, struct bytes bytes);
/* Whether bytes are a listpack in every detail; `*count` (may be NULL) is set to its elements. */
MUST_USE bool listpack_is_valid(struct bytes bytes, uint64_t *count);
/* Checks every invariant of one of ours. Slow. */
void listpack_validate(const struct listpack *lp);

/* ---- walking: all return a position, 0 past either end ---- */

uint32_t listpack_first(const struct listpack *lp);
uint32_t listpack_last(const struct listpack *lp);
uint32_t listpack_next(const struct listpack *lp, uint32_t at);
uint32_t listpack_prev(const struct listpack *lp, uint32_t at);
/* Negative from the end, -1 the last. O(n), from the nearer end. */
uint32_t listpack_seek(const struct listpack *lp, int64_t index);

/* ---- reading ---- */

void listpack_get(const struct listpack *lp, uint32_t at, struct listpack_value *out);
/* As text; an integer is printed to `scratch`, which holds TEXT_I64_BYTES_MAX. */
struct bytes listpack_text(const struct listpack *lp, uint32_t at, char *scratch);
/* True and the number if the element is one. */
MUST_USE bool listpack_integer(const struct listpack *lp, uint32_t at, int64_t *out);
/* Whether the element is that text. */
bool listpack_equals(const struct listpack *lp, uint32_t at, struct bytes text);
/* Text to compare many elements with. */
struct listpack_wanted {
    struct bytes text;
    int64_t integer; /* what the text says, if it is an integer */
    bool is_integer;
};
struct listpack_wanted listpack_wanted_make(struct bytes text);
static inline bool listpack_value_is(const struct listpack_value *v,
                                     const struct listpack_wanted *wanted)
{
    if (!v->text) return wanted->is_integer && v->integer == wanted->integer;
    if (v->size != wanted->text.size) return false;
    /* Names in one collection often differ at their ends only: most of them need no call. */
    if (v->size < sizeof(uint64_t))
        return v->size == 0 || memcmp(v->text, wanted->text.data, v->size) == 0;
    uint64_t a, b;
    memcpy(&a, v->text + v->size - sizeof a, sizeof a);
    memcpy(&b, wanted->text.data + v->size - sizeof b, sizeof b);
    return a == b && memcmp(v->text, wanted->text.data, v->size - sizeof a) == 0;
}
/* The first element from `at` (may be 0: none) on that is `text`. Only each (skip + 1)th is looked
 * at: 0 all, 1 the fields of field-value pairs. */
uint32_t listpack_find(const struct listpack *lp, uint32_t at, struct bytes text, unsigned skip);

/* ---- changing ---- */

MUST_USE bool listpack_try_append(struct mem *mem, struct listpack **lp, struct bytes value);
MUST_USE bool listpack_try_prepend(struct mem *mem, struct listpack **lp, struct bytes value);
MUST_USE bool listpack_try_append_integer(struct mem *mem, struct listpack **lp, int64_t value);
/* The new element stands at `at`, the old one behind it; `at` 0: at the end. */
MUST_USE bool listpack_try_insert(struct mem *mem, struct listpack **lp, uint32_t at,
                                  struct bytes value);
/* Behind the element at `at`. */
MUST_USE bool listpack_try_insert_after(struct mem *mem, struct listpack **lp, uint32_t at,
                                        struct bytes value);
/* The new value stands at `at`. */
MUST_USE bool listpack_try_replace(struct mem *mem, struct listpack **lp, uint32_t at,
                                   struct bytes value);
MUST_USE bool listpack_try_replace_integer(struct mem *mem, struct listpack **lp, uint32_t at,
                                           int64_t value);
/* Removes `count` elements from `at` on, or all that are left; returns the position of what
 * followed them (`at` again), 0 if nothing did. Never fails. */
uint32_t listpack_delete(struct mem *mem, struct listpack **lp, uint32_t at, uint64_t count);
/* Removes `count` elements from the one of that index (negative from the end) on. */
void listpack_delete_range(struct mem *mem, struct listpack **lp, int64_t index, uint64_t count);
/* Takes the elements from `at` (not 0) on out of it and returns them as another one; NULL, with
 * nothing changed, when there is no memory. */
MUST_USE struct listpack *listpack_try_split(struct mem *mem, struct listpack **lp, uint32_t at);
/* Whether `extra` more bytes of elements still fit. */
bool listpack_has_room(const struct listpack *lp, size_t extra);

/* ---- a listpack with room at both ends ----
 *
 *     block  | gap | header | element | … | 0xff | slack |
 *
 * Its pointer is that of the header, which moves back and forth so that elements come and go at
 * both ends without moving the others: O(1) amortised. The owner keeps gap and size of the block
 * beside the pointer; everything above that changes or frees a listpack wants one that fits.
 */

struct listpack_block {
    struct listpack *lp;
    uint32_t gap;
    uint32_t bytes; /* of the block: a size class */
};

/* An empty one in so many bytes, which are for elements that come at that end. */
MUST_USE bool listpack_block_try_create(struct mem *mem, size_t bytes, bool at_head,
                                        struct listpack_block *out);
/* Of a listpack that fits its block. */
struct listpack_block listpack_block_of(struct listpack *lp);
/* The listpack may be moved; positions stay valid as long as what they name. A block that is full
 * doubles, but does not grow over `bytes_max` if it need not. */
MUST_USE bool listpack_block_try_prepend(struct mem *mem, struct listpack_block *b,
                                         struct bytes value, size_t bytes_max);
MUST_USE bool listpack_block_try_append(struct mem *mem, struct listpack_block *b,
                                        struct bytes value, size_t bytes_max);
/* As listpack_delete; a block of which less than a third is in use is made to fit. */
uint32_t listpack_block_delete(struct mem *mem, struct listpack_block *b, uint32_t at,
                               uint64_t count);
/* Without any room. Never fails. */
struct listpack *listpack_block_fit(struct mem *mem, struct listpack_block *b);
void listpack_block_free(struct mem *mem, struct listpack_block *b);
