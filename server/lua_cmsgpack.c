/* The table `cmsgpack` of scripts: MessagePack as lua-cmsgpack 0.4 reads and writes it.
 *
 * Source     The MessagePack specification, https://github.com/msgpack/msgpack/blob/master/spec.md.
 */
#include <float.h>
#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <math.h>

#include "base/bytes.h"
#include "server/lua_vm.h"

#define DEPTH_MAX 16 /* of tables that are written; what is deeper becomes nil, as there */

/* ---- writing ---- */

static void add_byte(luaL_Buffer *b, unsigned byte)
{
    luaL_addchar(b, (char)byte);
}

/* Big-endian. */
static void add_number(luaL_Buffer *b, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0) add_byte(b, (unsigned)(value >> 8 * bytes) & 255);
}

static void add_tagged(luaL_Buffer *b, unsigned tag, uint64_t value, unsigned bytes)
{
    add_byte(b, tag);
    add_number(b, value, bytes);
}

static void pack_integer(luaL_Buffer *b, int64_t value)
{
    if (value >= -32 && value <= 127)
        add_byte(b, (unsigned)value & 255);
    else if (value >= 0 && value <= UINT8_MAX)
        add_tagged(b, 0xcc, (uint64_t)value, 1);
    else if (value >= 0 && value <= UINT16_MAX)
        add_tagged(b, 0xcd, (uint64_t)value, 2);
    else if (value >= 0 && value <= UINT32_MAX)
        add_tagged(b, 0xce, (uint64_t)value, 4);
    else if (value >= 0)
        add_tagged(b, 0xcf, (uint64_t)value, 8);
    else if (value >= INT8_MIN)
        add_tagged(b, 0xd0, (uint64_t)value, 1);
    else if (value >= INT16_MIN)
        add_tagged(b, 0xd1, (uint64_t)value, 2);
    else if (value >= INT32_MIN)
        add_tagged(b, 0xd2, (uint64_t)value, 4);
    else
        add_tagged(b, 0xd3, (uint64_t)value, 8);
}

/* In four bytes if that loses nothing. */
static void pack_real(luaL_Buffer *b, double value)
{
    bool is_short =
        isinf(value) || (fabs(value) <= (double)FLT_MAX && (double)(float)value == value);
    if (is_short) {
        float narrow = (float)value;
        uint32_t bits;
        memcpy(&bits, &narrow, sizeof bits);
        add_tagged(b, 0xca, bits, 4);
        return;
    }
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_tagged(b, 0xcb, bits, 8);
}

static void pack_number(luaL_Buffer *b, double value)
{
    bool is_whole = value >= -9223372036854775808.0 && value < 9223372036854775808.0 &&
                    (double)(int64_t)value == value;
    if (is_whole)
        pack_integer(b, (int64_t)value);
    else
        pack_real(b, value);
}

static void pack_text(luaL_Buffer *b, const char *text, size_t size)
{
    if (size < 32)
        add_byte(b, 0xa0 | (unsigned)size);
    else if (size <= UINT8_MAX)
        add_tagged(b, 0xd9, size, 1);
    else if (size <= UINT16_MAX)
        add_tagged(b, 0xda, size, 2);
    else
        add_tagged(b, 0xdb, size, 4);
    luaL_addlstring(b, text, size);
}

static void pack_count(luaL_Buffer *b, size_t count, unsigned small_tag, unsigned long_tag)
{
    if (count < 16)
        add_byte(b, small_tag | (unsigned)count);
    else if (count <= UINT16_MAX)
        add_tagged(b, long_tag, count, 2);
    else
        add_tagged(b, long_tag + 1, count, 4);
}

/* The result of packing is a string on the stack: each value makes one of its own, because nothing
 * may stay on the stack while a luaL_Buffer is open. */
static void pack_value(lua_State *L, int depth);

/* Whether the keys are 1 … count. */
static bool is_array(lua_State *L, size_t *count)
{
    double longest = 0;
    *count = 0;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pop(L, 1);
        double at = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        if (at < 1 || floor(at) != at) {
            lua_pop(L, 1);
            return false;
        }
        longest = MAX(longest, at);
        (*count)++;
    }
    return longest == (double)*count;
}

static size_t count_pairs(lua_State *L)
{
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pop(L, 1);
        count++;
    }
    return count;
}

static void push_head(lua_State *L, size_t count, unsigned small_tag, unsigned long_tag)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    pack_count(&b, count, small_tag, long_tag);
    luaL_pushresult(&b);
}

/* Strings collect in a table, and are joined at the end. */
static void pieces_add(lua_State *L, int pieces)
{
    lua_rawseti(L, pieces, (int)lua_objlen(L, pieces) + 1);
}

static void pieces_join(lua_State *L, int pieces)
{
    luaL_Buffer b;
    int count = (int)lua_objlen(L, pieces);
    luaL_buffinit(L, &b);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, pieces, i);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
}

/* Replaces the table on top. */
static void pack_table(lua_State *L, int depth)
{
    size_t count;
    int table = lua_gettop(L);
    luaL_checkstack(L, 8, "too deep");
    bool is_list = is_array(L, &count);
    if (!is_list) count = count_pairs(L);
    lua_newtable(L);
    int pieces = table + 1;
    push_head(L, count, is_list ? 0x90 : 0x80, is_list ? 0xdc : 0xde);
    pieces_add(L, pieces);
    for (size_t i = 1; is_list && i <= count; i++) {
        lua_rawgeti(L, table, (int)i);
        pack_value(L, depth + 1);
        pieces_add(L, pieces);
    }
    if (!is_list) lua_pushnil(L);
    while (!is_list && lua_next(L, table)) {
        lua_pushvalue(L, -2);
        pack_value(L, depth + 1);
        pieces_add(L, pieces);
        pack_value(L, depth + 1);
        pieces_add(L, pieces);
    }
    pieces_join(L, pieces);
    lua_replace(L, table);
    lua_settop(L, table);
}

/* Replaces the value on top. */
static void pack_value(lua_State *L, int depth)
{
    int type = lua_type(L, -1);
    if (type == LUA_TTABLE && depth < DEPTH_MAX) {
        pack_table(L, depth);
        return;
    }
    luaL_Buffer b;
    int at = lua_gettop(L);
    size_t size = 0;
    const char *text = type == LUA_TSTRING ? lua_tolstring(L, at, &size) : NULL;
    luaL_buffinit(L, &b);
    if (text)
        pack_text(&b, text, size);
    else if (type == LUA_TNUMBER)
        pack_number(&b, lua_tonumber(L, at));
    else if (type == LUA_TBOOLEAN)
        add_byte(&b, lua_toboolean(L, at) ? 0xc3 : 0xc2);
    else
        add_byte(&b, 0xc0);
    luaL_pushresult(&b);
    lua_replace(L, at);
    lua_settop(L, at);
}

static int msgpack_pack(lua_State *L)
{
    int count = lua_gettop(L);
    if (count == 0) return luaL_argerror(L, 0, "MessagePack pack needs input.");
    lua_newtable(L);
    int pieces = count + 1;
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, i);
        pack_value(L, 0);
        pieces_add(L, pieces);
    }
    pieces_join(L, pieces);
    return 1;
}

/* ---- reading ---- */

struct unpacking {
    lua_State *L;
    const unsigned char *at, *end;
};

static uint64_t take_number(struct unpacking *u, unsigned bytes)
{
    uint64_t value = 0;
    if ((size_t)(u->end - u->at) < bytes) luaL_error(u->L, "Missing bytes in input.");
    for (unsigned i = 0; i < bytes; i++) value = value << 8 | *u->at++;
    return value;
}

static void take_text(struct unpacking *u, uint64_t size)
{
    if ((uint64_t)(u->end - u->at) < size) luaL_error(u->L, "Missing bytes in input.");
    lua_pushlstring(u->L, (const char *)u->at, (size_t)size);
    u->at += size;
}

static void unpack_value(struct unpacking *u);

/* A count is a claim: each element takes a byte at least, so it reserves nothing. */
static void take_array(struct unpacking *u, uint64_t count)
{
    lua_newtable(u->L);
    for (uint64_t i = 1; i <= count; i++) {
        unpack_value(u);
        lua_rawseti(u->L, -2, (int)i);
    }
}

static void take_map(struct unpacking *u, uint64_t count)
{
    lua_newtable(u->L);
    for (uint64_t i = 0; i < count; i++) {
        unpack_value(u);
        unpack_value(u);
        if (lua_isnil(u->L, -2) ||
            (lua_type(u->L, -2) == LUA_TNUMBER && isnan(lua_tonumber(u->L, -2))))
            luaL_error(u->L, "Bad data format in input.");
        lua_rawset(u->L, -3);
    }
}

static void take_float(struct unpacking *u)
{
    uint32_t bits = (uint32_t)take_number(u, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    lua_pushnumber(u->L, (double)value);
}

static void take_double(struct unpacking *u)
{
    uint64_t bits = take_number(u, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    lua_pushnumber(u->L, value);
}

static void take_signed(struct unpacking *u, unsigned bytes)
{
    uint64_t value = take_number(u, bytes) << (64 - 8 * bytes);
    lua_pushnumber(u->L, (double)((int64_t)value >> (64 - 8 * bytes)));
}

/* Tags from 0xc0 on. */
static void unpack_tagged(struct unpacking *u, unsigned tag)
{
    switch (tag) {
    case 0xc0:
        lua_pushnil(u->L);
        return;
    case 0xc2:
    case 0xc3:
        lua_pushboolean(u->L, tag == 0xc3);
        return;
    case 0xca:
        take_float(u);
        return;
    case 0xcb:
        take_double(u);
        return;
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        lua_pushnumber(u->L, (double)take_number(u, 1u << (tag - 0xcc)));
        return;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        take_signed(u, 1u << (tag - 0xd0));
        return;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        take_text(u, take_number(u, 1u << (tag - 0xc4)));
        return;
    case 0xd9:
    case 0xda:
    case 0xdb:
        take_text(u, take_number(u, 1u << (tag - 0xd9)));
        return;
    case 0xdc:
    case 0xdd:
        take_array(u, take_number(u, 2u << (tag - 0xdc)));
        return;
    case 0xde:
    case 0xdf:
        take_map(u, take_number(u, 2u << (tag - 0xde)));
        return;
    }
    luaL_error(u->L, "Bad data format in input.");
}

static void unpack_value(struct unpacking *u)
{
    luaL_checkstack(u->L, 5, "too many return values at once; use unpack_one or unpack_limit");
    unsigned tag = (unsigned)take_number(u, 1);
    if (tag < 0x80)
        lua_pushnumber(u->L, tag);
    else if (tag >= 0xe0)
        lua_pushnumber(u->L, (double)tag - 256);
    else if (tag < 0x90)
        take_map(u, tag & 15);
    else if (tag < 0xa0)
        take_array(u, tag & 15);
    else if (tag < 0xc0)
        take_text(u, tag & 31);
    else
        unpack_tagged(u, tag);
}

/* At most `limit` values (0: all) from `offset` on; in front of them where it ended if there is a
 * limit, -1 at the end. */
static int unpack_some(lua_State *L, lua_Integer limit, lua_Integer offset)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    if (offset < 0 || limit < 0)
        return luaL_error(L, "Invalid request to unpack with offset of %d and limit of %d.",
                          (int)offset, (int)size);
    if ((size_t)offset > size)
        return luaL_error(L, "Start offset %d greater than input length %d.", (int)offset,
                          (int)size);
    struct unpacking u = {.L = L,
                          .at = (const unsigned char *)text + offset,
                          .end = (const unsigned char *)text + size};
    lua_settop(L, 1);
    int count = 0;
    for (; u.at < u.end && (limit == 0 || count < limit); count++) unpack_value(&u);
    if (limit == 0) return count;
    luaL_checkstack(L, 1, "too many values");
    lua_pushinteger(L, u.at == u.end ? -1 : (lua_Integer)((const char *)u.at - text));
    lua_insert(L, 2);
    return count + 1;
}

static int msgpack_unpack(lua_State *L)
{
    return unpack_some(L, 0, 0);
}

static int msgpack_unpack_one(lua_State *L)
{
    return unpack_some(L, 1, luaL_optinteger(L, 2, 0));
}

static int msgpack_unpack_limit(lua_State *L)
{
    return unpack_some(L, luaL_checkinteger(L, 2), luaL_optinteger(L, 3, 0));
}

void lua_open_cmsgpack(lua_State *L)
{
    static const luaL_Reg functions[] = {{"pack", msgpack_pack},
                                         {"unpack", msgpack_unpack},
                                         {"unpack_one", msgpack_unpack_one},
                                         {"unpack_limit", msgpack_unpack_limit}};
    lua_newtable(L);
    for (unsigned i = 0; i < ARRAY_LEN(functions); i++) {
        lua_pushcfunction(L, functions[i].func);
        lua_setfield(L, -2, functions[i].name);
    }
    lua_pushliteral(L, "cmsgpack");
    lua_setfield(L, -2, "_NAME");
    lua_pushliteral(L, "lua-cmsgpack 0.4.0");
    lua_setfield(L, -2, "_VERSION");
    lua_pushliteral(L, "MessagePack C implementation for Lua");
    lua_setfield(L, -2, "_DESCRIPTION");
}
