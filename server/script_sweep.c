#include "server/script_sweep.h"

#include "server/lua_vm.h"
#include "server/script.h"
#include "server/server.h"
#include "server/worker.h"

#define SLICE_NS 200000
/* A state that has grown by less is left alone. */
#define GROWTH_BYTES_MIN ((uint64_t)64 * 1024)

/* ---- on a worker ---- */

static void part_is_back(struct thread *at, struct call *c);

static void collect_slice(struct thread *at, struct call *c)
{
    struct script_sweep_part *part = container_of(c, struct script_sweep_part, call);
    struct worker *w = part->worker;
    bool is_through = !w->vm.L || lua_vm_collect_some(&w->vm, SLICE_NS);
    if (is_through) c->run = part_is_back;
    thread_call(at, is_through ? w->server->thread.id : at->id, c);
}

static void forget(struct thread *at, struct call *c)
{
    struct worker *w = container_of(c, struct script_sweep_part, call)->worker;
    struct scripts *s = &w->server->scripts;
    uint64_t generation = atomic_load_explicit(&s->cache.generation, memory_order_acquire);
    if (w->script_table) script_table_refresh(w->script_table);
    functions_refresh(&s->functions, &w->libraries, &w->libraries_version);
    if (w->vm.L) lua_vm_forget_dropped(&w->vm, generation, w->libraries);
    c->run = collect_slice;
    collect_slice(at, c);
}

/* ---- on the main thread ---- */

static void part_is_back(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct script_sweep_part *part = container_of(c, struct script_sweep_part, call);
    part->seen_bytes = part->settled_bytes = counter_read(&part->worker->vm.used_bytes);
    srv->script_sweep.waiting--;
}

/* Whether scripts have left much, and none has run lately. */
static bool has_grown(struct script_sweep_part *part)
{
    uint64_t bytes = counter_read(&part->worker->vm.used_bytes);
    bool is_quiet = bytes == part->seen_bytes;
    part->seen_bytes = bytes;
    return is_quiet && bytes > part->settled_bytes + part->settled_bytes / 8 + GROWTH_BYTES_MIN;
}

static size_t parts_bytes(const struct server *srv)
{
    return srv->worker_count * sizeof(struct script_sweep_part);
}

static void make_parts(struct server *srv)
{
    struct script_sweep *ss = &srv->script_sweep;
    ss->parts = mem_alloc_zeroed(&srv->mem, parts_bytes(srv));
    for (uint16_t i = 0; i < srv->worker_count; i++) ss->parts[i].worker = &srv->workers[i];
}

void script_sweep_update(struct server *srv)
{
    struct script_sweep *ss = &srv->script_sweep;
    struct scripts *s = &srv->scripts;
    if (ss->waiting > 0) return;
    if (!ss->parts) make_parts(srv);
    uint64_t generation = atomic_load_explicit(&s->cache.generation, memory_order_acquire);
    uint64_t version = atomic_load_explicit(&s->functions.version, memory_order_acquire);
    bool has_dropped = generation != ss->generation || version != ss->version;
    ss->generation = generation;
    ss->version = version;
    for (uint16_t i = 0; i < srv->worker_count; i++) {
        struct script_sweep_part *part = &ss->parts[i];
        if (!has_grown(part) && !has_dropped) continue;
        part->call.run = forget;
        ss->waiting++;
        thread_call(&srv->thread, part->worker->thread.id, &part->call);
    }
}

void script_sweep_deinit(struct server *srv)
{
    struct script_sweep *ss = &srv->script_sweep;
    if (ss->parts) mem_free(&srv->mem, ss->parts, parts_bytes(srv));
    ss->parts = NULL;
}
