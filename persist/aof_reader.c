#include "persist/aof_reader.h"

#include "persist/crc32c.h"

/* A search looks at every multiple of 8. So that nobody can make it quadratic with payloads that
 * look like records, it checksums no more than so many times the bytes that it goes through. */
#define SEEK_CHECKSUM_FACTOR 16
#define SEEK_CHECKSUM_MIN (16u << 20)

/* ---- the window ---- */

/* A view of file bytes: as many as there are, up to `size`, which fits the window. False if they
 * cannot be read. */
static bool peek(struct aof_reader *r, uint64_t offset, size_t size, struct bytes *out)
{
    bool is_inside =
        offset >= r->window_offset && offset + size <= r->window_offset + r->window_size;
    if (!is_inside && (offset < r->window_offset || r->window_offset + r->window_size < r->size ||
                       r->window_size == 0)) {
        size_t room = (size_t)MIN(AOF_READER_WINDOW_BYTES, r->size - MIN(offset, r->size));
        r->window_offset = offset;
        r->window_size = 0;
        if (env_file_read(&r->file, offset, r->window, room, &r->window_size) != OK) {
            r->fault = "cannot be read";
            return false;
        }
    }
    uint64_t end = r->window_offset + r->window_size;
    size_t left = offset >= end ? 0 : (size_t)(end - offset);
    *out = bytes_make(r->window + (offset >= end ? 0 : offset - r->window_offset), MIN(size, left));
    return true;
}

static bool has_zero_padding(struct aof_reader *r, uint64_t offset,
                             const struct segment_record *record, bool *is_zero)
{
    static const char zeros[SEGMENT_ALIGNMENT];
    struct bytes padding;
    size_t size = (size_t)(segment_padded(record->size) - record->size);
    if (!peek(r, offset + record->size, size, &padding)) return false;
    *is_zero = padding.size == size && (size == 0 || memcmp(padding.data, zeros, size) == 0);
    return true;
}

/* Whether what the header says stands at `offset`. *valid is set if it could be read. */
static bool check_record(struct aof_reader *r, uint64_t offset, const struct segment_record *record,
                         bool *valid)
{
    uint32_t crc = segment_record_crc(&r->header.uuid, offset, record);
    uint64_t at = offset + sizeof *record, end = offset + record->size;
    while (at < end) {
        struct bytes piece;
        if (!peek(r, at, (size_t)MIN(AOF_READER_WINDOW_BYTES, end - at), &piece)) return false;
        if (piece.size == 0) break;
        crc = crc32c(crc, piece);
        at += piece.size;
    }
    *valid = at == end && crc == record->crc;
    return !*valid || has_zero_padding(r, offset, record, valid);
}

bool aof_reader_data_end(struct aof_reader *r, uint64_t from, uint64_t *end)
{
    struct bytes piece;
    *end = from;
    for (uint64_t at = from; at < r->size; at += piece.size) {
        size_t size = (size_t)MIN(AOF_READER_WINDOW_BYTES, r->size - at);
        if (!peek(r, at, size, &piece)) return false;
        if (piece.size == 0) break;
        for (size_t i = piece.size; i > 0; i--) {
            if (piece.data[i - 1] == 0) continue;
            *end = at + i;
            break;
        }
    }
    return true;
}

/* ---- opening ---- */

enum aof_found aof_reader_open(struct aof_reader *r, struct mem *mem, const char *path,
                               const struct segment_uuid *uuid, uint64_t size_max)
{
    memset(r, 0, sizeof *r);
    r->mem = r->big.mem = mem;
    r->window = mem_alloc(mem, AOF_READER_WINDOW_BYTES);
    r->fault = "cannot be opened";
    if (env_file_open(&r->file, path, ENV_OPEN_READ) != OK) return AOF_FOUND_FAILURE;
    if (env_file_size(&r->file, &r->size) != OK) return AOF_FOUND_FAILURE;
    r->size = MIN(r->size, size_max);
    struct bytes head;
    if (!peek(r, 0, sizeof r->header, &head)) return AOF_FOUND_FAILURE;
    r->fault = "has no complete header";
    if (head.size == sizeof r->header) {
        memcpy(&r->header, head.data, sizeof r->header);
        r->fault = segment_header_fault(&r->header);
    }
    if (r->fault == NULL && uuid != NULL && !segment_uuid_equal(&r->header.uuid, uuid)) {
        r->fault = "is not the file that the manifest names";
    }
    if (r->fault != NULL) {
        if (uuid != NULL) r->header.uuid = *uuid;
        r->header.first_lsn = 0;
        return AOF_FOUND_DAMAGE;
    }
    r->offset = SEGMENT_HEADER_BYTES;
    r->next_lsn = r->header.first_lsn;
    return AOF_FOUND_RECORD;
}

void aof_reader_close(struct aof_reader *r)
{
    env_file_close(&r->file);
    mem_free(r->mem, r->window, AOF_READER_WINDOW_BYTES);
    buf_clear(&r->big);
}

void aof_reader_want_payloads(struct aof_reader *r)
{
    r->wants_payloads = true;
}

/* ---- records ---- */

static enum aof_found damage(struct aof_reader *r, const char *fault)
{
    r->fault = fault;
    return AOF_FOUND_DAMAGE;
}

/* Of the valid record at `offset`. */
static enum aof_found load_payload(struct aof_reader *r)
{
    uint64_t at = r->offset + sizeof r->record;
    size_t size = r->record.size - sizeof r->record;
    if (size <= AOF_READER_WINDOW_BYTES) {
        return peek(r, at, size, &r->payload) ? AOF_FOUND_RECORD : AOF_FOUND_FAILURE;
    }
    r->big.size = 0;
    char *to = buf_try_reserve(&r->big, size);
    r->fault = "has a record for which there is no memory";
    if (to == NULL) return AOF_FOUND_FAILURE;
    size_t got;
    r->fault = "cannot be read";
    if (env_file_read(&r->file, at, to, size, &got) != OK || got != size) return AOF_FOUND_FAILURE;
    r->payload = bytes_make(to, size);
    return AOF_FOUND_RECORD;
}

static enum aof_found at_zero(struct aof_reader *r)
{
    uint64_t end;
    if (!aof_reader_data_end(r, r->offset, &end)) return AOF_FOUND_FAILURE;
    return end == r->offset ? AOF_FOUND_END : damage(r, "has a hole");
}

enum aof_found aof_reader_next(struct aof_reader *r)
{
    struct bytes head;
    bool is_valid;
    if (r->offset >= r->size) return AOF_FOUND_END;
    if (!peek(r, r->offset, sizeof r->record, &head)) return AOF_FOUND_FAILURE;
    memset(&r->record, 0, sizeof r->record);
    memcpy(&r->record, head.data, head.size);
    if (r->record.size == 0) return at_zero(r);
    if (head.size < sizeof r->record || r->record.size > r->size - r->offset) {
        return damage(r, "ends within a record");
    }
    if (!segment_record_is_sane(&r->record)) return damage(r, "has a record without sense");
    if (!check_record(r, r->offset, &r->record, &is_valid)) return AOF_FOUND_FAILURE;
    if (!is_valid) return damage(r, "has a record with a wrong checksum");
    if (r->record.lsn != r->next_lsn) return damage(r, "has a record with a wrong number");
    bool is_mark = r->record.type == SEGMENT_MARK;
    if (r->wants_payloads || is_mark) {
        enum aof_found found = load_payload(r);
        if (found != AOF_FOUND_RECORD) return found;
    }
    r->offset += segment_padded(r->record.size);
    r->next_lsn++;
    return AOF_FOUND_RECORD;
}

/* ---- searching ---- */

/* Cheap, and true for few bytes that are no record. */
static bool is_candidate(const struct aof_reader *r, uint64_t at,
                         const struct segment_record *record)
{
    if (!segment_record_is_sane(record) || record->size > r->size - at) return false;
    return record->lsn >= r->next_lsn && record->lsn - r->next_lsn < r->size;
}

enum aof_found aof_reader_seek(struct aof_reader *r)
{
    uint64_t budget =
        SEEK_CHECKSUM_MIN + (r->size - MIN(r->offset, r->size)) * SEEK_CHECKSUM_FACTOR;
    struct segment_record record;
    uint64_t at = MAX(r->offset, SEGMENT_HEADER_BYTES);
    for (; at + sizeof record <= r->size; at += SEGMENT_ALIGNMENT) {
        struct bytes head;
        bool is_valid;
        if (!peek(r, at, sizeof record, &head)) return AOF_FOUND_FAILURE;
        if (head.size < sizeof record) return AOF_FOUND_END;
        memcpy(&record, head.data, sizeof record);
        if (!is_candidate(r, at, &record)) continue;
        if (record.size > budget) return damage(r, "has damage that is too complex to search");
        budget -= record.size;
        if (!check_record(r, at, &record, &is_valid)) return AOF_FOUND_FAILURE;
        if (!is_valid) continue;
        r->offset = at;
        r->next_lsn = record.lsn;
        return AOF_FOUND_RECORD;
    }
    return AOF_FOUND_END;
}
