#include "persist/rdb_skip.h"

/* What stands behind a type byte:
 *     s      a string                       8, i   8 and 16 bytes
 *     l      a length                       f      a score as text
 *     (…)    a length, then so many times   m      a module's id, and its data up to a zero
 * Streams: nodes; sizes and ids; groups with their pending entries and their consumers, each with
 * the ids of its own. */
static const char *layout_of(uint8_t type)
{
    static const char *const layouts[] = {
        [RDB_TYPE_STRING] = "s",
        [RDB_TYPE_LIST] = "(s)",
        [RDB_TYPE_SET] = "(s)",
        [RDB_TYPE_ZSET] = "(sf)",
        [RDB_TYPE_HASH] = "(ss)",
        [RDB_TYPE_ZSET_2] = "(s8)",
        [RDB_TYPE_MODULE_2] = "m",
        [RDB_TYPE_HASH_ZIPMAP] = "s",
        [RDB_TYPE_LIST_ZIPLIST] = "s",
        [RDB_TYPE_SET_INTSET] = "s",
        [RDB_TYPE_ZSET_ZIPLIST] = "s",
        [RDB_TYPE_HASH_ZIPLIST] = "s",
        [RDB_TYPE_LIST_QUICKLIST] = "(s)",
        [RDB_TYPE_STREAM_LISTPACKS] = "(ss)lll(sll(i8l)(s8(i)))",
        [RDB_TYPE_HASH_LISTPACK] = "s",
        [RDB_TYPE_ZSET_LISTPACK] = "s",
        [RDB_TYPE_LIST_QUICKLIST_2] = "(ls)",
        [RDB_TYPE_STREAM_LISTPACKS_2] = "(ss)llllllll(slll(i8l)(s8(i)))",
        [RDB_TYPE_SET_LISTPACK] = "s",
        [RDB_TYPE_STREAM_LISTPACKS_3] = "(ss)llllllll(slll(i8l)(s88(i)))",
        [RDB_TYPE_HASH_METADATA_PRE_GA] = "(lss)",
        [RDB_TYPE_HASH_LISTPACK_EX_PRE_GA] = "s",
        [RDB_TYPE_HASH_METADATA] = "8(lss)",
        [RDB_TYPE_HASH_LISTPACK_EX] = "8s",
    };
    return type < ARRAY_LEN(layouts) ? layouts[type] : NULL;
}

/* ---- parts ---- */

enum rdb_extent rdb_skip_bytes(struct bytes *in, uint64_t size)
{
    struct bytes ignored;
    return rdb_take(in, size, &ignored) ? RDB_WHOLE : RDB_PARTIAL;
}

/* Bytes of a length, head included; 0 for a form that does not exist. */
static unsigned length_bytes(uint8_t head)
{
    switch (head >> 6) {
    case 0:
        return 1;
    case 1:
        return 2;
    case 2:
        return head == 0x80 ? 5 : head == 0x81 ? 9 : 0;
    default:
        return 0;
    }
}

enum rdb_extent rdb_skip_length(struct bytes *in, uint64_t *length)
{
    if (in->size == 0) return RDB_PARTIAL;
    unsigned size = length_bytes((uint8_t)in->data[0]);
    if (size == 0) return RDB_MALFORMED;
    if (in->size < size) return RDB_PARTIAL;
    return rdb_take_length(in, length) ? RDB_WHOLE : RDB_MALFORMED;
}

enum rdb_extent rdb_skip_string(struct bytes *in)
{
    if (in->size == 0) return RDB_PARTIAL;
    uint8_t head = (uint8_t)in->data[0];
    struct bytes rest = *in;
    uint64_t size;
    enum rdb_extent e = RDB_WHOLE;
    if (head >= RDB_INT8 && head <= RDB_INT32) {
        size = 1 + (1u << (head - RDB_INT8));
    } else if (head == RDB_LZF) {
        uint64_t unpacked;
        rest = bytes_make(rest.data + 1, rest.size - 1);
        e = rdb_skip_length(&rest, &size);
        if (e == RDB_WHOLE) e = rdb_skip_length(&rest, &unpacked);
    } else {
        e = rdb_skip_length(&rest, &size);
    }
    if (e == RDB_WHOLE) e = rdb_skip_bytes(&rest, size);
    if (e == RDB_WHOLE) *in = rest;
    return e;
}

static enum rdb_extent skip_score(struct bytes *in)
{
    if (in->size == 0) return RDB_PARTIAL;
    uint8_t size = (uint8_t)in->data[0];
    return rdb_skip_bytes(in, size >= 253 ? 1 : 1 + (uint64_t)size);
}

/* ---- data of modules ---- */

enum { MODULE_END, MODULE_SIGNED, MODULE_UNSIGNED, MODULE_FLOAT, MODULE_DOUBLE, MODULE_STRING };

static enum rdb_extent skip_module_datum(uint64_t opcode, struct bytes *in)
{
    uint64_t number;
    switch (opcode) {
    case MODULE_SIGNED:
    case MODULE_UNSIGNED:
        return rdb_skip_length(in, &number);
    case MODULE_FLOAT:
        return rdb_skip_bytes(in, 4);
    case MODULE_DOUBLE:
        return rdb_skip_bytes(in, 8);
    case MODULE_STRING:
        return rdb_skip_string(in);
    default:
        return RDB_MALFORMED;
    }
}

enum rdb_extent rdb_skip_module_aux(struct bytes *in)
{
    struct bytes rest = *in;
    uint64_t id, opcode = MODULE_UNSIGNED;
    enum rdb_extent e = rdb_skip_length(&rest, &id);
    while (e == RDB_WHOLE && opcode != MODULE_END) {
        e = rdb_skip_length(&rest, &opcode);
        if (e == RDB_WHOLE && opcode != MODULE_END) e = skip_module_datum(opcode, &rest);
    }
    if (e == RDB_WHOLE) *in = rest;
    return e;
}

/* ---- layouts ---- */

static enum rdb_extent skip_layout(const char **layout, struct bytes *in);

/* Behind the parenthesis; `*layout` is moved behind the one that closes it. */
static enum rdb_extent skip_repeated(const char **layout, struct bytes *in)
{
    uint64_t count;
    enum rdb_extent e = rdb_skip_length(in, &count);
    const char *body = *layout;
    for (uint64_t i = 0; e == RDB_WHOLE && i < count; i++) {
        *layout = body;
        e = skip_layout(layout, in);
    }
    unsigned depth = 1;
    for (*layout = body; depth > 0; ++*layout) depth += (**layout == '(') - (**layout == ')');
    return e;
}

static enum rdb_extent skip_part(char part, struct bytes *in)
{
    uint64_t length;
    switch (part) {
    case 's':
        return rdb_skip_string(in);
    case 'l':
        return rdb_skip_length(in, &length);
    case '8':
        return rdb_skip_bytes(in, 8);
    case 'i':
        return rdb_skip_bytes(in, 16);
    case 'f':
        return skip_score(in);
    default:
        return rdb_skip_module_aux(in);
    }
}

/* Up to the end of the layout or the parenthesis. Nests as deep as the layouts above do. */
static enum rdb_extent skip_layout(const char **layout, struct bytes *in)
{
    enum rdb_extent e = RDB_WHOLE;
    while (e == RDB_WHOLE && **layout && **layout != ')') {
        char part = *(*layout)++;
        e = part == '(' ? skip_repeated(layout, in) : skip_part(part, in);
    }
    return e;
}

enum rdb_extent rdb_skip_value(uint8_t type, struct bytes *in)
{
    const char *layout = layout_of(type);
    if (!layout) return RDB_MALFORMED;
    struct bytes rest = *in;
    enum rdb_extent e = skip_layout(&layout, &rest);
    if (e == RDB_WHOLE) *in = rest;
    return e;
}
