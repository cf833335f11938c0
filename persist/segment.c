#include "persist/segment.h"

#include "persist/crc32c.h"

static uint32_t header_crc(const struct segment_header *h)
{
    struct segment_header copy = *h;
    copy.crc = 0;
    return crc32c(0, bytes_make(&copy, sizeof copy));
}

void segment_header_seal(struct segment_header *h)
{
    memcpy(h->magic, SEGMENT_MAGIC, sizeof h->magic);
    h->version = SEGMENT_VERSION;
    h->crc = header_crc(h);
}

const char *segment_header_fault(const struct segment_header *h)
{
    static const uint8_t zeros[sizeof h->zeros];
    if (memcmp(h->magic, SEGMENT_MAGIC, sizeof h->magic) != 0) return "is no segment";
    if (h->crc != header_crc(h)) return "has a header with a wrong checksum";
    if (h->version != SEGMENT_VERSION) return "has a version that is not known here";
    bool is_base = h->kind == SEGMENT_KIND_BASE;
    if (!is_base && h->kind != SEGMENT_KIND_EFFECTS) return "is of a kind that is not known here";
    bool is_sane = is_base ? h->first_lsn == 1 : h->first_lsn > 0 && h->covered_lsn == 0;
    if (!is_sane || memcmp(h->zeros, zeros, sizeof zeros) != 0) return "has a header without sense";
    return NULL;
}

uint32_t segment_record_crc(const struct segment_uuid *uuid, uint64_t offset,
                            const struct segment_record *r)
{
    uint32_t crc = crc32c(0, bytes_make(uuid, sizeof *uuid));
    crc = crc32c(crc, bytes_make(&offset, sizeof offset));
    crc = crc32c(crc, bytes_make(&r->size, sizeof r->size));
    return crc32c(crc, bytes_make(&r->lsn, sizeof *r - offsetof(struct segment_record, lsn)));
}

bool segment_record_is_sane(const struct segment_record *r)
{
    if (r->size < SEGMENT_RECORD_BYTES || r->size > SEGMENT_RECORD_BYTES_MAX) return false;
    if (r->lsn == 0 || r->part_count == 0 || r->part >= r->part_count) return false;
    if ((r->part_count == 1) != (r->txid == 0)) return false;
    uint64_t payload_bytes = r->size - SEGMENT_RECORD_BYTES;
    switch (r->type) {
    case SEGMENT_EFFECTS:
        return true;
    case SEGMENT_MARK:
        return r->part_count == 1 && payload_bytes == sizeof(struct segment_mark);
    case SEGMENT_END:
        return r->part_count == 1 && payload_bytes == 0;
    default:
        return false;
    }
}
