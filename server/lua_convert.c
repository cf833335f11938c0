/* Values of Lua as replies, and replies as values of Lua. */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>

#include "base/text.h"
#include "server/lua_vm.h"
#include "server/worker.h"

/* ---- a value as a reply ---- */

/* As the processor truncates: whatever does not fit is the smallest integer. */
static int64_t truncated(double value)
{
    if (!(value > -9223372036854775808.0 && value < 9223372036854775808.0)) return INT64_MIN;
    return (int64_t)value;
}

static void write_string(lua_State *L, struct reply *out)
{
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    if (!reply_try_reserve(out, REPLY_STRING_BYTES(size))) luaL_error(L, "not enough memory");
    reply_bulk(out, bytes_make(text, size));
}

/* A status or an error: one line. As in Redis the end of an error loses its line ends. */
/* A zero byte ends the text, as in Redis. */
static void write_line(lua_State *L, char type, struct reply *out)
{
    const char *text = lua_tostring(L, -1);
    size_t size = strlen(text);
    while (type == '-' && size && (text[size - 1] == '\r' || text[size - 1] == '\n')) size--;
    char *at = reply_try_reserve(out, size + 3);
    if (!at) luaL_error(L, "not enough memory");
    *at++ = type;
    for (size_t i = 0; i < size; i++) *at++ = text[i] == '\r' || text[i] == '\n' ? ' ' : text[i];
    memcpy(at, "\r\n", 2);
    reply_advance(out, size + 3);
}

static void write_value(lua_State *L, struct reply *out);

/* Pushes the field of the table on top if it has that type; else nothing. */
static bool push_field(lua_State *L, const char *name, int type)
{
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    if (lua_type(L, -1) == type) return true;
    lua_pop(L, 1);
    return false;
}

static uint64_t count_pairs(lua_State *L)
{
    uint64_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        count++;
        lua_pop(L, 1);
    }
    return count;
}

static void write_map(lua_State *L, struct reply *out)
{
    reply_map(out, count_pairs(L));
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pushvalue(L, -2); /* a key must not be converted in place */
        write_value(L, out);
        write_value(L, out);
    }
    lua_pop(L, 1);
}

static void write_set(lua_State *L, struct reply *out)
{
    reply_set(out, count_pairs(L));
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        write_value(L, out);
    }
    lua_pop(L, 1);
}

/* Three letters: what is missing is a space. False: one of its fields is missing. */
static bool write_verbatim(lua_State *L, struct reply *out)
{
    size_t size, format_size;
    if (!push_field(L, "format", LUA_TSTRING)) return false;
    const char *format = lua_tolstring(L, -1, &format_size);
    lua_pop(L, 1); /* the table keeps it */
    if (!push_field(L, "string", LUA_TSTRING)) return false;
    const char *text = lua_tolstring(L, -1, &size);
    lua_pop(L, 1);
    char three[3] = {' ', ' ', ' '};
    memcpy(three, format, MIN(format_size, sizeof three));
    if (!reply_try_reserve(out, REPLY_STRING_BYTES(size))) luaL_error(L, "not enough memory");
    reply_verbatim(out, three, bytes_make(text, size));
    return true;
}

static void write_array(lua_State *L, struct reply *out)
{
    uint64_t count = 0;
    for (;; count++) {
        lua_rawgeti(L, -1, (int)count + 1);
        bool is_end = lua_isnil(L, -1);
        lua_pop(L, 1);
        if (is_end) break;
    }
    reply_array(out, count);
    for (uint64_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        write_value(L, out);
    }
}

/* The text is on top of its table. What no command has answered is counted here. */
static void write_error(lua_State *L, struct reply *out)
{
    const char *text = lua_tostring(L, -1);
    write_line(L, '-', out);
    out->error_count++;
    lua_pushliteral(L, LUA_COUNTED_FIELD);
    lua_rawget(L, -3);
    if (!lua_toboolean(L, -1)) worker_count_error(lua_vm_of(L)->worker, bytes_of(text));
    lua_pop(L, 1);
}

/* A table that stands for a type of its own. False: an array. */
static bool write_typed(lua_State *L, struct reply *out)
{
    if (push_field(L, "err", LUA_TSTRING)) {
        write_error(L, out);
    } else if (push_field(L, "ok", LUA_TSTRING)) {
        write_line(L, '+', out);
    } else if (push_field(L, "double", LUA_TNUMBER)) {
        reply_double(out, lua_tonumber(L, -1));
    } else if (push_field(L, "map", LUA_TTABLE)) {
        write_map(L, out);
        return true;
    } else if (push_field(L, "set", LUA_TTABLE)) {
        write_set(L, out);
        return true;
    } else if (push_field(L, "big_number", LUA_TSTRING)) {
        size_t size;
        const char *digits = lua_tolstring(L, -1, &size);
        if (!reply_try_reserve(out, REPLY_STRING_BYTES(size))) luaL_error(L, "not enough memory");
        reply_big_number(out, bytes_make(digits, size));
    } else if (push_field(L, "verbatim_string", LUA_TTABLE)) {
        bool is_whole = write_verbatim(L, out);
        lua_pop(L, 1);
        return is_whole;
    } else {
        return false;
    }
    lua_pop(L, 1);
    return true;
}

static void write_boolean(lua_State *L, struct reply *out)
{
    bool value = lua_toboolean(L, -1);
    if (lua_vm_of(L)->current->resp == 3)
        reply_bool(out, value);
    else if (value)
        reply_i64(out, 1);
    else
        reply_null(out);
}

/* Takes the value away. */
static void write_value(lua_State *L, struct reply *out)
{
    if (!lua_checkstack(L, 8)) {
        reply_error(out, "ERR reached lua stack limit");
        lua_pop(L, 1);
        return;
    }
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        write_string(L, out);
        break;
    case LUA_TNUMBER:
        reply_i64(out, truncated(lua_tonumber(L, -1)));
        break;
    case LUA_TBOOLEAN:
        write_boolean(L, out);
        break;
    case LUA_TTABLE:
        if (!write_typed(L, out)) write_array(L, out);
        break;
    default:
        reply_null(out);
        break;
    }
    lua_pop(L, 1);
}

void lua_write_reply(lua_State *L, struct reply *out)
{
    write_value(L, out);
}

/* ---- a reply as a value ---- */

struct reply_reader {
    lua_State *L;
    const char *at, *end;
};

/* Up to the line end, which is passed. */
static struct bytes read_line(struct reply_reader *r)
{
    const char *stop = memchr(r->at, '\r', (size_t)(r->end - r->at));
    CHECK(stop);
    struct bytes line = bytes_make(r->at, (size_t)(stop - r->at));
    r->at = stop + 2;
    return line;
}

static int64_t read_number(struct reply_reader *r)
{
    int64_t value = 0;
    CHECK(text_to_i64(read_line(r), &value));
    return value;
}

static void push_value(struct reply_reader *r);

static void set_string(lua_State *L, const char *name, struct bytes text)
{
    lua_pushstring(L, name);
    lua_pushlstring(L, text.data, text.size);
    lua_rawset(L, -3);
}

static void push_line(struct reply_reader *r, const char *name)
{
    lua_createtable(r->L, 0, 1);
    set_string(r->L, name, read_line(r));
}

static void push_error(struct reply_reader *r)
{
    lua_createtable(r->L, 0, 2);
    lua_pushboolean(r->L, 1);
    lua_setfield(r->L, -2, LUA_COUNTED_FIELD);
    set_string(r->L, "err", read_line(r));
}

/* RESP2's null. */
static void push_false(struct reply_reader *r)
{
    lua_pushboolean(r->L, 0);
}

static void push_bulk(struct reply_reader *r)
{
    int64_t size = read_number(r);
    if (size < 0) {
        push_false(r);
        return;
    }
    lua_pushlstring(r->L, r->at, (size_t)size);
    r->at += size + 2;
}

static void push_array(struct reply_reader *r)
{
    int64_t count = read_number(r);
    if (count < 0) {
        push_false(r);
        return;
    }
    lua_createtable(r->L, (int)MIN(count, (int64_t)INT32_MAX), 0);
    for (int64_t i = 1; i <= count; i++) {
        push_value(r);
        lua_rawseti(r->L, -2, (int)i);
    }
}

/* {map = {…}} or {set = {… = true}} */
static void push_keyed(struct reply_reader *r, const char *name, bool is_set)
{
    int64_t count = read_number(r);
    lua_createtable(r->L, 0, 1);
    lua_pushstring(r->L, name);
    lua_createtable(r->L, 0, (int)MIN(count, (int64_t)INT32_MAX));
    for (int64_t i = 0; i < count; i++) {
        push_value(r);
        if (is_set)
            lua_pushboolean(r->L, 1);
        else
            push_value(r);
        bool is_key = !lua_isnil(r->L, -2);
        if (is_key)
            lua_rawset(r->L, -3);
        else
            lua_pop(r->L, 2);
    }
    lua_rawset(r->L, -3);
}

static void push_double(struct reply_reader *r)
{
    double value = 0;
    (void)!text_to_double(read_line(r), &value);
    lua_createtable(r->L, 0, 1);
    lua_pushliteral(r->L, "double");
    lua_pushnumber(r->L, value);
    lua_rawset(r->L, -3);
}

static void push_verbatim(struct reply_reader *r)
{
    int64_t size = read_number(r);
    CHECK(size >= 4);
    lua_createtable(r->L, 0, 1);
    lua_pushliteral(r->L, "verbatim_string");
    lua_createtable(r->L, 0, 2);
    set_string(r->L, "format", bytes_make(r->at, 3));
    set_string(r->L, "string", bytes_make(r->at + 4, (size_t)size - 4));
    lua_rawset(r->L, -3);
    r->at += size + 2;
}

static void skip_attribute(struct reply_reader *r)
{
    int64_t count = read_number(r);
    for (int64_t i = 0; i < 2 * count; i++) {
        push_value(r);
        lua_pop(r->L, 1);
    }
    push_value(r);
}

static void push_value(struct reply_reader *r)
{
    luaL_checkstack(r->L, 8, "too deep");
    CHECK(r->at < r->end);
    switch (*r->at++) {
    case '+':
        push_line(r, "ok");
        return;
    case '-':
        push_error(r);
        return;
    case ':':
        lua_pushnumber(r->L, (double)read_number(r));
        return;
    case '$':
        push_bulk(r);
        return;
    case '*':
    case '>':
        push_array(r);
        return;
    case '_':
        read_line(r);
        lua_pushnil(r->L);
        return;
    case '#':
        lua_pushboolean(r->L, read_line(r).data[0] == 't');
        return;
    case ',':
        push_double(r);
        return;
    case '(':
        push_line(r, "big_number");
        return;
    case '=':
        push_verbatim(r);
        return;
    case '%':
        push_keyed(r, "map", false);
        return;
    case '~':
        push_keyed(r, "set", true);
        return;
    case '|':
        skip_attribute(r);
        return;
    }
    CHECK_NEVER("a reply has a type");
}

void lua_push_reply(lua_State *L, struct bytes reply)
{
    struct reply_reader r = {.L = L, .at = reply.data, .end = reply.data + reply.size};
    push_value(&r);
}
