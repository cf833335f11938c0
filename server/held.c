#include "server/held.h"

#include "server/locked.h"
#include "server/script.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/families.h"

struct held_participant {
    uint16_t shard;
    uint32_t argc;
    uint64_t token;
    uint64_t fill; /* of argv, while it is made */
    struct bytes *argv;
    struct bytes unlock[2];
};

/* A lock that reports nothing, of whatever database: locks do not know them. */
static const char mode_hold[LOCK_MODE_BYTES] = {'-', 0, 0};

static struct mem *mem_of(struct held *h)
{
    return &h->worker->net.mem;
}

/* ---- planning ---- */

static void participants_count(struct held *h, const struct batch_key *keys, uint64_t key_count,
                               uint32_t *counts)
{
    for (uint64_t i = 0; i < key_count; i++) counts[keys[i].shard]++;
    uint16_t shard_count = h->worker->server->router.shard_count;
    for (uint16_t shard = 0; shard < shard_count; shard++) {
        if (keys && counts[shard] == 0) continue;
        h->participants[h->participant_count++] =
            (struct held_participant){.shard = shard, .argc = 2 + 2 * counts[shard]};
    }
}

static void arguments_fill(struct held *h, const struct batch_key *keys, uint64_t key_count,
                           uint32_t *place)
{
    struct bytes *at = h->argv;
    for (uint16_t i = 0; i < h->participant_count; i++) {
        struct held_participant *p = &h->participants[i];
        place[p->shard] = i;
        p->argv = at;
        p->fill = 2;
        at[0] = BYTES_LITERAL("lock");
        at[1] = bytes_make(&h->watch, sizeof h->watch);
        at += p->argc;
    }
    for (uint64_t i = 0; i < key_count; i++) {
        struct held_participant *p = &h->participants[place[keys[i].shard]];
        p->argv[p->fill++] = keys[i].name;
        p->argv[p->fill++] = bytes_make(mode_hold, sizeof mode_hold);
    }
}

bool held_plan(struct held *h, const struct batch_key *keys, uint64_t key_count)
{
    struct mem *mem = mem_of(h);
    uint16_t shard_count = h->worker->server->router.shard_count;
    if (key_count > UINT32_MAX / 4) return false;
    h->participants = mem_alloc_zeroed(mem, shard_count * sizeof *h->participants);
    uint32_t *counts = mem_alloc_zeroed(mem, shard_count * sizeof *counts);
    participants_count(h, keys, keys ? key_count : 0, counts);
    h->argv_count = 2ULL * h->participant_count + 2 * (keys ? key_count : 0);
    h->argv = mem_try_alloc(mem, h->argv_count * sizeof *h->argv);
    if (h->argv) arguments_fill(h, keys, keys ? key_count : 0, counts);
    mem_free(mem, counts, shard_count * sizeof *counts);
    return h->argv != NULL;
}

void held_free(struct held *h)
{
    struct mem *mem = mem_of(h);
    if (!h->participants) return;
    mem_free(mem, h->gather.parts, h->gather.part_count * sizeof *h->gather.parts);
    if (h->argv) mem_free(mem, h->argv, h->argv_count * sizeof *h->argv);
    mem_free(mem, h->participants, h->worker->server->router.shard_count * sizeof *h->participants);
    h->participants = NULL;
}

/* ---- the lock turn ---- */

bool held_reserve(struct held *h)
{
    uint16_t shards[ROUTER_SHARDS_MAX];
    for (uint16_t i = 0; i < h->participant_count; i++) shards[i] = h->participants[i].shard;
    return turn_reserve(&h->worker->net, shards, h->participant_count);
}

static void send(struct held *h, uint16_t part, const struct turn_request *r)
{
    turn_add_part(&h->worker->net, h->participants[part].shard, &h->gather, part, r);
}

/* "*n\r\n$8\r\n<token>\r\n:<dirty>\r\n…" */
static bool report_read(struct held *h, uint16_t part)
{
    char head[64] = "";
    struct held_participant *p = &h->participants[part];
    size_t size = gather_part_head(&h->gather, part, head, sizeof head);
    const char *line_end = head[0] == '*' ? memchr(head, '\n', size) : NULL;
    if (!line_end) return false; /* no memory there */
    const char *token = line_end + sizeof "$8\r\n";
    memcpy(&p->token, token, sizeof p->token);
    h->has_failed |= memcmp(head, "*1\r", 3) == 0; /* none for the reports */
    h->is_dirty |= token[sizeof p->token + 3] == '1';
    return true;
}

static void is_held(struct gather *g)
{
    struct held *h = container_of(g, struct held, gather);
    uint16_t count = h->participant_count;
    h->participant_count = 0;
    for (uint16_t i = 0; i < count; i++) {
        if (report_read(h, i))
            h->participants[h->participant_count++] = h->participants[i];
        else
            h->has_failed = true;
    }
    gather_release_parts(g);
    h->on_held(h);
}

void held_begin(struct held *h)
{
    struct netloop *nl = &h->worker->net;
    bool is_everything = h->participants[0].argc == 2;
    unsigned row = is_everything ? INTERNAL_LOCK_ALL : INTERNAL_LOCK;
    nl->errands++;
    h->gather.netloop = nl;
    h->gather.on_complete = is_held;
    h->gather.part_count = h->gather.waiting = h->participant_count;
    h->gather.parts = mem_alloc_zeroed(mem_of(h), h->participant_count * sizeof *h->gather.parts);
    for (uint16_t i = 0; i < h->participant_count; i++)
        send(h, i,
             &(struct turn_request){.command = &internal_family.commands[row],
                                    .argv = h->participants[i].argv,
                                    .argc = h->participants[i].argc,
                                    .command_id = h->command_id,
                                    .resp = 2,
                                    .argv_is_stable = true,
                                    .is_same_command = i > 0});
}

/* ---- the end ---- */

static void is_ended(struct gather *g)
{
    struct held *h = container_of(g, struct held, gather);
    gather_release_parts(g);
    g->netloop->errands--;
    h->on_ended(h);
}

static void unlocks_resume(struct stuck *stuck);

static void unlocks_send(struct held *h)
{
    if (!held_reserve(h)) {
        stuck_wait(h->worker, &h->stuck, unlocks_resume);
        return;
    }
    bool commits = h->writes && !h->is_dirty && h->participant_count > 1;
    for (uint16_t i = 0; i < h->participant_count; i++) {
        struct held_participant *p = &h->participants[i];
        p->unlock[0] = BYTES_LITERAL("unlock");
        p->unlock[1] = bytes_make(&p->token, sizeof p->token);
        send(h, i,
             &(struct turn_request){.command = &internal_family.commands[INTERNAL_UNLOCK],
                                    .argv = p->unlock,
                                    .argc = 2,
                                    .command_id = h->command_id,
                                    .resp = 2,
                                    .flags = REQUEST_COMMIT,
                                    .commits = commits,
                                    .argv_is_stable = true});
    }
}

static void unlocks_resume(struct stuck *stuck)
{
    unlocks_send(container_of(stuck, struct held, stuck));
}

void held_end(struct held *h)
{
    h->gather.on_complete = is_ended;
    h->gather.waiting = h->participant_count;
    if (h->participant_count)
        unlocks_send(h);
    else
        is_ended(&h->gather); /* all have failed */
}

/* ---- stages ---- */

static void batch_done(struct batch *b)
{
    struct held_stage *s = container_of(b, struct held_stage, batch);
    s->on_done(s);
}

bool stage_plan(struct held_stage *s, struct worker *w, struct batch_command *commands,
                uint32_t count)
{
    s->batch.worker = w;
    s->batch.commands = commands;
    s->batch.count = count;
    s->batch.flags = REQUEST_COMMIT;
    s->batch.on_complete = batch_done;
    s->reply.mem = &w->net.mem;
    s->is_across = count == 1 && commands->is_across;
    return s->is_across || batch_plan(&s->batch);
}

void stage_free(struct held_stage *s)
{
    batch_free(&s->batch);
    buf_clear(&s->reply);
}

static void across_done(struct locked *op)
{
    struct held_stage *s = op->caller;
    struct buf reply = op->reply;
    op->reply = s->reply; /* an empty one of the same memory */
    s->reply = reply;
    s->is_lost = op->is_lost;
    if (s->on_sent) s->on_sent(s);
    s->on_done(s);
}

static void stage_resume(struct stuck *stuck);

static void batch_start(struct held_stage *s)
{
    if (!batch_reserve(&s->batch)) {
        stuck_wait(s->batch.worker, &s->stuck, stage_resume);
        return;
    }
    batch_send(&s->batch);
    if (s->on_sent) s->on_sent(s);
}

static void stage_resume(struct stuck *stuck)
{
    batch_start(container_of(stuck, struct held_stage, stuck));
}

void stage_run(struct held_stage *s)
{
    if (s->is_across && s->batch.commands->route->command->plan == PLAN_SCRIPT)
        script_run_stage(s);
    else if (s->is_across)
        locked_run(&s->batch, s, across_done);
    else
        batch_start(s);
}

void stage_reply(struct held_stage *s, uint32_t index, struct reply *out)
{
    if (s->is_across)
        reply_raw(out, s->reply.data, s->reply.size);
    else
        batch_reply(&s->batch, index, out);
}
