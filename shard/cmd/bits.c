/* bits.c: the bitmap commands but BITFIELD, and the table of the family. */
#include "shard/cmd/bits.h"

#include "shard/cmd/args.h"
#include "shard/cmd/families.h"
#include "shard/notify.h"
#include "shard/type/bitmap.h"

bool arg_bit_position_or_reply(const struct shard *sh, const struct request *rq, uint32_t index,
                               unsigned width, struct reply *out, uint64_t *position)
{
    struct bytes text = rq->argv[index];
    int64_t value, unit = 1;
    if (width > 0 && text.size > 0 && text.data[0] == '#') {
        text = bytes_make(text.data + 1, text.size - 1);
        unit = width;
    }
    if (!text_to_i64(text, &value) || __builtin_mul_overflow(value, unit, &value) || value < 0 ||
        (uint64_t)value / 8 >= sh->config->proto_max_bulk_bytes) {
        reply_error(out, "ERR bit offset is not an integer or out of range");
        return false;
    }
    *position = (uint64_t)value;
    return true;
}

/* ---- one bit ---- */

static enum err cmd_setbit(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t position;
    int64_t bit;
    if (!arg_bit_position_or_reply(sh, rq, 2, 0, out, &position)) return OK;
    if (!text_to_i64(rq->argv[3], &bit) || (bit & ~INT64_C(1))) {
        reply_error(out, "ERR bit is not an integer or out of range");
        return OK;
    }
    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    char scratch[TEXT_I64_BYTES_MAX];
    enum err e = keyspace_peek_typed(sh, &k, TYPE_STRING, &value);
    if (e != OK && e != ERR_NO_KEY) return e;
    struct bytes map = e == OK ? entry_string(value, scratch) : (struct bytes){0};
    bool is_inside = position / 8 < map.size, old = is_inside && bitmap_get(map, position);
    if (is_inside && old == bit && entry_encoding(value) == ENCODING_RAW) {
        /* Whoever watches the key is not told of what has not changed. */
        keyspace_touch(sh, value);
        reply_i64(out, old);
        return OK;
    }
    char *data;
    e = keyspace_edit_string(sh, &k, MAX(map.size, position / 8 + 1), &data);
    if (e != OK) return e;
    bitmap_set_field(data, position, 1, (uint64_t)bit);
    if (!is_inside || old != bit) notify(sh, NOTIFY_STRING, "setbit", &k);
    reply_i64(out, old);
    return OK;
}

static enum err cmd_getbit(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t position;
    if (!arg_bit_position_or_reply(sh, rq, 2, 0, out, &position)) return OK;
    struct bytes map;
    char scratch[TEXT_I64_BYTES_MAX];
    enum err e = arg_key_string(sh, rq, 1, scratch, &map);
    if (e != OK) return e;
    reply_i64(out, position / 8 < map.size && bitmap_get(map, position));
    return OK;
}

/* ---- ranges ---- */

/* A range of bits, both ends inclusive. */
struct bit_range {
    uint64_t first, last;
    bool is_empty;
    bool is_open; /* no end was given */
};

static enum err parse_unit(const struct request *rq, uint32_t index, bool *in_bits)
{
    *in_bits = arg_is(rq, index, "bit");
    return *in_bits || arg_is(rq, index, "byte") ? OK : ERR_SYNTAX;
}

/* [start, end] over a map of `size` bytes, which count bytes or bits and from the end if they are
 * negative. */
static void clip(int64_t start, int64_t end, bool in_bits, size_t size, struct bit_range *r)
{
    int64_t total = (int64_t)(in_bits ? 8 * size : size);
    if (start < 0) start = MAX(start + total, 0);
    if (end < 0) end = MAX(end + total, 0);
    end = MIN(end, total - 1);
    r->is_empty = start > end;
    if (r->is_empty) return;
    r->first = in_bits ? (uint64_t)start : 8 * (uint64_t)start;
    r->last = in_bits ? (uint64_t)end : 8 * (uint64_t)end + 7;
}

/* [start end [BYTE|BIT]] of BITCOUNT. Ends that are in the wrong order as written are an empty
 * range, although clipping could make them a byte, and then the unit is not looked at. */
static enum err parse_count_range(const struct request *rq, size_t size, struct bit_range *r)
{
    int64_t start = 0, end = -1;
    bool in_bits = false;
    if (rq->argc == 3 || rq->argc > 5) return ERR_SYNTAX;
    if (rq->argc > 3 && (arg_i64(rq, 2, &start) != OK || arg_i64(rq, 3, &end) != OK)) {
        return ERR_NOT_INT;
    }
    r->is_empty = start < 0 && end < 0 && start > end;
    if (r->is_empty) return OK;
    if (rq->argc == 5) {
        enum err e = parse_unit(rq, 4, &in_bits);
        if (e != OK) return e;
    }
    clip(start, end, in_bits, size, r);
    return OK;
}

static enum err cmd_bitcount(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    char scratch[TEXT_I64_BYTES_MAX];
    enum err e = keyspace_find(sh, &k, TYPE_STRING, &value);
    if (e == ERR_NO_KEY) {
        reply_i64(out, 0);
        return OK;
    }
    if (e != OK) return e;
    struct bytes map = entry_string(value, scratch);
    struct bit_range r;
    e = parse_count_range(rq, map.size, &r);
    if (e != OK) return e;
    reply_i64(out, r.is_empty ? 0 : (int64_t)bitmap_count_range(map, r.first, r.last));
    return OK;
}

/* [start [end [BYTE|BIT]]] of BITPOS. */
static enum err parse_search_range(const struct request *rq, size_t size, struct bit_range *r)
{
    int64_t start = 0, end = -1;
    bool in_bits = false;
    enum err e = OK;
    if (rq->argc > 6) return ERR_SYNTAX;
    if (rq->argc > 3) e = arg_i64(rq, 3, &start);
    if (e == OK && rq->argc == 6) e = parse_unit(rq, 5, &in_bits);
    if (e == OK && rq->argc > 4) e = arg_i64(rq, 4, &end);
    if (e != OK) return e;
    clip(start, end, in_bits, size, r);
    r->is_open = rq->argc < 5;
    return OK;
}

/* Behind a string that has no end given there are zeros without end, but not if there is nothing
 * before them. */
static enum err cmd_bitpos(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t bit;
    enum err e = arg_i64(rq, 2, &bit);
    if (e != OK) return e;
    if (bit != 0 && bit != 1) {
        reply_error(out, "ERR The bit argument must be 1 or 0.");
        return OK;
    }
    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    char scratch[TEXT_I64_BYTES_MAX];
    e = keyspace_find(sh, &k, TYPE_STRING, &value);
    if (e == ERR_NO_KEY) {
        reply_i64(out, bit ? -1 : 0);
        return OK;
    }
    if (e != OK) return e;
    struct bytes map = entry_string(value, scratch);
    struct bit_range r;
    e = parse_search_range(rq, map.size, &r);
    if (e != OK) return e;
    uint64_t position;
    if (!r.is_empty && bitmap_find(map, bit, r.first, r.last, &position)) {
        reply_i64(out, (int64_t)position);
    } else {
        reply_i64(out, !r.is_empty && r.is_open && bit == 0 ? 8 * (int64_t)map.size : -1);
    }
    return OK;
}

/* ---- combining ---- */

/* The strings that BITOP combines. Integers are printed. */
struct sources {
    struct bytes *maps;
    char (*scratch)[TEXT_I64_BYTES_MAX];
    uint32_t count;
    size_t size_max;
};

static void sources_free(struct shard *sh, struct sources *s)
{
    mem_free(&sh->mem, s->maps, s->count * sizeof *s->maps);
    mem_free(&sh->mem, s->scratch, s->count * sizeof *s->scratch);
}

static enum err sources_find(struct shard *sh, const struct request *rq, struct sources *s)
{
    s->maps = mem_try_alloc(&sh->mem, s->count * sizeof *s->maps);
    s->scratch = mem_try_alloc(&sh->mem, s->count * sizeof *s->scratch);
    if (!s->maps || !s->scratch) return ERR_ALLOC;
    for (uint32_t i = 0; i < s->count; i++) {
        enum err e = arg_key_string(sh, rq, 3 + i, s->scratch[i], &s->maps[i]);
        if (e != OK) return e;
        s->size_max = MAX(s->size_max, s->maps[i].size);
    }
    return OK;
}

/* Nothing but missing keys and empty strings leave no key. */
static enum err store_combined(struct shard *sh, const struct key *to,
                               enum bitmap_operation operation, const struct sources *s)
{
    if (s->size_max == 0) {
        if (keyspace_delete(sh, to)) notify(sh, NOTIFY_GENERIC, "del", to);
        return OK;
    }
    struct entry *e = entry_try_make_unset(&sh->mem, to->name, s->size_max, DEADLINE_NONE);
    if (!e) return ERR_ALLOC;
    char *data = e->flags & ENTRY_POINTER ? entry_big_string(e).data : entry_value_part(e);
    bitmap_combine(operation, s->maps, s->count, data, s->size_max);
    keyspace_put_entry(sh, to, e);
    notify(sh, NOTIFY_STRING, "set", to);
    return OK;
}

static enum err cmd_bitop(struct shard *sh, struct request *rq, struct reply *out)
{
    static const char *const names[] = {
        [BITMAP_AND] = "and", [BITMAP_OR] = "or", [BITMAP_XOR] = "xor", [BITMAP_NOT] = "not"};
    unsigned operation = 0;
    while (operation < ARRAY_LEN(names) && !arg_is(rq, 1, names[operation])) operation++;
    if (operation == ARRAY_LEN(names)) return ERR_SYNTAX;
    if (operation == BITMAP_NOT && rq->argc != 4) {
        reply_error(out, "ERR BITOP NOT must be called with a single source key.");
        return OK;
    }
    struct sources s = {.count = rq->argc - 3};
    enum err e = sources_find(sh, rq, &s);
    struct key to = request_key(sh, rq, 2);
    if (e == OK) e = store_combined(sh, &to, (enum bitmap_operation)operation, &s);
    if (e == OK) reply_i64(out, (int64_t)s.size_max);
    sources_free(sh, &s);
    return e;
}

/* clang-format off */
static const struct command commands[] = {
    {.name = "setbit", .on_shard = cmd_setbit, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM, .acl = ACL_BITMAP, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "2.2.0", .group = "bitmap", .complexity = "O(1)",
     .summary = "Sets or clears one bit of a string."},
    {.name = "getbit", .on_shard = cmd_getbit, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_BITMAP, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.2.0", .group = "bitmap", .complexity = "O(1)",
     .summary = "One bit of a string."},
    {.name = "bitcount", .on_shard = cmd_bitcount, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_BITMAP, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.6.0", .group = "bitmap", .complexity = "O(n) for n bytes looked at",
     .summary = "How many bits of a string are one."},
    {.name = "bitpos", .on_shard = cmd_bitpos, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_BITMAP, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.8.7", .group = "bitmap", .complexity = "O(n) for n bytes looked at",
     .summary = "The position of the first bit that is one, or zero."},
    {.name = "bitop", .on_shard = cmd_bitop, .arity = -4, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_BITMAP,
     .keys = {{.flags = KEY_OW | KEY_UPDATE, .begin = 2, .last = 0, .step = 1}, {.flags = KEY_RO | KEY_ACCESS, .begin = 3, .last = -1, .step = 1}},
     .since = "2.6.0", .group = "bitmap", .complexity = "O(n) for n bytes of all sources",
     .summary = "Stores the bits of several strings, combined by AND, OR, XOR or NOT."},
    {.name = "bitfield", .on_shard = cmd_bitfield, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM, .acl = ACL_BITMAP, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE | KEY_VARIABLE_FLAGS),
     .since = "3.2.0", .group = "bitmap", .complexity = "O(1) for each operation",
     .summary = "Reads, sets and increments integers of any width within a string."},
    {.name = "bitfield_ro", .on_shard = cmd_bitfield_ro, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_BITMAP, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "6.0.0", .group = "bitmap", .complexity = "O(1) for each operation",
     .summary = "Reads integers of any width within a string."},
};
/* clang-format on */
const struct command_family bits_family = {"bits", commands, ARRAY_LEN(commands)};
