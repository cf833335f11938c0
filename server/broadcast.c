#include "server/broadcast.h"

#include "server/server.h"
#include "server/worker.h"

struct broadcast_call {
    struct call call;
    struct broadcast *all;
};

struct broadcast {
    struct session_ref from;
    broadcast_fn *fn;
    uint64_t argument;
    uint16_t outstanding, count;
    struct broadcast_call calls[];
};

static void call_is_back(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct broadcast *b = container_of(c, struct broadcast_call, call)->all;
    if (--b->outstanding > 0) return;
    w->net.errands--;
    struct reply out = netloop_reply(&w->net, 2);
    reply_ok(&out);
    session_answer(&w->net, b->from, &out);
    netloop_reply_drop(&w->net, &out);
    mem_free(&w->net.mem, b, sizeof *b + b->count * sizeof b->calls[0]);
}

static void call_arrives(struct thread *at, struct call *c)
{
    const struct broadcast *b = container_of(c, struct broadcast_call, call)->all;
    b->fn(at, b->argument);
    c->run = call_is_back;
    thread_call(at, c->from, c);
}

void broadcast(struct session *s, broadcast_fn *fn, uint64_t argument)
{
    struct worker *w = session_worker(s);
    uint16_t count = w->server->mesh.thread_count;
    struct broadcast *b = mem_alloc_zeroed(&w->net.mem, sizeof *b + count * sizeof b->calls[0]);
    w->net.errands++;
    b->from = session_defer(s);
    b->fn = fn;
    b->argument = argument;
    b->outstanding = b->count = count;
    for (uint16_t i = 0; i < count; i++) {
        b->calls[i].all = b;
        b->calls[i].call.run = call_arrives;
        thread_call(&w->thread, i, &b->calls[i].call);
    }
}
