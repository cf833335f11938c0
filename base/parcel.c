#include "base/parcel.h"

void parcel_reset(struct parcel *pc, uint16_t net_id, uint16_t shard_id)
{
    atomic_store_explicit(&pc->position, POSITION_PENDING, memory_order_relaxed);
    pc->net_id = net_id;
    pc->shard_id = shard_id;
    pc->request_count = pc->run_count = 0;
    pc->arg_count = 0;
    pc->holds = 0;
    pc->part_count = pc->part = 0;
    pc->ledger = NULL;
    pc->next = NULL;
    pc->has_parked = false;
    pc->slow = NULL;
    *parcel_chunk(pc) = (struct chunk){.capacity = PARCEL_REPLY_BYTES, .home = CHUNK_LENT};
}
