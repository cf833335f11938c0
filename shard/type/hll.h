/* hll.h: HyperLogLog sketches: about how many different elements there were, in at most 12 KiB.
 *
 *     ┌────────┬──────────┬─────────┬─────────────────────────────────┬──────────────────────┐
 *     │ "HYLL" │ encoding │ unused  │ cached count, little endian;    │ registers            │
 *     │ 4      │ 1        │ 3       │ top bit: out of date   8 bytes  │                      │
 *     └────────┴──────────┴─────────┴─────────────────────────────────┴──────────────────────┘
 *     encoding 0, dense: 16,384 registers of 6 bits, the first in the lower bits of the first byte
 *     encoding 1, sparse: runs of equal registers, one after the other:
 *       ZERO   00nnnnnn             n + 1 registers that are 0
 *       XZERO  01nnnnnn nnnnnnnn    n + 1 registers that are 0, high bits first
 *       VAL    1vvvvvnn             n + 1 registers that are v + 1
 *
 * A hash of the element chooses the register; the register keeps the highest rank that it has seen,
 * the number of trailing zeros plus 1 of the rest of the hash. A sketch is sparse until a rank is
 * above 32, or a change would make it longer than the configured limit.
 *
 * Thread     any.
 * Ownership  A sketch is the bytes of a string; a draft owns what it has changed.
 * Limits     The estimate has a standard error of 0.81 %.
 * Errors     Bytes may come from a client: nothing is read behind their end, and runs that do not
 *            make exactly 16,384 registers are found out as corrupt where all of them are visited.
 * Source     Flajolet et al., "HyperLogLog" (2007); Ertl, "New cardinality estimation algorithms
 *            for HyperLogLog sketches" (2017); MurmurHash64A by Austin Appleby. The layout, and
 *            which sparse form a change leads to, are Redis's, so that sketches travel.
 */
#pragma once

#include "base/bytes.h"

#define HLL_REGISTERS 16384
#define HLL_HEADER_BYTES 16
#define HLL_DENSE_BYTES (HLL_HEADER_BYTES + HLL_REGISTERS * 6 / 8)

/* An empty sparse sketch, its count out of date. */
struct bytes hll_empty(void);
/* Whether the header is one of a sketch, and a dense one has its size. */
bool hll_has_header(struct bytes value);
/* The rest is for values with such a header. */
bool hll_is_dense(struct bytes sketch);
/* False if the cached count is out of date. */
MUST_USE bool hll_cached_count(struct bytes sketch, int64_t *count);
void hll_cache_count(char *sketch, int64_t count);
void hll_outdate_count(char *sketch);

/* What an element does: its register has at least that rank from then on. */
struct hll_mark {
    uint32_t index;
    uint8_t rank; /* 1 … 51 */
};
struct hll_mark hll_mark_of(struct bytes element);

uint8_t hll_dense_rank(struct bytes sketch, uint32_t index);
void hll_dense_set_rank(char *sketch, struct hll_mark mark);

/* ---- counting; false: corrupt ---- */

struct hll_registers {
    uint8_t ranks[HLL_REGISTERS];
};

MUST_USE bool hll_estimate(struct bytes sketch, int64_t *count);
/* Raises the registers to those of the sketch. */
MUST_USE bool hll_merge_into(struct bytes sketch, struct hll_registers *registers);
int64_t hll_estimate_registers(const struct hll_registers *registers);

/* ---- for tests ---- */

/* Appends the runs of a sparse sketch, as far as there are whole ones, and Redis's names for them:
 * "Z:8436 v:1,1 z:3". False when there is no memory. */
MUST_USE bool hll_try_describe(struct bytes sketch, struct buf *out);

/* ---- changing ---- */

enum hll_result { HLL_SAME, HLL_CHANGED, HLL_CORRUPT, HLL_NO_MEMORY };

/* A sketch in the making; the original stays as it is. */
struct hll_draft {
    struct bytes sketch; /* what it is now: the original, or `own` once there is a change */
    /* ---- private ---- */
    struct buf own;
    uint64_t sparse_bytes_max;
    /* A run before the one that was looked for last, so that ascending indices need not begin at
     * the start. */
    size_t hint_at;
    uint32_t hint_first;
};

/* `sketch` must outlive the draft. */
void hll_draft_begin(struct hll_draft *d, struct mem *mem, struct bytes sketch,
                     uint64_t sparse_bytes_max);
MUST_USE enum hll_result hll_draft_raise(struct hll_draft *d, struct hll_mark mark);
MUST_USE enum hll_result hll_draft_make_dense(struct hll_draft *d);
/* The count is out of date from now on. False when there is no memory. */
MUST_USE bool hll_draft_finish(struct hll_draft *d);
void hll_draft_free(struct hll_draft *d);
