/* The table `cjson` of scripts: JSON as lua-cjson 2.1 reads and writes it, with the settings that
 * Redis gives it. What a script sets lasts until it ends, because others would feel it; what
 * cjson.new() returns has settings of its own. */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "server/lua_vm.h"

#define NUMBER_DIGITS_MAX 14

/* ---- settings ---- */

enum invalid_numbers { INVALID_REFUSED, INVALID_WRITTEN, INVALID_AS_NULL };

void lua_json_defaults(struct json_settings *s)
{
    *s = (struct json_settings){.encode_depth_max = 1000,
                                .decode_depth_max = 1000,
                                .digits = NUMBER_DIGITS_MAX,
                                .sparse_ratio = 2,
                                .sparse_safe = 10,
                                .keeps_buffer = true,
                                .decodes_invalid = true};
}

/* Those of the run, or of the instance whose function it is. */
static struct json_settings *settings_of(lua_State *L)
{
    struct json_settings *own = lua_touserdata(L, lua_upvalueindex(1));
    return own ? own : &lua_vm_of(L)->current->json;
}

/* ---- writing ---- */

/* Pieces collect in a buffer of Lua's memory, so that an error loses nothing. */
struct json_out {
    lua_State *L;
    const struct json_settings *settings;
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
    if (!isfinite(value) && o->settings->encode_invalid != INVALID_WRITTEN) {
        if (o->settings->encode_invalid == INVALID_REFUSED)
            cannot(o, index, "must not be NaN or Inf");
        out_append(o, "null", 4);
        return;
    }
    char text[40];
    int size = isnan(value) ? snprintf(text, sizeof text, "nan")
                            : snprintf(text, sizeof text, "%.*g", o->settings->digits, value);
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
    const struct json_settings *s = o->settings;
    if (s->sparse_ratio > 0 && longest > s->sparse_safe && longest > items * s->sparse_ratio) {
        if (s->sparse_as_object) return -1;
        cannot(o, -1, "excessively sparse array");
    }
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
    if (depth > o->settings->encode_depth_max || !lua_checkstack(o->L, 8))
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
    struct json_out o = {.L = L, .settings = settings_of(L), .slot = 1};
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
    const struct json_settings *settings;
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

/* Begins as JSON wants it: no zero in front of other digits, and neither hexadecimal nor the name
 * of a number. */
static bool is_strict_number(const char *p)
{
    if (*p == '-') p++;
    if (p[0] == '0') return (p[1] | 32) != 'x' && !(p[1] >= '0' && p[1] <= '9');
    return *p >= '1' && *p <= '9';
}

/* As strtod reads, which takes hexadecimal numbers, infinities and NaN, too. The text of a Lua
 * string is terminated. */
static void read_number(struct json_in *in)
{
    char *end = NULL;
    if (in->settings->decodes_invalid || is_strict_number(in->at))
        in->number = strtod(in->at, &end);
    if (!end || end == in->at) {
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
    if ((c >= '0' && c <= '9') || c == '-') return true;
    if (!in->settings->decodes_invalid) return false;
    if (c == '+') return true;
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
    if (in->depth <= in->settings->decode_depth_max && lua_checkstack(in->L, 4)) return;
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
    struct json_in in = {
        .L = L, .settings = settings_of(L), .start = text, .at = text, .end = text + size};
    next_token(&in);
    read_value(&in);
    next_token(&in);
    if (in.token != T_END) unexpected(&in, "the end");
    return 1;
}

/* ---- the table ---- */

/* Each function tells the setting; an argument that is not nil changes it first. */

static void at_most_arguments(lua_State *L, int count)
{
    luaL_argcheck(L, lua_gettop(L) <= count, count + 1, "found too many arguments");
    lua_settop(L, count);
}

static void set_integer(lua_State *L, int index, int *setting, int min, int max)
{
    char text[64];
    if (lua_isnil(L, index)) return;
    lua_Integer value = luaL_checkinteger(L, index);
    snprintf(text, sizeof text, "expected integer between %d and %d", min, max);
    luaL_argcheck(L, value >= min && value <= max, 1, text); /* whichever it is, as there */
    *setting = (int)value;
}

/* A boolean, or a name: "off" and "on" stand for false and true. */
static int read_choice(lua_State *L, int index, const char *const *names, int current)
{
    if (lua_isnil(L, index)) return current;
    if (lua_type(L, index) == LUA_TBOOLEAN) return lua_toboolean(L, index);
    return luaL_checkoption(L, index, NULL, names);
}

static void set_boolean(lua_State *L, int index, bool *setting)
{
    static const char *const names[] = {"off", "on", NULL};
    *setting = read_choice(L, index, names, *setting) != 0;
}

static int tell_integer(lua_State *L, int *setting, int max)
{
    at_most_arguments(L, 1);
    set_integer(L, 1, setting, 1, max);
    lua_pushinteger(L, *setting);
    return 1;
}

static int encode_max_depth(lua_State *L)
{
    return tell_integer(L, &settings_of(L)->encode_depth_max, INT32_MAX);
}

static int decode_max_depth(lua_State *L)
{
    return tell_integer(L, &settings_of(L)->decode_depth_max, INT32_MAX);
}

static int encode_number_precision(lua_State *L)
{
    return tell_integer(L, &settings_of(L)->digits, NUMBER_DIGITS_MAX);
}

static int encode_sparse_array(lua_State *L)
{
    struct json_settings *s = settings_of(L);
    at_most_arguments(L, 3);
    set_boolean(L, 1, &s->sparse_as_object);
    set_integer(L, 2, &s->sparse_ratio, 0, INT32_MAX);
    set_integer(L, 3, &s->sparse_safe, 0, INT32_MAX);
    lua_pushboolean(L, s->sparse_as_object);
    lua_pushinteger(L, s->sparse_ratio);
    lua_pushinteger(L, s->sparse_safe);
    return 3;
}

static int tell_boolean(lua_State *L, bool *setting)
{
    at_most_arguments(L, 1);
    set_boolean(L, 1, setting);
    lua_pushboolean(L, *setting);
    return 1;
}

/* Of no consequence: each text is written into memory of its own. */
static int encode_keep_buffer(lua_State *L)
{
    return tell_boolean(L, &settings_of(L)->keeps_buffer);
}

static int decode_invalid_numbers(lua_State *L)
{
    return tell_boolean(L, &settings_of(L)->decodes_invalid);
}

static int encode_invalid_numbers(lua_State *L)
{
    static const char *const names[] = {"off", "on", "null", NULL};
    struct json_settings *s = settings_of(L);
    at_most_arguments(L, 1);
    s->encode_invalid = read_choice(L, 1, names, s->encode_invalid);
    if (s->encode_invalid == INVALID_AS_NULL)
        lua_pushliteral(L, "null");
    else
        lua_pushboolean(L, s->encode_invalid == INVALID_WRITTEN);
    return 1;
}

static int json_new(lua_State *L);

/* Makes the table; its functions use the settings on top, which are taken, or, if that is nil,
 * those of the run. */
static void push_functions(lua_State *L)
{
    static const luaL_Reg functions[] = {{"encode", json_encode},
                                         {"decode", json_decode},
                                         {"encode_max_depth", encode_max_depth},
                                         {"decode_max_depth", decode_max_depth},
                                         {"encode_number_precision", encode_number_precision},
                                         {"encode_sparse_array", encode_sparse_array},
                                         {"encode_keep_buffer", encode_keep_buffer},
                                         {"encode_invalid_numbers", encode_invalid_numbers},
                                         {"decode_invalid_numbers", decode_invalid_numbers},
                                         {"new", json_new}};
    lua_newtable(L);
    for (unsigned i = 0; i < ARRAY_LEN(functions); i++) {
        lua_pushvalue(L, -2);
        lua_pushcclosure(L, functions[i].func, 1);
        lua_setfield(L, -2, functions[i].name);
    }
    lua_remove(L, -2);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_pushliteral(L, "cjson");
    lua_setfield(L, -2, "_NAME");
    lua_pushliteral(L, "2.1.0");
    lua_setfield(L, -2, "_VERSION");
}

static int json_new(lua_State *L)
{
    lua_json_defaults(lua_newuserdata(L, sizeof(struct json_settings)));
    push_functions(L);
    return 1;
}

void lua_open_cjson(lua_State *L)
{
    lua_pushnil(L);
    push_functions(L);
}
