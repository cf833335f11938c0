/* What travels: its layout, and what a parcel is when it begins. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/parcel.h"

static struct parcel *parcel_of_noise(void)
{
    struct parcel *pc = aligned_alloc(CACHE_LINE, sizeof *pc);
    cr_assert_not_null(pc);
    memset(pc, 0xa5, sizeof *pc);
    return pc;
}

Test(parcel, a_reset_parcel_is_empty_and_pending_whatever_it_was)
{
    struct parcel *pc = parcel_of_noise();
    parcel_reset(pc, 3, 7);
    cr_assert_eq(atomic_load(&pc->position), POSITION_PENDING);
    cr_assert_eq(pc->net_id, 3);
    cr_assert_eq(pc->shard_id, 7);
    cr_assert_eq(pc->request_count, 0);
    cr_assert_eq(pc->run_count, 0);
    cr_assert_eq(pc->arg_count, 0);
    cr_assert_eq(pc->holds, 0);
    cr_assert_null(pc->next);
    cr_assert_not(pc->has_parked);
    free(pc);
}

Test(parcel, its_reply_chunk_is_lent_and_all_of_it_can_be_written)
{
    struct parcel *pc = parcel_of_noise();
    parcel_reset(pc, 0, 0);
    struct chunk *chunk = parcel_chunk(pc);
    cr_assert_eq(chunk->home, CHUNK_LENT);
    cr_assert_eq(chunk->capacity, PARCEL_REPLY_BYTES);
    cr_assert_eq(chunk->size, 0);
    cr_assert_null(chunk->next);
    cr_assert_leq((char *)(chunk->data + chunk->capacity), (char *)(pc + 1));
    memset(chunk->data, 'x', chunk->capacity);
    cr_assert_eq(pc->request_count, 0);
    free(pc);
}

Test(parcel, replies_of_a_request_start_where_those_of_the_one_before_end)
{
    struct parcel *pc = parcel_of_noise();
    parcel_reset(pc, 0, 0);
    pc->requests[0].reply_end = 5;
    pc->requests[1].reply_end = 5;
    pc->requests[2].reply_end = 9;
    cr_assert_eq(parcel_reply_start(pc, 0), 0);
    cr_assert_eq(parcel_reply_start(pc, 1), 5);
    cr_assert_eq(parcel_reply_start(pc, 2), 5);
    free(pc);
}

/* What the net thread writes, what the shard writes, and the requests lie on lines of their own. */
Test(parcel, its_parts_do_not_share_cache_lines)
{
    cr_assert_eq(offsetof(struct parcel, position) % CACHE_LINE, 0);
    cr_assert_eq(offsetof(struct parcel, out) % CACHE_LINE, 0);
    cr_assert_eq(offsetof(struct parcel, requests) % CACHE_LINE, 0);
    cr_assert_eq(offsetof(struct parcel, reply_chunk) % CACHE_LINE, 0);
    cr_assert_lt(offsetof(struct parcel, next), offsetof(struct parcel, out));
    cr_assert_lt(offsetof(struct parcel, has_parked), offsetof(struct parcel, requests));
}
