#include "server/recorder.h"

void recorder_init(struct recorder *r, struct mem *mem, uint16_t thread)
{
    *r = (struct recorder){.records = {.mem = mem}, .thread = thread};
}

void recorder_deinit(struct recorder *r)
{
    buf_clear(&r->records);
}

void recorder_add(struct recorder *r, uint64_t client_id, uint64_t request, uint32_t index)
{
    struct record record = {
        .client_id = client_id, .request = request, .index = (uint16_t)index, .thread = r->thread};
    buf_append(&r->records, &record, sizeof record);
}

void recorder_publish(struct recorder *r, uint64_t position, bool in_place)
{
    r->turns++;
    for (size_t at = r->turn_start; at < r->records.size; at += sizeof(struct record)) {
        struct record record;
        memcpy(&record, r->records.data + at, sizeof record);
        record.order = in_place ? 2 * position - 1 : 2 * position;
        record.thread_turn = r->turns;
        memcpy(r->records.data + at, &record, sizeof record);
    }
    r->turn_start = r->records.size;
}
