/* The ledger of open transactions, alone and between threads. */
#include "base/ledger.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>

#include "base/mailbox.h"
#include "base/sequencer.h"

#define ENTRIES 8

static struct mem mem;
static struct ledger ledger;

static void make(uint32_t rings, uint32_t entries)
{
    mem_init(&mem, "test");
    ledger_init(&ledger, &mem, rings, entries);
}

static void drop(void)
{
    ledger_deinit(&ledger, &mem);
    mem_deinit(&mem);
}

static struct ledger_entry *open_named(uint32_t ring, uint32_t parts, uint64_t txid)
{
    struct ledger_entry *e = ledger_open(&ledger, ring, parts, txid);
    ledger_name(e, txid);
    return e;
}

Test(ledger, without_transactions_nothing_holds_replies_back)
{
    make(3, ENTRIES);
    cr_assert_eq(ledger_lowest(&ledger), UINT64_MAX);
    drop();
}

Test(ledger, lowest_is_the_lowest_open_one_of_all_rings)
{
    make(2, ENTRIES);
    struct ledger_entry *nine = open_named(0, 1, 9), *five = open_named(1, 2, 5);
    cr_assert_eq(ledger_lowest(&ledger), 5);
    cr_assert(!ledger_part_is_stable(five));
    cr_assert_eq(ledger_lowest(&ledger), 5);
    cr_assert(ledger_part_is_stable(five));
    cr_assert_eq(ledger_lowest(&ledger), 9);
    cr_assert(ledger_part_is_stable(nine));
    cr_assert_eq(ledger_lowest(&ledger), UINT64_MAX);
    drop();
}

Test(ledger, one_that_is_over_behind_an_open_one_is_skipped)
{
    make(1, ENTRIES);
    struct ledger_entry *a = open_named(0, 1, 1), *b = open_named(0, 1, 2),
                        *c = open_named(0, 1, 3);
    cr_assert(ledger_part_is_stable(b));
    cr_assert_eq(ledger_lowest(&ledger), 1);
    cr_assert(ledger_part_is_stable(a));
    cr_assert_eq(ledger_lowest(&ledger), 3);
    cr_assert(ledger_part_is_stable(c));
    drop();
}

Test(ledger, before_it_has_a_name_its_bound_counts)
{
    make(1, ENTRIES);
    struct ledger_entry *e = ledger_open(&ledger, 0, 2, 40);
    cr_assert_eq(ledger_lowest(&ledger), 40);
    ledger_name(e, 44);
    cr_assert_eq(ledger_lowest(&ledger), 44);
    drop();
}

Test(ledger, full_ring_has_room_again_when_its_oldest_is_over)
{
    make(1, ENTRIES);
    struct ledger_entry *entries[ENTRIES];
    for (unsigned i = 0; i < ENTRIES; i++) {
        cr_assert(!ledger_is_full(&ledger, 0));
        entries[i] = open_named(0, 1, i + 1);
    }
    cr_assert(ledger_is_full(&ledger, 0));
    cr_assert(ledger_part_is_stable(entries[1]));
    cr_assert(ledger_is_full(&ledger, 0), "its oldest is still open");
    cr_assert(ledger_part_is_stable(entries[0]));
    cr_assert(!ledger_is_full(&ledger, 0));
    open_named(0, 1, 90);
    open_named(0, 1, 91);
    cr_assert(ledger_is_full(&ledger, 0));
    cr_assert_eq(ledger_lowest(&ledger), 3);
    drop();
}

Test(ledger, who_waits_is_told_apart_by_shard)
{
    make(1, ENTRIES);
    ledger_wait(&ledger, 3);
    ledger_wait(&ledger, 130);
    cr_assert_eq(ledger_waiting(&ledger, 0), 1u << 3);
    cr_assert_eq(ledger_waiting(&ledger, 2), 1u << 2);
    ledger_wait_no_more(&ledger, 3);
    cr_assert_eq(ledger_waiting(&ledger, 0), 0);
    cr_assert_eq(ledger_waiting(&ledger, 2), 1u << 2);
    drop();
}

/* ---- threads ---- */

/* Net threads open transactions of two parts and send them to two shards. A shard that has the
 * parcel of position p looks at R: whatever lies below both must be stable everywhere by then. */
#define NETS 2
#define SHARDS 2
#define TRANSACTIONS 20000 /* of each net thread */
#define BOXES (NETS * SHARDS)
#define SLOTS 16

struct parcel_stub {
    struct ledger_entry *entry;
    uint64_t txid;
};

static struct sequencer sequencer;
static struct mailbox boxes[BOXES];
static void *slots[BOXES][SLOTS];
static struct parcel_stub stubs[NETS][TRANSACTIONS];
static _Atomic uint8_t stable_parts[NETS * TRANSACTIONS + SEQUENCER_FIRST + 1];

static void *net_run(void *argument)
{
    uint32_t net = (uint32_t)(uintptr_t)argument;
    for (uint32_t i = 0; i < TRANSACTIONS; i++) {
        while (ledger_is_full(&ledger, net)) sched_yield();
        struct parcel_stub *stub = &stubs[net][i];
        stub->entry = ledger_open(&ledger, net, SHARDS, sequencer_now(&sequencer));
        stub->txid = sequencer_take(&sequencer);
        ledger_name(stub->entry, stub->txid);
        for (uint32_t shard = 0; shard < SHARDS; shard++)
            while (!mailbox_push(&boxes[shard * NETS + net], stub)) sched_yield();
    }
    return NULL;
}

static void look(uint64_t position, uint64_t *checked)
{
    uint64_t lowest = ledger_lowest(&ledger);
    uint64_t end = lowest < position + 1 ? lowest : position + 1;
    for (; *checked < end; ++*checked)
        cr_assert_eq(atomic_load(&stable_parts[*checked]), SHARDS, "%llu is not stable, R is %llu",
                     (unsigned long long)*checked, (unsigned long long)lowest);
}

static void *shard_run(void *argument)
{
    uint32_t shard = (uint32_t)(uintptr_t)argument;
    uint64_t checked = SEQUENCER_FIRST;
    for (uint32_t taken = 0; taken < NETS * TRANSACTIONS;) {
        uint32_t before = taken;
        for (uint32_t net = 0; net < NETS; net++) {
            struct parcel_stub *stub = mailbox_pop(&boxes[shard * NETS + net]);
            if (!stub) continue;
            taken++;
            look(stub->txid, &checked);
            atomic_fetch_add(&stable_parts[stub->txid], 1);
            UNUSED bool was_last = ledger_part_is_stable(stub->entry);
        }
        if (taken == before) sched_yield();
    }
    return NULL;
}

Test(ledger, no_reader_misses_a_transaction_before_what_it_has_seen)
{
    make(NETS, ENTRIES);
    sequencer_init(&sequencer);
    for (uint32_t i = 0; i < BOXES; i++) mailbox_init(&boxes[i], slots[i], SLOTS);
    pthread_t nets[NETS], shards[SHARDS];
    for (uintptr_t i = 0; i < SHARDS; i++)
        cr_assert_eq(pthread_create(&shards[i], NULL, shard_run, (void *)i), 0);
    for (uintptr_t i = 0; i < NETS; i++)
        cr_assert_eq(pthread_create(&nets[i], NULL, net_run, (void *)i), 0);
    for (uint32_t i = 0; i < NETS; i++) pthread_join(nets[i], NULL);
    for (uint32_t i = 0; i < SHARDS; i++) pthread_join(shards[i], NULL);
    cr_assert_eq(ledger_lowest(&ledger), UINT64_MAX);
    drop();
}
