/* The commands that know how to run LOCKED: which keys they need to see, and what they do to them. */

#include "base/text.h"
#include "server/locked.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/families.h"
#include "shard/object.h"

static void key_add(struct locked *op, uint32_t argv_index, char mode, uint16_t db)
{
    struct locked_key *k = &op->keys[op->key_count++];
    *k = (struct locked_key){.argv_index = argv_index, .mode = {mode}};
    memcpy(k->mode + 1, &db, sizeof db);
    k->shard = router_shard(&op->worker->server->router, op->argv[argv_index], &k->hash);
}

static void keys_alloc(struct locked *op, uint32_t count)
{
    op->keys = mem_alloc(op->mem, count * sizeof *op->keys);
}

static bool report_is_null(struct bytes report)
{
    return report.data[0] == '_' || (report.size > 1 && report.data[1] == '-');
}

/* ---- moving a value ---- */

/* A report of mode 'd' is "*2\r\n$8\r\n<deadline>\r\n$n\r\n<frozen>\r\n". */
static void value_report_read(struct bytes report, struct bytes *deadline, struct bytes *frozen)
{
    const size_t header = sizeof("*2\r\n$8\r\n") - 1;
    *deadline = bytes_make(report.data + header, sizeof(uint64_t));
    const char *at = report.data + header + sizeof(uint64_t) + 2;
    const char *end = memchr(at, '\r', report.size - (size_t)(at - report.data));
    int64_t size = 0;
    CHECK(end && text_to_i64(bytes_make(at + 1, (size_t)(end - at - 1)), &size));
    *frozen = bytes_make(end + 2, (size_t)size);
}

static void effect_thaw(struct locked *op, const struct locked_key *from, const struct locked_key *to)
{
    struct locked_effect *e = locked_add_internal(op, to->shard, INTERNAL_THAW);
    e->db = op->to_db;
    e->hash = to->hash;
    e->argc = 4;
    e->inline_argv[0] = BYTES_LITERAL("thaw");
    e->inline_argv[1] = op->argv[to->argv_index];
    value_report_read(from->report, &e->inline_argv[2], &e->inline_argv[3]);
}

static void effect_delete(struct locked *op, const struct locked_key *k)
{
    struct locked_effect *e = locked_add_effect(op, k->shard, "unlink");
    e->hash = k->hash;
    e->argc = 2;
    e->inline_argv[0] = BYTES_LITERAL("unlink");
    e->inline_argv[1] = op->argv[k->argv_index];
}

/* ---- RENAME, RENAMENX ---- */

static bool rename_begin(struct locked *op)
{
    keys_alloc(op, 2);
    key_add(op, 1, 'd', op->db);
    key_add(op, 2, 'e', op->db);
    return true;
}

static void rename_compute(struct locked *op, struct reply *out)
{
    if (report_is_null(op->keys[0].report)) {
        reply_err(out, ERR_NO_KEY);
        return;
    }
    effect_thaw(op, &op->keys[0], &op->keys[1]);
    effect_delete(op, &op->keys[0]);
    reply_ok(out);
}

static void renamenx_compute(struct locked *op, struct reply *out)
{
    if (report_is_null(op->keys[0].report)) {
        reply_err(out, ERR_NO_KEY);
        return;
    }
    bool is_free = op->keys[1].report.data[1] == '0';
    if (is_free) {
        effect_thaw(op, &op->keys[0], &op->keys[1]);
        effect_delete(op, &op->keys[0]);
    }
    reply_i64(out, is_free);
}

/* ---- COPY ---- */

static bool copy_begin(struct locked *op)
{
    for (uint32_t i = 3; i < op->argc; i++) {
        int64_t db;
        if (bytes_equal_nocase(op->argv[i], "replace")) {
            op->replace = true;
        } else if (bytes_equal_nocase(op->argv[i], "db") && i + 1 < op->argc) {
            if (!text_to_i64(op->argv[++i], &db) || db < 0 || db >= op->worker->config->databases) return false;
            op->to_db = (uint16_t)db;
        } else {
            return false;
        }
    }
    keys_alloc(op, 2);
    key_add(op, 1, 'd', op->db);
    key_add(op, 2, 'e', op->to_db);
    return true;
}

static void copy_compute(struct locked *op, struct reply *out)
{
    bool can_copy = !report_is_null(op->keys[0].report) && (op->replace || op->keys[1].report.data[1] == '0');
    if (can_copy) effect_thaw(op, &op->keys[0], &op->keys[1]);
    reply_i64(out, can_copy);
}

/* ---- MSETNX ---- */

static bool msetnx_begin(struct locked *op)
{
    if (op->argc % 2 == 0) return false;
    keys_alloc(op, op->argc / 2);
    for (uint32_t i = 1; i < op->argc; i += 2) key_add(op, i, 'e', op->db);
    return true;
}

static void effect_mset(struct locked *op, uint16_t shard)
{
    struct locked_effect *e = locked_add_effect(op, shard, "mset");
    uint32_t pairs = 0;
    for (uint32_t k = 0; k < op->key_count; k++) pairs += op->keys[k].shard == shard;
    e->argc = 1 + 2 * pairs;
    e->argv = mem_alloc(op->mem, e->argc * sizeof *e->argv);
    uint32_t n = 0;
    e->argv[n++] = BYTES_LITERAL("mset");
    for (uint32_t k = 0; k < op->key_count; k++) {
        if (op->keys[k].shard != shard) continue;
        if (n == 1) e->hash = op->keys[k].hash;
        e->argv[n++] = op->argv[op->keys[k].argv_index];
        e->argv[n++] = op->argv[op->keys[k].argv_index + 1];
    }
}

static void msetnx_compute(struct locked *op, struct reply *out)
{
    bool is_free = true;
    for (uint32_t k = 0; k < op->key_count; k++) is_free &= op->keys[k].report.data[1] == '0';
    for (uint16_t i = 0; is_free && i < op->participant_count; i++) effect_mset(op, op->participants[i].shard);
    reply_i64(out, is_free);
}

/* ---- LCS: only reads ---- */

static bool lcs_begin(struct locked *op)
{
    keys_alloc(op, 2);
    key_add(op, 1, 'd', op->db);
    key_add(op, 2, 'd', op->db);
    return true;
}

/* A missing key is an empty string. The entry is a copy of ours, so that the shards need not wait for the computation. */
static bool lcs_operand(struct locked *op, const struct locked_key *k, struct entry **entry, char *scratch, struct bytes *out)
{
    *entry = NULL;
    *out = BYTES_LITERAL("");
    if (report_is_null(k->report)) return true;
    struct bytes deadline, frozen;
    value_report_read(k->report, &deadline, &frozen);
    *entry = object_try_thaw(op->mem, frozen, op->argv[k->argv_index], 0);
    if (!*entry || entry_type(*entry) != TYPE_STRING) return false;
    *out = entry_string(*entry, scratch);
    return true;
}

static void lcs_compute(struct locked *op, struct reply *out)
{
    char scratch[2][TEXT_I64_BYTES_MAX];
    struct entry *entries[2] = {NULL, NULL};
    struct lcs_request lr = {.mem = op->mem, .table_bytes_max = op->worker->config->proto_bulk_bytes_max};
    struct request rq = {.argv = op->argv, .argc = op->argc, .db = op->db, .resp = op->resp};
    enum err e = OK;
    if (lcs_operand(op, &op->keys[0], &entries[0], scratch[0], &lr.a) &&
        lcs_operand(op, &op->keys[1], &entries[1], scratch[1], &lr.b))
        e = lcs_reply(&lr, &rq, out);
    else
        e = lcs_reply_wrong_type(out);
    if (e != OK) reply_err(out, e);
    for (unsigned i = 0; i < ARRAY_LEN(entries); i++)
        if (entries[i]) object_free(op->mem, entries[i]);
}

const struct locked_command locked_commands[] = {
    {"rename", rename_begin, rename_compute},
    {"renamenx", rename_begin, renamenx_compute},
    {"copy", copy_begin, copy_compute},
    {"msetnx", msetnx_begin, msetnx_compute},
    {"lcs", lcs_begin, lcs_compute},
    {NULL, NULL, NULL},
};
