/* bitfield.c: BITFIELD and BITFIELD_RO: integers of 1 to 64 bits anywhere in a string.
 *
 * All operations are read before the first one runs, so that a wrong one changes nothing. The
 * string is made long enough for all that write, even for one that fails because of its overflow.
 */
#include "shard/cmd/args.h"
#include "shard/cmd/bits.h"
#include "shard/notify.h"
#include "shard/type/bitmap.h"

enum operation_kind { OPERATION_GET, OPERATION_SET, OPERATION_INCREMENT };
enum overflow { OVERFLOW_WRAP, OVERFLOW_SATURATE, OVERFLOW_FAIL };

struct operation {
    uint8_t kind;     /* enum operation_kind */
    uint8_t overflow; /* enum overflow */
    bool is_signed;
    uint8_t width;
    uint64_t position;
    int64_t value;
};

/* The first few are here, so that a short command allocates nothing. */
#define OPERATIONS_INLINE 8

struct operations {
    struct operation *items;
    uint32_t count;
    size_t capacity;
    struct operation inline_items[OPERATIONS_INLINE];
    uint64_t size_needed; /* bytes of the string for all that write; 0: none does */
};

static bool operations_init(struct shard *sh, const struct request *rq, struct operations *o)
{
    o->count = 0;
    o->size_needed = 0;
    o->items = o->inline_items;
    o->capacity = OPERATIONS_INLINE;
    size_t most = rq->argc / 3;
    if (most <= OPERATIONS_INLINE) return true;
    o->capacity = most;
    o->items = mem_try_alloc(&sh->mem, most * sizeof *o->items);
    return o->items != NULL;
}

static void operations_free(struct shard *sh, struct operations *o)
{
    if (o->items != o->inline_items) mem_free(&sh->mem, o->items, o->capacity * sizeof *o->items);
}

/* ---- request ---- */

/* i1 … i64, u1 … u63. */
static bool parse_type_or_reply(struct bytes text, struct operation *op, struct reply *out)
{
    int64_t width = 0;
    bool is_known = text.size > 0 && (text.data[0] == 'i' || text.data[0] == 'u');
    if (is_known) {
        op->is_signed = text.data[0] == 'i';
        is_known = text_to_i64(bytes_make(text.data + 1, text.size - 1), &width) && width >= 1 &&
                   width <= (op->is_signed ? 64 : 63);
    }
    if (!is_known) {
        reply_error(out, "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is "
                         "not supported but i64 is.");
    }
    op->width = (uint8_t)width;
    return is_known;
}

static bool parse_overflow_or_reply(const struct request *rq, uint32_t index, uint8_t *overflow,
                                    struct reply *out)
{
    if (arg_is(rq, index, "wrap")) {
        *overflow = OVERFLOW_WRAP;
    } else if (arg_is(rq, index, "sat")) {
        *overflow = OVERFLOW_SATURATE;
    } else if (arg_is(rq, index, "fail")) {
        *overflow = OVERFLOW_FAIL;
    } else {
        reply_error(out, "ERR Invalid OVERFLOW type specified");
        return false;
    }
    return true;
}

/* An operation from argument `i` on; returns how many arguments it has, or 0 when the error is
 * written. */
static uint32_t parse_one_or_reply(const struct shard *sh, const struct request *rq, uint32_t i,
                                   struct operation *op, struct reply *out)
{
    uint32_t left = rq->argc - i - 1;
    if (arg_is(rq, i, "get") && left >= 2) {
        op->kind = OPERATION_GET;
    } else if (arg_is(rq, i, "set") && left >= 3) {
        op->kind = OPERATION_SET;
    } else if (arg_is(rq, i, "incrby") && left >= 3) {
        op->kind = OPERATION_INCREMENT;
    } else {
        reply_err(out, ERR_SYNTAX);
        return 0;
    }
    if (!parse_type_or_reply(rq->argv[i + 1], op, out)) return 0;
    if (!arg_bit_position_or_reply(sh, rq, i + 2, op->width, out, &op->position)) return 0;
    if (op->kind == OPERATION_GET) return 3;
    if (arg_i64(rq, i + 3, &op->value) == OK) return 4;
    reply_err(out, ERR_NOT_INT);
    return 0;
}

static bool parse_or_reply(const struct shard *sh, const struct request *rq, struct operations *o,
                           struct reply *out)
{
    uint8_t overflow = OVERFLOW_WRAP;
    for (uint32_t i = 2; i < rq->argc;) {
        if (arg_is(rq, i, "overflow") && i + 1 < rq->argc) {
            if (!parse_overflow_or_reply(rq, i + 1, &overflow, out)) return false;
            i += 2;
            continue;
        }
        struct operation op = {.overflow = overflow};
        uint32_t argument_count = parse_one_or_reply(sh, rq, i, &op, out);
        if (argument_count == 0) return false;
        i += argument_count;
        if (op.kind != OPERATION_GET) {
            o->size_needed = MAX(o->size_needed, (op.position + op.width - 1) / 8 + 1);
        }
        DCHECK(o->count < o->capacity);
        o->items[o->count++] = op;
    }
    return true;
}

/* ---- arithmetic ---- */

/* Holds the sum of any two integers of 64 bits. */
__extension__ typedef __int128 wide;

static int64_t sign_extend(uint64_t value, unsigned width)
{
    unsigned shift = 64 - width;
    return (int64_t)(value << shift) >> shift;
}

static int64_t field_read(struct bytes map, const struct operation *op)
{
    uint64_t value = bitmap_get_field(map, op->position, op->width);
    return op->is_signed ? sign_extend(value, op->width) : (int64_t)value;
}

/* What is to be written in place of `old`; false if it does not fit and that makes the operation
 * fail. For an unsigned field the number that SET gives is unsigned, too: -1 is more than fits. */
static bool field_compute(const struct operation *op, int64_t old, int64_t *result)
{
    wide wanted = op->value;
    if (op->kind == OPERATION_INCREMENT) {
        wanted += old;
    } else if (!op->is_signed) {
        wanted = (uint64_t)op->value;
    }
    wide max = ((wide)1 << (op->width - op->is_signed)) - 1;
    wide min = op->is_signed ? -max - 1 : 0;
    if (wanted > max || wanted < min) {
        if (op->overflow == OVERFLOW_FAIL) return false;
        if (op->overflow == OVERFLOW_SATURATE) wanted = wanted > max ? max : min;
    }
    uint64_t bits = (uint64_t)wanted;
    if (op->width < 64) bits &= ((uint64_t)1 << op->width) - 1;
    *result = op->is_signed ? sign_extend(bits, op->width) : (int64_t)bits;
    return true;
}

/* SET answers what was there, INCRBY what there is now. Returns whether the field becomes another,
 * `result`. */
static bool field_answer(struct bytes map, const struct operation *op, int64_t *result,
                         bool *has_failed, struct reply *out)
{
    int64_t old = field_read(map, op);
    *has_failed = !field_compute(op, old, result);
    if (*has_failed) {
        reply_null(out);
        return false;
    }
    reply_i64(out, op->kind == OPERATION_SET ? old : *result);
    return *result != old;
}

/* None of the operations: so each of them sees what there is before the first one. */
static bool changes_nothing(struct bytes map, const struct operations *o)
{
    for (uint32_t i = 0; i < o->count; i++) {
        const struct operation *op = &o->items[i];
        int64_t result;
        if (op->kind == OPERATION_GET) continue;
        int64_t old = field_read(map, op);
        if (field_compute(op, old, &result) && result != old) return false;
    }
    return true;
}

/* ---- commands ---- */

static enum err run_reads(struct shard *sh, struct request *rq, const struct operations *o,
                          struct reply *out)
{
    struct bytes map;
    char scratch[TEXT_I64_BYTES_MAX];
    enum err e = arg_key_string(sh, rq, 1, scratch, &map);
    if (e != OK) return e;
    reply_array(out, o->count);
    for (uint32_t i = 0; i < o->count; i++) reply_i64(out, field_read(map, &o->items[i]));
    return OK;
}

static enum err run_writes(struct shard *sh, struct request *rq, const struct operations *o,
                           struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    char scratch[TEXT_I64_BYTES_MAX];
    enum err e = keyspace_peek_typed(sh, &k, TYPE_STRING, &value);
    if (e != OK && e != ERR_NO_KEY) return e;
    struct bytes map = e == OK ? entry_string(value, scratch) : (struct bytes){0};
    bool is_longer = o->size_needed > map.size;
    /* Whoever watches the key is not told of what has not changed. */
    bool is_idle = !is_longer && entry_encoding(value) == ENCODING_RAW && changes_nothing(map, o);
    char *data = NULL;
    if (!reply_has_room(out, REPLY_STRING_BYTES(o->count * (size_t)REPLY_INTEGER_BYTES)))
        return ERR_ALLOC;
    if (is_idle) {
        keyspace_touch(sh, value);
    } else {
        size_t size = MAX(map.size, o->size_needed);
        e = keyspace_edit_string(sh, &k, size, &data);
        if (e != OK) return e;
        map = bytes_make(data, size);
    }

    bool has_changed = false;
    reply_array(out, o->count);
    for (uint32_t i = 0; i < o->count; i++) {
        const struct operation *op = &o->items[i];
        bool has_failed = false;
        int64_t result;
        if (op->kind == OPERATION_GET) {
            reply_i64(out, field_read(map, op));
            continue;
        }
        if (field_answer(map, op, &result, &has_failed, out)) {
            bitmap_set_field(data, op->position, op->width, (uint64_t)result);
            has_changed = true;
        }
        has_changed |= !has_failed && is_longer;
    }
    if (has_changed) notify(sh, NOTIFY_STRING, "setbit", &k);
    return OK;
}

static enum err run(struct shard *sh, struct request *rq, bool read_only, struct reply *out)
{
    struct operations o;
    if (!operations_init(sh, rq, &o)) return ERR_ALLOC;
    enum err e = OK;
    if (parse_or_reply(sh, rq, &o, out)) {
        if (o.size_needed == 0) {
            e = run_reads(sh, rq, &o, out);
        } else if (read_only) {
            reply_error(out, "ERR BITFIELD_RO only supports the GET subcommand");
        } else {
            e = run_writes(sh, rq, &o, out);
        }
    }
    operations_free(sh, &o);
    return e;
}

enum err cmd_bitfield(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(sh, rq, false, out);
}

enum err cmd_bitfield_ro(struct shard *sh, struct request *rq, struct reply *out)
{
    return run(sh, rq, true, out);
}
