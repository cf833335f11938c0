/* lua_fuzz.c: bytes that a script hands to cmsgpack.unpack, cjson.decode and struct.unpack.
 *
 * The first byte of an input says to which; for struct a format stands in front, ended by a zero
 * byte. An error is an answer like any other. What was understood is written and read back until
 * nothing can be lost any more (cmsgpack cuts what is nested too deeply): then each text is as long
 * as the one before. (Not equal: the order of a table is its own.) Lua's blocks come from malloc,
 * so that a sanitizer sees what is read beyond them.
 */
#include <lauxlib.h>

#include "server/lua_vm.h"
#include "tests/fuzz/driver.h"

enum { WITH_MSGPACK, WITH_JSON, WITH_STRUCT, WITH_COUNT };

#define ROUNDS 3
#define DEPTH_MAX 6

static void *allocate(UNUSED void *context, void *p, UNUSED size_t old_size, size_t size)
{
    if (size > 0) return realloc(p, size);
    free(p);
    return NULL;
}

/* Calls `library.name` with the `count` values on top, which go; the results take their place. -1,
 * with nothing left of it: an error. */
static int call(lua_State *L, const char *library, const char *name, int count)
{
    int before = lua_gettop(L) - count;
    lua_getglobal(L, library);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
    lua_insert(L, before + 1);
    if (lua_pcall(L, count, LUA_MULTRET, 0) != 0) {
        CHECK(lua_isstring(L, -1));
        lua_settop(L, before);
        return -1;
    }
    return lua_gettop(L) - before;
}

static size_t text_size(lua_State *L, int at)
{
    size_t size;
    CHECK(lua_type(L, at) == LUA_TSTRING);
    (void)lua_tolstring(L, at, &size);
    return size;
}

/* A string is on top. */
static void use_coder(lua_State *L, const char *library, const char *decode, const char *encode)
{
    int count = call(L, library, decode, 1);
    /* Numbers that JSON cannot tell are read, and not written. */
    if (count <= 0 || call(L, library, encode, count) != 1) return;
    size_t sizes[ROUNDS];
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (call(L, library, decode, 1) != count) {
            CHECK(i == 0); /* a key was nested too deeply */
            return;
        }
        CHECK(call(L, library, encode, count) == 1);
        sizes[i] = text_size(L, -1);
    }
    CHECK(sizes[ROUNDS - 1] == sizes[ROUNDS - 2]);
}

/* A format and a string are on top. What was read is so many bytes when it is written, but for
 * texts whose size another value tells. */
static void use_struct(lua_State *L)
{
    lua_pushvalue(L, -2);
    (void)!call(L, "struct", "size", 1);
    lua_settop(L, 2);
    lua_pushvalue(L, 1);
    lua_insert(L, 1);
    int count = call(L, "struct", "unpack", 2);
    if (count < 0) return;
    CHECK(count > 0 && lua_isnumber(L, -1));
    size_t end = (size_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    bool has_text = strchr(lua_tostring(L, 1), 'c') != NULL;
    if (call(L, "struct", "pack", count) == 1 && !has_text) CHECK(text_size(L, -1) == end - 1);
}

static void use(lua_State *L, unsigned with, struct bytes data)
{
    lua_settop(L, 0);
    if (with == WITH_STRUCT) {
        size_t format_size = strnlen(data.data, data.size);
        lua_pushlstring(L, data.data, format_size);
        size_t rest = data.size - MIN(data.size, format_size + 1);
        lua_pushlstring(L, data.data + (data.size - rest), rest);
        use_struct(L);
        return;
    }
    lua_pushlstring(L, data.data, data.size);
    if (with == WITH_JSON)
        use_coder(L, "cjson", "decode", "encode");
    else
        use_coder(L, "cmsgpack", "unpack", "pack");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    /* cjson keeps its settings in the run of the state. */
    struct lua_run run = {.vm = NULL};
    struct lua_vm vm = {.current = &run};
    lua_json_defaults(&run.json);
    lua_State *L = lua_newstate(allocate, &vm);
    CHECK(L);
    lua_open_cjson(L);
    lua_setglobal(L, "cjson");
    lua_open_cmsgpack(L);
    lua_setglobal(L, "cmsgpack");
    lua_open_struct(L);
    lua_setglobal(L, "struct");
    use(L, data[0] % WITH_COUNT, bytes_make(data + 1, size - 1));
    lua_close(L);
    return 0;
}

/* ---- inputs ---- */

static void put(struct buf *out, unsigned byte)
{
    char c = (char)byte;
    buf_append(out, &c, 1);
}

static void put_noise(struct buf *out, struct random *r, uint64_t count)
{
    while (count-- > 0) put(out, (unsigned)random_next(r) & 255);
}

static void put_msgpack(struct buf *out, struct random *r, unsigned depth)
{
    /* Numbers of all sizes, then texts and tables by their short tags. */
    static const struct {
        unsigned tag, bytes;
    } fixed[] = {{0xc0, 0}, {0xc2, 0}, {0xc3, 0}, {0xca, 4}, {0xcb, 8}, {0xcc, 1}, {0xcd, 2},
                 {0xce, 4}, {0xcf, 8}, {0xd0, 1}, {0xd1, 2}, {0xd2, 4}, {0xd3, 8}, {0x7f, 0}};
    uint64_t count = random_below(r, 5), kind = random_below(r, depth < DEPTH_MAX ? 6 : 3);
    if (kind < 2) {
        size_t i = random_below(r, ARRAY_LEN(fixed));
        put(out, fixed[i].tag);
        put_noise(out, r, fixed[i].bytes);
    } else if (kind == 2) {
        put(out, 0xd9);
        put(out, (unsigned)count);
        put_noise(out, r, count);
    } else {
        bool is_map = kind == 5;
        put(out, (is_map ? 0x80 : 0x90) | (unsigned)count);
        for (uint64_t i = 0; i < count; i++) {
            if (is_map) put(out, 0xa1), put(out, 'a' + (unsigned)i);
            put_msgpack(out, r, depth + 1);
        }
    }
}

static void put_json(struct buf *out, struct random *r, unsigned depth)
{
    static const char *const plain[] = {"null",        "true",
                                        "false",       "0",
                                        "-1.5e3",      "12345678901234567890",
                                        "1e999",       "\"a\\n\"",
                                        "\"\\u00e9\"", "\"\\ud83d\\ude00\"",
                                        "\"\\ud83d\"", "0x10",
                                        " [ ] "};
    uint64_t count = random_below(r, 4), kind = random_below(r, depth < DEPTH_MAX ? 4 : 2);
    if (kind < 2) {
        buf_append_text(out, plain[random_below(r, ARRAY_LEN(plain))]);
        return;
    }
    put(out, kind == 2 ? '[' : '{');
    for (uint64_t i = 0; i < count; i++) {
        if (i > 0) put(out, ',');
        if (kind == 3) buf_printf(out, "\"%c\":", (char)('a' + i));
        put_json(out, r, depth + 1);
    }
    put(out, kind == 2 ? ']' : '}');
}

static void put_struct(struct buf *out, struct random *r)
{
    static const char *const options[] = {"b",  "B",  "h", "H", "l", "L",  "i",  "I3", "i8",
                                          "f",  "d",  "s", "x", "c", "c0", "c3", ">",  "<",
                                          "!4", "!8", "=", "T", " ", "!",  "i9"};
    for (uint64_t i = random_below(r, 6); i > 0; i--)
        buf_append_text(out, options[random_below(r, ARRAY_LEN(options))]);
    put(out, 0);
    put_noise(out, r, random_below(r, 40));
}

void fuzz_make_input(struct buf *out, struct random *r)
{
    unsigned with = (unsigned)random_below(r, WITH_COUNT);
    put(out, with);
    if (with == WITH_STRUCT)
        put_struct(out, r);
    else if (with == WITH_JSON)
        put_json(out, r, 0);
    else
        put_msgpack(out, r, 0);
    if (random_below(r, 8) == 0) put_noise(out, r, 3);
    if (random_below(r, 8) == 0) out->size -= random_below(r, out->size);
}
