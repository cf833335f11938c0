#include "server/function_log.h"

#include <stdio.h>

#include "base/log.h"
#include "server/library_load.h"
#include "server/script.h"
#include "server/server.h"
#include "server/stuck.h"
#include "server/worker.h"

/* A change that is on its way to shard 0. */
struct function_change {
    struct gather gather;
    struct gather_part part;
    struct stuck stuck;
    struct worker *worker;
    struct session_ref from;
    struct bytes argv[1];
    struct chunk *reply;
    uint8_t resp;
};

/* ---- shard 0 ---- */

void function_log_write(struct worker *w, bool even_none)
{
    struct shard *sh = &w->shard;
    if (sh->id != 0 || !journal_is_on(sh)) return;
    struct functions *f = &w->server->scripts.functions;
    struct library_set *set = functions_take(f);
    struct buf payload = {.mem = &sh->mem};
    bool ok = true;
    if (set->library_count > 0 || even_none) {
        ok = functions_dump(set, true, &payload);
        if (ok) journal_functions(sh, buf_view(&payload));
    }
    library_set_unref(f, set);
    buf_clear(&payload);
    if (ok) return;
    sh->journal.has_failed = true;
    log_warning("No memory to write the libraries of functions to the log");
}

static enum err cmd_functions_changed(struct shard *sh, UNUSED struct request *rq,
                                      struct reply *out)
{
    function_log_write(container_of(sh, struct worker, shard), true);
    reply_ok(out);
    return OK;
}

/* It concerns no key, and so waits for no lock: with the flag of channels. */
static const struct command changed_row = {.name = "functions_changed",
                                           .on_shard = cmd_functions_changed,
                                           .arity = 1,
                                           .plan = PLAN_ONE_SHARD,
                                           .flags = CMD_PUBSUB};

bool function_log_replay(struct worker *w, struct bytes payload, char *error, size_t error_bytes)
{
    struct lua_vm *vm = script_vm(w);
    CHECK(vm); /* at the start */
    struct buf text = {.mem = &w->shard.mem};
    vm->is_patient = true;
    bool ok = functions_restore(&w->server->scripts.functions, vm, payload, FUNCTIONS_FLUSH, &text);
    vm->is_patient = false;
    if (!ok) snprintf(error, error_bytes, "%.*s", (int)MIN(text.size, (size_t)200), text.data);
    buf_clear(&text);
    return ok;
}

/* ---- the net thread ---- */

static void is_written(struct gather *g)
{
    struct function_change *c = container_of(g, struct function_change, gather);
    struct worker *w = c->worker;
    gather_release_parts(g);
    struct reply out = netloop_reply(&w->net, c->resp);
    for (const struct chunk *chunk = c->reply; chunk; chunk = chunk->next)
        reply_raw(&out, chunk->data, chunk->size);
    session_answer(&w->net, c->from, &out);
    netloop_reply_drop(&w->net, &out);
    chunk_free_chain(&w->net.mem, c->reply);
    w->net.errands--;
    mem_free(&w->net.mem, c, sizeof *c);
}

static void send(struct stuck *stuck)
{
    struct function_change *c = container_of(stuck, struct function_change, stuck);
    struct worker *w = c->worker;
    if (!turn_reserve_one(&w->net, 0)) {
        stuck_wait(w, stuck, send);
        return;
    }
    c->argv[0] = bytes_of(changed_row.name);
    c->gather.netloop = &w->net;
    c->gather.on_complete = is_written;
    c->gather.part_count = c->gather.waiting = 1;
    c->gather.parts = &c->part;
    turn_add_part(&w->net, 0, &c->gather, 0,
                  &(struct turn_request){.command = &changed_row,
                                         .argv = c->argv,
                                         .argc = 1,
                                         .command_id = (uint16_t)w->server->router.route_count,
                                         .resp = 2,
                                         .flags = REQUEST_PART,
                                         .argv_is_stable = true});
}

void function_log_then_answer(struct session *s, struct reply *out)
{
    struct worker *w = session_worker(s);
    struct function_change *c = mem_alloc_zeroed(&w->net.mem, sizeof *c);
    reply_close(out);
    c->reply = chunk_copy_chain(&w->net.mem, out->first);
    c->resp = out->resp;
    c->worker = w;
    c->from = session_defer(s);
    w->net.errands++;
    send(&c->stuck);
}
