/* The table `redis` of scripts. */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>

#include "base/log.h"
#include "base/sha1.h"
#include "base/text.h"
#include "server/library.h"
#include "server/lua_vm.h"
#include "server/script_cache.h"
#include "server/server.h"

#define CALL_ARGS_FIRST 64
#define NUMBER_BYTES 32
/* Integers up to here are written as such, as in Redis. */
#define PLAIN_INTEGER_MAX 4503599627370496.0

static struct lua_run *run_of(lua_State *L)
{
    return lua_vm_of(L)->current;
}

/* ---- redis.call ---- */

/* The error table, or what raises it. */
static int fail(lua_State *L, bool is_protected, bool is_counted, struct bytes text)
{
    lua_settop(L, 0);
    lua_createtable(L, 0, 2);
    lua_pushboolean(L, 1);
    if (is_counted)
        lua_setfield(L, -2, LUA_COUNTED_FIELD);
    else
        lua_pop(L, 1);
    lua_pushlstring(L, text.data, text.size);
    lua_setfield(L, -2, "err");
    return is_protected ? 1 : lua_error(L);
}

static size_t number_text(char *out, double value)
{
    if (value >= -PLAIN_INTEGER_MAX && value <= PLAIN_INTEGER_MAX &&
        value == (double)(int64_t)value)
        return text_from_i64(out, (int64_t)value);
    return (size_t)snprintf(out, NUMBER_BYTES, "%.17g", value);
}

static bool argv_reserve(struct lua_vm *vm, uint32_t count)
{
    uint64_t bytes = MAX(count, (uint32_t)CALL_ARGS_FIRST) * (sizeof(struct bytes) + NUMBER_BYTES);
    if (vm->call_bytes >= bytes) return true;
    struct bytes *argv = mem_try_alloc(&vm->mem, bytes);
    if (!argv) return false;
    if (vm->call_argv) mem_free(&vm->mem, vm->call_argv, vm->call_bytes);
    vm->call_argv = argv;
    vm->call_bytes = bytes;
    return true;
}

/* The strings stay where they are, on the stack; numbers get their text behind the slices. */
static const char *arguments_read(lua_State *L, struct lua_vm *vm, struct lua_call *call)
{
    int count = lua_gettop(L);
    if (count == 0) return "ERR Please specify at least one argument for this redis lib call";
    if (!argv_reserve(vm, (uint32_t)count)) return err_text(ERR_ALLOC);
    char *numbers = (char *)(vm->call_argv + count);
    for (int i = 0; i < count; i++) {
        struct bytes *arg = &vm->call_argv[i];
        int type = lua_type(L, i + 1);
        if (type == LUA_TSTRING) {
            arg->data = lua_tolstring(L, i + 1, &arg->size);
        } else if (type == LUA_TNUMBER) {
            arg->data = numbers;
            arg->size = number_text(numbers, lua_tonumber(L, i + 1));
            numbers += NUMBER_BYTES;
        } else {
            return "ERR Lua redis lib command arguments must be strings or integers";
        }
    }
    call->argv = vm->call_argv;
    call->argc = (uint32_t)count;
    return NULL;
}

/* In one piece; a long one is copied, and its chunks are freed, before Lua may raise. */
static struct bytes reply_flatten(struct lua_vm *vm, struct reply *out)
{
    reply_close(out);
    if (out->first == out->last && out->first->home == CHUNK_LENT)
        return bytes_make(out->first->data, out->first->size);
    vm->text.size = 0;
    bool fits = buf_try_reserve(&vm->text, reply_size(out)) != NULL;
    for (const struct chunk *c = out->first; c && fits; c = c->next)
        buf_append(&vm->text, c->data, c->size);
    chunk_free_chain(out->mem, out->first);
    vm->chunk->next = NULL;
    if (!fits) return BYTES_LITERAL("-ERR out of memory for the reply: the command has run\r\n");
    return buf_view(&vm->text);
}

static int push_outcome(lua_State *L, struct bytes reply, bool is_protected)
{
    bool raises = reply.data[0] == '-' && !is_protected;
    lua_settop(L, 0);
    lua_push_reply(L, reply);
    return raises ? lua_error(L) : 1;
}

static int suspend(lua_State *L, struct lua_run *run, enum run_state state)
{
    if (!lua_isyieldable(L)) {
        if (state == RUN_RESTART) run->state = RUN_RESTART;
        return lua_raise(
            L, "ERR This script runs over several shards, where redis.call cannot stand in "
               "a metamethod that a library calls. Collect the values first, or give all "
               "keys one {tag}");
    }
    run->state = state;
    lua_vm_of(L)->is_yielding = true;
    return lua_yield(L, 0);
}

static int call_command(lua_State *L, bool is_protected)
{
    struct lua_vm *vm = lua_vm_of(L);
    struct lua_run *run = vm->current;
    if (!run) return lua_raise(L, "ERR redis.call can only be called by a script that runs");
    struct lua_call call = {0};
    const char *wrong = arguments_read(L, vm, &call);
    if (wrong) return fail(L, is_protected, false, bytes_of(wrong));
    struct reply out;
    reply_init(&out, vm->chunk, &vm->mem);
    out.resp = run->resp;
    enum call_state state =
        run->state == RUN_RESTART ? CALL_RESTART : run->host->call(run, &call, &out);
    switch (state) {
    case CALL_DONE:
        return push_outcome(L, reply_flatten(vm, &out), is_protected);
    case CALL_REFUSED:
        return fail(L, is_protected, true, call.error);
    case CALL_RESTART:
        return suspend(L, run, RUN_RESTART);
    case CALL_LATER:
        run->call = call;
        run->is_protected = is_protected;
        return suspend(L, run, RUN_CALLS);
    }
    return 0;
}

static int redis_call(lua_State *L)
{
    return call_command(L, false);
}

static int redis_pcall(lua_State *L)
{
    return call_command(L, true);
}

/* ---- replies ---- */

static int one_field(lua_State *L, const char *name)
{
    if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TSTRING) {
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "ERR wrong number or type of arguments");
        lua_setfield(L, -2, "err");
        return 1;
    }
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, name);
    return 1;
}

/* A text without a code gets the usual one; what begins with '-' has one. */
static int redis_error_reply(lua_State *L)
{
    if (lua_gettop(L) == 1 && lua_type(L, 1) == LUA_TSTRING) {
        size_t size;
        const char *text = lua_tolstring(L, 1, &size);
        bool is_marked = size && text[0] == '-';
        if (!memchr(text, ' ', size))
            lua_pushfstring(L, "ERR %s", text + is_marked);
        else
            lua_pushlstring(L, text + is_marked, size - is_marked);
        lua_replace(L, 1);
    }
    return one_field(L, "err");
}

static int redis_status_reply(lua_State *L)
{
    return one_field(L, "ok");
}

/* ---- small ones ---- */

static int redis_sha1hex(lua_State *L)
{
    if (lua_gettop(L) != 1) return lua_raise(L, "ERR wrong number of arguments");
    size_t size = 0;
    const char *text = lua_tolstring(L, 1, &size);
    uint8_t digest[SHA1_BYTES];
    char hex[SCRIPT_SHA_BYTES];
    sha1(bytes_make(text ? text : "", size), digest);
    sha1_to_hex(digest, hex);
    lua_pushlstring(L, hex, sizeof hex);
    return 1;
}

static int redis_log(lua_State *L)
{
    static const enum log_level levels[] = {LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING};
    int count = lua_gettop(L);
    if (count < 2) return lua_raise(L, "ERR redis.log() requires two arguments or more.");
    if (!lua_isnumber(L, 1))
        return lua_raise(L, "ERR First argument must be a number (log level).");
    lua_Integer level = lua_tointeger(L, 1);
    if (level < 0 || level >= (lua_Integer)ARRAY_LEN(levels))
        return lua_raise(L, "ERR Invalid debug level.");
    const struct library_draft *draft = lua_vm_of(L)->draft;
    if (draft && draft->is_again) return 0;
    char line[1024];
    size_t size = 0;
    for (int i = 2; i <= count; i++) {
        size_t part = 0;
        const char *text = lua_tolstring(L, i, &part);
        if (!text) continue;
        if (size && size < sizeof line) line[size++] = ' ';
        part = MIN(part, sizeof line - size);
        memcpy(line + size, text, part);
        size += part;
    }
    log_line(levels[level], "%.*s", (int)size, line);
    return 0;
}

static int redis_setresp(lua_State *L)
{
    if (lua_gettop(L) != 1) return lua_raise(L, "ERR redis.setresp() requires one argument.");
    lua_Number version = lua_tonumber(L, 1);
    if (version != 2 && version != 3) return lua_raise(L, "ERR RESP version must be 2 or 3.");
    run_of(L)->resp = (uint8_t)version;
    return 0;
}

/* Effects are what is replicated and logged, always. */
static int redis_replicate_commands(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

static int redis_set_repl(lua_State *L)
{
    if (lua_gettop(L) != 1) return lua_raise(L, "ERR redis.set_repl() requires two arguments.");
    lua_Number flags = lua_tonumber(L, 1);
    if (flags < 0 || flags > 3)
        return lua_raise(L,
                         "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or "
                         "REPL_NONE.");
    return 0;
}

/* There is no debugger to stop in. */
static int redis_breakpoint(lua_State *L)
{
    lua_pushboolean(L, 0);
    return 1;
}

static int redis_debug(UNUSED lua_State *L)
{
    return 0;
}

/* ---- math.random: as lrand48 of POSIX: a seed gives the numbers that it gives in Redis ---- */

#define RANDOM_MASK (((uint64_t)1 << 48) - 1)
#define RANDOM_SEED_LOW 0x330E /* below the 32 bits of the seed */

uint64_t lua_random_next(uint64_t state)
{
    return (state * 0x5DEECE66DULL + 0xB) & RANDOM_MASK;
}

static double random_unit(struct lua_run *run)
{
    run->random_state = lua_random_next(run->random_state);
    return (double)((run->random_state >> 17) % INT32_MAX) / INT32_MAX;
}

static int math_random(lua_State *L)
{
    double unit = random_unit(run_of(L)), low = 1, high;
    switch (lua_gettop(L)) {
    case 0:
        lua_pushnumber(L, unit);
        return 1;
    case 1:
        high = (double)luaL_checkinteger(L, 1);
        luaL_argcheck(L, low <= high, 1, "interval is empty");
        break;
    case 2:
        low = (double)luaL_checkinteger(L, 1);
        high = (double)luaL_checkinteger(L, 2);
        luaL_argcheck(L, low <= high, 2, "interval is empty");
        break;
    default:
        return luaL_error(L, "wrong number of arguments");
    }
    double whole = (double)(int64_t)(unit * (high - low + 1));
    lua_pushnumber(L, low + whole);
    return 1;
}

static int math_randomseed(lua_State *L)
{
    uint64_t seed = (uint64_t)(int64_t)luaL_checkinteger(L, 1);
    run_of(L)->random_state = (seed << 16 | RANDOM_SEED_LOW) & RANDOM_MASK;
    return 0;
}

/* ---- the table ---- */

static int redis_acl_check_cmd(lua_State *L)
{
    struct lua_vm *vm = lua_vm_of(L);
    struct lua_call call = {0};
    const char *wrong = arguments_read(L, vm, &call);
    if (wrong) return lua_raise(L, wrong);
    if (!vm->worker) return 0;
    return lua_check_command(L, &call);
}

void lua_open_redis(lua_State *L)
{
    static const luaL_Reg functions[] = {{"call", redis_call},
                                         {"pcall", redis_pcall},
                                         {"error_reply", redis_error_reply},
                                         {"status_reply", redis_status_reply},
                                         {"sha1hex", redis_sha1hex},
                                         {"log", redis_log},
                                         {"setresp", redis_setresp},
                                         {"replicate_commands", redis_replicate_commands},
                                         {"set_repl", redis_set_repl},
                                         {"breakpoint", redis_breakpoint},
                                         {"debug", redis_debug},
                                         {"acl_check_cmd", redis_acl_check_cmd},
                                         {"random", math_random},
                                         {"randomseed", math_randomseed}};
    static const struct {
        const char *name;
        int value;
    } numbers[] = {{"LOG_DEBUG", 0},   {"LOG_VERBOSE", 1},  {"LOG_NOTICE", 2},
                   {"LOG_WARNING", 3}, {"REPL_NONE", 0},    {"REPL_AOF", 1},
                   {"REPL_SLAVE", 2},  {"REPL_REPLICA", 2}, {"REPL_ALL", 3}};
    lua_newtable(L);
    for (unsigned i = 0; i < ARRAY_LEN(functions); i++) {
        lua_pushcfunction(L, functions[i].func);
        lua_setfield(L, -2, functions[i].name);
    }
    for (unsigned i = 0; i < ARRAY_LEN(numbers); i++) {
        lua_pushinteger(L, numbers[i].value);
        lua_setfield(L, -2, numbers[i].name);
    }
    lua_pushliteral(L, SERVER_REDIS_VERSION);
    lua_setfield(L, -2, "REDIS_VERSION");
    unsigned major = 0, minor = 0, patch = 0;
    CHECK(sscanf(SERVER_REDIS_VERSION, "%u.%u.%u", &major, &minor, &patch) == 3);
    lua_pushinteger(L, (lua_Integer)(major << 16 | minor << 8 | patch));
    lua_setfield(L, -2, "REDIS_VERSION_NUM");
}
