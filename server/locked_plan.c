/* The plan of a LOCKED command: which keys it has, where they live, who is the host, and what each
 * participant is asked for.
 */
#include "base/text.h"
#include "server/coord.h"
#include "server/locked.h"
#include "server/placement.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/families.h"

/* ---- keys ---- */

void key_found(void *context, uint32_t index, const struct key_spec *spec)
{
    struct locked *op = context;
    if (op->lacks_memory) return;
    if (op->key_count == op->key_capacity) {
        uint32_t grown = op->key_capacity ? 2 * op->key_capacity : 4;
        struct locked_key *keys = mem_try_realloc(
            op->mem, op->keys, op->key_capacity * sizeof *op->keys, grown * sizeof *op->keys);
        op->lacks_memory = !keys;
        if (!keys) return;
        op->keys = keys;
        op->key_capacity = grown;
    }
    struct locked_key *k = &op->keys[op->key_count++];
    *k = (struct locked_key){.argv_index = index,
                             .db = op->db,
                             .is_written = !(spec->flags & KEY_RO) || spec->flags & KEY_CHANGED};
    k->shard = router_shard(&op->worker->server->router, op->argv[index], &k->hash);
}

/* COPY src dst DB n: the only command whose keys live in two databases. `*db` stays without the
 * option. */
static bool copy_database(const struct worker *w, const struct bytes *argv, uint32_t argc,
                          uint16_t *db)
{
    for (uint32_t i = 3; i + 1 < argc; i++) {
        int64_t n;
        if (!bytes_equal_nocase(argv[i], "db")) continue;
        if (!text_to_i64(argv[i + 1], &n) || n < 0 || n >= w->server->database_count) return false;
        *db = (uint16_t)n;
    }
    return true;
}

static bool is_copy(const struct command *c)
{
    return strcmp(c->name, "copy") == 0;
}

bool locked_arguments_fit(const struct worker *w, const struct command *c, const struct bytes *argv,
                          uint32_t argc)
{
    const struct locked_move *move = locked_move_find(c);
    uint16_t db;
    if (is_copy(c)) return copy_database(w, argv, argc, &db);
    if (coord_is_msetnx(c)) return placement_fits(c, argc);
    return !move || move->fits(argv, argc);
}

/* A name that stands twice is one guest; it is written if any of its places is. */
bool keys_merge_repeated(struct locked *op)
{
    uint32_t mask = 1;
    while (mask < 2 * op->key_count) mask *= 2;
    uint32_t *slots = mem_try_alloc(op->mem, mask * sizeof *slots);
    if (!slots) return false;
    memset(slots, 0, mask * sizeof *slots);
    for (uint32_t i = 0; i < op->key_count; i++) {
        struct locked_key *k = &op->keys[i];
        uint32_t at = (uint32_t)k->hash & (mask - 1);
        while (slots[at]) {
            struct locked_key *other = &op->keys[slots[at] - 1];
            if (other->db == k->db &&
                bytes_equal(op->argv[other->argv_index], op->argv[k->argv_index]))
                break;
            at = (at + 1) & (mask - 1);
        }
        if (slots[at]) {
            k->is_repeated = true;
            op->keys[slots[at] - 1].is_written |= k->is_written;
        } else {
            slots[at] = i + 1;
        }
    }
    mem_free(op->mem, slots, mask * sizeof *slots);
    return true;
}

static bool is_participant(const struct locked *op, uint16_t shard)
{
    for (uint16_t i = 0; i < op->participant_count; i++)
        if (op->participants[i].shard == shard) return true;
    return false;
}

/* False: no memory. */
static bool participants_find(struct locked *op)
{
    op->participants = mem_try_alloc(op->mem, op->key_count * sizeof *op->participants);
    if (!op->participants) return false;
    op->participant_capacity = op->key_count;
    memset(op->participants, 0, op->key_count * sizeof *op->participants);
    for (uint32_t k = 0; k < op->key_count; k++)
        if (!is_participant(op, op->keys[k].shard))
            op->participants[op->participant_count++].shard = op->keys[k].shard;
    return true;
}

/* The shard of the key that the command writes. Of several destinations among the options, which
 * each_key finds, the last one counts: GEORADIUS … STORE a STOREDIST b. */
uint16_t locked_host(const struct locked *op)
{
    bool last_counts = op->route->command->each_key != NULL;
    uint32_t written = op->key_count;
    for (uint32_t k = 0; k < op->key_count; k++)
        if (op->keys[k].is_written && (last_counts || written == op->key_count)) written = k;
    return op->keys[written < op->key_count ? written : 0].shard;
}

/* Who is the host, and what is to be reported of each key. False: no memory. */
static bool modes_plan(struct locked *op)
{
    const char *name = op->route->command->name;
    op->takes_first = strcmp(name, "lmpop") == 0 || strcmp(name, "zmpop") == 0;
    op->host = locked_host(op);
    for (uint32_t k = 0; k < op->key_count; k++) {
        struct locked_key *key = &op->keys[k];
        key->mode_text[0] = op->takes_first ? 'e' : is_guest(op, key) ? 'd' : '-';
        memcpy(key->mode_text + 1, &key->db, sizeof key->db);
        key->mode = bytes_make(key->mode_text, LOCK_MODE_BYTES);
    }
    op->move = locked_move_find(op->route->command);
    if (op->move && !op->move->plan(op)) return false;
    op->is_read = locked_read_fits(op->route->command, op->argv, op->argc);
    return !op->is_read || locked_read_plan(op);
}

/* ---- the lock turn ---- */

static const uint64_t no_watch = 0;

/* The arguments of each participant's LOCK or FETCH, one behind the other. */
static bool lock_arguments(struct locked *op)
{
    op->lock_argv_count = 2 * op->participant_count + 2 * op->key_count;
    op->lock_argv = mem_try_alloc(op->mem, op->lock_argv_count * sizeof *op->lock_argv);
    if (!op->lock_argv) return false;
    struct bytes *at = op->lock_argv;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct participant *p = &op->participants[i];
        p->argv = at;
        *at++ = BYTES_LITERAL("lock");
        *at++ = bytes_make(&no_watch, sizeof no_watch);
        for (uint32_t k = 0; k < op->key_count; k++) {
            if (op->keys[k].shard != p->shard) continue;
            *at++ = op->argv[op->keys[k].argv_index];
            *at++ = op->keys[k].mode;
        }
        p->argc = (uint32_t)(at - p->argv);
    }
    return true;
}

enum spread locked_plan(struct locked *op)
{
    const struct command *c = op->route->command;
    bool has_keys = command_each_key(c, op->argv, op->argc, key_found, op);
    if (op->lacks_memory) return SPREAD_UNKNOWN;
    if (!has_keys || op->key_count < 2) return SPREAD_NOT;
    if (!locked_arguments_fit(op->worker, c, op->argv, op->argc)) return SPREAD_NOT;
    if (is_copy(c)) CHECK(copy_database(op->worker, op->argv, op->argc, &op->keys[1].db));
    if (!participants_find(op)) return SPREAD_UNKNOWN;
    if (op->participant_count == 1) return SPREAD_NOT;
    if (!keys_merge_repeated(op)) return SPREAD_UNKNOWN;
    return modes_plan(op) && lock_arguments(op) && locked_reserve(op) ? SPREAD_OVER_SHARDS
                                                                      : SPREAD_UNKNOWN;
}
