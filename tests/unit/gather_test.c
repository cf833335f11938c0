/* The bytes of parts: in a parcel or in a chain of our own, in one chunk or in several. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "net/netloop.h"

static struct netloop nl; /* its memory, and a pool that parcels retire to */
static struct mesh mesh;
static struct thread thread;
static struct mem shard_mem;

static void free_chunks(struct thread *at, struct chunk *chain)
{
    cr_assert_eq(at, &thread);
    chunk_free_chain(&shard_mem, chain);
}

static const struct netloop_hooks hooks = {.free_chunks = free_chunks};

static void start(void)
{
    mesh_init(&mesh, 1, 1, 1);
    thread = (struct thread){.mesh = &mesh};
    mesh.threads[0] = mesh.net_threads[0] = mesh.shard_threads[0] = &thread;
    mem_init(&shard_mem, "shard");
    nl = (struct netloop){.thread = &thread, .own_shard = 0, .hooks = &hooks};
    mem_init(&nl.mem, "net");
    nl.flatten.mem = &nl.mem;
    turn_init(&nl);
}

static void finish(void)
{
    turn_deinit(&nl);
    buf_clear(&nl.flatten);
    mem_deinit(&nl.mem);
    mem_deinit(&shard_mem);
    mesh_deinit(&mesh);
}

/* As a shard leaves it: `head` in the parcel's own chunk, `tail` in one of the shard's; parts cover
 * both. */
static struct parcel *parcel_with(const char *head, const char *tail)
{
    struct parcel *pc = mem_alloc_aligned(&nl.mem, sizeof *pc, CACHE_LINE);
    parcel_reset(pc, 0, 0);
    reply_init(&pc->out, parcel_chunk(pc), &shard_mem);
    reply_raw(&pc->out, head, strlen(head));
    if (tail) {
        pc->out.limit = pc->out.cursor; /* full */
        reply_raw(&pc->out, tail, strlen(tail));
    }
    pc->out.last->size = (uint32_t)(pc->out.cursor - pc->out.last->data);
    return pc;
}

static struct gather_part part_of(struct parcel *pc, uint64_t start, uint64_t end)
{
    pc->holds++;
    return (struct gather_part){.parcel = pc, .start = start, .end = end};
}

static void expect_bytes(struct gather *g, uint32_t part, const char *text)
{
    struct bytes got = gather_part_bytes(g, part, &nl.flatten);
    cr_assert(bytes_equal(got, bytes_of(text)), "part %u is %.*s", part, (int)got.size, got.data);
}

Test(gather, parts_in_one_chunk_are_views)
{
    start();
    struct parcel *pc = parcel_with("onetwothree", NULL);
    struct gather_part parts[] = {part_of(pc, 0, 3), part_of(pc, 3, 6), part_of(pc, 6, 11)};
    struct gather g = {.netloop = &nl, .parts = parts, .part_count = 3};
    expect_bytes(&g, 0, "one");
    expect_bytes(&g, 1, "two");
    expect_bytes(&g, 2, "three");
    struct bytes view = gather_part_bytes(&g, 1, &nl.flatten);
    cr_assert_eq((const void *)view.data, (const void *)(pc->out.first->data + 3));
    gather_release_parts(&g);
    finish();
}

Test(gather, parts_over_two_chunks_are_put_together)
{
    start();
    struct parcel *pc = parcel_with("onetw", "othree");
    struct gather_part parts[] = {part_of(pc, 0, 3), part_of(pc, 3, 6), part_of(pc, 6, 11),
                                  part_of(pc, 5, 5)};
    struct gather g = {.netloop = &nl, .parts = parts, .part_count = 4};
    expect_bytes(&g, 0, "one");
    expect_bytes(&g, 1, "two");
    expect_bytes(&g, 2, "three");
    expect_bytes(&g, 3, "");
    gather_release_parts(&g);
    cr_assert_eq(mem_live_bytes(&shard_mem), 0, "the shard's chunk went home");
    finish();
}

Test(gather, parts_may_lie_in_chains_of_our_own)
{
    start();
    struct parcel *pc = parcel_with("ab", "cdef");
    struct gather_part parts[] = {{.chain = chunk_copy_chain(&nl.mem, pc->out.first), .end = 6},
                                  {0}};
    struct gather g = {.netloop = &nl, .parts = parts, .part_count = 2};
    expect_bytes(&g, 0, "abcdef");
    expect_bytes(&g, 1, "");
    gather_release_parts(&g);
    cr_assert_null(parts[0].chain);
    pc->holds = 1;
    turn_unhold(&nl, pc);
    finish();
}

Test(gather, a_part_may_be_a_range_of_a_chain)
{
    start();
    struct parcel *pc = parcel_with("ab", "cdef");
    struct chunk *chain = chunk_copy_chain(&nl.mem, pc->out.first);
    struct gather_part parts[] = {{.chain = chain, .start = 1, .end = 5},
                                  {.chain = chain, .start = 0, .end = 1}};
    struct gather g = {.netloop = &nl, .parts = parts, .part_count = 2};
    expect_bytes(&g, 0, "bcde");
    expect_bytes(&g, 1, "a");
    cr_assert_eq(gather_part_kind(&g, 0), 'b');
    parts[1].chain = NULL; /* one of the two owns it */
    gather_release_parts(&g);
    pc->holds = 1;
    turn_unhold(&nl, pc);
    finish();
}

Test(gather, a_parcel_retires_when_its_last_holder_lets_go)
{
    start();
    struct parcel *pc = parcel_with("onetwo", NULL);
    struct gather_part parts[] = {part_of(pc, 0, 3), part_of(pc, 3, 6)};
    struct gather first = {.netloop = &nl, .parts = parts, .part_count = 1};
    struct gather second = {.netloop = &nl, .parts = parts + 1, .part_count = 1};
    gather_release_parts(&first);
    cr_assert_eq(nl.turn.pool_count, 0);
    cr_assert_eq(pc->holds, 1);
    gather_release_parts(&first); /* twice is harmless: it lets go of nothing more */
    gather_release_parts(&second);
    cr_assert_eq(nl.turn.pool_count, 1);
    finish();
}
