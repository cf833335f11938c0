#include "persist/aof.h"

#include "base/log.h"
#include "persist/crc32c.h"

#define BUFFER_BYTES_MAX (64u << 20)
#define BUFFER_BYTES_KEPT (1u << 20) /* of an empty buffer */
#define PREALLOCATED_BYTES (256u << 10)
#define SECOND_NS UINT64_C(1000000000)
#define DIRECT_BYTES_MAX (64u << 10) /* always: a larger batch is left to the environment */
#define GATHER_NS_MAX 1000000
#define GATHER_REST_MAX 64

/* What a step is waiting for. */
enum aof_commit {
    COMMIT_NONE,
    COMMIT_BATCH,  /* `flying` and its sync */
    COMMIT_SYNC,   /* what was written before */
    COMMIT_ROTATE, /* the sync of the old file */
};

struct aof {
    struct mem *mem;
    struct env_loop *loop;
    enum aof_policy policy;
    enum aof_state state;
    const char *why; /* of the last failure, a constant */
    size_t buffer_bytes_max;
    struct segment_header header;
    struct env_file file, old_file;
    struct env_file_request request;
    enum aof_commit commit;
    uint64_t commit_lsn; /* durable when the request has succeeded */

    struct buf active, flying;
    uint64_t offset;       /* in the file, behind its last good record */
    uint64_t preallocated; /* zeros are written up to here */
    bool must_cut;         /* something may stand behind `offset` */
    bool wants_rotation, wants_seal, wants_sync, is_end_written;
    uint64_t next_lsn, written_lsn, durable_lsn, marked_lsn, stable_lsn;
    uint64_t uncovered_lsn; /* of aof_abandon: nothing behind it is stable; UINT64_MAX: no such */
    uint64_t resolved_txid;
    uint64_t retry_ns, sync_ns;
    uint64_t always_ns; /* that the last commit of AOF_ALWAYS took; 0: it has been told */

    struct {
        uint64_t until_ns;            /* those who were answered last may come back until then */
        size_t bytes_wanted;          /* what they brought, but for a quarter */
        bool is_urgent;               /* somebody's transaction is in the batch */
        unsigned rest, pause;         /* commits that do not wait: left, and the next time */
        uint64_t started_ns, mean_ns; /* of commits */
    } gather;
};

/* ---- stable ---- */

static void publish_stable(struct aof *a)
{
    uint64_t stable = a->policy == AOF_ALWAYS ? a->durable_lsn : a->written_lsn;
    stable = MIN(stable, a->uncovered_lsn);
    /* A change of policy takes nothing back. */
    a->stable_lsn = MAX(stable, a->stable_lsn);
}

/* ---- appending ---- */

static void put(struct aof *a, char *at, struct segment_record *r, struct bytes payload)
{
    r->size = (uint32_t)(SEGMENT_RECORD_BYTES + payload.size);
    r->lsn = a->next_lsn++;
    size_t padded = segment_padded(r->size);
    memcpy(at, r, sizeof *r);
    if (payload.size > 0) memcpy(at + sizeof *r, payload.data, payload.size);
    memset(at + r->size, 0, padded - r->size);
    a->active.size += padded;
}

enum err aof_append(struct aof *a, const struct aof_record *record, uint64_t *lsn)
{
    CHECK(record->db <= SEGMENT_DB_MAX && !a->wants_seal);
    if (aof_is_full(a)) return ERR_IO;
    if (record->payload.size > SEGMENT_RECORD_BYTES_MAX - SEGMENT_RECORD_BYTES) return ERR_ALLOC;
    struct segment_record r = {.type = SEGMENT_EFFECTS,
                               .part_count = MAX(record->part_count, 1),
                               .part = record->part,
                               .txid = record->txid};
    CHECK((r.part_count == 1) == (r.txid == 0) && r.part < r.part_count);
    segment_set_db(&r, record->db);
    char *at =
        buf_try_reserve(&a->active, segment_padded(SEGMENT_RECORD_BYTES + record->payload.size));
    if (at == NULL) return ERR_ALLOC;
    a->gather.is_urgent |= r.part_count > 1;
    put(a, at, &r, record->payload);
    *lsn = a->next_lsn - 1;
    return OK;
}

/* A base is believed as a whole or not at all, and ends with its SEGMENT_END. */
static bool must_mark(const struct aof *a)
{
    return a->durable_lsn > a->marked_lsn && a->header.kind != SEGMENT_KIND_BASE;
}

static void append_mark(struct aof *a)
{
    struct segment_mark mark = {a->durable_lsn, a->resolved_txid};
    struct segment_record r = {.type = SEGMENT_MARK, .part_count = 1};
    char *at = buf_try_reserve(&a->active, SEGMENT_RECORD_BYTES + sizeof mark);
    if (at == NULL) return;
    put(a, at, &r, bytes_make(&mark, sizeof mark));
    a->marked_lsn = a->durable_lsn;
}

static void append_end(struct aof *a)
{
    struct segment_record r = {.type = SEGMENT_END, .part_count = 1};
    put(a, buf_reserve(&a->active, SEGMENT_RECORD_BYTES), &r, (struct bytes){0});
    a->is_end_written = true;
}

/* Now that it is known where the records will stand. Returns the last lsn. */
static uint64_t checksum(struct aof *a, struct buf *b)
{
    struct segment_record r = {0};
    for (size_t at = 0; at < b->size;) {
        memcpy(&r, b->data + at, sizeof r);
        uint32_t crc = segment_record_crc(&a->header.uuid, a->offset + at, &r);
        r.crc = crc32c(crc, bytes_make(b->data + at + sizeof r, r.size - sizeof r));
        memcpy(b->data + at, &r, sizeof r);
        at += segment_padded(r.size);
    }
    return r.lsn;
}

static void empty_buffer(struct buf *b)
{
    b->size = 0;
    if (b->capacity > BUFFER_BYTES_KEPT) buf_clear(b);
}

/* ---- writing ---- */

static void on_write_failed(struct aof *a, uint64_t now_ns)
{
    if (a->state == AOF_GOOD) {
        log_warning("%s: cannot be written. Writes are refused until it can; trying every second",
                    a->file.path);
    }
    a->why = env_file_why(&a->file);
    a->state = AOF_RETRYING;
    a->must_cut = true;
    a->retry_ns = now_ns + SECOND_NS;
}

static void on_written(struct aof *a)
{
    if (a->state == AOF_RETRYING) {
        log_notice("%s: can be written again", a->file.path);
        a->state = AOF_GOOD;
    }
}

static void on_sync_failed(struct aof *a)
{
    const struct env_file *f = a->commit == COMMIT_ROTATE ? &a->old_file : &a->file;
    log_warning("%s: its last records may be lost, and it is not used any more", f->path);
    a->why = env_file_why(f);
    a->state = AOF_LOST;
}

/* A file that has its blocks already commits faster: nothing but data is to be written. */
static void preallocate(struct aof *a, size_t size)
{
    static const char zeros[PREALLOCATED_BYTES];
    if (a->offset + size <= a->preallocated) return;
    uint64_t from = MAX(a->preallocated, a->offset + size);
    /* If it fails, the write of the records will say so. */
    if (env_file_write(&a->file, from, bytes_make(zeros, sizeof zeros)) == OK) {
        a->preallocated = from + sizeof zeros;
    }
}

/* What a failed write has left behind goes first. */
static bool cut(struct aof *a, uint64_t now_ns)
{
    if (!a->must_cut) return true;
    if (env_file_truncate(&a->file, a->offset) != OK) {
        on_write_failed(a, now_ns);
        return false;
    }
    a->preallocated = a->offset;
    a->must_cut = false;
    return true;
}

static void start_commit(struct aof *a, enum aof_commit commit, uint64_t lsn, struct bytes data)
{
    a->commit = commit;
    a->commit_lsn = lsn;
    struct env_file *f = commit == COMMIT_ROTATE ? &a->old_file : &a->file;
    env_file_commit(a->loop, &a->request, f, a->offset, data);
}

/* always: `flying` is empty, or a batch that is tried again. */
static void start_batch(struct aof *a, uint64_t now_ns)
{
    if (!cut(a, now_ns)) return;
    if (a->flying.size == 0) {
        if (must_mark(a)) append_mark(a);
        struct buf swapped = a->flying;
        a->flying = a->active;
        a->active = swapped;
    }
    uint64_t lsn = checksum(a, &a->flying);
    preallocate(a, a->flying.size);
    start_commit(a, COMMIT_BATCH, lsn, buf_view(&a->flying));
}

/* everysec, no. True when nothing is left to write. */
static bool write_out(struct aof *a, uint64_t now_ns)
{
    /* After a change of policy. */
    struct buf *b = a->flying.size > 0 ? &a->flying : &a->active;
    if (b->size == 0) return true;
    if (!cut(a, now_ns)) return false;
    if (b == &a->active && must_mark(a)) append_mark(a);
    uint64_t lsn = checksum(a, b);
    if (a->policy == AOF_ALWAYS) preallocate(a, b->size);
    if (env_file_write(&a->file, a->offset, buf_view(b)) != OK) {
        on_write_failed(a, now_ns);
        return false;
    }
    a->offset += b->size;
    a->written_lsn = lsn;
    empty_buffer(b);
    on_written(a);
    publish_stable(a);
    return a->active.size == 0;
}

/* ---- steps ---- */

static void on_committed(struct aof *a)
{
    if (a->commit == COMMIT_BATCH) {
        a->offset += a->flying.size;
        a->written_lsn = a->commit_lsn;
        empty_buffer(&a->flying);
        on_written(a);
    }
    a->durable_lsn = MAX(a->durable_lsn, a->commit_lsn);
    if (a->commit == COMMIT_ROTATE) env_file_close(&a->old_file);
    publish_stable(a);
}

static void on_commit_failed(struct aof *a, uint64_t now_ns)
{
    if (a->request.failed == ENV_FILE_WRITE)
        on_write_failed(a, now_ns);
    else
        on_sync_failed(a);
}

/* ---- gathering ----
 *
 * Clients that wait for their replies come back together when a commit has let them go. A commit
 * that begins as soon as the last one is over finds only the few that came meanwhile, and keeps all
 * others waiting for its disk: one large group and one small one take turns, for ever. So the next
 * commit waits until most of the bytes of the last one are there again, at most as long as a commit
 * takes. If that was in vain, the clients are not of this kind, and more and more commits begin at
 * once before it is tried again. Who comes later than that, or alone, never waits; neither does a
 * transaction, on which other shards wait.
 */

static void gather_on_commit(struct aof *a, uint64_t now_ns)
{
    uint64_t took_ns = MIN(now_ns - a->gather.started_ns, GATHER_NS_MAX);
    a->gather.mean_ns = (7 * a->gather.mean_ns + took_ns) / 8;
    a->gather.until_ns = now_ns + a->gather.mean_ns;
}

static bool should_gather(struct aof *a, uint64_t now_ns)
{
    return a->gather.rest == 0 && !a->gather.is_urgent && now_ns < a->gather.until_ns &&
           a->active.size < a->gather.bytes_wanted;
}

static void gather_on_start(struct aof *a, uint64_t now_ns)
{
    bool is_back = a->active.size >= a->gather.bytes_wanted;
    if (a->gather.rest > 0) {
        a->gather.rest--;
    } else if (is_back) {
        a->gather.pause = 0;
    } else if (!a->gather.is_urgent) {
        a->gather.pause = MIN(2 * a->gather.pause + 1, GATHER_REST_MAX);
        a->gather.rest = a->gather.pause;
    }
    a->gather.bytes_wanted = a->active.size - a->active.size / 4;
    a->gather.is_urgent = false;
    a->gather.started_ns = now_ns;
}

static void finish_commit(struct aof *a, uint64_t now_ns)
{
    if (a->policy == AOF_ALWAYS && a->commit != COMMIT_ROTATE)
        a->always_ns = now_ns - a->gather.started_ns;
    gather_on_commit(a, now_ns);
    if (a->request.status == OK)
        on_committed(a);
    else
        on_commit_failed(a, now_ns);
    a->commit = COMMIT_NONE;
}

static bool is_sealable(const struct aof *a)
{
    return a->wants_seal && a->flying.size == 0 && a->active.size == 0 &&
           (a->is_end_written || a->header.kind != SEGMENT_KIND_BASE);
}

static void step_seal(struct aof *a, uint64_t now_ns)
{
    a->must_cut = a->must_cut || a->preallocated > a->offset;
    if (!cut(a, now_ns)) return;
    if (a->durable_lsn == a->next_lsn - 1) {
        /* A last mark, so that damage is never taken for a torn tail. */
        bool is_marked = a->marked_lsn + 1 >= a->durable_lsn;
        if (is_marked || a->header.kind == SEGMENT_KIND_BASE)
            a->state = AOF_SEALED;
        else
            append_mark(a);
        return;
    }
    start_commit(a, COMMIT_SYNC, a->written_lsn, (struct bytes){0});
}

static void step_always(struct aof *a, uint64_t now_ns)
{
    if (a->flying.size == 0 && a->wants_rotation) return;
    if (aof_buffered(a) == 0 || should_gather(a, now_ns)) return;
    gather_on_start(a, now_ns);
    /* A write that only fills the cache is cheaper than handing it over. */
    bool is_large = a->flying.size > 0 || a->active.size > DIRECT_BYTES_MAX;
    if (is_large || a->header.kind == SEGMENT_KIND_BASE)
        start_batch(a, now_ns);
    else if (write_out(a, now_ns))
        start_commit(a, COMMIT_SYNC, a->written_lsn, (struct bytes){0});
}

static void step_buffered(struct aof *a, uint64_t now_ns)
{
    if (!write_out(a, now_ns) && a->state == AOF_RETRYING) return;
    if (a->commit != COMMIT_NONE || a->written_lsn <= a->durable_lsn) return;
    bool is_due = a->policy == AOF_EVERYSEC && now_ns >= a->sync_ns;
    if (!is_due && !a->wants_sync) return;
    a->wants_sync = false;
    a->sync_ns = now_ns + SECOND_NS;
    start_commit(a, COMMIT_SYNC, a->written_lsn, (struct bytes){0});
}

void aof_step(struct aof *a, uint64_t now_ns)
{
    if (a->commit != COMMIT_NONE && !a->request.is_pending) finish_commit(a, now_ns);
    if (a->state >= AOF_LOST) return;
    if (a->state == AOF_RETRYING && (now_ns < a->retry_ns || !cut(a, now_ns))) return;
    if (aof_buffered(a) == 0) on_written(a);
    /* Whatever the policy is now, the batch belongs to the environment. */
    if (a->commit == COMMIT_BATCH) return;
    bool is_idle = a->commit == COMMIT_NONE;
    if (a->wants_seal && !a->is_end_written && a->header.kind == SEGMENT_KIND_BASE) append_end(a);
    if (is_idle && is_sealable(a))
        step_seal(a, now_ns);
    else if (a->policy != AOF_ALWAYS)
        step_buffered(a, now_ns);
    else if (is_idle)
        step_always(a, now_ns);
}

uint64_t aof_next_ns(const struct aof *a)
{
    if (a->state == AOF_RETRYING) return a->retry_ns;
    if (a->state != AOF_GOOD || a->commit != COMMIT_NONE) return UINT64_MAX;
    if (a->policy == AOF_ALWAYS && aof_buffered(a) > 0) return a->gather.until_ns;
    bool syncs = a->policy == AOF_EVERYSEC && a->written_lsn > a->durable_lsn;
    return syncs ? a->sync_ns : UINT64_MAX;
}

/* ---- files ---- */

enum err aof_prepare(const char *path)
{
    struct env_file f;
    enum err e = env_file_open(&f, path, ENV_OPEN_CREATE);
    env_file_close(&f);
    return e;
}

/* Opens the next file and writes its header. What there was stays as it is if that fails. */
static enum err begin_file(struct aof *a, const char *path, const struct segment_uuid *uuid)
{
    struct env_file f;
    enum err e = env_file_open(&f, path, ENV_OPEN_WRITE);
    if (e != OK) return e;
    struct segment_header h = a->header;
    h.uuid = *uuid;
    h.first_lsn = a->next_lsn;
    segment_header_seal(&h);
    e = env_file_truncate(&f, 0);
    if (e == OK) e = env_file_write(&f, 0, bytes_make(&h, sizeof h));
    if (e != OK) {
        env_file_close(&f);
        return e;
    }
    a->file = f;
    a->header = h;
    a->offset = a->preallocated = SEGMENT_HEADER_BYTES;
    a->must_cut = false;
    return OK;
}

enum err aof_create(const struct aof_options *options, struct aof **out)
{
    struct aof *a = mem_alloc_zeroed(options->mem, sizeof *a);
    a->mem = options->mem;
    a->loop = options->loop;
    a->policy = options->policy;
    a->buffer_bytes_max =
        options->buffer_bytes_max != 0 ? options->buffer_bytes_max : BUFFER_BYTES_MAX;
    a->header = (struct segment_header){.covered_lsn = options->covered_lsn,
                                        .generation = options->generation,
                                        .shard = options->shard,
                                        .kind = (uint8_t)options->kind};
    a->next_lsn = options->first_lsn;
    a->written_lsn = a->durable_lsn = a->marked_lsn = options->first_lsn - 1;
    a->uncovered_lsn = UINT64_MAX;
    a->why = "Success";
    a->active.mem = a->flying.mem = a->mem;
    a->old_file.fd = -1;
    enum err e = begin_file(a, options->path, &options->uuid);
    if (e != OK) {
        mem_free(a->mem, a, sizeof *a);
        return e;
    }
    publish_stable(a);
    *out = a;
    return OK;
}

void aof_destroy(struct aof *a)
{
    CHECK(!a->request.is_pending);
    env_file_close(&a->file);
    env_file_close(&a->old_file);
    buf_clear(&a->active);
    buf_clear(&a->flying);
    mem_free(a->mem, a, sizeof *a);
}

bool aof_try_rotate(struct aof *a, const char *path, const struct segment_uuid *uuid,
                    uint64_t now_ns, uint64_t *closed_size)
{
    a->wants_rotation = a->commit != COMMIT_NONE;
    if (a->state != AOF_GOOD || a->commit != COMMIT_NONE) return false;
    if (!write_out(a, now_ns)) return false;
    a->must_cut = a->must_cut || a->preallocated > a->offset;
    if (!cut(a, now_ns)) return false;
    struct env_file old = a->file;
    uint64_t size = a->offset;
    if (begin_file(a, path, uuid) != OK) return false;
    a->old_file = old;
    *closed_size = size;
    start_commit(a, COMMIT_ROTATE, a->written_lsn, (struct bytes){0});
    return true;
}

void aof_rotate_later(struct aof *a)
{
    a->wants_rotation = false;
}

void aof_sync_once(struct aof *a)
{
    a->wants_sync = true;
}

bool aof_is_rotating(const struct aof *a)
{
    return a->old_file.fd >= 0;
}

enum err aof_abandon(struct aof *a, const char *path, const struct segment_uuid *uuid)
{
    CHECK(a->state == AOF_LOST && !a->request.is_pending);
    struct env_file lost = a->file;
    enum err e = begin_file(a, path, uuid);
    if (e != OK) return e;
    env_file_close(&lost);
    env_file_close(&a->old_file);
    empty_buffer(&a->active);
    empty_buffer(&a->flying);
    a->uncovered_lsn = a->stable_lsn;
    a->written_lsn = a->durable_lsn = a->marked_lsn = a->next_lsn - 1;
    a->state = AOF_GOOD;
    a->wants_rotation = false;
    return OK;
}

void aof_covered(struct aof *a)
{
    a->uncovered_lsn = UINT64_MAX;
    publish_stable(a);
}

bool aof_is_uncovered(const struct aof *a)
{
    return a->uncovered_lsn != UINT64_MAX;
}

void aof_seal(struct aof *a)
{
    a->wants_seal = true;
}

/* ---- what others ask ---- */

uint64_t aof_stable_lsn(const struct aof *a)
{
    return a->stable_lsn;
}

uint64_t aof_last_lsn(const struct aof *a)
{
    return a->next_lsn - 1;
}

uint64_t aof_take_always_ns(struct aof *a)
{
    uint64_t ns = a->always_ns;
    a->always_ns = 0;
    return ns;
}

uint64_t aof_durable_lsn(const struct aof *a)
{
    return a->durable_lsn;
}

enum aof_state aof_state_now(const struct aof *a)
{
    return a->state;
}

const char *aof_why(const struct aof *a)
{
    return a->why;
}

bool aof_is_full(const struct aof *a)
{
    return a->active.size > a->buffer_bytes_max;
}

bool aof_is_busy(const struct aof *a)
{
    return a->request.is_pending;
}

uint64_t aof_size(const struct aof *a)
{
    return a->offset;
}

size_t aof_buffered(const struct aof *a)
{
    return a->active.size + a->flying.size;
}

void aof_set_policy(struct aof *a, enum aof_policy policy)
{
    a->policy = policy;
}

void aof_set_resolved(struct aof *a, uint64_t txid)
{
    a->resolved_txid = MAX(a->resolved_txid, txid);
}
