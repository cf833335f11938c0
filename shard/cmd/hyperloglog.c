/* hyperloglog.c: PFADD, PFCOUNT, PFMERGE, PFDEBUG and PFSELFTEST. A sketch is a string, which all
 * string commands know as well: shard/type/hll.h has its layout.
 */
#include "shard/cmd/args.h"
#include "shard/cmd/families.h"
#include "shard/notify.h"
#include "shard/type/hll.h"

static enum err reply_corrupt(struct reply *out)
{
    reply_error(out, "INVALIDOBJ Corrupted HLL object detected");
    return OK;
}

/* The sketch in a string; false when the error is written. */
static bool sketch_or_reply(const struct entry *e, struct reply *out, struct bytes *sketch)
{
    char scratch[TEXT_I64_BYTES_MAX];
    *sketch = entry_string(e, scratch);
    if (hll_has_header(*sketch)) return true;
    reply_error(out, "WRONGTYPE Key is not a valid HyperLogLog string value.");
    return false;
}

/* PFADD and PFCOUNT of one key leave a raw string behind, also when nothing changes, or the sketch
 * turns out to be corrupt. Writes over `sketch` where the string is now. */
static enum err make_raw(struct shard *sh, const struct key *k, const struct entry *e,
                         struct bytes *sketch)
{
    if (likely(entry_encoding(e) == ENCODING_RAW)) return OK;
    char *data;
    enum err result = keyspace_edit_string(sh, k, sketch->size, &data);
    if (result == OK) *sketch = bytes_make(data, sketch->size);
    return result;
}

/* ---- PFADD ---- */

/* What a key has become; a missing one was made. */
static enum err store_draft(struct shard *sh, const struct key *k, struct hll_draft *d)
{
    if (!hll_draft_finish(d)) return ERR_ALLOC;
    enum err e = keyspace_set_raw(sh, k, d->sketch, DEADLINE_KEEP);
    if (e == OK) notify(sh, NOTIFY_STRING, "pfadd", k);
    return e;
}

/* A dense sketch changes in place: nothing can go wrong but the first step. */
static enum err add_to_dense(struct shard *sh, const struct request *rq, const struct key *k,
                             struct bytes sketch, struct reply *out)
{
    char *data = NULL;
    for (uint32_t i = 2; i < rq->argc; i++) {
        struct hll_mark mark = hll_mark_of(rq->argv[i]);
        if (hll_dense_rank(sketch, mark.index) >= mark.rank) continue;
        if (!data) {
            enum err e = keyspace_edit_string(sh, k, sketch.size, &data);
            if (e != OK) return e;
            sketch = bytes_make(data, sketch.size);
        }
        hll_dense_set_rank(data, mark);
    }
    if (data) {
        hll_outdate_count(data);
        notify(sh, NOTIFY_STRING, "pfadd", k);
    }
    reply_i64(out, data != NULL);
    return OK;
}

static enum hll_result raise_all(const struct request *rq, struct hll_draft *d)
{
    enum hll_result all = HLL_SAME;
    for (uint32_t i = 2; i < rq->argc; i++) {
        enum hll_result one = hll_draft_raise(d, hll_mark_of(rq->argv[i]));
        if (one > HLL_CHANGED) return one;
        all = MAX(all, one);
    }
    return all;
}

static enum err add_to_sparse(struct shard *sh, const struct request *rq, const struct key *k,
                              struct bytes sketch, bool is_new, struct reply *out)
{
    struct hll_draft d;
    hll_draft_begin(&d, &sh->mem, sketch, sh->config->hll_sparse_bytes_max);
    enum hll_result result = raise_all(rq, &d);
    enum err e = result == HLL_NO_MEMORY ? ERR_ALLOC : OK;
    if (result == HLL_CORRUPT) {
        reply_corrupt(out);
    } else if (e == OK) {
        bool is_changed = result == HLL_CHANGED || is_new;
        if (is_changed) e = store_draft(sh, k, &d);
        if (e == OK) reply_i64(out, is_changed);
    }
    hll_draft_free(&d);
    return e;
}

static enum err cmd_pfadd(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *value = peek_touched(sh, &k);
    if (value && entry_type(value) != TYPE_STRING) return ERR_WRONG_TYPE;
    if (!value) return add_to_sparse(sh, rq, &k, hll_empty(), true, out);
    struct bytes sketch;
    if (!sketch_or_reply(value, out, &sketch)) return OK;
    if (hll_is_dense(sketch)) return add_to_dense(sh, rq, &k, sketch, out);
    enum err e = make_raw(sh, &k, value, &sketch);
    return e == OK ? add_to_sparse(sh, rq, &k, sketch, false, out) : e;
}

/* ---- several sketches ---- */

/* Raises `registers` to those of the sketch at argv[index]; a missing key is an empty one. False
 * when the error is written. */
static bool merge_key_or_reply(struct shard *sh, const struct request *rq, uint32_t index,
                               struct hll_registers *registers, struct bytes *sketch,
                               struct reply *out)
{
    struct key k = request_key(sh, rq, index);
    struct entry *value;
    enum err e = keyspace_find(sh, &k, TYPE_STRING, &value);
    *sketch = hll_empty();
    if (e == ERR_NO_KEY) return true;
    if (e != OK) {
        reply_err(out, e);
        return false;
    }
    if (!sketch_or_reply(value, out, sketch)) return false;
    if (hll_merge_into(*sketch, registers)) return true;
    reply_corrupt(out);
    return false;
}

static enum err count_one(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    struct bytes sketch;
    int64_t count;
    enum err e = keyspace_find(sh, &k, TYPE_STRING, &value);
    if (e == ERR_NO_KEY) {
        reply_i64(out, 0);
        return OK;
    }
    if (e != OK) return e;
    if (!sketch_or_reply(value, out, &sketch)) return OK;
    e = make_raw(sh, &k, value, &sketch);
    if (e != OK) return e;
    if (!hll_cached_count(sketch, &count)) {
        if (!hll_estimate(sketch, &count)) return reply_corrupt(out);
        /* Without memory for that the count is right as well. */
        char *data;
        if (keyspace_edit_string(sh, &k, sketch.size, &data) == OK) hll_cache_count(data, count);
    }
    reply_i64(out, count);
    return OK;
}

static enum err cmd_pfcount(struct shard *sh, struct request *rq, struct reply *out)
{
    if (rq->argc == 2) return count_one(sh, rq, out);
    struct hll_registers registers = {0};
    struct bytes sketch;
    for (uint32_t i = 1; i < rq->argc; i++) {
        if (!merge_key_or_reply(sh, rq, i, &registers, &sketch, out)) return OK;
    }
    reply_i64(out, hll_estimate_registers(&registers));
    return OK;
}

static enum hll_result raise_to(struct hll_draft *d, const struct hll_registers *registers)
{
    for (uint32_t i = 0; i < HLL_REGISTERS; i++) {
        if (registers->ranks[i] == 0) continue;
        struct hll_mark mark = {.index = i, .rank = registers->ranks[i]};
        enum hll_result result = hll_draft_raise(d, mark);
        if (result > HLL_CHANGED) return result;
    }
    return HLL_CHANGED;
}

/* The destination takes part in the union, and is dense if any of them is. */
static enum err cmd_pfmerge(struct shard *sh, struct request *rq, struct reply *out)
{
    struct hll_registers registers = {0};
    struct bytes to = {0}, sketch;
    bool is_dense = false;
    for (uint32_t i = 1; i < rq->argc; i++) {
        if (!merge_key_or_reply(sh, rq, i, &registers, &sketch, out)) return OK;
        is_dense |= hll_is_dense(sketch);
        if (i == 1) to = sketch;
    }
    struct hll_draft d;
    hll_draft_begin(&d, &sh->mem, to, sh->config->hll_sparse_bytes_max);
    enum hll_result result = is_dense ? hll_draft_make_dense(&d) : HLL_SAME;
    if (result <= HLL_CHANGED) result = raise_to(&d, &registers);
    DCHECK(result != HLL_CORRUPT);
    struct key k = request_key(sh, rq, 1);
    enum err e = result == HLL_NO_MEMORY ? ERR_ALLOC : store_draft(sh, &k, &d);
    if (e == OK) reply_ok(out);
    hll_draft_free(&d);
    return e;
}

/* ---- PFDEBUG ---- */

/* The sketch becomes a dense one; its count stays what it is. */
static enum err make_dense(struct shard *sh, const struct key *k, struct bytes *sketch,
                           struct reply *out, bool *is_corrupt)
{
    struct hll_draft d;
    hll_draft_begin(&d, &sh->mem, *sketch, sh->config->hll_sparse_bytes_max);
    enum hll_result result = hll_draft_make_dense(&d);
    *is_corrupt = result == HLL_CORRUPT;
    enum err e = result == HLL_NO_MEMORY ? ERR_ALLOC : OK;
    if (*is_corrupt) {
        reply_corrupt(out);
    } else if (e == OK) {
        e = keyspace_set_raw(sh, k, d.sketch, DEADLINE_KEEP);
        struct entry *value = e == OK ? keyspace_peek(sh, k) : NULL;
        char scratch[TEXT_I64_BYTES_MAX];
        if (value) *sketch = entry_string(value, scratch); /* raw: in the entry */
    }
    hll_draft_free(&d);
    return e;
}

static enum err debug_todense(struct shard *sh, const struct key *k, struct bytes sketch,
                              struct reply *out)
{
    bool was_dense = hll_is_dense(sketch), is_corrupt = false;
    enum err e = was_dense ? OK : make_dense(sh, k, &sketch, out, &is_corrupt);
    if (e == OK && !is_corrupt) reply_i64(out, !was_dense);
    return e;
}

/* All registers; as in Redis the sketch is dense from then on. */
static enum err debug_getreg(struct shard *sh, const struct key *k, struct bytes sketch,
                             struct reply *out)
{
    bool is_corrupt = false;
    enum err e = hll_is_dense(sketch) ? OK : make_dense(sh, k, &sketch, out, &is_corrupt);
    if (e != OK || is_corrupt) return e;
    reply_array(out, HLL_REGISTERS);
    for (uint32_t i = 0; i < HLL_REGISTERS; i++) reply_i64(out, hll_dense_rank(sketch, i));
    return OK;
}

static enum err debug_decode(struct shard *sh, struct bytes sketch, struct reply *out)
{
    if (hll_is_dense(sketch)) {
        reply_error(out, "ERR HLL encoding is not sparse");
        return OK;
    }
    struct buf text = {.mem = &sh->mem};
    bool done = hll_try_describe(sketch, &text);
    if (done) reply_bulk(out, buf_view(&text));
    buf_clear(&text);
    return done ? OK : ERR_ALLOC;
}

static enum err cmd_pfdebug(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 2);
    struct entry *value;
    struct bytes sketch;
    enum err e = keyspace_peek_typed(sh, &k, TYPE_STRING, &value);
    if (e == ERR_NO_KEY) {
        reply_error(out, "ERR The specified key does not exist");
        return OK;
    }
    if (e != OK) return e;
    if (!sketch_or_reply(value, out, &sketch)) return OK;
    e = make_raw(sh, &k, value, &sketch);
    if (e != OK) return e;
    if (arg_is(rq, 1, "getreg")) return debug_getreg(sh, &k, sketch, out);
    if (arg_is(rq, 1, "decode")) return debug_decode(sh, sketch, out);
    if (arg_is(rq, 1, "todense")) return debug_todense(sh, &k, sketch, out);
    if (arg_is(rq, 1, "encoding")) {
        reply_status(out, hll_is_dense(sketch) ? "dense" : "sparse");
    } else {
        reply_error(out, "ERR Unknown PFDEBUG subcommand '%.*s'",
                    (int)MIN(rq->argv[1].size, (size_t)128), rq->argv[1].data);
    }
    return OK;
}

/* ---- PFSELFTEST ---- */

#define TEST_ROUNDS 16 /* of all registers */
#define TEST_ELEMENTS 20000
#define TEST_FIRST_CHECK 100
#define TEST_ERROR_MAX 0.05 /* six times the standard error */

/* What is written into a dense sketch is read again, whatever its neighbours are. */
static bool test_registers(char *dense, uint64_t *random)
{
    struct hll_registers model = {0};
    for (unsigned i = 0; i < TEST_ROUNDS * HLL_REGISTERS; i++) {
        *random = *random * 6364136223846793005U + 1442695040888963407U;
        struct hll_mark mark = {.index = (uint32_t)(*random >> 32) % HLL_REGISTERS,
                                .rank = (uint8_t)(*random >> 58)};
        hll_dense_set_rank(dense, mark);
        model.ranks[mark.index] = mark.rank;
    }
    for (uint32_t i = 0; i < HLL_REGISTERS; i++)
        if (hll_dense_rank(bytes_make(dense, HLL_DENSE_BYTES), i) != model.ranks[i]) return false;
    return true;
}

static bool is_near(int64_t count, unsigned true_count)
{
    double error = (double)count - true_count;
    return error <= TEST_ERROR_MAX * true_count && -error <= TEST_ERROR_MAX * true_count;
}

/* Counts are near the truth, and the same whatever form a sketch has. */
static enum hll_result test_counts(struct hll_draft *sparse, struct hll_draft *dense, bool *ok)
{
    enum hll_result result = hll_draft_make_dense(dense);
    unsigned check = TEST_FIRST_CHECK;
    for (unsigned i = 1; i <= TEST_ELEMENTS && result <= HLL_CHANGED; i++) {
        struct hll_mark mark = hll_mark_of(bytes_make(&i, sizeof i));
        result = hll_draft_raise(sparse, mark);
        if (result > HLL_CHANGED) break;
        result = hll_draft_raise(dense, mark);
        if (i != check) continue;
        check *= 2;
        int64_t one = 0, other = 0;
        *ok = hll_estimate(sparse->sketch, &one) && hll_estimate(dense->sketch, &other) &&
              one == other && is_near(one, i);
        if (!*ok) break;
    }
    return result;
}

/* Every shard tests itself. */
static enum err cmd_pfselftest(struct shard *sh, struct request *rq, struct reply *out)
{
    UNUSED struct request *none = rq;
    struct hll_draft sparse, dense;
    bool ok = true;
    uint64_t random = sh->id;
    hll_draft_begin(&sparse, &sh->mem, hll_empty(), sh->config->hll_sparse_bytes_max);
    hll_draft_begin(&dense, &sh->mem, hll_empty(), sh->config->hll_sparse_bytes_max);
    enum hll_result result = test_counts(&sparse, &dense, &ok);
    char *registers = result <= HLL_CHANGED ? mem_try_alloc(&sh->mem, HLL_DENSE_BYTES) : NULL;
    enum err e = registers ? OK : ERR_ALLOC;
    if (result == HLL_CORRUPT || !ok) {
        reply_error(out, "TESTFAILED counts are wrong");
        e = OK;
    } else if (registers) {
        memset(registers, 0, HLL_DENSE_BYTES);
        if (test_registers(registers, &random))
            reply_ok(out);
        else
            reply_error(out, "TESTFAILED a register has another value than it was given");
    }
    if (registers) mem_free(&sh->mem, registers, HLL_DENSE_BYTES);
    hll_draft_free(&sparse);
    hll_draft_free(&dense);
    return e;
}

/* clang-format off */
static const struct command commands[] = {
    {.name = "pfadd", .on_shard = cmd_pfadd, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_HYPERLOGLOG, .keys = KEYS_FIRST(KEY_RW | KEY_INSERT),
     .since = "2.8.9", .group = "hyperloglog", .complexity = "O(1) for each element",
     .summary = "Adds elements to a HyperLogLog."},
    {.name = "pfcount", .on_shard = cmd_pfcount, .arity = -2, .plan = PLAN_LOCKED, .flags = CMD_READ | CMD_EFFECT | CMD_MAY_REPLICATE, .acl = ACL_HYPERLOGLOG, .keys = KEYS_ALL(KEY_RW | KEY_ACCESS),
     .since = "2.8.9", .group = "hyperloglog", .complexity = "O(1) for one key whose count is known, else O(n) for n keys of 16,384 registers",
     .summary = "About how many different elements one or several HyperLogLogs have seen."},
    {.name = "pfmerge", .on_shard = cmd_pfmerge, .arity = -2, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_HYPERLOGLOG,
     .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_INSERT, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .last = -1, .step = 1}},
     .since = "2.8.9", .group = "hyperloglog", .complexity = "O(n) for n keys of 16,384 registers",
     .summary = "Makes a HyperLogLog the union of several."},
    {.name = "pfdebug", .on_shard = cmd_pfdebug, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_ADMIN, .acl = ACL_HYPERLOGLOG, .keys = {{.flags = KEY_RW | KEY_ACCESS, .begin = 2, .last = 0, .step = 1}},
     .since = "2.8.9", .is_syscmd = true, .group = "hyperloglog", .complexity = "O(n) for n bytes of the sketch",
     .summary = "Shows how a HyperLogLog is stored, for those who test the server."},
    {.name = "pfselftest", .on_shard = cmd_pfselftest, .arity = 1, .plan = PLAN_ALL_SHARDS, .merge = MERGE_OK, .flags = CMD_ADMIN, .acl = ACL_HYPERLOGLOG, .keys = KEYS_NONE,
     .since = "2.8.9", .is_syscmd = true, .group = "hyperloglog", .complexity = "O(1)",
     .summary = "Lets every shard test its HyperLogLogs."},
};
/* clang-format on */
const struct command_family hyperloglog_family = {"hyperloglog", commands, ARRAY_LEN(commands)};
