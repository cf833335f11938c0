/* ledger.h: transactions over several shards whose parts are not all stable yet, and R, the lowest
 * of them: the other half of the rule that lets replies leave (persist/aof.h).
 *
 *     net thread                                    shard with a part
 *     1. ledger_open    parts, a lower bound        a. runs it, appends its record
 *     2. pushes its parcels                         b. the record is stable: ledger_part_is_stable
 *     3. takes its position  ── one fetch_add
 *     4. ledger_name: that is the txid              any shard: ledger_lowest before it replies
 *     5. stores it into the parcels
 *
 * The position is not known before it is taken, and from then on nobody may miss the transaction:
 * so the entry stands there before, with a bound that is not above it. Who has a parcel of position
 * p sees the entries of all positions below p, because each was opened before its fetch_add, and
 * the counter's operations order them.
 *
 * A shard that waits says so (ledger_wait), and looks once more before it sleeps; who raises R
 * looks who waits, behind a fence: one of the two sees the other.
 *
 * Thread     [net] of the ring, [shard] of the part, [any]
 * Limits     A ring per net thread. When it is full no transaction may begin; parts that become
 *            stable make room.
 * Order      The txids of a ring grow.
 */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>

#include "base/mem.h"

#define LEDGER_SHARDS_MAX 256
#define LEDGER_FIRST_INDEX ((uint32_t)-3) /* every run crosses the wrap */

struct ledger_entry {
    _Atomic uint64_t txid; /* or a lower bound of it */
    _Atomic uint32_t left; /* parts that are not stable; 0: it is over */
};

struct ledger_ring {
    /* ---- written by its net thread ---- */
    alignas(CACHE_LINE) _Atomic uint32_t head;
    _Atomic uint32_t tail;
    /* ---- constant after init ---- */
    struct ledger_entry *entries;
    uint32_t mask;
};

struct ledger {
    struct ledger_ring *rings; /* by net thread */
    uint32_t ring_count;
    alignas(CACHE_LINE) _Atomic uint64_t waiting[LEDGER_SHARDS_MAX / 64]; /* bit by shard */
};

/* `ring_entries` is a power of two. */
void ledger_init(struct ledger *l, struct mem *mem, uint32_t ring_count, uint32_t ring_entries);
void ledger_deinit(struct ledger *l, struct mem *mem);

/* [net] Also forgets what is over. */
bool ledger_is_full(struct ledger *l, uint32_t ring);
/* [net] The ring is not full. `bound`: no position from there on has been taken by this thread;
 * sequencer_now. */
struct ledger_entry *ledger_open(struct ledger *l, uint32_t ring, uint32_t parts, uint64_t bound);
/* [net] The position was taken. R may be higher now: wake who waits. */
void ledger_name(struct ledger_entry *e, uint64_t txid);
/* [shard] One part is stable (or will never be written). True: it was the last, so R may be higher:
 * wake who waits. The entry may not be touched again. */
MUST_USE bool ledger_part_is_stable(struct ledger_entry *e);

/* R: every transaction below it that was opened is stable everywhere; UINT64_MAX: all are. [any] */
uint64_t ledger_lowest(const struct ledger *l);

/* [shard] Before its last look at R, and when it waits no more. */
void ledger_wait(struct ledger *l, uint16_t shard);
void ledger_wait_no_more(struct ledger *l, uint16_t shard);
/* [any] After R may have become higher: who waits, of shards 64 × word … 64 × word + 63. */
uint64_t ledger_waiting(const struct ledger *l, uint32_t word);
