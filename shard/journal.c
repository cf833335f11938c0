#include "shard/journal.h"

#include "base/block.h"
#include "base/text.h"
#include "persist/aof.h"
#include "shard/cmd/families.h"
#include "shard/dump.h"
#include "shard/shard.h"

/* The notes of one request in which a key is looked for: what is not found is noted twice, which
 * costs time and is not wrong. */
#define NOTES_SEARCHED 8
#define NOTES_CAPACITY 16
#define ARGS_SHORT 16
#define PARTS_KEPT_BYTES 4096 /* of parts that were taken */
#define HEAD_BYTES_MAX (1 + TEXT_I64_BYTES_MAX + 2)
#define BULK_BYTES(size) (HEAD_BYTES_MAX + (size) + 2)

struct journal_note {
    struct key key;
    bool is_owned;      /* the name is the journal's: outside of requests */
    bool is_described;  /* nothing is left to say */
    bool was_described; /* something was said already: the command itself would say it again */
    bool is_complex;    /* it went in between: only what it has become is certain */
};

/* ---- RESP ---- */

static char *put_head(char *p, char type, uint64_t value)
{
    *p++ = type;
    p += text_from_u64(p, value);
    memcpy(p, "\r\n", 2);
    return p + 2;
}

static char *put_bulk(char *p, struct bytes value)
{
    p = put_head(p, '$', value.size);
    if (value.size) memcpy(p, value.data, value.size);
    memcpy(p + value.size, "\r\n", 2);
    return p + value.size + 2;
}

/* ---- where effects go ---- */

static bool is_guest(const struct shard *sh, const struct key *k)
{
    return unlikely(sh->locks.busy > 0) &&
           bytes_shard(k->name, k->hash, sh->keys.seed, sh->shard_count) != sh->id;
}

/* Of a key, or of all (NULL). */
static struct effects *effects_of(struct shard *sh, const struct key *k)
{
    struct effects *held = NULL;
    if (unlikely(sh->locks.busy > 0)) held = locks_effects(sh, k);
    return held ? held : &sh->journal.effects;
}

static void fail(struct shard *sh)
{
    sh->journal.has_failed = true;
}

static char *put_select(char *p, uint32_t db)
{
    char digits[TEXT_I64_BYTES_MAX];
    size_t size = text_from_u64(digits, db);
    p = put_head(p, '*', 2);
    p = put_bulk(p, BYTES_LITERAL("SELECT"));
    return put_bulk(p, bytes_make(digits, size));
}
#define SELECT_BYTES_MAX (HEAD_BYTES_MAX + BULK_BYTES(6) + BULK_BYTES(TEXT_I64_BYTES_MAX))

/* Room for `size` bytes of an effect of that database; NULL: it is lost. */
static char *reserve(struct shard *sh, struct effects *e, uint32_t db, size_t size)
{
    if (e->payload.size == 0) e->first_db = e->db = db;
    e->payload.mem = &sh->mem;
    char *p = buf_try_reserve(&e->payload, size + SELECT_BYTES_MAX);
    if (!p) {
        fail(sh);
        return NULL;
    }
    if (unlikely(e->db != db)) {
        p = put_select(p, db);
        e->db = db;
    }
    sh->journal.effect_count++;
    return p;
}

static void written_to(struct effects *e, const char *end)
{
    e->payload.size = (size_t)(end - e->payload.data);
}

static void emit(struct shard *sh, const struct key *k, const struct bytes *argv, uint32_t argc)
{
    struct effects *e = effects_of(sh, k);
    size_t size = HEAD_BYTES_MAX;
    for (uint32_t i = 0; i < argc; i++) size += BULK_BYTES(argv[i].size);
    char *p = reserve(sh, e, k->db, size);
    if (!p) return;
    p = put_head(p, '*', argc);
    for (uint32_t i = 0; i < argc; i++) p = put_bulk(p, argv[i]);
    written_to(e, p);
}

/* The arguments behind the key as RESP. */
static void emit_bulks(struct shard *sh, const struct key *k, const char *name, struct bytes bulks,
                       uint32_t count)
{
    struct effects *e = effects_of(sh, k);
    struct bytes verb = bytes_of(name);
    size_t size = HEAD_BYTES_MAX + BULK_BYTES(verb.size) + BULK_BYTES(k->name.size) + bulks.size;
    char *p = reserve(sh, e, k->db, size);
    if (!p) return;
    p = put_head(p, '*', 2 + (uint64_t)count);
    p = put_bulk(p, verb);
    p = put_bulk(p, k->name);
    if (bulks.size) memcpy(p, bulks.data, bulks.size);
    written_to(e, p + bulks.size);
}

static void emit_del(struct shard *sh, const struct key *k)
{
    const struct bytes argv[] = {BYTES_LITERAL("DEL"), k->name};
    emit(sh, k, argv, ARRAY_LEN(argv));
}

/* ---- what a key has become ---- */

static void emit_string(struct shard *sh, const struct key *k, const struct entry *e,
                        struct bytes deadline)
{
    char scratch[TEXT_I64_BYTES_MAX];
    const struct bytes argv[] = {BYTES_LITERAL("SET"), k->name, entry_string(e, scratch),
                                 BYTES_LITERAL("PXAT"), deadline};
    emit(sh, k, argv, entry_has_deadline(e) ? 5 : 3);
}

static void emit_object(struct shard *sh, const struct key *k, const struct entry *e,
                        struct bytes deadline)
{
    struct buf payload = {.mem = &sh->mem};
    if (dump_try_append(e, false, &payload)) {
        const struct bytes argv[] = {BYTES_LITERAL("RESTORE"),
                                     k->name,
                                     deadline,
                                     buf_view(&payload),
                                     BYTES_LITERAL("REPLACE"),
                                     BYTES_LITERAL("ABSTTL")};
        emit(sh, k, argv, ARRAY_LEN(argv));
    } else {
        fail(sh);
    }
    buf_clear(&payload);
}

/* Looked up past expiry: what has expired, but is still there, is told when it goes. */
static struct entry *find(const struct shard *sh, const struct key *k)
{
    const struct database *db = sh->keys.databases[k->db];
    return db ? dict_find(&db->keys, k->hash, k->name) : NULL;
}

static void emit_whole(struct shard *sh, const struct key *k)
{
    const struct entry *e = find(sh, k);
    if (!e) {
        emit_del(sh, k);
        return;
    }
    char digits[TEXT_I64_BYTES_MAX];
    struct bytes deadline = bytes_make(digits, text_from_i64(digits, entry_deadline_ms(e)));
    if (entry_type(e) == TYPE_STRING)
        emit_string(sh, k, e, deadline);
    else
        emit_object(sh, k, e, deadline);
}

/* ---- notes ---- */

static struct journal_note *note_find(const struct journal *j, const struct key *k)
{
    uint32_t end = j->note_count > NOTES_SEARCHED ? j->note_count - NOTES_SEARCHED : 0;
    for (uint32_t i = j->note_count; i > end; i--) {
        struct journal_note *n = &j->notes[i - 1];
        if (n->key.hash == k->hash && n->key.db == k->db && bytes_equal(n->key.name, k->name))
            return n;
    }
    return NULL;
}

/* Names of notes are not copied while a request runs: they are among its arguments. */
static bool is_argument(const struct request *rq, struct bytes name)
{
    for (uint32_t i = 0; i < rq->argc; i++)
        if (rq->argv[i].data == name.data) return true;
    return false;
}

/* NULL: no memory; the note is lost. */
static struct journal_note *note_add(struct shard *sh, const struct key *k)
{
    struct journal *j = &sh->journal;
    if (unlikely(j->note_count == j->note_capacity)) {
        uint32_t capacity = j->note_capacity ? 2 * j->note_capacity : NOTES_CAPACITY;
        struct journal_note *notes = mem_try_realloc(
            &sh->mem, j->notes, j->note_capacity * sizeof *notes, capacity * sizeof *notes);
        if (!notes) {
            fail(sh);
            return NULL;
        }
        j->notes = notes;
        j->note_capacity = capacity;
    }
    struct journal_note *n = &j->notes[j->note_count];
    *n = (struct journal_note){.key = *k, .is_owned = !j->running};
    if (likely(!n->is_owned)) {
        DCHECK(is_argument(j->running, k->name));
        j->note_count++;
        return n;
    }
    char *copy = mem_try_alloc(&sh->mem, k->name.size + 1);
    if (!copy) {
        fail(sh);
        return NULL;
    }
    j->note_count++;
    if (k->name.size) memcpy(copy, k->name.data, k->name.size);
    n->key.name = bytes_make(copy, k->name.size);
    return n;
}

void journal_note(struct shard *sh, const struct key *k)
{
    struct journal *j = &sh->journal;
    if (unlikely(j->is_muted) || is_guest(sh, k)) return;
    struct journal_note *n = j->note_count > 0 ? note_find(j, k) : NULL;
    if (!n)
        (void)note_add(sh, k);
    else
        n->is_described = false;
}

void journal_gone(struct shard *sh, const struct key *k)
{
    if (!sh->journal.is_open || sh->journal.is_muted || is_guest(sh, k)) return;
    struct journal_note *n = note_find(&sh->journal, k);
    if (n) n->is_complex = true;
    emit_del(sh, k);
}

bool journal_add_bulk(struct buf *bulks, struct bytes value)
{
    char *p = buf_try_reserve(bulks, BULK_BYTES(value.size));
    if (p) bulks->size = (size_t)(put_bulk(p, value) - bulks->data);
    return p != NULL;
}

void journal_gather_field(void *fields, struct bytes name)
{
    struct journal_fields *f = fields;
    f->is_incomplete |= !journal_add_bulk(&f->names, name);
    f->count++;
}

void journal_fields_gone(struct shard *sh, const struct key *k, struct journal_fields *fields)
{
    if (fields->count > 0 && sh->journal.is_open && !sh->journal.is_muted && !is_guest(sh, k)) {
        struct journal_note *n = note_find(&sh->journal, k);
        if (n) n->is_complex = true;
        if (fields->is_incomplete || sh->journal.must_fall_back)
            journal_note(sh, k);
        else
            emit_bulks(sh, k, "HDEL", buf_view(&fields->names), fields->count);
    }
    buf_clear(&fields->names);
}

/* ---- descriptions ---- */

/* Whether the description is to be written. */
static bool begin_description(struct shard *sh, const struct key *k)
{
    struct journal *j = &sh->journal;
    if (!j->is_open || j->is_muted || unlikely(j->must_fall_back) || is_guest(sh, k)) return false;
    struct journal_note *n = note_find(j, k);
    if (!n) n = note_add(sh, k);
    if (!n || n->is_complex) return false;
    n->is_described = n->was_described = true;
    return true;
}

void journal_mute(struct shard *sh, bool is_muted)
{
    sh->journal.is_muted = is_muted;
}

void journal_fall_back(struct shard *sh, const struct key *k)
{
    if (!sh->journal.is_open || sh->journal.is_muted || is_guest(sh, k)) return;
    struct journal_note *n = note_find(&sh->journal, k);
    if (!n) n = note_add(sh, k);
    if (n) n->is_complex = true;
}

void journal_describe_nothing(struct shard *sh, const struct key *k)
{
    (void)begin_description(sh, k);
}

void journal_describe_as(struct shard *sh, const struct key *k, const struct bytes *argv,
                         uint32_t argc)
{
    if (begin_description(sh, k)) emit(sh, k, argv, argc);
}

struct bytes journal_i64(struct journal_number *n, int64_t value)
{
    return bytes_make(n->text, text_from_i64(n->text, value));
}

void journal_describe_bulks(struct shard *sh, const struct key *k, const char *name,
                            struct bytes bulks, uint32_t count)
{
    if (begin_description(sh, k)) emit_bulks(sh, k, name, bulks, count);
}

void journal_describe(struct shard *sh, const struct key *k, const char *name,
                      const struct bytes *args, uint32_t count)
{
    struct bytes few[ARGS_SHORT], *argv = few;
    if (!sh->journal.is_open) return;
    if (count + 2 > ARGS_SHORT) argv = mem_try_alloc(&sh->mem, (count + 2) * sizeof *argv);
    if (!argv) return; /* what the key has become will be told */
    argv[0] = bytes_of(name);
    argv[1] = k->name;
    if (count) memcpy(argv + 2, args, count * sizeof *argv);
    journal_describe_as(sh, k, argv, count + 2);
    if (argv != few) mem_free(&sh->mem, argv, (count + 2) * sizeof *argv);
}

void journal_deadline(struct shard *sh, const struct key *k, int64_t deadline_ms)
{
    struct journal_number n;
    if (!sh->journal.is_open) return;
    struct bytes time = journal_i64(&n, deadline_ms);
    if (deadline_ms)
        journal_describe(sh, k, "PEXPIREAT", &time, 1);
    else
        journal_describe(sh, k, "PERSIST", NULL, 0);
}

/* ---- whole databases ---- */

static void emit_keyless(struct shard *sh, uint32_t db, const struct bytes *argv, uint32_t argc)
{
    struct journal *j = &sh->journal;
    if (!j->is_open || j->is_muted) return;
    struct effects *e = effects_of(sh, NULL);
    size_t size = HEAD_BYTES_MAX;
    for (uint32_t i = 0; i < argc; i++) size += BULK_BYTES(argv[i].size);
    char *p = reserve(sh, e, db, size);
    if (!p) return;
    p = put_head(p, '*', argc);
    for (uint32_t i = 0; i < argc; i++) p = put_bulk(p, argv[i]);
    written_to(e, p);
}

void journal_flush_database(struct shard *sh, uint32_t db)
{
    const struct bytes argv[] = {BYTES_LITERAL("FLUSHDB")};
    emit_keyless(sh, db, argv, ARRAY_LEN(argv));
}

void journal_functions(struct shard *sh, struct bytes payload)
{
    const struct bytes argv[] = {BYTES_LITERAL("FUNCTION"), BYTES_LITERAL("RESTORE"), payload,
                                 BYTES_LITERAL("FLUSH")};
    emit_keyless(sh, 0, argv, ARRAY_LEN(argv));
}

void journal_swap_databases(struct shard *sh, uint32_t a, uint32_t b)
{
    char first[TEXT_I64_BYTES_MAX], second[TEXT_I64_BYTES_MAX];
    const struct bytes argv[] = {BYTES_LITERAL("SWAPDB"),
                                 bytes_make(first, text_from_u64(first, a)),
                                 bytes_make(second, text_from_u64(second, b))};
    emit_keyless(sh, a, argv, ARRAY_LEN(argv));
}

/* ---- requests ---- */

/* The command itself says what has become of its only key. */
static bool is_effect(const struct journal *j, const struct request *rq)
{
    const struct journal_note *n = &j->notes[0];
    return rq->command->flags & CMD_EFFECT && j->note_count == 1 && !n->is_complex &&
           !n->was_described && n->key.name.data == rq->argv[rq->hashed_index].data &&
           likely(!j->must_fall_back);
}

void journal_settle(struct shard *sh, const struct request *rq, bool has_failed)
{
    struct journal *j = &sh->journal;
    bool is_whole = rq && !has_failed && is_effect(j, rq);
    for (uint32_t i = 0; i < j->note_count; i++) {
        struct journal_note *n = &j->notes[i];
        if (n->is_described && !n->is_complex) continue;
        if (is_whole)
            emit(sh, &n->key, rq->argv, rq->argc);
        else
            emit_whole(sh, &n->key);
        if (n->is_owned)
            mem_free(&sh->mem, (char *)(uintptr_t)n->key.name.data, n->key.name.size + 1);
    }
    j->note_count = 0;
}

/* ---- records ---- */

static void append(struct shard *sh, const struct parcel *marked)
{
    struct journal *j = &sh->journal;
    struct effects *e = &j->effects;
    struct aof_record r = {.db = e->payload.size ? e->first_db : 0,
                           .payload = buf_view(&e->payload)};
    if (marked) {
        r.part = marked->part;
        r.part_count = marked->part_count;
        r.txid = atomic_load_explicit(&marked->position, memory_order_relaxed);
        CHECK(r.txid > j->last_txid);
        j->last_txid = r.txid;
    }
    if (aof_append(j->aof, &r, &j->last_lsn) != OK) {
        fail(sh);
    } else if (marked) {
        struct journal_part part = {j->last_lsn, marked->ledger};
        j->parts.mem = &sh->mem;
        buf_append(&j->parts, &part, sizeof part);
    }
    e->payload.size = 0;
    if (e->payload.capacity > 2 * JOURNAL_RECORD_BYTES) buf_clear(&e->payload);
}

static bool is_marked(const struct parcel *pc)
{
    return pc && pc->part_count > 1;
}

void journal_begin(struct shard *sh, const struct parcel *pc)
{
    struct journal *j = &sh->journal;
    if (likely(!j->is_open)) return;
    journal_flush(sh);
    j->parcel = pc;
}

void journal_end(struct shard *sh)
{
    struct journal *j = &sh->journal;
    if (likely(!j->is_open)) return;
    const struct parcel *pc = j->parcel;
    j->parcel = NULL;
    if (is_marked(pc))
        append(sh, pc);
    else if (j->effects.payload.size > 0)
        append(sh, NULL);
}

void journal_flush(struct shard *sh)
{
    struct journal *j = &sh->journal;
    if (!j->is_open) return;
    CHECK(!is_marked(j->parcel));
    if (j->note_count > 0 && !j->running) journal_settle(sh, NULL, false);
    if (j->effects.payload.size > 0) append(sh, NULL);
}

void journal_break(struct shard *sh)
{
    if (!is_marked(sh->journal.parcel)) append(sh, NULL);
}

void journal_take(struct shard *sh, struct effects *e)
{
    struct effects *into = &sh->journal.effects;
    if (e->payload.size == 0) return;
    if (sh->journal.is_open) {
        char *p = reserve(sh, into, e->first_db, e->payload.size);
        if (p) {
            memcpy(p, e->payload.data, e->payload.size);
            written_to(into, p + e->payload.size);
            into->db = e->db;
        }
    }
    buf_clear(&e->payload);
}

bool journal_is_flushed(const struct shard *sh)
{
    const struct journal *j = &sh->journal;
    return j->effects.payload.size == 0 && j->note_count == 0 && j->later_count == 0 &&
           !locks_have_effects(sh);
}

bool journal_take_part(struct shard *sh, uint64_t stable_lsn, struct journal_part *out)
{
    struct journal *j = &sh->journal;
    if (j->parts_taken == j->parts.size) return false;
    memcpy(out, j->parts.data + j->parts_taken, sizeof *out);
    if (out->lsn > stable_lsn) return false;
    j->parts_taken += sizeof *out;
    if (j->parts_taken == j->parts.size) {
        j->parts.size = j->parts_taken = 0;
    } else if (j->parts_taken >= PARTS_KEPT_BYTES) {
        j->parts.size -= j->parts_taken;
        memmove(j->parts.data, j->parts.data + j->parts_taken, j->parts.size);
        j->parts_taken = 0;
    }
    return true;
}

/* ---- announcements ---- */

static void announce(struct shard *sh, uint32_t db, const struct bytes *argv, uint32_t argc,
                     uint64_t number)
{
    char digits[TEXT_I64_BYTES_MAX];
    struct effects *e = &sh->journal.effects;
    size_t size = HEAD_BYTES_MAX + BULK_BYTES(11) + BULK_BYTES(TEXT_I64_BYTES_MAX);
    for (uint32_t i = 0; i < argc; i++) size += BULK_BYTES(argv[i].size);
    char *p = reserve(sh, e, db, size);
    if (!p) return;
    p = put_head(p, '*', 2 + (uint64_t)argc);
    p = put_bulk(p, argc ? BYTES_LITERAL("SHOAL.LATER") : BYTES_LITERAL("SHOAL.DONE"));
    p = put_bulk(p, bytes_make(digits, text_from_u64(digits, number)));
    for (uint32_t i = 0; i < argc; i++) p = put_bulk(p, argv[i]);
    written_to(e, p);
}

static const struct block *block_of(const struct request *rq)
{
    const struct command *rows = internal_family.commands;
    if (rq->command != &rows[INTERNAL_BLOCK] && rq->command != &rows[INTERNAL_BLOCK_ALL])
        return NULL;
    const struct block *b;
    memcpy(&b, rq->argv[1].data, sizeof b);
    return b;
}

/* What concerns each key for itself (MSET, DEL) a key at a time: they may live on different shards
 * when it is run. */
static void announce_request(struct shard *sh, const struct request *rq, uint64_t number)
{
    if (!(rq->command->flags & CMD_WRITE)) return;
    uint32_t each = rq->command->plan == PLAN_FAN_OUT ? (uint32_t)rq->command->keys[0].step : 0;
    if (each == 0) announce(sh, rq->db, rq->argv, rq->argc, number);
    for (uint32_t i = 1; each && i + each <= rq->argc; i += each) {
        struct bytes argv[3] = {rq->argv[0], rq->argv[i]};
        if (each == 2) argv[2] = rq->argv[i + 1];
        announce(sh, rq->db, argv, 1 + each, number);
    }
}

uint64_t journal_announce(struct shard *sh, const struct request *rq)
{
    struct journal *j = &sh->journal;
    if (!j->is_open || !is_marked(j->parcel)) return 0;
    const struct block *b = block_of(rq);
    bool is_part = rq->flags & REQUEST_PART && rq->command->flags & CMD_WRITE &&
                   strcmp(rq->command->group, "internal") != 0;
    if (!b && !is_part) return 0;
    uint64_t number = ++j->later_number;
    j->later_count++;
    if (!b) announce_request(sh, rq, number);
    for (uint32_t i = 0; b && i < b->count; i++) announce_request(sh, &b->requests[i], number);
    return number;
}

void journal_announced_is_done(struct shard *sh, uint64_t number, uint32_t db)
{
    if (!sh->journal.is_open) return;
    announce(sh, db, NULL, 0, number);
    sh->journal.later_count--;
}

/* ---- life ---- */

void journal_open(struct shard *sh, struct aof *aof)
{
    struct journal *j = &sh->journal;
    CHECK(!j->is_open && j->note_count == 0);
    j->aof = aof;
    j->last_lsn = aof_last_lsn(aof);
    j->later_count = 0;
    j->has_failed = false;
    j->is_open = true;
}

void journal_close(struct shard *sh)
{
    struct journal *j = &sh->journal;
    if (!j->is_open) return;
    journal_flush(sh);
    j->is_open = false;
    j->aof = NULL;
}

void journal_deinit(struct shard *sh)
{
    struct journal *j = &sh->journal;
    buf_clear(&j->effects.payload);
    buf_clear(&j->parts);
    mem_free(&sh->mem, j->notes, j->note_capacity * sizeof *j->notes);
}
