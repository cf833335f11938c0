#include "tests/crash/world.h"

#include "persist/file.h"

const char *const plant_names[PLANT_COUNT] = {
    [PLANT_NONE] = "none",
    [PLANT_EARLY_ACK] = "early-ack",
    [PLANT_NO_R_RULE] = "no-r-rule",
    [PLANT_APPENDED_ONLY] = "appended-only",
    [PLANT_FREE_READS] = "free-reads",
    [PLANT_NO_DIRECTORY_SYNC] = "no-directory-sync",
    [PLANT_NO_FILE_SYNC] = "no-file-sync",
    [PLANT_SAME_UUID] = "same-uuid",
    [PLANT_EARLY_RESOLVED] = "early-resolved",
    [PLANT_MUTANT] = "mutant",
};

#define SETTLE_ROUNDS_MAX 400
#define TICK_NS UINT64_C(400000000)

static uint64_t below(struct world *w, uint64_t limit)
{
    return random_below(&w->random, limit);
}

/* ---- files ---- */

static struct segment_uuid new_uuid(struct world *w)
{
    struct segment_uuid uuid;
    uint64_t words[2] = {random_next(&w->random), random_next(&w->random)};
    if (w->plant == PLANT_SAME_UUID) words[0] = words[1] = 7;
    memcpy(&uuid, words, sizeof uuid);
    return uuid;
}

static void path_of(const struct manifest_file *f, char *path)
{
    char name[MANIFEST_FILE_NAME_BYTES];
    manifest_file_name(f, name);
    CHECK(file_path(path, DIRECTORY, name) == OK);
}

/* A new file that no manifest names yet. */
static enum err prepare(struct world *w, const struct stream *s, uint32_t number,
                        enum segment_kind kind, struct manifest_file *f)
{
    char path[ENV_PATH_BYTES_MAX];
    *f = (struct manifest_file){.kind = kind,
                                .generation = s->generation,
                                .shard = s->shard,
                                .number = number,
                                .uuid = new_uuid(w)};
    path_of(f, path);
    bool is_left; /* by an attempt that failed */
    if (env_file_exists(path, &is_left) != OK) return ERR_IO;
    if (is_left && env_unlink(path) != OK) return ERR_IO;
    return aof_prepare(path);
}

static struct manifest_file *named(const struct world *w, const struct stream *s, uint32_t number)
{
    for (unsigned i = 0; i < w->manifest.file_count; i++) {
        struct manifest_file *f = &w->manifest.files[i];
        bool is_it = f->generation == s->generation && f->shard == s->shard && f->number == number;
        if (is_it) return f;
    }
    return NULL;
}

static void forget(struct world *w, const struct stream *s, uint32_t number)
{
    struct manifest_file *f = named(w, s, number);
    if (f) manifest_remove_file(&w->manifest, (unsigned)(f - w->manifest.files));
}

/* ---- booting ---- */

void world_init(struct world *w, uint64_t seed, enum plant plant)
{
    memset(w, 0, sizeof *w);
    w->random.state = seed;
    w->plant = plant;
    mem_init(&w->mem, "crash");
    w->streams = calloc(STREAMS_MAX, sizeof *w->streams);
    w->ops = calloc(OPS_MAX, sizeof *w->ops);
    CHECK(w->streams && w->ops);
    w->policy = below(w, 2) ? AOF_ALWAYS : below(w, 2) ? AOF_EVERYSEC : AOF_NO;
    w->has_even_records = below(w, 3) == 0;
    w->now_ns = 1;
    w->next_txid = 1;
    manifest_init(&w->manifest, &w->mem);
    w->disk = disk_create();
    disk_use(w->disk);
    if (plant == PLANT_NO_DIRECTORY_SYNC) disk_ignore_directory_syncs(w->disk);
    if (plant == PLANT_NO_FILE_SYNC) disk_ignore_file_syncs(w->disk);
}

void world_kill(struct world *w)
{
    struct random random = {1};
    while (disk_complete_one(w->disk, random_next(&random))) continue;
    for (unsigned i = w->first_stream; i < w->stream_count; i++) {
        if (!w->streams[i].aof) continue;
        aof_destroy(w->streams[i].aof);
        w->streams[i].aof = NULL;
    }
}

void world_deinit(struct world *w)
{
    disk_use(w->disk);
    world_kill(w);
    manifest_deinit(&w->manifest);
    disk_destroy(w->disk);
    free(w->streams);
    free(w->ops);
    mem_deinit(&w->mem);
}

static enum err open_log(struct world *w, struct stream *s, const struct manifest_file *f)
{
    char path[ENV_PATH_BYTES_MAX];
    path_of(f, path);
    struct aof_options o = {.mem = &w->mem,
                            .policy = w->policy,
                            .kind = SEGMENT_KIND_EFFECTS,
                            .generation = s->generation,
                            .shard = s->shard,
                            .first_lsn = 1,
                            .path = path,
                            .uuid = f->uuid};
    s->open_number = f->number;
    s->first_lsn = 1;
    return aof_create(&o, &s->aof);
}

enum err world_boot(struct world *w)
{
    struct manifest_file files[SHARDS_MAX];
    /* Also where the first one never came into being. */
    uint32_t generation = w->stream_count ? w->streams[w->stream_count - 1].generation + 1 : 1;
    w->shard_count = (uint16_t)(1 + below(w, w->stream_count ? SHARDS_MAX : 4));
    w->first_stream = w->stream_count;
    if (env_make_directory(DIRECTORY) != OK) return ERR_IO;
    manifest_add_generation(&w->manifest, generation, w->shard_count);
    for (uint16_t i = 0; i < w->shard_count; i++) {
        struct stream *s = &w->streams[w->stream_count++];
        CHECK(w->stream_count <= STREAMS_MAX);
        *s = (struct stream){.generation = generation, .shard = i};
        if (prepare(w, s, 1, SEGMENT_KIND_EFFECTS, &files[i]) != OK) return ERR_IO;
        manifest_add_file(&w->manifest, &files[i]);
    }
    if (env_sync_directory(DIRECTORY) != OK) return ERR_IO;
    if (manifest_write(&w->manifest, DIRECTORY) != OK) return ERR_IO;
    for (uint16_t i = 0; i < w->shard_count; i++) {
        struct stream *s = &w->streams[w->first_stream + i];
        enum err e = open_log(w, s, &files[i]);
        if (e != OK) return e;
    }
    return OK;
}

/* ---- ops ---- */

size_t world_payload(const struct world *w, unsigned op, uint16_t part, char *out)
{
    int n = snprintf(out, PAYLOAD_BYTES_MAX, "op %u part %u ", op, part);
    size_t size = w->has_even_records ? SEGMENT_RECORD_BYTES : (size_t)n + op * 37 % 300;
    if (!w->has_even_records && op % 13 == 0) size += 600;
    memset(out + n, 'a' + (int)(op % 26), size - (size_t)n);
    return size;
}

static void enqueue(struct world *w, unsigned stream, unsigned op, uint16_t part)
{
    struct stream *s = &w->streams[stream];
    CHECK(s->queue_start + s->queue_count < ENTRIES_MAX);
    s->queue[s->queue_start + s->queue_count++] = (struct entry){.op = op, .part = part};
    w->ops[op].parts[part].stream = stream;
}

static void add_op(struct world *w)
{
    if (w->op_count == OPS_MAX) return;
    unsigned index = w->op_count++, first = (unsigned)below(w, w->shard_count);
    struct op *op = &w->ops[index];
    bool is_tx = w->shard_count > 1 && below(w, 3) == 0;
    bool is_refused = false; /* -MISCONF; what was let in before that still runs */
    for (unsigned i = w->first_stream; i < w->stream_count; i++)
        is_refused = is_refused || aof_state_now(w->streams[i].aof) != AOF_GOOD;
    *op = (struct op){.part_count = 1,
                      .acked_at = NEVER,
                      .sealed_at = NEVER,
                      .is_read = !is_tx && below(w, 4) == 0};
    if (is_refused && !op->is_read) {
        w->op_count--;
        return;
    }
    if (is_tx) {
        op->part_count = (uint16_t)(2 + below(w, w->shard_count - 1));
        op->txid = w->next_txid++;
    }
    for (uint16_t i = 0; i < op->part_count; i++) {
        enqueue(w, w->first_stream + (first + i) % w->shard_count, index, i);
    }
}

/* A shard runs the next thing in its queue. */
static void execute(struct world *w, struct stream *s)
{
    if (s->queue_count == 0) return;
    struct entry e = s->queue[s->queue_start];
    struct op *op = &w->ops[e.op];
    if (op->is_read) {
        e.lsn = aof_last_lsn(s->aof);
    } else {
        char payload[PAYLOAD_BYTES_MAX];
        struct aof_record record = {
            .db = e.op % 16, .part_count = op->part_count, .part = e.part, .txid = op->txid};
        record.payload = bytes_make(payload, world_payload(w, e.op, e.part, payload));
        CHECK(aof_append(s->aof, &record, &e.lsn) == OK);
        s->entries[s->count++] = e;
    }
    op->parts[e.part].lsn = e.lsn;
    op->executed++;
    s->queue_start++;
    s->queue_count--;
}

/* ---- replies ---- */

static uint64_t stable_of(const struct world *w, unsigned stream, bool durable)
{
    const struct stream *s = &w->streams[stream];
    return durable ? aof_durable_lsn(s->aof) : aof_stable_lsn(s->aof);
}

/* The lowest txid with a part that is not stable, or durable, on its shard. */
static uint64_t lowest_open(const struct world *w, bool durable)
{
    for (unsigned i = 0; i < w->op_count; i++) {
        const struct op *op = &w->ops[i];
        if (op->txid == 0 || op->is_gone || op->parts[0].stream < w->first_stream) continue;
        for (unsigned j = 0; j < op->part_count; j++) {
            bool is_executed = op->parts[j].lsn != 0;
            if (!is_executed && w->plant == PLANT_APPENDED_ONLY) continue;
            if (!is_executed || stable_of(w, op->parts[j].stream, durable) < op->parts[j].lsn)
                return op->txid;
        }
    }
    return UINT64_MAX;
}

/* The highest txid at or before an lsn. */
static uint64_t txid_before(const struct world *w, const struct stream *s, uint64_t lsn)
{
    uint64_t txid = 0;
    for (unsigned i = 0; i < s->count && s->entries[i].lsn <= lsn; i++) {
        txid = MAX(txid, w->ops[s->entries[i].op].txid);
    }
    return txid;
}

static bool may_leave(const struct world *w, const struct op *op, uint64_t r)
{
    if (w->plant == PLANT_EARLY_ACK) return true;
    if (op->is_read && (w->policy != AOF_ALWAYS || w->plant == PLANT_FREE_READS)) return true;
    for (unsigned i = 0; i < op->part_count; i++) {
        const struct stream *s = &w->streams[op->parts[i].stream];
        if (stable_of(w, op->parts[i].stream, false) < op->parts[i].lsn) return false;
        if (w->plant != PLANT_NO_R_RULE && r <= txid_before(w, s, op->parts[i].lsn)) return false;
    }
    return true;
}

static void acknowledge(struct world *w)
{
    uint64_t r = lowest_open(w, false);
    for (unsigned i = 0; i < w->op_count; i++) {
        struct op *op = &w->ops[i];
        if (op->is_gone || op->acked_at != NEVER || op->executed < op->part_count) continue;
        if (op->parts[0].stream < w->first_stream) continue; /* its client is gone */
        if (may_leave(w, op, r)) op->acked_at = disk_trace_length(w->disk);
    }
}

static void publish_resolved(struct world *w)
{
    uint64_t txid = lowest_open(w, true);
    if (txid == UINT64_MAX) txid = w->next_txid;
    if (w->plant == PLANT_EARLY_RESOLVED) txid = w->next_txid;
    for (unsigned i = w->first_stream; i < w->stream_count; i++) {
        aof_set_resolved(w->streams[i].aof, txid);
    }
}

/* ---- rotation ---- */

static void start_rotation(struct world *w, struct stream *s)
{
    if (s->rotation != 0 || aof_state_now(s->aof) != AOF_GOOD) return;
    if (prepare(w, s, s->open_number + 1, SEGMENT_KIND_EFFECTS, &s->next) != OK) return;
    if (env_sync_directory(DIRECTORY) != OK) return;
    manifest_add_file(&w->manifest, &s->next);
    if (manifest_write(&w->manifest, DIRECTORY) != OK) {
        /* The new one may be there or not: either way the file may be used later or never. */
        forget(w, s, s->next.number);
        s->open_number++;
        return;
    }
    s->rotation = 1;
}

static void step_rotation(struct world *w, struct stream *s)
{
    char path[ENV_PATH_BYTES_MAX];
    if (s->rotation == 1) {
        path_of(&s->next, path);
        uint64_t lsn = aof_last_lsn(s->aof);
        if (!aof_try_rotate(s->aof, path, &s->next.uuid, w->now_ns, &s->closed_size)) return;
        s->closed_lsn = MAX(lsn, aof_last_lsn(s->aof));
        s->rotation = 2;
    }
    if (aof_is_rotating(s->aof)) return;
    for (unsigned i = 0; i < w->manifest.file_count; i++) {
        struct manifest_file *f = &w->manifest.files[i];
        bool is_old = f->generation == s->generation && f->shard == s->shard &&
                      f->number < s->next.number && f->size == 0;
        if (!is_old) continue;
        f->size = s->closed_size;
        f->first_lsn = s->first_lsn;
    }
    s->first_lsn = s->closed_lsn + 1;
    s->open_number = s->next.number;
    s->rotation = 0;
    /* If it fails, the next one says so. */
    (void)!manifest_write(&w->manifest, DIRECTORY);
}

/* ---- what happens ---- */

static void step(struct world *w, struct stream *s)
{
    aof_step(s->aof, w->now_ns);
    if (s->rotation != 0 && aof_state_now(s->aof) == AOF_GOOD) step_rotation(w, s);
}

static void happen(struct world *w)
{
    struct stream *s = &w->streams[w->first_stream + below(w, w->shard_count)];
    uint64_t dice = below(w, 100);
    if (dice < 25)
        add_op(w);
    else if (dice < 50)
        execute(w, s);
    else if (dice < 72)
        step(w, s);
    else if (dice < 93)
        (void)!disk_complete_one(w->disk, random_next(&w->random));
    else if (dice < 96)
        w->now_ns += TICK_NS;
    else if (dice < 98)
        publish_resolved(w);
    else
        start_rotation(w, s);
    acknowledge(w);
}

void world_run(struct world *w, unsigned events)
{
    for (unsigned i = 0; i < events; i++) happen(w);
}

/* ---- after a failed sync: a base in new files ---- */

static bool is_lost(const struct stream *s)
{
    return aof_state_now(s->aof) == AOF_LOST;
}

/* Whether every transaction up to the last one of this shard is durable on all other shards, or
 * will be by a base in the same manifest: a base cannot be cut. */
static bool is_resolved_elsewhere(const struct world *w, const struct stream *s)
{
    uint64_t last = txid_before(w, s, UINT64_MAX);
    for (unsigned i = 0; i < w->op_count; i++) {
        const struct op *op = &w->ops[i];
        if (op->is_gone || op->txid == 0 || op->txid > last) continue;
        if (op->parts[0].stream < w->first_stream) continue;
        for (unsigned j = 0; j < op->part_count; j++) {
            unsigned stream = op->parts[j].stream;
            if (op->parts[j].lsn == 0) return false;
            if (is_lost(&w->streams[stream])) continue;
            if (stable_of(w, stream, true) < op->parts[j].lsn) return false;
        }
    }
    return true;
}

static enum err write_base(struct world *w, struct stream *s, struct manifest_file *f)
{
    char path[ENV_PATH_BYTES_MAX], payload[PAYLOAD_BYTES_MAX];
    struct aof *base;
    path_of(f, path);
    struct aof_options o = {.mem = &w->mem,
                            .policy = AOF_NO,
                            .kind = SEGMENT_KIND_BASE,
                            .generation = s->generation,
                            .shard = s->shard,
                            .first_lsn = 1,
                            .covered_lsn = aof_last_lsn(s->aof),
                            .path = path,
                            .uuid = f->uuid};
    enum err e = aof_create(&o, &base);
    if (e != OK) return e;
    uint64_t lsn;
    for (unsigned i = 0; i < s->count; i++) {
        size_t size = world_payload(w, s->entries[i].op, s->entries[i].part, payload);
        struct aof_record record = {.payload = bytes_make(payload, size)};
        CHECK(aof_append(base, &record, &lsn) == OK);
    }
    aof_seal(base);
    for (int i = 0; i < 10 && aof_state_now(base) != AOF_SEALED; i++) {
        aof_step(base, w->now_ns);
        while (aof_is_busy(base)) CHECK(disk_complete_one(w->disk, 0));
    }
    e = aof_state_now(base) == AOF_SEALED ? OK : ERR_IO;
    f->size = aof_size(base);
    f->first_lsn = o.covered_lsn + 1;
    aof_destroy(base);
    return e;
}

static void forget_stream(struct world *w, const struct stream *s)
{
    for (unsigned i = w->manifest.file_count; i > 0; i--) {
        const struct manifest_file *f = &w->manifest.files[i - 1];
        bool is_its = f->generation == s->generation && f->shard == s->shard;
        if (is_its) manifest_remove_file(&w->manifest, i - 1);
    }
}

/* A base and a new segment, for the next manifest. */
static void replace_lost(struct world *w, struct stream *s)
{
    char path[ENV_PATH_BYTES_MAX];
    struct manifest_file base, next;
    uint32_t number = s->open_number + 10;
    CHECK(prepare(w, s, number, SEGMENT_KIND_BASE, &base) == OK);
    CHECK(prepare(w, s, number + 1, SEGMENT_KIND_EFFECTS, &next) == OK);
    path_of(&next, path);
    CHECK(write_base(w, s, &base) == OK);
    CHECK(aof_abandon(s->aof, path, &next.uuid) == OK);
    forget_stream(w, s);
    /* The base says nothing of transactions: those in it are resolved. */
    w->manifest.horizon = MAX(w->manifest.horizon, txid_before(w, s, UINT64_MAX) + 1);
    manifest_add_file(&w->manifest, &base);
    manifest_add_file(&w->manifest, &next);
    s->open_number = number + 1;
    s->first_lsn = base.first_lsn;
    s->rotation = 0;
}

/* All logs that are lost, in one manifest: their transactions may wait for each other. */
static void replace_all_lost(struct world *w)
{
    bool is_replaced[STREAMS_MAX] = {false}, any = false;
    for (unsigned i = w->first_stream; i < w->stream_count; i++) {
        struct stream *s = &w->streams[i];
        if (!is_lost(s)) continue;
        if (aof_is_busy(s->aof) || !is_resolved_elsewhere(w, s)) return;
        is_replaced[i] = any = true;
    }
    if (!any) return;
    for (unsigned i = w->first_stream; i < w->stream_count; i++) {
        if (is_replaced[i]) replace_lost(w, &w->streams[i]);
    }
    CHECK(env_sync_directory(DIRECTORY) == OK);
    CHECK(manifest_write(&w->manifest, DIRECTORY) == OK);
    for (unsigned i = w->first_stream; i < w->stream_count; i++) {
        if (is_replaced[i]) aof_covered(w->streams[i].aof);
    }
}

/* ---- settling ---- */

static bool is_settled(const struct world *w)
{
    for (unsigned i = w->first_stream; i < w->stream_count; i++) {
        const struct stream *s = &w->streams[i];
        if (aof_state_now(s->aof) != AOF_GOOD || aof_buffered(s->aof) > 0) return false;
        if (s->queue_count > 0 || s->rotation != 0) return false;
    }
    return disk_pending(w->disk) == 0;
}

/* Without a timer of its own the policy `no` never syncs; a rotation does. */
static void settle_stream(struct world *w, struct stream *s)
{
    execute(w, s);
    step(w, s);
    while (disk_complete_one(w->disk, random_next(&w->random))) continue;
    step(w, s);
}

bool world_settle(struct world *w)
{
    disk_plant(w->disk, 0, 0, DISK_NO_FAULT);
    for (unsigned round = 0; round < SETTLE_ROUNDS_MAX && !is_settled(w); round++) {
        for (unsigned i = w->first_stream; i < w->stream_count; i++) {
            struct stream *s = &w->streams[i];
            if (is_lost(s) && w->policy == AOF_ALWAYS) return false;
            /* Others wait for durable parts, and `no` makes them durable only here. */
            bool must_sync =
                w->policy == AOF_NO && round % 8 == 7 && aof_state_now(s->aof) == AOF_GOOD;
            if (must_sync) start_rotation(w, s);
            settle_stream(w, s);
            acknowledge(w);
        }
        replace_all_lost(w);
        acknowledge(w);
        w->now_ns += TICK_NS;
    }
    w->is_stuck = !is_settled(w);
    return true;
}

/* ---- after a crash ---- */

void world_adopt(struct world *w, size_t length, const unsigned *survivors)
{
    for (unsigned i = 0; i < w->op_count; i++) {
        w->ops[i].is_gone = true;
        if (w->ops[i].acked_at <= length) w->ops[i].acked_at = 0;
    }
    for (unsigned i = 0; i < w->stream_count; i++) {
        struct stream *s = &w->streams[i];
        s->count = survivors[i];
        s->queue_count = 0;
        for (unsigned j = 0; j < s->count; j++) {
            struct op *op = &w->ops[s->entries[j].op];
            op->is_gone = false;
            op->sealed_at = disk_trace_length(w->disk);
        }
    }
}
