/* The loading phase of libraries of functions: what redis.register_function collects. */
#include <lauxlib.h>
#include <lua.h>
#include <strings.h>

#include "base/env.h"
#include "server/library.h"
#include "server/lua_vm.h"

/* Loading what has been loaded before, on another thread or by another process, may take longer
 * than the first time. */
#define LOAD_AGAIN_MS_MAX (20 * LIBRARY_LOAD_MS_MAX)

/* ---- redis.register_function ---- */

struct registering {
    lua_State *L;
    int name, description, callback; /* places on the stack; 0: not given */
    uint32_t flags;
};

static void check_string(lua_State *L, int at, const char *text)
{
    if (!lua_isstring(L, at)) lua_raise(L, text);
}

/* The table of flags is on top. */
static uint32_t read_flags(lua_State *L)
{
    if (!lua_istable(L, -1))
        lua_raise(L, "ERR flags argument to redis.register_function must be a table representing "
                     "function flags");
    uint32_t flags = 0;
    for (int i = 1;; i++) {
        lua_rawgeti(L, -1, i);
        if (lua_isnil(L, -1)) break;
        size_t size;
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &size) : NULL;
        uint32_t flag = text ? script_flag_of(bytes_make(text, size)) : 0;
        if (!flag) lua_raise(L, "ERR unknown flag given");
        flags |= flag;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return flags;
}

/* A named argument, whose value is on top. */
static void read_argument(struct registering *r, const char *name)
{
    lua_State *L = r->L;
    if (strcasecmp(name, "function_name") == 0) {
        check_string(L, -1,
                     "ERR function_name argument given to redis.register_function must be a "
                     "string");
        lua_replace(L, r->name = 2);
    } else if (strcasecmp(name, "description") == 0) {
        check_string(L, -1,
                     "ERR description argument given to redis.register_function must be a string");
        lua_replace(L, r->description = 3);
    } else if (strcasecmp(name, "callback") == 0) {
        if (!lua_isfunction(L, -1))
            lua_raise(L, "ERR callback argument given to redis.register_function must be a "
                         "function");
        lua_replace(L, r->callback = 4);
    } else if (strcasecmp(name, "flags") == 0) {
        r->flags = read_flags(L);
        lua_pop(L, 1);
    } else {
        lua_raise(L, "ERR unknown argument given to redis.register_function");
    }
}

static void read_named(struct registering *r)
{
    lua_State *L = r->L;
    if (!lua_istable(L, 1))
        lua_raise(L, "ERR calling redis.register_function with a single argument is only "
                     "applicable to Lua table (representing named arguments).");
    lua_settop(L, 5);
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        if (!lua_isstring(L, 6))
            lua_raise(L, "ERR named argument key given to redis.register_function is not a string");
        lua_pushvalue(L, 6); /* a key must not be converted in place */
        lua_insert(L, 7);
        const char *name = lua_tostring(L, 7);
        read_argument(r, name);
        lua_settop(L, 6);
    }
    if (!r->name) lua_raise(L, "ERR redis.register_function must get a function name argument");
    if (!r->callback) lua_raise(L, "ERR redis.register_function must get a callback argument");
}

static void read_positional(struct registering *r)
{
    check_string(r->L, 1, "ERR first argument to redis.register_function must be a string");
    if (!lua_isfunction(r->L, 2))
        lua_raise(r->L, "ERR second argument to redis.register_function must be a function");
    r->name = 1;
    r->callback = 2;
}

static bool append_text(struct library_draft *d, struct bytes text, size_t *at)
{
    *at = d->text.size;
    if (!buf_try_reserve(&d->text, text.size)) return false;
    buf_append(&d->text, text.data, text.size);
    return true;
}

static void check_name(lua_State *L, const struct library_draft *d, struct bytes name)
{
    if (!library_name_is_valid(name))
        lua_raise(L, "ERR Library names can only contain letters, numbers, or underscores(_) and "
                     "must be at least one character long");
    for (uint32_t i = 0; i < draft_count(d); i++) {
        const struct drafted_function *f = draft_function(d, i);
        if (bytes_equal(name, bytes_make(d->text.data + f->name_at, f->name_size)))
            lua_raise(L, "ERR Function already exists in the library");
    }
}

static void add_function(struct registering *r, struct library_draft *d)
{
    lua_State *L = r->L;
    struct drafted_function f = {.flags = r->flags};
    struct bytes name, description = {0};
    name.data = lua_tolstring(L, r->name, &name.size);
    check_name(L, d, name);
    f.name_size = name.size;
    f.has_description = r->description != 0;
    if (r->description) description.data = lua_tolstring(L, r->description, &description.size);
    f.description_size = description.size;
    lua_Debug where;
    lua_pushvalue(L, r->callback);
    lua_getinfo(L, ">S", &where);
    f.first_line = MAX(where.linedefined, 0);
    f.last_line = MAX(where.lastlinedefined, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, d->callbacks);
    lua_pushvalue(L, r->callback);
    lua_rawseti(L, -2, (int)draft_count(d) + 1);
    bool fits = append_text(d, name, &f.name_at) &&
                append_text(d, description, &f.description_at) &&
                buf_try_reserve(&d->functions, sizeof f);
    if (!fits) lua_raise(L, err_text(ERR_ALLOC));
    buf_append(&d->functions, &f, sizeof f);
}

int lua_register_function(lua_State *L)
{
    struct library_draft *d = lua_vm_of(L)->draft;
    if (!d)
        return lua_raise(L, "ERR redis.register_function can only be called on FUNCTION LOAD "
                            "command");
    int count = lua_gettop(L);
    if (count < 1 || count > 2)
        return lua_raise(L, "ERR wrong number of arguments to redis.register_function");
    struct registering r = {.L = L};
    if (count == 1)
        read_named(&r);
    else
        read_positional(&r);
    add_function(&r, d);
    return 0;
}

/* ---- the phase ---- */

struct loading {
    struct library_draft *draft;
    struct buf *error;
    bool is_done;
};

static void set_loading(lua_State *L, bool on)
{
    lua_registry_get(L, &lua_key_set_loading);
    lua_pushboolean(L, on);
    lua_call(L, 1, 0);
}

/* The error is on top. */
static void tell_error(lua_State *L, struct buf *error)
{
    buf_append_text(error, "ERR Error registering functions: ");
    if (lua_istable(L, -1)) {
        lua_pushliteral(L, "err");
        lua_rawget(L, -2);
        const char *text = lua_tostring(L, -1);
        buf_append_text(error, text ? text : "ERR unknown error");
        return;
    }
    const char *text = lua_tostring(L, -1);
    buf_printf(error, "ERR %s", text ? text : "nil");
}

static int load_here(lua_State *L)
{
    struct loading *l = lua_touserdata(L, 1);
    struct library_draft *d = l->draft;
    const char *start = memchr(d->code.data, '\n', d->code.size);
    size_t size = d->code.size - (size_t)(start - d->code.data);
    if (luaL_loadbufferx(L, start, size, "@user_function", "t") != 0) {
        const char *text = lua_tostring(L, -1);
        buf_printf(l->error, "ERR Error compiling function: %s", text ? text : "");
        return 0;
    }
    lua_registry_get(L, &lua_key_library_view);
    lua_setfenv(L, -2);
    lua_newtable(L);
    d->callbacks = luaL_ref(L, LUA_REGISTRYINDEX);
    set_loading(L, true);
    l->is_done = lua_pcall(L, 0, 0, 0) == 0;
    if (!l->is_done) tell_error(L, l->error);
    set_loading(L, false);
    return 0;
}

static bool load_draft(struct lua_vm *vm, struct library_draft *d, uint64_t limit_ms,
                       struct buf *error)
{
    struct lua_run *current = vm->current;
    struct loading l = {.draft = d, .error = error};
    d->functions.mem = d->text.mem = &vm->mem;
    d->callbacks = LUA_NOREF;
    vm->current = NULL;
    vm->draft = d;
    vm->draft_ends_ns = env_now_ns() + limit_ms * 1000000;
    if (lua_cpcall(vm->L, load_here, &l) != 0) {
        tell_error(vm->L, error);
        l.is_done = false;
    }
    vm->draft = NULL;
    vm->current = current;
    lua_settop(vm->L, 0);
    if (l.is_done && draft_count(d) == 0) {
        buf_append_text(error, "ERR No functions registered");
        l.is_done = false;
    }
    counter_set(&vm->used_bytes, mem_live_bytes(&vm->mem));
    if (!l.is_done) lua_vm_drop_draft(vm, d);
    return l.is_done;
}

bool lua_vm_load_library(struct lua_vm *vm, struct library_draft *d, struct buf *error)
{
    lua_vm_make_room(vm);
    return load_draft(vm, d, vm->is_patient ? LOAD_AGAIN_MS_MAX : LIBRARY_LOAD_MS_MAX, error);
}

void lua_vm_drop_draft(struct lua_vm *vm, struct library_draft *d)
{
    luaL_unref(vm->L, LUA_REGISTRYINDEX, d->callbacks);
    d->callbacks = LUA_NOREF;
    library_draft_clear(d);
}

/* ---- what stays in the state ---- */

struct keeping {
    const struct library *library;
    const struct library_draft *draft;
};

static int keep(lua_State *L)
{
    const struct keeping *k = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, k->draft->callbacks);
    lua_registry_get(L, &lua_key_functions);
    for (uint32_t i = 0; i < k->library->function_count; i++) {
        lua_pushnumber(L, (lua_Number)k->library->functions[i].script.id);
        lua_rawgeti(L, 2, (int)i + 1);
        lua_rawset(L, 3);
    }
    return 0;
}

static bool keep_library(struct lua_vm *vm, const struct library *l, struct library_draft *d)
{
    struct keeping k = {.library = l, .draft = d};
    bool ok = lua_cpcall(vm->L, keep, &k) == 0;
    lua_settop(vm->L, 0);
    lua_vm_drop_draft(vm, d);
    return ok;
}

/* Code that registers something else each time it is loaded is no library. */
static bool is_same(const struct library *l, const struct library_draft *d)
{
    if (draft_count(d) != l->function_count) return false;
    for (uint32_t i = 0; i < l->function_count; i++) {
        const struct drafted_function *f = draft_function(d, i);
        struct bytes name = bytes_make(d->text.data + f->name_at, f->name_size);
        if (!bytes_equal(name, bytes_of(l->functions[i].script.label))) return false;
    }
    return true;
}

bool lua_vm_load_again(struct lua_vm *vm, const struct library *l, struct buf *error)
{
    struct library_draft d = {.name = l->name, .code = l->code, .is_again = true};
    if (!load_draft(vm, &d, LOAD_AGAIN_MS_MAX, error)) return false;
    if (!is_same(l, &d)) {
        lua_vm_drop_draft(vm, &d);
        buf_append_text(error, "ERR The library does not register the same functions each time");
        return false;
    }
    if (keep_library(vm, l, &d)) return true;
    buf_append_text(error, err_text(ERR_ALLOC));
    return false;
}
