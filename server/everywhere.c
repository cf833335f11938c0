#include "server/everywhere.h"

#include "net/turn.h"
#include "server/server.h"
#include "server/worker.h"

static void is_done(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct everywhere *e = container_of(c, struct everywhere, call);
    e->is_under_way = false;
    e->done(srv);
}

static void all_replied(struct gather *g)
{
    struct everywhere *e = container_of(g, struct everywhere, gather);
    struct netloop *nl = g->netloop;
    gather_release_parts(g);
    mem_free(&nl->mem, g->parts, g->part_count * sizeof *g->parts);
    nl->errands--;
    e->call.run = is_done;
    thread_call(nl->thread, e->server->thread.id, &e->call);
}

static void add_parts(struct everywhere *e, struct netloop *nl, uint16_t shard_count)
{
    e->gather = (struct gather){.netloop = nl,
                                .on_complete = all_replied,
                                .part_count = shard_count,
                                .waiting = shard_count};
    e->gather.parts = mem_alloc_zeroed(&nl->mem, shard_count * sizeof *e->gather.parts);
    nl->errands++;
    e->argv[0] = bytes_of(e->row->name);
    for (uint16_t i = 0; i < shard_count; i++)
        turn_add_part(nl, i, &e->gather, i,
                      &(struct turn_request){.command = e->row,
                                             .argv = e->argv,
                                             .argc = 1,
                                             .command_id = (uint16_t)e->server->router.route_count,
                                             .resp = 2,
                                             .flags = REQUEST_PART,
                                             .argv_is_stable = true});
}

/* Without credit it tries again in the next step. */
static void publish(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct everywhere *e = container_of(c, struct everywhere, call);
    uint16_t shard_count = w->server->mesh.shard_count;
    if (!turn_reserve(&w->net, w->server->all_shards, shard_count)) {
        thread_call(at, at->id, c);
        return;
    }
    add_parts(e, &w->net, shard_count);
}

void everywhere_run(struct everywhere *e, struct server *srv, enum internal_command row,
                    void (*done)(struct server *srv))
{
    CHECK(!e->is_under_way);
    *e = (struct everywhere){.call = {.run = publish},
                             .server = srv,
                             .row = &internal_family.commands[row],
                             .done = done,
                             .is_under_way = true};
    thread_call(&srv->thread, srv->net_workers[0]->thread.id, &e->call);
}
