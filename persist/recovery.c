#include "persist/recovery.h"

#include <inttypes.h>
#include <stdio.h>

#include "persist/aof_reader.h"
#include "persist/file.h"

/* One scan of one stream. */
struct scan {
    struct recovery *r;
    struct recovery_stream *s;
    struct aof_reader reader;
    char path[ENV_PATH_BYTES_MAX];
    unsigned file;     /* index in the manifest */
    uint64_t next_lsn; /* 0: not known yet */
};

/* ---- opening ---- */

static void find_streams(struct recovery *r)
{
    const struct manifest *m = &r->manifest;
    for (unsigned i = 0; i < m->file_count; i++) {
        const struct manifest_file *f = &m->files[i];
        struct recovery_stream *last =
            r->stream_count > 0 ? &r->streams[r->stream_count - 1] : NULL;
        bool is_new = last == NULL || last->generation != f->generation || last->shard != f->shard;
        if (is_new) {
            last = &r->streams[r->stream_count++];
            *last = (struct recovery_stream){
                .generation = f->generation, .shard = f->shard, .first_file = i};
        }
        last->file_count++;
    }
}

enum err recovery_open(struct recovery *r, const struct recovery_options *options, char *why)
{
    memset(r, 0, sizeof *r);
    r->options = *options;
    manifest_init(&r->manifest, options->mem);
    r->cut_txid = UINT64_MAX;
    enum err e = manifest_read(&r->manifest, options->directory, why);
    if (e != OK) return e;
    unsigned count = r->manifest.file_count;
    if (count == 0) return OK;
    r->streams = mem_alloc_zeroed(options->mem, count * sizeof *r->streams);
    r->files = mem_alloc_zeroed(options->mem, count * sizeof *r->files);
    find_streams(r);
    return OK;
}

void recovery_close(struct recovery *r)
{
    unsigned count = r->streams != NULL ? r->manifest.file_count : 0;
    for (unsigned i = 0; i < r->stream_count; i++) {
        struct recovery_stream *s = &r->streams[i];
        if (s->mem != NULL) mem_free(s->mem, s->parts, s->part_capacity * sizeof *s->parts);
    }
    mem_free(r->options.mem, r->streams, count * sizeof *r->streams);
    mem_free(r->options.mem, r->files, count * sizeof *r->files);
    manifest_deinit(&r->manifest);
}

static enum err path_of(const struct recovery *r, unsigned file, char *out)
{
    char name[MANIFEST_FILE_NAME_BYTES];
    manifest_file_name(&r->manifest.files[file], name);
    return file_path(out, r->options.directory, name);
}

/* ---- pass 1: parts ---- */

static bool try_add_part(struct recovery_stream *s, const struct recovery_part *part)
{
    if (s->part_count == s->part_capacity) {
        size_t capacity = s->part_capacity == 0 ? 64 : 2 * s->part_capacity;
        struct recovery_part *parts = mem_try_realloc(
            s->mem, s->parts, s->part_capacity * sizeof *parts, capacity * sizeof *parts);
        if (parts == NULL) return false;
        s->parts = parts;
        s->part_capacity = capacity;
    }
    s->parts[s->part_count++] = *part;
    return true;
}

/* Forgets what a mark has resolved, so that the parts of a long log need no memory. */
static void resolve_below(struct recovery_stream *s, uint64_t txid)
{
    s->horizon = MAX(s->horizon, txid);
    while (s->part_first < s->part_count && s->parts[s->part_first].txid < s->horizon) {
        s->part_first++;
    }
    if (s->part_first == 0 || s->part_first < s->part_count / 2) return;
    size_t left = s->part_count - s->part_first;
    memmove(s->parts, s->parts + s->part_first, left * sizeof *s->parts);
    s->part_first = 0;
    s->part_count = left;
}

/* ---- pass 1: records ---- */

static enum err scan_fails(struct scan *c, const char *fault)
{
    snprintf(c->s->why, sizeof c->s->why, "%s %s at offset %" PRIu64, c->path, fault,
             c->reader.offset);
    return ERR_IO;
}

static enum err corrupt(struct scan *c, const char *fault, uint64_t offset)
{
    snprintf(c->s->why, sizeof c->s->why,
             "%s is corrupt: it %s at offset %" PRIu64 ", before records that were durable. "
             "`shoal-aof fix %s/" MANIFEST_NAME "` leaves out what stands behind it; look at it "
             "with `shoal-aof check` first",
             c->path, fault, offset, c->r->options.directory);
    return c->r->options.accept_corruption ? OK : ERR_IO;
}

/* Takes what the reader has found into account. */
static enum err on_record(struct scan *c, uint64_t offset)
{
    struct recovery_stream *s = c->s;
    const struct segment_record *record = &c->reader.record;
    s->record_count++;
    if (record->type == SEGMENT_MARK) {
        struct segment_mark mark;
        memcpy(&mark, c->reader.payload.data, sizeof mark);
        resolve_below(s, mark.resolved_txid);
    }
    if (record->part_count == 1) return OK;
    if (c->reader.header.kind == SEGMENT_KIND_BASE) return scan_fails(c, "is a base with parts");
    struct recovery_part part = {.txid = record->txid,
                                 .at = {c->file, offset, record->lsn},
                                 .part_count = record->part_count,
                                 .part = record->part};
    bool is_behind = s->part_count > 0 && s->parts[s->part_count - 1].txid >= part.txid;
    if (is_behind) return scan_fails(c, "has transactions out of order");
    return try_add_part(s, &part) ? OK : scan_fails(c, "has too many transactions for the memory");
}

/* The header against the manifest and against what came before. NULL if all is well. */
static const char *header_fault(const struct scan *c)
{
    const struct manifest_file *f = &c->r->manifest.files[c->file];
    const struct segment_header *h = &c->reader.header;
    if (h->kind != f->kind || h->generation != f->generation || h->shard != f->shard) {
        return "is not what the manifest says";
    }
    bool is_base = h->kind == SEGMENT_KIND_BASE;
    uint64_t first_lsn = is_base ? h->covered_lsn + 1 : h->first_lsn;
    if (f->first_lsn != 0 && f->first_lsn != first_lsn) return "does not begin where it should";
    if (!is_base && c->next_lsn != 0 && h->first_lsn != c->next_lsn) {
        return "does not begin where the file before it ends";
    }
    return NULL;
}

/* Reads records as long as they are valid. */
static enum err scan_records(struct scan *c, enum aof_found *found)
{
    struct recovery_file *f = &c->r->files[c->file];
    for (;;) {
        uint64_t offset = c->reader.offset;
        *found = aof_reader_next(&c->reader);
        if (*found == AOF_FOUND_FAILURE) return scan_fails(c, c->reader.fault);
        if (*found != AOF_FOUND_RECORD) break;
        enum err e = on_record(c, offset);
        if (e != OK) return e;
        f->end = f->valid_end = c->reader.offset;
        atomic_fetch_add_explicit(&c->r->bytes_read, c->reader.offset - offset,
                                  memory_order_relaxed);
    }
    return OK;
}

/* ---- pass 1: damage ---- */

/* Whether a mark in the rest of this file vouches for `lsn`. */
static enum err search_file(struct scan *c, uint64_t lsn, bool *vouched)
{
    for (;;) {
        enum aof_found found = aof_reader_seek(&c->reader);
        if (found == AOF_FOUND_FAILURE) return scan_fails(c, c->reader.fault);
        if (found == AOF_FOUND_DAMAGE) *vouched = true;
        if (found != AOF_FOUND_RECORD) return OK;
        while ((found = aof_reader_next(&c->reader)) == AOF_FOUND_RECORD) {
            struct segment_mark mark = {0};
            if (c->reader.record.type != SEGMENT_MARK) continue;
            memcpy(&mark, c->reader.payload.data, sizeof mark);
            if (mark.durable_lsn >= lsn) *vouched = true;
        }
        if (found == AOF_FOUND_FAILURE) return scan_fails(c, c->reader.fault);
        if (found == AOF_FOUND_END || *vouched) return OK;
    }
}

static enum aof_found open_file(struct scan *c, unsigned file)
{
    const struct manifest_file *f = &c->r->manifest.files[file];
    c->file = file;
    if (path_of(c->r, file, c->path) != OK) return AOF_FOUND_FAILURE;
    return aof_reader_open(&c->reader, c->s->mem, c->path, &f->uuid,
                           f->size != 0 ? f->size : UINT64_MAX);
}

/* The same for this file from where the reader stands, and for all files behind it. */
static enum err search(struct scan *c, uint64_t lsn, bool *vouched)
{
    unsigned end = c->s->first_file + c->s->file_count;
    c->reader.next_lsn = MAX(lsn, c->reader.next_lsn);
    enum err e = search_file(c, lsn, vouched);
    for (unsigned file = c->file + 1; e == OK && !*vouched && file < end; file++) {
        aof_reader_close(&c->reader);
        enum aof_found found = open_file(c, file);
        if (found == AOF_FOUND_FAILURE) return scan_fails(c, c->reader.fault);
        c->reader.next_lsn = lsn;
        if (c->r->manifest.files[file].size != 0) *vouched = true;
        e = search_file(c, lsn, vouched);
    }
    return e;
}

/* The valid prefix ends at c->s->end; the reader stands at the damage. */
static enum err on_damage(struct scan *c, const char *fault)
{
    struct recovery_stream *s = c->s;
    char path[ENV_PATH_BYTES_MAX];
    uint64_t offset = c->reader.offset, lsn = MAX(s->end.lsn, 1), data_end;
    bool vouched = c->r->manifest.files[c->file].size != 0;
    unsigned file = c->file;
    memcpy(path, c->path, sizeof path);
    if (!aof_reader_data_end(&c->reader, offset, &data_end)) return scan_fails(c, "cannot be read");
    s->torn_bytes = data_end - offset;
    enum err e = vouched ? OK : search(c, lsn, &vouched);
    if (e != OK) return e;
    memcpy(c->path, path, sizeof path);
    if (vouched) return corrupt(c, fault, offset);
    bool is_last = file + 1 == s->first_file + s->file_count;
    if (s->torn_bytes == 0 && is_last) return OK; /* a file that was only prepared */
    snprintf(s->why, sizeof s->why,
             "%s has a torn tail: it %s at offset %" PRIu64 ", as after a crash; %" PRIu64
             " bytes are left out%s",
             path, fault, offset, s->torn_bytes,
             c->r->options.refuse_torn ? ", which aof-load-truncated forbids" : "");
    return c->r->options.refuse_torn ? ERR_IO : OK;
}

/* True in *goes_on if the next file is to be scanned. */
static enum err scan_file(struct scan *c, unsigned file, bool *goes_on)
{
    struct recovery_file *f = &c->r->files[file];
    const struct manifest_file *named = &c->r->manifest.files[file];
    *goes_on = false;
    enum aof_found found = open_file(c, file);
    f->file_size = c->reader.size;
    if (found == AOF_FOUND_FAILURE) return scan_fails(c, c->reader.fault);
    if (found == AOF_FOUND_DAMAGE) return on_damage(c, c->reader.fault);
    const char *fault = header_fault(c);
    if (fault != NULL) {
        c->reader.offset = 0;
        return on_damage(c, fault);
    }
    bool is_base = named->kind == SEGMENT_KIND_BASE;
    f->first_lsn = is_base ? named->first_lsn : c->reader.header.first_lsn;
    f->end = f->valid_end = SEGMENT_HEADER_BYTES;
    enum err e = scan_records(c, &found);
    c->s->end = (struct recovery_place){file, f->end, is_base ? f->first_lsn : c->reader.next_lsn};
    c->next_lsn = c->s->end.lsn;
    bool has_end = f->end > SEGMENT_HEADER_BYTES && c->reader.record.type == SEGMENT_END;
    if (is_base && !(has_end && found == AOF_FOUND_END)) f->end_lsn = c->reader.next_lsn;
    if (e != OK) return e;
    if (found == AOF_FOUND_DAMAGE) return on_damage(c, c->reader.fault);
    if (f->end_lsn != 0) return on_damage(c, "has no end");
    if (named->size != 0 && f->end != named->size) return on_damage(c, "ends too early");
    *goes_on = true;
    return OK;
}

enum err recovery_scan(struct recovery *r, unsigned stream, struct mem *mem)
{
    struct scan *c = mem_alloc_zeroed(mem, sizeof *c);
    struct recovery_stream *s = &r->streams[stream];
    c->r = r;
    c->s = s;
    s->mem = mem;
    s->horizon = r->manifest.horizon;
    s->end = (struct recovery_place){s->first_file, 0, 0};
    enum err e = OK;
    bool goes_on = true;
    for (unsigned i = 0; i < s->file_count && goes_on && e == OK; i++) {
        e = scan_file(c, s->first_file + i, &goes_on);
        aof_reader_close(&c->reader);
    }
    mem_free(mem, c, sizeof *c);
    return e;
}

/* ---- between the passes ---- */

/* The next part of a stream that is not resolved yet. */
static const struct recovery_part *head_of(const struct recovery_stream *s, const size_t *at)
{
    return *at < s->part_count ? &s->parts[*at] : NULL;
}

static uint64_t lowest_head(const struct recovery *r, const size_t *at)
{
    uint64_t txid = UINT64_MAX;
    for (unsigned i = 0; i < r->stream_count; i++) {
        const struct recovery_part *part = head_of(&r->streams[i], &at[i]);
        if (part != NULL) txid = MIN(txid, part->txid);
    }
    return txid;
}

/* Takes the parts of `txid` off all streams. */
static bool is_whole(const struct recovery *r, size_t *at, uint64_t txid)
{
    uint64_t count = 0, sum = 0, wanted = 0;
    bool agrees = true;
    for (unsigned i = 0; i < r->stream_count; i++) {
        const struct recovery_part *part = head_of(&r->streams[i], &at[i]);
        if (part == NULL || part->txid != txid) continue;
        agrees = agrees && (wanted == 0 || wanted == part->part_count);
        wanted = part->part_count;
        sum += part->part;
        count++;
        at[i]++;
    }
    return agrees && count == wanted && sum == wanted * (wanted - 1) / 2;
}

static void find_cut(struct recovery *r)
{
    if (r->stream_count == 0) return;
    size_t *at = mem_alloc_zeroed(r->options.mem, r->stream_count * sizeof *at);
    for (unsigned i = 0; i < r->stream_count; i++) {
        const struct recovery_stream *s = &r->streams[i];
        for (at[i] = s->part_first; at[i] < s->part_count; at[i]++) {
            if (s->parts[at[i]].txid >= r->manifest.horizon) break;
        }
    }
    uint64_t txid;
    while ((txid = lowest_head(r, at)) != UINT64_MAX && r->cut_txid == UINT64_MAX) {
        if (!is_whole(r, at, txid)) r->cut_txid = txid;
    }
    mem_free(r->options.mem, at, r->stream_count * sizeof *at);
}

static void cut_stream(struct recovery *r, struct recovery_stream *s)
{
    for (size_t i = s->part_first; i < s->part_count; i++) {
        if (s->parts[i].txid < r->cut_txid) continue;
        s->end = s->parts[i].at;
        s->cut_records_from = s->end.lsn;
        r->files[s->end.file].end = s->end.offset;
        break;
    }
    /* What stands in files behind the end does not count. */
    for (unsigned file = s->end.file + 1; file < s->first_file + s->file_count; file++) {
        r->files[file].first_lsn = r->files[file].end = 0;
    }
}

void recovery_resolve(struct recovery *r)
{
    for (unsigned i = 0; i < r->stream_count; i++) {
        const struct recovery_stream *s = &r->streams[i];
        r->manifest.horizon = MAX(r->manifest.horizon, s->horizon);
    }
    find_cut(r);
    uint64_t next = r->manifest.horizon;
    for (unsigned i = 0; i < r->stream_count; i++) {
        struct recovery_stream *s = &r->streams[i];
        if (s->part_count > 0) next = MAX(next, s->parts[s->part_count - 1].txid + 1);
        cut_stream(r, s);
    }
    r->next_txid = next;
    r->is_resolved = true;
}

/* ---- pass 2 ---- */

struct recovery_cursor {
    struct scan scan;
    struct mem *mem;
    unsigned next_file; /* of the stream */
    bool is_open;
    struct mem *scan_mem; /* of the stream, from pass 1 */
};

struct recovery_cursor *recovery_cursor_create(struct recovery *r, unsigned stream, struct mem *mem)
{
    CHECK(r->is_resolved);
    struct recovery_cursor *c = mem_alloc_zeroed(mem, sizeof *c);
    struct recovery_stream *s = &r->streams[stream];
    c->mem = mem;
    c->scan.r = r;
    c->scan.s = s;
    c->scan_mem = s->mem;
    s->mem = mem;
    return c;
}

void recovery_cursor_destroy(struct recovery_cursor *c)
{
    if (c->is_open) aof_reader_close(&c->scan.reader);
    c->scan.s->mem = c->scan_mem;
    mem_free(c->mem, c, sizeof *c);
}

static void fill_record(const struct recovery_cursor *c, uint64_t offset,
                        struct recovery_record *out)
{
    const struct aof_reader *reader = &c->scan.reader;
    *out = (struct recovery_record){.generation = reader->header.generation,
                                    .shard = reader->header.shard,
                                    .is_base = reader->header.kind == SEGMENT_KIND_BASE,
                                    .file = c->scan.file,
                                    .offset = offset};
}

/* Opens the next file that holds anything. */
static enum err open_next(struct recovery_cursor *c, struct recovery_record *out, bool *more)
{
    struct recovery *r = c->scan.r;
    const struct recovery_stream *s = c->scan.s;
    while (c->next_file < s->file_count &&
           r->files[s->first_file + c->next_file].end <= SEGMENT_HEADER_BYTES)
        c->next_file++;
    *more = c->next_file < s->file_count;
    if (!*more) return OK;
    enum aof_found found = open_file(&c->scan, s->first_file + c->next_file++);
    c->is_open = true;
    if (found != AOF_FOUND_RECORD) return scan_fails(&c->scan, c->scan.reader.fault);
    aof_reader_want_payloads(&c->scan.reader);
    fill_record(c, SEGMENT_HEADER_BYTES, out);
    out->begins_base = out->is_base;
    return OK;
}

static enum err take_record(struct recovery_cursor *c, struct recovery_record *out)
{
    struct aof_reader *reader = &c->scan.reader;
    uint64_t offset = reader->offset;
    enum aof_found found = aof_reader_next(reader);
    if (found == AOF_FOUND_FAILURE) return scan_fails(&c->scan, reader->fault);
    if (found != AOF_FOUND_RECORD) return scan_fails(&c->scan, "has changed while loading");
    atomic_fetch_add_explicit(&c->scan.r->bytes_read, reader->offset - offset,
                              memory_order_relaxed);
    fill_record(c, offset, out);
    out->db = segment_db(&reader->record);
    out->lsn = reader->record.lsn;
    out->txid = reader->record.txid;
    out->payload = reader->payload;
    return OK;
}

enum err recovery_cursor_next(struct recovery_cursor *c, struct recovery_record *out, bool *more)
{
    struct aof_reader *reader = &c->scan.reader;
    for (;;) {
        if (!c->is_open) {
            enum err e = open_next(c, out, more);
            if (e != OK || !*more || out->begins_base) return e;
        }
        if (reader->offset < c->scan.r->files[c->scan.file].end) {
            *more = true;
            enum err e = take_record(c, out);
            if (e != OK || reader->record.type == SEGMENT_EFFECTS) return e;
        } else {
            aof_reader_close(reader);
            c->is_open = false;
        }
    }
}

enum err recovery_replay(struct recovery *r, unsigned stream, struct mem *mem, recovery_fn *fn,
                         void *context)
{
    struct recovery_cursor *c = recovery_cursor_create(r, stream, mem);
    struct recovery_record record;
    bool more = true;
    enum err e = OK;
    while (e == OK && more) {
        e = recovery_cursor_next(c, &record, &more);
        if (e == OK && more && !record.begins_base) e = fn(context, &record);
    }
    recovery_cursor_destroy(c);
    return e;
}

/* ---- afterwards ---- */

static enum err with_file(struct recovery *r, unsigned file,
                          enum err (*fn)(struct recovery *r, unsigned file, struct env_file *f))
{
    char path[ENV_PATH_BYTES_MAX];
    struct env_file f;
    if (path_of(r, file, path) != OK) return ERR_IO;
    if (env_file_open(&f, path, ENV_OPEN_WRITE) != OK) return ERR_IO;
    enum err e = fn(r, file, &f);
    env_file_close(&f);
    return e;
}

/* What is left of a base that was accepted although it is corrupt gets an end. */
static enum err end_base(struct recovery *r, unsigned file, struct env_file *f)
{
    struct recovery_file *known = &r->files[file];
    struct segment_record end = {
        .size = SEGMENT_RECORD_BYTES, .lsn = known->end_lsn, .type = SEGMENT_END, .part_count = 1};
    end.crc = segment_record_crc(&r->manifest.files[file].uuid, known->end, &end);
    enum err e = env_file_truncate(f, known->end);
    if (e == OK) e = env_file_write(f, known->end, bytes_make(&end, sizeof end));
    if (e == OK) known->end += sizeof end;
    return e;
}

static enum err seal_file(struct recovery *r, unsigned file, struct env_file *f)
{
    enum err e = r->files[file].end_lsn != 0 ? end_base(r, file, f) : OK;
    return e == OK ? env_file_sync(f) : e;
}

static enum err trim_file(struct recovery *r, unsigned file, struct env_file *f)
{
    return env_file_truncate(f, r->files[file].end);
}

enum err recovery_seal(struct recovery *r, struct manifest *out)
{
    CHECK(r->is_resolved);
    const struct manifest *m = &r->manifest;
    out->server = m->server;
    out->hash_seed = m->hash_seed;
    out->horizon = r->next_txid;
    for (unsigned i = 0; i < m->generation_count; i++) {
        manifest_add_generation(out, m->generations[i].number, m->generations[i].shard_count);
    }
    for (unsigned i = 0; i < m->file_count; i++) {
        struct manifest_file f = m->files[i];
        if (r->files[i].end <= SEGMENT_HEADER_BYTES) continue;
        /* What has survived the end of a process may not have reached the disk. */
        bool is_sealed = f.size == r->files[i].end && r->files[i].end_lsn == 0;
        if (!is_sealed && with_file(r, i, seal_file) != OK) return ERR_IO;
        f.first_lsn = r->files[i].first_lsn;
        f.size = r->files[i].end;
        manifest_add_file(out, &f);
    }
    manifest_drop_empty_generations(out);
    return OK;
}

enum err recovery_trim(struct recovery *r)
{
    for (unsigned i = 0; i < r->manifest.file_count; i++) {
        const struct recovery_file *f = &r->files[i];
        bool has_more = f->end > SEGMENT_HEADER_BYTES && f->file_size > f->end;
        if (has_more && with_file(r, i, trim_file) != OK) return ERR_IO;
    }
    return OK;
}
