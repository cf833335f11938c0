#include "server/lua_vm.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <stdlib.h>

#include "base/env.h"
#include "server/library.h"
#include "server/lua_prelude.h"
#include "server/script_cache.h"
#include "server/worker.h"

#define CHUNK_BYTES (16 * 1024)
#define VM_BYTES_MAX (1024 * 1024) /* of a new one, before any script */
/* Compiled scripts are forgotten when all that is kept exceeds this; they compile again. */
#define KEPT_BYTES_MAX (LUA_VM_BYTES_MAX / 4)

/* Steps of the collector, of about a KiB each, in one slice: where the clock stands still. */
#define COLLECT_STEPS_MAX 256

const char lua_key_scripts, lua_key_functions, lua_key_library_view, lua_key_set_loading;
static const char key_globals;

void lua_registry_get(lua_State *L, const char *key)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

/* Takes the value on top. */
static void registry_set(lua_State *L, const char *key)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)key);
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

struct lua_vm *lua_vm_of(lua_State *L)
{
    void *vm;
    lua_getallocf(L, &vm);
    return vm;
}

int lua_raise(lua_State *L, const char *text)
{
    lua_createtable(L, 0, 1);
    lua_pushstring(L, text);
    lua_setfield(L, -2, "err");
    return lua_error(L);
}

/* ---- memory ---- */

/* Sizes are exact, so they need no header. */
static void *allocate(void *context, void *p, size_t old_size, size_t size)
{
    struct lua_vm *vm = context;
    if (size == 0) {
        mem_free(&vm->mem, p, p ? old_size : 0);
        return NULL;
    }
    bool grows = !p || size > old_size;
    if (grows && mem_live_bytes(&vm->mem) + size > LUA_VM_BYTES_MAX) return NULL;
    if (!p) return mem_try_alloc(&vm->mem, size);
    return mem_try_realloc(&vm->mem, p, old_size, size);
}

/* ---- interruption ---- */

static int die(lua_State *L)
{
    return lua_raise(L, "ERR Script killed by user with SCRIPT KILL.");
}

static void yield_here(lua_State *L, struct lua_run *run, enum run_state state)
{
    run->state = state;
    run->vm->is_yielding = true;
    lua_yield(L, 0);
}

/* A script that ends here may not catch the error and go on, so it is suspended for ever where that
 * is possible; in a callback of C it gets an error each time. */
static void hook(lua_State *L, UNUSED lua_Debug *ar)
{
    const struct lua_vm *vm = lua_vm_of(L);
    if (vm->draft && env_now_ns() > vm->draft_ends_ns) lua_raise(L, "ERR FUNCTION LOAD timeout");
    struct lua_run *run = vm->current;
    if (!run || !run->co) return;
    bool may_yield = lua_isyieldable(L);
    enum run_state state = run->state == RUN_RESTART ? RUN_RESTART : run->host->pause(run);
    if (run->must_die) {
        if (may_yield) yield_here(L, run, RUN_DONE);
        die(L);
    }
    if (state == RUN_DONE) return;
    if (may_yield) yield_here(L, run, state);
    if (state == RUN_RESTART) {
        run->state = RUN_RESTART;
        luaL_error(L, "the script must start again");
    }
}

/* ---- the sandbox ---- */

static int is_yielding(lua_State *L)
{
    lua_pushboolean(L, lua_vm_of(L)->is_yielding);
    return 1;
}

/* Whether the script that runs may be suspended. */
static int is_held(lua_State *L)
{
    const struct lua_run *run = lua_vm_of(L)->current;
    lua_pushboolean(L, run && run->host->may_suspend);
    return 1;
}

static const char *read_line(UNUSED lua_State *L, void *context, size_t *size)
{
    const char *const **next = context;
    const char *line = **next;
    *size = line ? strlen(line) : 0;
    if (line) (*next)++;
    return line;
}

static int open_sandbox(lua_State *L)
{
    luaL_openlibs(L);
    CHECK(luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF));
    lua_newtable(L);
    registry_set(L, &lua_key_scripts);
    lua_newtable(L);
    registry_set(L, &lua_key_functions);
    const char *const *line = lua_prelude;
    CHECK(lua_load(L, read_line, &line, "=prelude") == 0);
    lua_pushcfunction(L, is_yielding);
    lua_pushcfunction(L, is_held);
    lua_open_redis(L);
    lua_open_cjson(L);
    lua_open_cmsgpack(L);
    lua_open_struct(L);
    lua_pushcfunction(L, lua_register_function);
    lua_call(L, 7, 4);
    registry_set(L, &lua_key_set_loading);
    registry_set(L, &lua_key_library_view);
    lua_pushvalue(L, -2);
    registry_set(L, &key_globals);
    /* New coroutines, and what is loaded by them, get the globals of this one. */
    lua_replace(L, LUA_GLOBALSINDEX);
    lua_settop(L, 0);
    return 0;
}

bool lua_vm_try_init(struct lua_vm *vm, struct worker *w)
{
    vm->worker = w; /* The rest is zero, and other threads read the counter in it. */
    if (!mem_try_init(&vm->mem, "lua", VM_BYTES_MAX)) return false;
    mem_insist(&vm->mem, true);
    env_random(&vm->random_state, sizeof vm->random_state);
    vm->text.mem = &vm->mem;
    vm->chunk = mem_alloc(&vm->mem, sizeof *vm->chunk + CHUNK_BYTES);
    *vm->chunk = (struct chunk){.capacity = CHUNK_BYTES, .home = CHUNK_LENT};
    vm->L = lua_newstate(allocate, vm);
    CHECK(vm->L);
    CHECK(lua_cpcall(vm->L, open_sandbox, NULL) == 0);
    lua_gc(vm->L, LUA_GCCOLLECT, 0); /* What compiling has left. */
    lua_sethook(vm->L, hook, LUA_MASKCOUNT, LUA_HOOK_INSTRUCTIONS);
    mem_insist(&vm->mem, false);
    mem_drop_reserve(&vm->mem);
    counter_set(&vm->used_bytes, mem_live_bytes(&vm->mem));
    return true;
}

void lua_vm_deinit(struct lua_vm *vm)
{
    CHECK(vm->runs == 0);
    lua_close(vm->L);
    buf_clear(&vm->text);
    if (vm->call_argv) mem_free(&vm->mem, vm->call_argv, vm->call_bytes);
    mem_free(&vm->mem, vm->chunk, sizeof *vm->chunk + CHUNK_BYTES);
    mem_deinit(&vm->mem);
}

/* ---- compiled scripts ---- */

/* Tables of what is compiled, by id: scripts, and functions of libraries. */
static void push_compiled(lua_State *L, const struct script *s)
{
    lua_registry_get(L, s->library ? &lua_key_functions : &lua_key_scripts);
}

static int forget_compiled(lua_State *L)
{
    lua_newtable(L);
    registry_set(L, &lua_key_scripts);
    lua_newtable(L);
    registry_set(L, &lua_key_functions);
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* Shebang lines are no Lua, but lines are counted from them. */
static int load_text(lua_State *L, struct bytes text, bool has_shebang)
{
    const char *start = has_shebang ? memchr(text.data, '\n', text.size) : text.data;
    size_t size = text.size - (size_t)(start - text.data);
    return luaL_loadbufferx(L, start, size, "@user_script", "t");
}

struct compiling {
    struct script *script;
    struct buf *error; /* NULL: only look */
    bool is_there;
};

static int compile(lua_State *L)
{
    struct compiling *c = lua_touserdata(L, 1);
    push_compiled(L, c->script);
    lua_pushnumber(L, (lua_Number)c->script->id);
    lua_rawget(L, -2);
    c->is_there = !lua_isnil(L, -1);
    if (c->is_there || c->script->library) return 0;
    lua_pop(L, 1);
    if (load_text(L, bytes_make(c->script->text, c->script->size), c->script->has_shebang) != 0) {
        const char *text = lua_tostring(L, -1);
        buf_printf(c->error, "ERR Error compiling script (new function): %s", text ? text : "");
        return 0;
    }
    lua_pushnumber(L, (lua_Number)c->script->id);
    lua_insert(L, -2);
    lua_rawset(L, -3);
    c->is_there = true;
    return 0;
}

void lua_vm_make_room(struct lua_vm *vm)
{
    if (vm->runs == 0 && mem_live_bytes(&vm->mem) > KEPT_BYTES_MAX)
        (void)lua_cpcall(vm->L, forget_compiled, NULL);
}

bool lua_vm_compile(struct lua_vm *vm, struct script *script, struct buf *error)
{
    lua_vm_make_room(vm);
    struct compiling c = {.script = script, .error = error};
    int status = lua_cpcall(vm->L, compile, &c);
    if (status != 0) {
        const char *text = lua_tostring(vm->L, -1);
        buf_printf(error, "ERR Error compiling script (new function): %s", text ? text : "");
        lua_settop(vm->L, 0);
        return false;
    }
    if (c.is_there || !script->library) return c.is_there;
    return lua_vm_load_again(vm, script->library, error);
}

bool lua_vm_check(struct lua_vm *vm, struct bytes text, bool has_shebang, struct buf *error)
{
    bool ok = load_text(vm->L, text, has_shebang) == 0;
    const char *why = ok ? NULL : lua_tostring(vm->L, -1);
    if (!ok) buf_printf(error, "ERR Error compiling script (new function): %s", why ? why : "");
    lua_settop(vm->L, 0);
    return ok;
}

/* ---- what is not needed any more ---- */

struct dropping {
    struct lua_vm *vm;
    uint64_t generation;
    const struct library_set *libraries;
};

/* A table with the functions that are still there takes the place of the old one. */
static void keep_functions(lua_State *L, const struct library_set *set)
{
    lua_registry_get(L, &lua_key_functions);
    lua_newtable(L);
    for (uint32_t i = 0; i < set->library_count; i++) {
        const struct library *l = set->libraries[i];
        for (uint32_t j = 0; j < l->function_count; j++) {
            lua_Number id = (lua_Number)l->functions[j].script.id;
            lua_pushnumber(L, id);
            lua_pushnumber(L, id);
            lua_rawget(L, -4);
            lua_rawset(L, -3);
        }
    }
    registry_set(L, &lua_key_functions);
    lua_pop(L, 1);
}

static int drop(lua_State *L)
{
    const struct dropping *d = lua_touserdata(L, 1);
    keep_functions(L, d->libraries);
    if (d->vm->generation != d->generation) {
        lua_newtable(L);
        registry_set(L, &lua_key_scripts);
        d->vm->generation = d->generation;
    }
    if (d->vm->current) return 0;
    /* The arguments of the last run. */
    lua_registry_get(L, &key_globals);
    lua_pushnil(L);
    lua_setfield(L, -2, "KEYS");
    lua_pushnil(L);
    lua_setfield(L, -2, "ARGV");
    return 0;
}

void lua_vm_forget_dropped(struct lua_vm *vm, uint64_t generation,
                           const struct library_set *libraries)
{
    struct dropping d = {.vm = vm, .generation = generation, .libraries = libraries};
    if (lua_cpcall(vm->L, drop, &d) != 0) lua_settop(vm->L, 0);
    /* A cycle that has begun may have marked what is free now. */
    vm->cycles_due = 2;
}

bool lua_vm_collect_some(struct lua_vm *vm, uint64_t limit_ns)
{
    uint64_t started_ns = env_now_ns();
    for (unsigned i = 0; i < COLLECT_STEPS_MAX && vm->cycles_due > 0; i++) {
        if (lua_gc(vm->L, LUA_GCSTEP, 0)) vm->cycles_due--;
        if (env_now_ns() - started_ns >= limit_ns) break;
    }
    counter_set(&vm->used_bytes, mem_live_bytes(&vm->mem));
    return vm->cycles_due == 0;
}

/* ---- a run ---- */

static void push_strings(lua_State *L, const struct bytes *strings, uint32_t count)
{
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushlstring(L, strings[i].data, strings[i].size);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static int begin(lua_State *L)
{
    struct lua_run *run = lua_touserdata(L, 1);
    lua_State *co = lua_newthread(L);
    run->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    push_strings(L, run->keys, run->key_count);
    run->keys_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    push_strings(L, run->args, run->arg_count);
    run->args_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    push_compiled(L, run->script);
    lua_pushnumber(L, (lua_Number)run->script->id);
    lua_rawget(L, -2);
    lua_xmove(L, co, 1);
    run->co = co;
    if (!run->script->library) return 0;
    /* A function gets as arguments what a script has as globals. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, run->keys_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, run->args_ref);
    lua_xmove(L, co, 2);
    return 0;
}

static int make_current(lua_State *L)
{
    struct lua_run *run = lua_touserdata(L, 1);
    lua_registry_get(L, &key_globals);
    lua_rawgeti(L, LUA_REGISTRYINDEX, run->keys_ref);
    lua_setfield(L, -2, "KEYS");
    lua_rawgeti(L, LUA_REGISTRYINDEX, run->args_ref);
    lua_setfield(L, -2, "ARGV");
    return 0;
}

struct finishing {
    struct lua_run *run;
    struct reply *out;
};

static int finish(lua_State *L)
{
    struct finishing *f = lua_touserdata(L, 1);
    lua_settop(f->run->co, 1);
    lua_xmove(f->run->co, L, 1);
    lua_write_reply(L, f->out);
    return 0;
}

/* LuaJIT keeps no frame of a function that has returned by a tail call, "return redis.call(…)": the
 * last line that returns something is the likely one. */
static int last_return_line(const struct script *s)
{
    static const char word[] = "return";
    int line = 1, found = MAX(s->first_line, 1);
    for (size_t i = 0; i < s->size; i++) {
        if (s->text[i] == '\n') line++;
        if (line < s->first_line) continue;
        if (s->first_line && line > s->last_line) break;
        bool is_there =
            s->size - i >= sizeof word - 1 && memcmp(s->text + i, word, sizeof word - 1) == 0;
        if (is_there) found = line;
    }
    return found;
}

/* The line that an error of the script's own begins with: "user_script:7: …". 0: none. */
static int line_of_message(const char *message, const char *chunk)
{
    size_t size = strlen(chunk);
    if (!message || strncmp(message, chunk, size) != 0 || message[size] != ':') return 0;
    return atoi(message + size + 1);
}

/* Where it went wrong, as Redis tells it. `message`: of an error that is text; else NULL. */
static void append_position(const struct lua_run *run, const char *message, struct buf *text)
{
    lua_Debug ar;
    /* One that is written in C has no place. */
    if (run->script->library && run->script->first_line == 0) return;
    const char *chunk = run->script->library ? "@user_function" : "@user_script";
    int line = line_of_message(message, chunk + 1);
    for (int level = 0; line <= 0 && lua_getstack(run->co, level, &ar); level++) {
        lua_getinfo(run->co, "Sl", &ar);
        if (strcmp(ar.source, chunk) == 0) line = ar.currentline;
    }
    if (line <= 0) line = last_return_line(run->script);
    buf_printf(text, " script: %s, on %s:%d.", run->script->label, chunk, line);
}

/* An error that no command has answered. */
static void write_counted(struct lua_run *run, struct bytes text, struct reply *out)
{
    worker_count_error(run->vm->worker, text);
    reply_error(out, "%.*s", (int)MIN(text.size, (size_t)INT32_MAX), text.data);
}

/* The error is on top of the coroutine. */
static void write_error(struct lua_run *run, struct reply *out)
{
    struct buf *text = &run->vm->text;
    text->size = 0;
    lua_State *co = run->co;
    const char *message = NULL;
    bool is_counted = false;
    if (run->must_die) {
        buf_append_text(text, "ERR Script killed by user with SCRIPT KILL...");
    } else if (lua_istable(co, -1)) {
        lua_pushliteral(co, "err");
        lua_rawget(co, -2);
        const char *err = lua_isstring(co, -1) ? lua_tostring(co, -1) : "ERR unknown error";
        buf_append_text(text, err);
        lua_pushliteral(co, LUA_COUNTED_FIELD);
        lua_rawget(co, -3);
        is_counted = lua_toboolean(co, -1);
    } else {
        message = lua_isstring(co, -1) ? lua_tostring(co, -1) : NULL;
        buf_printf(text, "ERR %s", message ? message : "nil");
    }
    append_position(run, message, text);
    if (is_counted)
        reply_error(out, "%.*s", (int)MIN(text->size, (size_t)INT32_MAX), text->data);
    else
        write_counted(run, buf_view(text), out);
}

/* A value is converted aside, because half a reply could not be taken back. */
static void write_result(struct lua_run *run, struct reply *out)
{
    struct lua_vm *vm = run->vm;
    struct reply aside;
    reply_init(&aside, vm->chunk, &vm->mem);
    aside.resp = out->resp;
    struct finishing f = {.run = run, .out = &aside};
    bool ok = lua_cpcall(vm->L, finish, &f) == 0;
    uint64_t size = reply_size(&aside);
    lua_settop(vm->L, 0);
    ok = ok && reply_try_reserve(out, size) != NULL;
    aside.last->size = (uint32_t)(aside.cursor - aside.last->data);
    if (ok) {
        for (const struct chunk *c = aside.first; c; c = c->next) reply_raw(out, c->data, c->size);
        out->error_count += aside.error_count;
    } else {
        write_counted(run, bytes_of(err_text(ERR_ALLOC)), out);
    }
    chunk_free_chain(&vm->mem, aside.first);
    vm->chunk->size = 0;
    vm->chunk->next = NULL;
}

static enum run_state out_of_memory(struct lua_run *run, struct reply *out)
{
    lua_settop(run->vm->L, 0);
    write_counted(run, bytes_of(err_text(ERR_ALLOC)), out);
    lua_run_end(run);
    return RUN_DONE;
}

/* `results` are on top of the coroutine: what the call returns that it waits in. */
static enum run_state go_on(struct lua_run *run, int results, struct reply *out)
{
    struct lua_vm *vm = run->vm;
    if (vm->current != run) {
        if (lua_cpcall(vm->L, make_current, run) != 0) return out_of_memory(run, out);
        vm->current = run;
    }
    vm->is_yielding = false;
    if (run->state != RUN_RESTART) run->state = RUN_DONE;
    int status = lua_resume(run->co, results);
    vm->is_yielding = false;
    bool is_suspended = status == LUA_YIELD && (run->state == RUN_CALLS || run->state == RUN_SLICE);
    if (is_suspended && !run->must_die) return run->state;
    enum run_state state = run->state == RUN_RESTART ? RUN_RESTART : RUN_DONE;
    if (state == RUN_DONE) {
        if (run->must_die || (status != 0 && status != LUA_YIELD))
            write_error(run, out);
        else
            write_result(run, out);
    }
    lua_run_end(run);
    return state;
}

enum run_state lua_run_start(struct lua_run *run, struct reply *out)
{
    struct lua_vm *vm = run->vm;
    run->co = NULL;
    run->co_ref = run->keys_ref = run->args_ref = LUA_NOREF;
    run->random_state = vm->random_state = lua_random_next(vm->random_state);
    lua_json_defaults(&run->json);
    run->state = RUN_DONE;
    vm->runs++;
    vm->text.size = 0;
    if (!lua_vm_compile(vm, run->script, &vm->text)) {
        write_counted(run, buf_view(&vm->text), out);
        lua_run_end(run);
        return RUN_DONE;
    }
    if (lua_cpcall(vm->L, begin, run) != 0) return out_of_memory(run, out);
    return go_on(run, run->script->library ? 2 : 0, out);
}

struct giving {
    struct lua_run *run;
    struct bytes reply;
};

static int give_reply(lua_State *L)
{
    struct giving *g = lua_touserdata(L, 1);
    bool raises = !g->run->is_protected && g->reply.data[0] == '-';
    if (raises) lua_pushnil(L);
    lua_push_reply(L, g->reply);
    lua_xmove(L, g->run->co, raises ? 2 : 1);
    return 0;
}

enum run_state lua_run_resume(struct lua_run *run, struct bytes reply, struct reply *out)
{
    struct lua_vm *vm = run->vm;
    if (run->state == RUN_SLICE) return go_on(run, 0, out);
    struct giving g = {.run = run, .reply = reply};
    int before = lua_gettop(run->co);
    if (lua_cpcall(vm->L, give_reply, &g) != 0) return out_of_memory(run, out);
    return go_on(run, lua_gettop(run->co) - before, out);
}

void lua_run_end(struct lua_run *run)
{
    struct lua_vm *vm = run->vm;
    if (!vm) return;
    luaL_unref(vm->L, LUA_REGISTRYINDEX, run->co_ref);
    luaL_unref(vm->L, LUA_REGISTRYINDEX, run->keys_ref);
    luaL_unref(vm->L, LUA_REGISTRYINDEX, run->args_ref);
    if (vm->current == run) vm->current = NULL;
    vm->runs--;
    run->vm = NULL;
    /* A script that has filled the memory leaves it to the next one. */
    if (mem_live_bytes(&vm->mem) > KEPT_BYTES_MAX) lua_gc(vm->L, LUA_GCCOLLECT, 0);
    counter_set(&vm->used_bytes, mem_live_bytes(&vm->mem));
}
