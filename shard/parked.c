#include "shard/parked.h"

#include "base/env.h"
#include "base/late.h"
#include "shard/shard.h"

static const struct run *run_of(const struct parcel *pc, uint32_t index)
{
    for (uint32_t i = 0; i < pc->run_count; i++) {
        const struct run *run = &pc->runs[i];
        if (index >= run->first && index < (uint32_t)run->first + run->count) return run;
    }
    return NULL;
}

static struct turn_point point_of(const struct shard *sh, const struct parcel *pc, uint32_t index)
{
    const struct run *run = run_of(pc, index);
    uint64_t turn_index = run ? run->turn_index + (uint64_t)(index - run->first) : index;
    return (struct turn_point){sh->turn_position, turn_index};
}

struct turn_point shard_now_point(const struct shard *sh)
{
    if (!sh->parcel) return (struct turn_point){0};
    return point_of(sh, sh->parcel, sh->request_index);
}

static uint32_t index_in_parcel(const struct shard *sh, const struct request *rq)
{
    const struct parcel *pc = sh->parcel;
    CHECK(pc && rq >= pc->requests && rq < pc->requests + pc->request_count);
    return (uint32_t)(rq - pc->requests);
}

struct turn_point parked_point(const struct shard *sh, const struct request *rq)
{
    const struct parked *running = locks_running(sh);
    return running ? running->point : point_of(sh, sh->parcel, index_in_parcel(sh, rq));
}

static bool copy_arguments(struct shard *sh, struct parked *p, const struct request *rq)
{
    size_t size = rq->argc * sizeof(struct bytes);
    for (uint32_t i = 0; i < rq->argc; i++) size += rq->argv[i].size;
    p->copy_bytes = size;
    p->copy = mem_try_alloc(&sh->mem, size);
    if (!p->copy) return false;
    struct bytes *argv = (struct bytes *)(void *)p->copy;
    char *at = p->copy + rq->argc * sizeof(struct bytes);
    for (uint32_t i = 0; i < rq->argc; i++) {
        argv[i] = bytes_make(at, rq->argv[i].size);
        memcpy(at, rq->argv[i].data, rq->argv[i].size);
        at += rq->argv[i].size;
    }
    p->request.argv = argv;
    return true;
}

/* Who waits for the reply, and since when. */
static void take_place(struct shard *sh, struct parked *p, struct parcel *pc, uint32_t index)
{
    const struct run *run = run_of(pc, index);
    p->net_id = pc->net_id;
    p->run = run ? *run : (struct run){0};
    p->index = (uint16_t)(run ? index - run->first : 0);
    p->point = point_of(sh, pc, index);
    pc->requests[index].flags |= REQUEST_PARKED;
    pc->has_parked = true;
}

bool parked_init(struct shard *sh, struct parked *p, struct parcel *pc, uint32_t index)
{
    const struct request *rq = &pc->requests[index];
    *p = (struct parked){.request = *rq};
    p->request.input = NULL;
    p->request.payload = NULL;
    if (!copy_arguments(sh, p, rq)) return false;
    take_place(sh, p, pc, index);
    return true;
}

void parked_init_part(struct shard *sh, struct parked *p, struct parcel *pc, uint32_t index)
{
    const struct request *rq = &pc->requests[index];
    bool travels = rq->argv >= pc->args && rq->argv < pc->args + PARCEL_ARGS_MAX;
    if (rq->input || rq->payload || travels) {
        CHECK(parked_init(sh, p, pc, index)); /* no coordinator of ours sends one */
        return;
    }
    *p = (struct parked){.request = *rq};
    take_place(sh, p, pc, index);
}

static void take_over(struct parked *p, struct parked *running)
{
    *p = *running;
    running->copy = NULL;
    running->has_left = true;
}

bool parked_take(struct shard *sh, struct parked *p, struct request *rq)
{
    struct parked *running = locks_running(sh);
    if (!running) return parked_init(sh, p, sh->parcel, index_in_parcel(sh, rq));
    take_over(p, running);
    return true;
}

void parked_take_part(struct shard *sh, struct parked *p, struct request *rq)
{
    struct parked *running = locks_running(sh);
    if (running)
        take_over(p, running);
    else
        parked_init_part(sh, p, sh->parcel, index_in_parcel(sh, rq));
}

void parked_renew(struct shard *sh, struct parked *p, struct request *rq)
{
    CHECK(!locks_running(sh));
    take_place(sh, p, sh->parcel, index_in_parcel(sh, rq));
}

void parked_run(struct shard *sh, struct parked *p, struct reply *out)
{
    const struct parcel *running = sh->tracking.running;
    const struct tracker *parked = sh->tracking.parked;
    const struct tracker who = {p->run.conn_index, p->run.conn_generation, p->net_id};
    sh->tracking.running = NULL; /* that is the parcel of whoever released this one */
    sh->tracking.parked = &who;
    out->resp = p->request.resp;
    struct slow_entry **slow_to = sh->slow_to;
    sh->slow_to = &p->slow;
    uint64_t started = env_ticks();
    shard_run_request(sh, &p->request, out);
    sh->tracking.parked = parked;
    sh->tracking.running = running;
    /* Else it waits again, and its arguments have been taken over. */
    if (!p->has_left) span_note(sh, &p->request, started);
    sh->slow_to = slow_to;
    if (!p->has_left && p->request.flags & REQUEST_TRACKED)
        tracking_remember(sh, &p->request, &who);
}

void parked_answer(struct shard *sh, struct parked *p, struct reply *out)
{
    struct late_reply *late = mem_alloc(&sh->mem, sizeof *late);
    *late = (struct late_reply){.run = p->run,
                                .index = p->index,
                                .net_id = p->net_id,
                                .shard_id = sh->id,
                                .command_id = p->request.command_id,
                                .chain = reply_take(out),
                                .slow = p->slow};
    p->slow = NULL;
    late->has_error = late->chain && late->chain->size > 0 && late->chain->data[0] == '-' &&
                      !(p->request.command->flags & CMD_COUNTS_ERRORS);
    sh->late_count++;
    dlist_push_back(&sh->late, &late->link);
}

void parked_free(struct shard *sh, struct parked *p)
{
    if (p->copy) mem_free(&sh->mem, p->copy, p->copy_bytes);
    p->copy = NULL;
    if (p->slow) sh->hooks->pass_slow(sh, p->slow); /* its reply was not a late one */
    p->slow = NULL;
}
