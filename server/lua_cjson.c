/* The table `cjson` of scripts: JSON as lua-cjson 2.1 reads and writes it, with the settings that
 * Redis gives it. Its functions that change settings report them only, because a setting of one
 * script would be felt by the others. */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "server/lua_vm.h"

#define DEPTH_MAX 1000
#define SPARSE_RATIO 2
#define SPARSE_SAFE 10
#define NUMBER_DIGITS 14

/* ---- writing ---- */

/* Pieces collect in a buffer of Lua's memory, so that an error loses nothing. */
struct json_out {
    lua_State *L;
    char *data;
    size_t size, capacity;
    int slot; /* of the userdata that holds the bytes */
};

static char *out_reserve(struct json_out *o, size_t extra)
{
    if (o->capacity - o->size >= extra) return o->data + o->size;
    size_t capacity = 2 * (o->size + extra);
    char *data = lua_newuserdata(o->L, capacity);
    if (o->size) memcpy(data, o->data, o->size);
    lua_replace(o->L, o->slot);
    o->data = data;
    o->capacity = capacity;
    return data + o->size;
}

static void out_append(struct json_out *o, const char *text, size_t size)
{
    memcpy(out_reserve(o, size), text, size);
    o->size += size;
}

static void out_char(struct json_out *o, char c)
{
    out_append(o, &c, 1);
}

static const char *escape_of(unsigned char c, char scratch[8])
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '/':
        return "\\/";
    case '\b':
        return "\\b";
    case '\f':
        return "\\f";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    }
    if (c >= 32 && c != 127) return NULL;
    snprintf(scratch, 8, "\\u%04x", c);
    return scratch;
}

static void write_text(struct json_out *o, int index)
{
    size_t size;
    const char *text = lua_tolstring(o->L, index, &size);
    char scratch[8];
    out_char(o, '"');
    for (size_t i = 0; i < size; i++) {
        const char *escape = escape_of((unsigned char)text[i], scratch);
        if (escape)
            out_append(o, escape, strlen(escape));
        else
            out_char(o, text[i]);
    }
    out_char(o, '"');
}

static int cannot(struct json_out *o, int index, const char *why)
{
    return luaL_error(o->L, "Cannot serialise %s: %s", lua_typename(o->L, lua_type(o->L, index)),
                      why);
}

static void write_number(struct json_out *o, int index)
{
    double value = lua_tonumber(o->L, index);
    if (!isfinite(value)) cannot(o, index, "must not be NaN or Inf");
    char text[40];
    int size = snprintf(text, sizeof text, "%.*g", NUMBER_DIGITS, value);
    out_append(o, text, (size_t)size);
}

static void write_value(struct json_out *o, int depth);

/* The length if the table on top is an array, else -1. */
static int array_length(struct json_out *o)
{
    lua_State *L = o->L;
    double longest = 0, items = 0;
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        double at = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        lua_pop(L, 1);
        if (at < 1 || floor(at) != at) {
            lua_pop(L, 1);
            return -1;
        }
        longest = MAX(longest, at);
        items++;
    }
    if (longest > SPARSE_SAFE && longest > items * SPARSE_RATIO)
        cannot(o, -1, "excessively sparse array");
    return (int)longest;
}

static void write_array(struct json_out *o, int length, int depth)
{
    out_char(o, '[');
    for (int i = 1; i <= length; i++) {
        if (i > 1) out_char(o, ',');
        lua_rawgeti(o->L, -1, i);
        write_value(o, depth);
        lua_pop(o->L, 1);
    }
    out_char(o, ']');
}

static void write_object(struct json_out *o, int depth)
{
    lua_State *L = o->L;
    bool is_first = true;
    out_char(o, '{');
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        if (!is_first) out_char(o, ',');
        is_first = false;
        int type = lua_type(L, -2);
        if (type == LUA_TNUMBER) {
            out_char(o, '"');
            write_number(o, -2);
            out_char(o, '"');
        } else if (type == LUA_TSTRING) {
            write_text(o, -2);
        } else {
            cannot(o, -2, "table key must be a number or string");
        }
        out_char(o, ':');
        write_value(o, depth);
        lua_pop(L, 1);
    }
    out_char(o, '}');
}

static void write_table(struct json_out *o, int depth)
{
    if (depth > DEPTH_MAX || !lua_checkstack(o->L, 8))
        luaL_error(o->L, "Cannot serialise, excessive nesting (%d)", depth);
    int length = array_length(o);
    if (length > 0)
        write_array(o, length, depth);
    else
        write_object(o, depth);
}

/* The value on top, which stays. */
static void write_value(struct json_out *o, int depth)
{
    lua_State *L = o->L;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        write_text(o, -1);
        return;
    case LUA_TNUMBER:
        write_number(o, -1);
        return;
    case LUA_TBOOLEAN:
        if (lua_toboolean(L, -1))
            out_append(o, "true", 4);
        else
            out_append(o, "false", 5);
        return;
    case LUA_TTABLE:
        write_table(o, depth + 1);
        return;
    case LUA_TNIL:
        out_append(o, "null", 4);
        return;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, -1)) break;
        out_append(o, "null", 4);
        return;
    }
    cannot(o, -1, "type not supported");
}

static int json_encode(lua_State *L)
{
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    struct json_out o = {.L = L, .slot = 1};
    lua_pushnil(L);
    lua_insert(L, 1);
    write_value(&o, 0);
    lua_pushlstring(L, o.data, o.size);
    return 1;
}

/* ---- reading ---- */

enum token {
    T_OBJ_BEGIN,
    T_OBJ_END,
    T_ARR_BEGIN,
    T_ARR_END,
    T_STRING,
    T_NUMBER,
    T_BOOLEAN,
    T_NULL,
    T_COLON,
    T_COMMA,
    T_END,
    T_ERROR,
};

static const char *const token_names[] = {"T_OBJ_BEGIN", "T_OBJ_END", "T_ARR_BEGIN", "T_ARR_END",
                                          "T_STRING",    "T_NUMBER",  "T_BOOLEAN",   "T_NULL",
                                          "T_COLON",     "T_COMMA",   "T_END",       "T_ERROR"};

struct json_in {
    lua_State *L;
    const char *start, *at, *end;
    int depth;
    /* ---- the last token ---- */
    enum token token;
    const char *token_at;
    const char *problem; /* of T_ERROR */
    double number;       /* of T_NUMBER; T_BOOLEAN: 0 or 1 */
};

static void token_error(struct json_in *in, const char *at, const char *problem)
{
    in->token = T_ERROR;
    in->token_at = at;
    in->problem = problem;
}

static int hex4(const char *p, const char *end)
{
    int value = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 63));
        to[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 63));
    to[2] = (char)(0x80 | (c >> 6 & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* "\uXXXX", and the second half of a pair. 0 bytes: it is none. */
static size_t read_unicode(struct json_in *in, char *to)
{
    int first = hex4(in->at + 2, in->end);
    if (first < 0) return 0;
    if ((first & 0xf800) != 0xd800) {
        in->at += 6;
        return put_utf8(to, (uint32_t)first);
    }
    bool has_second =
        (first & 0x400) == 0 && in->end - in->at >= 12 && in->at[6] == '\\' && in->at[7] == 'u';
    int second = has_second ? hex4(in->at + 8, in->end) : -1;
    if (second < 0 || (second & 0xfc00) != 0xdc00) return 0;
    in->at += 12;
    return put_utf8(to, 0x10000u + (((uint32_t)first & 0x3ff) << 10 | ((uint32_t)second & 0x3ff)));
}

static char plain_escape(char c)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = c ? strchr(from, c) : NULL;
    return found ? to[found - from] : '\0';
}

/* One escape; false: the token is an error. */
static bool read_escape(struct json_in *in, char *to, size_t *size)
{
    char kind = in->end - in->at > 1 ? in->at[1] : '\0';
    if (kind == 'u') {
        size_t added = read_unicode(in, to + *size);
        if (added == 0) token_error(in, in->at, "invalid unicode escape code");
        *size += added;
        return added > 0;
    }
    char plain = plain_escape(kind);
    if (!plain) {
        token_error(in, in->at, "invalid escape code");
        return false;
    }
    to[(*size)++] = plain;
    in->at += 2;
    return true;
}

/* Pushes the text. What it is read into is at least as long. */
static void read_text(struct json_in *in)
{
    in->at++;
    const char *stop = in->at;
    while (stop < in->end && *stop != '"') stop += *stop == '\\' && in->end - stop > 1 ? 2 : 1;
    if (stop >= in->end) {
        token_error(in, in->end, "unexpected end of string");
        return;
    }
    size_t span = (size_t)(stop - in->at), size = 0;
    bool is_plain = !memchr(in->at, '\\', span);
    in->token = T_STRING;
    if (is_plain) {
        lua_pushlstring(in->L, in->at, span);
        in->at = stop + 1;
        return;
    }
    char *to = lua_newuserdata(in->L, span);
    while (in->at < stop) {
        if (*in->at == '\\') {
            if (!read_escape(in, to, &size)) return;
        } else {
            to[size++] = *in->at++;
        }
    }
    in->at = stop + 1;
    lua_pushlstring(in->L, to, size);
    lua_remove(in->L, -2);
}

static bool take_word(struct json_in *in, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(in->end - in->at) < size || memcmp(in->at, word, size) != 0) return false;
    in->at += size;
    return true;
}

/* As strtod reads, which takes hexadecimal numbers, infinities and NaN, too. The text of a Lua
 * string is terminated. */
static void read_number(struct json_in *in)
{
    char *end;
    in->number = strtod(in->at, &end);
    if (end == in->at) {
        token_error(in, in->at, "invalid number");
        return;
    }
    in->at = end;
    in->token = T_NUMBER;
}

static bool begins_number(const struct json_in *in)
{
    char c = *in->at;
    size_t left = (size_t)(in->end - in->at);
    if ((c >= '0' && c <= '9') || c == '-' || c == '+') return true;
    return left >= 3 && (strncasecmp(in->at, "nan", 3) == 0 || strncasecmp(in->at, "inf", 3) == 0);
}

static void next_token(struct json_in *in)
{
    static const char marks[] = "{}[]:,";
    static const enum token tokens[] = {T_OBJ_BEGIN, T_OBJ_END, T_ARR_BEGIN,
                                        T_ARR_END,   T_COLON,   T_COMMA};
    while (in->at < in->end &&
           (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r'))
        in->at++;
    in->token_at = in->at;
    if (in->at >= in->end) {
        in->token = T_END;
        return;
    }
    const char *mark = *in->at ? strchr(marks, *in->at) : NULL;
    if (mark) {
        in->token = tokens[mark - marks];
        in->at++;
    } else if (*in->at == '"') {
        read_text(in);
    } else if (begins_number(in)) {
        read_number(in);
    } else if (take_word(in, "true") || take_word(in, "false")) {
        in->token = T_BOOLEAN;
        in->number = in->token_at[0] == 't';
    } else if (take_word(in, "null")) {
        in->token = T_NULL;
    } else {
        token_error(in, in->at, "invalid token");
    }
}

static void unexpected(struct json_in *in, const char *expected)
{
    const char *found = in->token == T_ERROR ? in->problem : token_names[in->token];
    luaL_error(in->L, "Expected %s but found %s at character %d", expected, found,
               (int)(in->token_at - in->start) + 1);
}

static void read_value(struct json_in *in);

static void descend(struct json_in *in)
{
    in->depth++;
    if (in->depth <= DEPTH_MAX && lua_checkstack(in->L, 4)) return;
    luaL_error(in->L, "Found too many nested data structures (%d) at character %d", in->depth,
               (int)(in->token_at - in->start) + 1);
}

static void read_object(struct json_in *in)
{
    descend(in);
    lua_newtable(in->L);
    next_token(in);
    if (in->token == T_OBJ_END) {
        in->depth--;
        return;
    }
    for (;;) {
        if (in->token != T_STRING) unexpected(in, "object key string");
        next_token(in);
        if (in->token != T_COLON) unexpected(in, "colon");
        next_token(in);
        read_value(in);
        lua_rawset(in->L, -3);
        next_token(in);
        if (in->token == T_OBJ_END) break;
        if (in->token != T_COMMA) unexpected(in, "comma or object end");
        next_token(in);
    }
    in->depth--;
}

static void read_array(struct json_in *in)
{
    descend(in);
    lua_newtable(in->L);
    next_token(in);
    for (int i = 1; in->token != T_ARR_END; i++) {
        read_value(in);
        lua_rawseti(in->L, -2, i);
        next_token(in);
        if (in->token == T_ARR_END) break;
        if (in->token != T_COMMA) unexpected(in, "comma or array end");
        next_token(in);
        if (in->token == T_ARR_END) unexpected(in, "value");
    }
    in->depth--;
}

/* The token is its first one. A string is on the stack already. */
static void read_value(struct json_in *in)
{
    switch (in->token) {
    case T_STRING:
        return;
    case T_NUMBER:
        lua_pushnumber(in->L, in->number);
        return;
    case T_BOOLEAN:
        lua_pushboolean(in->L, in->number != 0);
        return;
    case T_NULL:
        lua_pushlightuserdata(in->L, NULL);
        return;
    case T_OBJ_BEGIN:
        read_object(in);
        return;
    case T_ARR_BEGIN:
        read_array(in);
        return;
    case T_OBJ_END:
    case T_ARR_END:
    case T_COLON:
    case T_COMMA:
    case T_END:
    case T_ERROR:
        unexpected(in, "value");
    }
}

static int json_decode(lua_State *L)
{
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    if (size >= 2 && (text[0] == '\0' || text[1] == '\0'))
        return luaL_error(L, "JSON parser does not support UTF-16 or UTF-32");
    struct json_in in = {.L = L, .start = text, .at = text, .end = text + size};
    next_token(&in);
    read_value(&in);
    next_token(&in);
    if (in.token != T_END) unexpected(&in, "the end");
    return 1;
}

/* ---- the table ---- */

static int depth_setting(lua_State *L)
{
    lua_pushinteger(L, DEPTH_MAX);
    return 1;
}

static int digits_setting(lua_State *L)
{
    lua_pushinteger(L, NUMBER_DIGITS);
    return 1;
}

static int sparse_setting(lua_State *L)
{
    lua_pushboolean(L, 0);
    lua_pushinteger(L, SPARSE_RATIO);
    lua_pushinteger(L, SPARSE_SAFE);
    return 3;
}

static int true_setting(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

static int false_setting(lua_State *L)
{
    lua_pushboolean(L, 0);
    return 1;
}

static int json_new(lua_State *L)
{
    lua_open_cjson(L);
    return 1;
}

void lua_open_cjson(lua_State *L)
{
    static const luaL_Reg functions[] = {{"encode", json_encode},
                                         {"decode", json_decode},
                                         {"encode_max_depth", depth_setting},
                                         {"decode_max_depth", depth_setting},
                                         {"encode_number_precision", digits_setting},
                                         {"encode_sparse_array", sparse_setting},
                                         {"encode_keep_buffer", true_setting},
                                         {"encode_invalid_numbers", false_setting},
                                         {"decode_invalid_numbers", true_setting},
                                         {"new", json_new}};
    lua_newtable(L);
    for (unsigned i = 0; i < ARRAY_LEN(functions); i++) {
        lua_pushcfunction(L, functions[i].func);
        lua_setfield(L, -2, functions[i].name);
    }
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_pushliteral(L, "cjson");
    lua_setfield(L, -2, "_NAME");
    lua_pushliteral(L, "2.1.0");
    lua_setfield(L, -2, "_VERSION");
}
