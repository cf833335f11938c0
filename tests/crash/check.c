/* check.c: what must be true of whatever a crash has left. */
#include <stdarg.h>

#include "tests/crash/world.h"

#define WHY_BYTES 2048

struct check {
    struct world *w;
    unsigned *survivors;
    const char *fault;
};

/* The tests run one after the other. */
static char message[WHY_BYTES];

static const char *say(const char *format, ...) PRINTF_LIKE(1, 2);
static const char *say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return message;
}

static unsigned stream_of(const struct world *w, uint32_t generation, uint16_t shard)
{
    for (unsigned i = 0; i < w->stream_count; i++)
        if (w->streams[i].generation == generation && w->streams[i].shard == shard) return i;
    return STREAMS_MAX;
}

/* Each record must be the next that its shard has executed: nothing invented, nothing left out. */
static enum err on_record(void *context, const struct recovery_record *record)
{
    struct check *c = context;
    char payload[PAYLOAD_BYTES_MAX];
    unsigned index = stream_of(c->w, record->generation, record->shard);
    c->fault = "a record of a shard that never was";
    if (index == STREAMS_MAX) return ERR_SYNTAX;
    const struct stream *s = &c->w->streams[index];
    c->fault = "a record that was never written";
    if (c->survivors[index] == s->count) return ERR_SYNTAX;
    struct entry e = s->entries[c->survivors[index]++];
    size_t size = world_payload(c->w, e.op, e.part, payload);
    c->fault = "a record in the place of another one";
    if (!bytes_equal(record->payload, bytes_make(payload, size))) return ERR_SYNTAX;
    c->fault = "a record with another number, database or transaction";
    if (!record->is_base &&
        (record->lsn != e.lsn || record->db != e.op % 16 || record->txid != c->w->ops[e.op].txid))
        return ERR_SYNTAX;
    c->fault = NULL;
    return OK;
}

/* OK, ERR_NO_KEY without a manifest, ERR_IO with a reason, ERR_SYNTAX for a wrong record. */
static enum err load(struct check *c, struct recovery *r, char *why)
{
    memset(c->survivors, 0, STREAMS_MAX * sizeof *c->survivors);
    struct recovery_options o = {.mem = &c->w->mem, .directory = DIRECTORY};
    enum err e = recovery_open(r, &o, why);
    for (unsigned i = 0; e == OK && i < r->stream_count; i++) {
        e = recovery_scan(r, i, &c->w->mem);
        if (e != OK) snprintf(why, WHY_BYTES, "%s", r->streams[i].why);
    }
    if (e != OK) return e;
    recovery_resolve(r);
    for (unsigned i = 0; e == OK && i < r->stream_count; i++) {
        e = recovery_replay(r, i, &c->w->mem, on_record, c);
        if (e == ERR_IO) snprintf(why, WHY_BYTES, "%s", r->streams[i].why);
    }
    return e;
}

static bool has_part(const struct world *w, const unsigned *survivors, const struct op *op,
                     unsigned part)
{
    uint64_t lsn = op->parts[part].lsn;
    const struct stream *s = &w->streams[op->parts[part].stream];
    unsigned count = survivors[op->parts[part].stream];
    if (!op->is_read) return lsn != 0 && count > 0 && s->entries[count - 1].lsn >= lsn;
    /* A read promises what it saw: the records up to its lsn. */
    return count == s->count || s->entries[count].lsn > lsn;
}

static const char *check_ops(const struct world *w, const unsigned *survivors, size_t length,
                             bool is_promised)
{
    for (unsigned i = 0; i < w->op_count; i++) {
        const struct op *op = &w->ops[i];
        unsigned there = 0;
        if (op->is_gone) continue;
        for (unsigned j = 0; j < op->part_count; j++) there += has_part(w, survivors, op, j);
        if (!op->is_read && there != 0 && there != op->part_count)
            return say("op %u: %u of %u parts are there", i, there, op->part_count);
        bool waits = op->is_read && w->policy != AOF_ALWAYS;
        bool must = (op->acked_at <= length && is_promised && !waits) || op->sealed_at <= length;
        if (must && there != op->part_count)
            return say("op %u (%s, txid %llu) was acknowledged at %zu and is lost at %zu", i,
                       op->is_read ? "read" : "write", (unsigned long long)op->txid,
                       MIN(op->acked_at, op->sealed_at), length);
    }
    return NULL;
}

static bool has_acknowledged(const struct world *w, size_t length)
{
    for (unsigned i = 0; i < w->op_count; i++)
        if (!w->ops[i].is_gone && !w->ops[i].is_read && w->ops[i].acked_at <= length) return true;
    return false;
}

static const char *judge(struct check *c, enum err e, const char *why, size_t length,
                         bool is_promised)
{
    if (e == ERR_SYNTAX) return say("recovery found %s", c->fault);
    if (e == ERR_IO) return say("recovery refused: %s", why);
    if (e == ERR_NO_KEY && has_acknowledged(c->w, length)) return say("the manifest is gone");
    return check_ops(c->w, c->survivors, length, is_promised);
}

const char *check_disk(struct world *w, struct disk *d, size_t length, bool is_promised,
                       unsigned *survivors)
{
    struct recovery r;
    char why[WHY_BYTES] = "";
    struct check c = {.w = w, .survivors = survivors};
    disk_use(d);
    enum err e = load(&c, &r, why);
    recovery_close(&r);
    disk_use(w->disk);
    return judge(&c, e, why, length, is_promised);
}

const char *check_faulty_recovery(struct world *w, struct disk *d, size_t call,
                                  enum disk_fault fault, bool *is_over)
{
    struct recovery r;
    unsigned survivors[STREAMS_MAX];
    char why[WHY_BYTES] = "";
    struct check c = {.w = w, .survivors = survivors};
    disk_use(d);
    size_t before = disk_call_count(d);
    disk_plant(d, before + call, 1, fault);
    enum err e = load(&c, &r, why);
    *is_over = disk_call_count(d) <= before + call;
    bool is_hard = fault == DISK_EIO || fault == DISK_ENOSPC;
    recovery_close(&r);
    disk_plant(d, 0, 0, DISK_NO_FAULT);
    disk_use(w->disk);
    if (*is_over || !is_hard) return judge(&c, e, why, 0, false);
    if (e == ERR_IO && why[0]) return NULL;
    return say("a failed call gave %d and not an error with a reason", (int)e);
}

const char *check_restart(struct world *w, struct disk *d, size_t length, const unsigned *survivors)
{
    struct recovery r;
    unsigned again[STREAMS_MAX];
    char why[WHY_BYTES] = "";
    struct check c = {.w = w, .survivors = again};
    world_kill(w);
    disk_destroy(w->disk);
    w->disk = d;
    disk_use(d);
    manifest_deinit(&w->manifest);
    enum err e = load(&c, &r, why);
    if (e == OK) e = recovery_seal(&r, &w->manifest);
    w->next_txid = MAX(r.next_txid, 1);
    const char *wrong = e != OK && e != ERR_NO_KEY ? say("no restart: %s", why) : NULL;
    for (unsigned i = 0; i < w->stream_count && !wrong; i++)
        if (again[i] != survivors[i]) wrong = say("a second recovery finds something else");
    if (!wrong && world_boot(w) != OK) wrong = say("no boot after the restart");
    if (!wrong) world_adopt(w, length, survivors);
    /* Only now: the old manifest counts on what is trimmed. */
    if (!wrong && e == OK && recovery_trim(&r) != OK) wrong = say("no trim after the restart");
    recovery_close(&r);
    return wrong;
}
