/* LMOVE, RPOPLPUSH, their blocking forms, and SMOVE between two shards: one element travels, not
 * the whole value. RENAME and RENAMENX: the whole value does, the same way.
 *
 *     lock turn   both types are checked, and the source says what it would give away
 *     put         the destination takes the element, with the handler of RPUSH, LPUSH or SADD
 *     take        the source gives it away, with that of RPOP, LPOP or SREM; both unlock
 *
 * The element is put before it is taken, because only putting can fail, for want of memory. So the
 * two events of a move may reach subscribers in either order; those of a RENAME, if somebody may
 * want them, do not, as the second one is told in a round of its own.
 */
#include "base/text.h"
#include "server/locked.h"
#include "server/merge_parts.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/args.h"
#include "shard/cmd/families.h"

enum { KEY_FROM, KEY_TO, KEY_COUNT };

static void reply_write(struct locked *op, const struct reply *r)
{
    buf_append(&op->reply, r->last->data, (size_t)(r->cursor - r->last->data));
}

static bool is_error(struct bytes report)
{
    return report.data[0] == '-';
}

static bool is_null(struct bytes report)
{
    return report.data[0] == '_' || (report.size > 1 && report.data[1] == '-');
}

/* "$n\r\n<element>\r\n" */
static struct bytes element_of(struct bytes report)
{
    const char *end = memchr(report.data, '\n', report.size);
    CHECK(end && report.data[0] == '$');
    return bytes_make(end + 1, report.size - (size_t)(end + 1 - report.data) - 2);
}

static void reply_reported(struct locked *op, struct bytes error)
{
    struct netloop *nl = &op->worker->net;
    nl->hooks->on_error(nl, op->route->id, bytes_make(error.data + 1, error.size - 1));
    buf_append(&op->reply, error.data, error.size);
}

/* What the reply is when nothing moves: the first of the two that is wrong decides, but a source
 * that is not there decides before all. */
static bool is_settled(struct locked *op, void (*write_none)(struct reply *out))
{
    struct bytes from = op->keys[KEY_FROM].report, to = op->keys[KEY_TO].report;
    bool is_none = is_null(from);
    if (is_none) {
        struct reply out = netloop_reply(&op->worker->net, op->resp);
        write_none(&out);
        reply_write(op, &out);
        netloop_reply_drop(&op->worker->net, &out);
        return true;
    }
    struct bytes wrong = is_error(from) ? from : to;
    if (!is_error(wrong)) return false;
    reply_reported(op, wrong);
    return true;
}

static void modes_set(struct locked *op, char from, char to)
{
    op->keys[KEY_FROM].mode_text[0] = from;
    op->keys[KEY_TO].mode_text[0] = to;
}

/* An ordinary command on the shard of a key, as an effect: name, key, element. */
static void effect_command(struct locked *op, const struct locked_key *k, const char *name,
                           struct bytes argument)
{
    const struct route *route = router_find_row(&op->worker->server->router, name);
    struct effect *e = effect_add(op, k->shard, route->command);
    e->hash = k->hash;
    e->argc = argument.data ? 3 : 2;
    e->inline_argv[0] = bytes_of(name);
    e->inline_argv[1] = op->argv[k->argv_index];
    e->inline_argv[2] = argument;
}

/* ---- lists ---- */

struct ends {
    bool from_tail, to_tail;
};

static bool read_end(struct bytes argument, bool *is_tail)
{
    *is_tail = bytes_equal_nocase(argument, "right");
    return *is_tail || bytes_equal_nocase(argument, "left");
}

static bool read_ends(const struct bytes *argv, uint32_t argc, struct ends *e)
{
    *e = (struct ends){.from_tail = true};
    if (argc <= 4) return true; /* RPOPLPUSH, BRPOPLPUSH */
    return read_end(argv[3], &e->from_tail) && read_end(argv[4], &e->to_tail);
}

static bool list_fits(const struct bytes *argv, uint32_t argc)
{
    struct ends e;
    return read_ends(argv, argc, &e);
}

/* BLMOVE, BRPOPLPUSH: the last argument is the time that it may wait. */
static bool blocking_fits(const struct bytes *argv, uint32_t argc)
{
    int64_t timeout_ms;
    return list_fits(argv, argc) && arg_timeout(argv[argc - 1], &timeout_ms) == OK;
}

static bool list_plan(struct locked *op)
{
    struct ends e;
    CHECK(read_ends(op->argv, op->argc, &e));
    modes_set(op, e.from_tail ? 'r' : 'l', 'L');
    return true;
}

static bool list_put(struct locked *op)
{
    struct ends e;
    if (is_settled(op, reply_null)) return false;
    CHECK(read_ends(op->argv, op->argc, &e));
    struct bytes report = op->keys[KEY_FROM].report;
    if (!buf_try_reserve(&op->reply, report.size)) {
        struct reply out = netloop_reply(&op->worker->net, op->resp);
        reply_err(&out, ERR_ALLOC);
        reply_write(op, &out);
        netloop_reply_drop(&op->worker->net, &out);
        return false;
    }
    buf_append(&op->reply, report.data, report.size);
    effect_command(op, &op->keys[KEY_TO], e.to_tail ? "rpush" : "lpush", element_of(report));
    return true;
}

static void list_take(struct locked *op)
{
    struct ends e;
    CHECK(read_ends(op->argv, op->argc, &e));
    effect_command(op, &op->keys[KEY_FROM], e.from_tail ? "rpop" : "lpop", (struct bytes){0});
}

/* ---- sets ---- */

static void reply_zero(struct reply *out)
{
    reply_i64(out, 0);
}

static bool set_fits(const struct bytes *argv, uint32_t argc)
{
    UNUSED const struct bytes *any = argv;
    return argc == 4;
}

static bool set_plan(struct locked *op)
{
    struct locked_key *from = &op->keys[KEY_FROM];
    modes_set(op, 'm', 'S');
    size_t size = LOCK_MODE_BYTES + op->argv[3].size;
    char *mode = buf_try_reserve(&op->move_mode, size);
    if (!mode) return false;
    memcpy(mode, from->mode_text, LOCK_MODE_BYTES);
    memcpy(mode + LOCK_MODE_BYTES, op->argv[3].data, op->argv[3].size);
    from->mode = bytes_make(mode, size);
    return true;
}

static bool set_put(struct locked *op)
{
    if (is_settled(op, reply_zero)) return false;
    struct bytes is_member = op->keys[KEY_FROM].report;
    buf_append(&op->reply, is_member.data, is_member.size);
    if (is_member.data[1] == '0') return false;
    effect_command(op, &op->keys[KEY_TO], "sadd", op->argv[3]);
    return true;
}

static void set_take(struct locked *op)
{
    effect_command(op, &op->keys[KEY_FROM], "srem", op->argv[3]);
}

/* ---- whole values ---- */

static bool rename_fits(UNUSED const struct bytes *argv, UNUSED uint32_t argc)
{
    return true;
}

static bool rename_plan(struct locked *op)
{
    modes_set(op, 'd', '-');
    return true;
}

static bool renamenx_plan(struct locked *op)
{
    modes_set(op, 'd', 'e');
    return true;
}

/* The command itself on the shard of one of its keys, or what stands for it there. */
static void effect_rename(struct locked *op, uint16_t shard, const struct command *command)
{
    struct effect *e = effect_add(op, shard, command);
    e->argv = op->argv;
    e->argc = op->argc;
    e->resp = op->resp;
}

static bool rename_put(struct locked *op)
{
    const struct locked_key *from = &op->keys[KEY_FROM], *to = &op->keys[KEY_TO];
    bool is_new = to->mode_text[0] == 'e';
    if (is_error(from->report)) {
        reply_reported(op, from->report);
        return false;
    }
    if (is_null(from->report)) { /* where it is missing, the handler says so */
        effect_rename(op, from->shard, op->route->command);
        return true;
    }
    if (!is_null(to->report)) {
        buf_append_text(&op->reply, ":0\r\n");
        return false;
    }
    buf_append_text(&op->reply, is_new ? ":1\r\n" : "+OK\r\n");
    effect_put_value(op, from, to);
    return true;
}

static void rename_take(struct locked *op)
{
    effect_rename(op, op->keys[KEY_FROM].shard, internal_row(INTERNAL_LEAVE));
}

static void rename_tell(struct locked *op)
{
    effect_rename(op, op->keys[KEY_TO].shard, internal_row(INTERNAL_ARRIVE));
}

/* ---- which ---- */

static const struct locked_move moves[] = {
    {"lmove", list_fits, list_plan, list_put, list_take, NULL},
    {"rpoplpush", list_fits, list_plan, list_put, list_take, NULL},
    {"blmove", blocking_fits, list_plan, list_put, list_take, NULL},
    {"brpoplpush", blocking_fits, list_plan, list_put, list_take, NULL},
    {"smove", set_fits, set_plan, set_put, set_take, NULL},
    {"rename", rename_fits, rename_plan, rename_put, rename_take, rename_tell},
    {"renamenx", rename_fits, renamenx_plan, rename_put, rename_take, rename_tell},
};

const struct locked_move *locked_move_find(const struct command *c)
{
    for (unsigned i = 0; i < ARRAY_LEN(moves); i++)
        if (strcmp(c->name, moves[i].name) == 0) return &moves[i];
    return NULL;
}
