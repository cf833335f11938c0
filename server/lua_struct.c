/* The table `struct` of scripts: values to and from bytes by a format, as Roberto Ierusalimschy's
 * struct 0.2 does it.
 *
 *     > < !n    big, little endian; alignment        b B h H l L T i[n] I[n]    integers
 *     x         a zero byte                           f d                        reals
 *     s         up to a zero byte                     c[n]                       n bytes; c0: as
 *                                                                                many as the
 *                                                                                number before says
 */
#include <ctype.h>
#include <lauxlib.h>
#include <lua.h>
#include <math.h>

#include "base/bytes.h"
#include "server/lua_vm.h"

#define INTEGER_BYTES_MAX 32
#define ALIGN_DEFAULT 8

struct format {
    const char *at;
    bool is_big;
    size_t align; /* 1: none */
};

struct option {
    char kind;
    size_t size;    /* of the value; of 's': unknown */
    size_t padding; /* in front of it */
};

/* Digits behind an option; `missing` if there are none. */
static size_t read_count(lua_State *L, struct format *f, size_t missing)
{
    if (!isdigit((unsigned char)*f->at)) return missing;
    size_t count = 0;
    while (isdigit((unsigned char)*f->at)) {
        count = count * 10 + (size_t)(*f->at++ - '0');
        if (count > INT32_MAX) luaL_error(L, "integral size overflow");
    }
    return count;
}

static size_t integer_size(lua_State *L, struct format *f)
{
    size_t size = read_count(L, f, sizeof(int));
    if (size > INTEGER_BYTES_MAX)
        luaL_error(L, "integral size %d is larger than limit of %d", (int)size, INTEGER_BYTES_MAX);
    return size;
}

static size_t size_of(lua_State *L, struct format *f, char kind)
{
    switch (kind) {
    case 'b':
    case 'B':
    case 'x':
        return 1;
    case 'h':
    case 'H':
        return sizeof(short);
    case 'l':
    case 'L':
        return sizeof(long);
    case 'T':
        return sizeof(size_t);
    case 'f':
        return sizeof(float);
    case 'd':
        return sizeof(double);
    case 'i':
    case 'I':
        return integer_size(L, f);
    case 'c':
        return read_count(L, f, 1);
    }
    return 0;
}

static void set_alignment(lua_State *L, struct format *f)
{
    size_t align = read_count(L, f, ALIGN_DEFAULT);
    if (align == 0 || (align & (align - 1)) != 0)
        luaL_error(L, "alignment %d is not a power of 2", (int)align);
    f->align = align;
}

/* False at the end. Settings are taken on the way. */
static bool next_option(lua_State *L, struct format *f, size_t total, struct option *o)
{
    for (;;) {
        char c = *f->at;
        if (c == '\0') return false;
        f->at++;
        if (c == '>' || c == '<') {
            f->is_big = c == '>';
        } else if (c == '!') {
            set_alignment(L, f);
        } else if (c != ' ') {
            if (!strchr("bBhHlLTfdxciIs", c))
                luaL_argerror(L, 1, lua_pushfstring(L, "invalid format option '%c'", c));
            *o = (struct option){.kind = c, .size = size_of(L, f, c)};
            size_t align = MIN(o->size, f->align);
            bool is_aligned = align > 1 && c != 'c' && (align & (align - 1)) == 0;
            if (is_aligned) o->padding = (align - (total & (align - 1))) & (align - 1);
            return true;
        }
    }
}

/* ---- writing ---- */

static void add_zeros(luaL_Buffer *b, size_t count)
{
    while (count-- > 0) luaL_addchar(b, '\0');
}

static void add_ordered(luaL_Buffer *b, const struct format *f, const char *little, size_t size)
{
    for (size_t i = 0; i < size; i++) luaL_addchar(b, little[f->is_big ? size - 1 - i : i]);
}

/* C does not say what becomes of a number that fits into no integer; in Redis it is this. */
static uint64_t bits_of(double value)
{
    if (isnan(value) || value < -0x1p63) return UINT64_C(1) << 63;
    if (value >= 0x1p64) return 0;
    return value < 0 ? (uint64_t)(int64_t)value : (uint64_t)value;
}

static void pack_integer(luaL_Buffer *b, const struct format *f, double value, size_t size)
{
    uint64_t bits = bits_of(value);
    char little[INTEGER_BYTES_MAX];
    for (size_t i = 0; i < size; i++) {
        little[i] = (char)(bits & 255);
        bits >>= 8;
    }
    add_ordered(b, f, little, size);
}

static void pack_real(luaL_Buffer *b, const struct format *f, double value, size_t size)
{
    char bytes[sizeof(double)];
    float narrow = (float)value;
    memcpy(bytes, size == sizeof(float) ? (const void *)&narrow : (const void *)&value, size);
    add_ordered(b, f, bytes, size);
}

static double number_at(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TNUMBER && !lua_isnumber(L, index))
        luaL_argerror(L, index,
                      lua_pushfstring(L, "number expected, got %s", luaL_typename(L, index)));
    return lua_tonumber(L, index);
}

/* Bytes of a string argument; how many were added. */
static size_t pack_text(lua_State *L, luaL_Buffer *b, const struct option *o, int index)
{
    size_t size;
    const char *text = luaL_checklstring(L, index, &size);
    size_t wanted = o->kind == 's' || o->size == 0 ? size : o->size;
    luaL_argcheck(L, size >= wanted, index, "string too short");
    luaL_addlstring(b, text, wanted);
    if (o->kind == 's') luaL_addchar(b, '\0');
    return wanted + (o->kind == 's');
}

/* How many bytes were added for the argument at `index`. */
static size_t pack_option(lua_State *L, luaL_Buffer *b, const struct format *f,
                          const struct option *o, int index)
{
    if (o->kind == 's' || o->kind == 'c') return pack_text(L, b, o, index);
    if (o->kind == 'f' || o->kind == 'd')
        pack_real(b, f, number_at(L, index), o->size);
    else
        pack_integer(b, f, number_at(L, index), o->size);
    return o->size;
}

static int struct_pack(lua_State *L)
{
    struct format f = {.at = luaL_checkstring(L, 1), .align = 1};
    struct option o;
    size_t total = 0;
    int index = 2;
    /* Arguments are read by their index, and the buffer may put pieces on the stack behind them: so
     * that a missing one is nil, they are followed by one. */
    lua_settop(L, lua_gettop(L) + 1);
    int last = lua_gettop(L);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    while (next_option(L, &f, total, &o)) {
        add_zeros(&b, o.padding);
        total += o.padding;
        if (o.kind == 'x') {
            add_zeros(&b, 1);
            total++;
        } else {
            total += pack_option(L, &b, &f, &o, MIN(index, last));
            index++;
        }
    }
    luaL_pushresult(&b);
    return 1;
}

/* ---- reading ---- */

static double unpack_integer(const char *from, const struct format *f, const struct option *o)
{
    uint64_t value = 0;
    size_t size = MIN(o->size, sizeof value);
    for (size_t i = 0; i < size; i++) {
        /* From the highest byte that counts down. */
        size_t at = f->is_big ? o->size - size + i : size - 1 - i;
        value = value << 8 | (unsigned char)from[at];
    }
    bool is_signed = islower((unsigned char)o->kind);
    if (!is_signed) return (double)value;
    unsigned shift = size ? (unsigned)(64 - 8 * size) : 0;
    return (double)((int64_t)(value << shift) >> shift);
}

static double unpack_real(const char *from, const struct format *f, size_t size)
{
    char bytes[sizeof(double)];
    for (size_t i = 0; i < size; i++) bytes[i] = from[f->is_big ? size - 1 - i : i];
    if (size == sizeof(float)) {
        float narrow;
        memcpy(&narrow, bytes, sizeof narrow);
        return (double)narrow;
    }
    double value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

struct reading {
    const char *data;
    size_t size, at;
    int pushed;
};

static void need(lua_State *L, const struct reading *r, size_t size)
{
    luaL_argcheck(L, size <= r->size && r->at <= r->size - size, 2, "data string too short");
}

static void unpack_text(lua_State *L, struct reading *r, struct option *o)
{
    if (o->kind == 's') {
        const char *end = memchr(r->data + r->at, '\0', r->size - r->at);
        if (!end) luaL_error(L, "unfinished string in data");
        size_t size = (size_t)(end - (r->data + r->at));
        lua_pushlstring(L, r->data + r->at, size);
        r->at += size + 1;
        r->pushed++;
        return;
    }
    if (o->size == 0) {
        if (r->pushed == 0 || !lua_isnumber(L, -1))
            luaL_error(L, "format 'c0' needs a previous size");
        double size = lua_tonumber(L, -1);
        lua_pop(L, 1);
        r->pushed--;
        luaL_argcheck(L, size >= 0 && size <= (double)r->size, 2, "data string too short");
        o->size = (size_t)size;
    }
    need(L, r, o->size);
    lua_pushlstring(L, r->data + r->at, o->size);
    r->at += o->size;
    r->pushed++;
}

static int struct_unpack(lua_State *L)
{
    struct format f = {.at = luaL_checkstring(L, 1), .align = 1};
    struct reading r = {0};
    r.data = luaL_checklstring(L, 2, &r.size);
    lua_Integer start = luaL_optinteger(L, 3, 1);
    luaL_argcheck(L, start > 0, 3, "offset must be 1 or greater");
    r.at = (size_t)start - 1;
    struct option o;
    lua_settop(L, 2);
    while (next_option(L, &f, r.at, &o)) {
        r.at += o.padding;
        need(L, &r, o.kind == 's' || o.kind == 'c' ? 0 : o.size);
        luaL_checkstack(L, 2, "too many results");
        if (o.kind == 's' || o.kind == 'c') {
            unpack_text(L, &r, &o);
            continue;
        }
        const char *from = r.data + r.at;
        r.at += o.size;
        if (o.kind == 'x') continue;
        bool is_real = o.kind == 'f' || o.kind == 'd';
        lua_pushnumber(L, is_real ? unpack_real(from, &f, o.size) : unpack_integer(from, &f, &o));
        r.pushed++;
    }
    lua_pushinteger(L, (lua_Integer)r.at + 1);
    return r.pushed + 1;
}

static int struct_size(lua_State *L)
{
    struct format f = {.at = luaL_checkstring(L, 1), .align = 1};
    struct option o;
    size_t total = 0;
    while (next_option(L, &f, total, &o)) {
        if (o.kind == 's') return luaL_argerror(L, 1, "option 's' has no fixed size");
        if (o.kind == 'c' && o.size == 0)
            return luaL_argerror(L, 1, "option 'c0' has no fixed size");
        total += o.padding + o.size;
    }
    lua_pushinteger(L, (lua_Integer)total);
    return 1;
}

void lua_open_struct(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"pack", struct_pack}, {"unpack", struct_unpack}, {"size", struct_size}};
    lua_newtable(L);
    for (unsigned i = 0; i < ARRAY_LEN(functions); i++) {
        lua_pushcfunction(L, functions[i].func);
        lua_setfield(L, -2, functions[i].name);
    }
}
