#include "server/obstacles.h"

#include "server/server.h"
#include "server/worker.h"

struct change {
    uint32_t outstanding, obstacles;
    void (*done)(struct server *srv);
    size_t bytes;
    struct change_call {
        struct call call;
        struct change *change;
    } calls[];
};

static void is_taken(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct change *change = container_of(c, struct change_call, call)->change;
    if (--change->outstanding > 0) return;
    void (*done)(struct server *) = change->done;
    srv->obstacle_changes--;
    mem_free(&srv->mem, change, change->bytes);
    if (done) done(srv);
}

static void arrives(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    w->obstacles = container_of(c, struct change_call, call)->change->obstacles;
    w->should_resume = true;
    c->run = is_taken;
    thread_call(at, w->server->thread.id, c);
}

void obstacles_change(struct server *srv, uint32_t set, uint32_t clear,
                      void (*done)(struct server *srv))
{
    uint16_t count = srv->mesh.net_count;
    srv->obstacles = (srv->obstacles & ~clear) | set;
    srv->obstacle_changes++;
    struct change *change;
    size_t bytes = sizeof *change + count * sizeof change->calls[0];
    change = mem_alloc_zeroed(&srv->mem, bytes);
    change->bytes = bytes;
    change->outstanding = count;
    change->obstacles = srv->obstacles;
    change->done = done;
    for (uint16_t i = 0; i < count; i++) {
        change->calls[i].change = change;
        change->calls[i].call.run = arrives;
        thread_call(&srv->thread, srv->net_workers[i]->thread.id, &change->calls[i].call);
    }
}
