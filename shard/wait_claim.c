#include "shard/wait_claim.h"

#include "base/bytes.h"
#include "shard/shard.h"

/* A key that was held for a waiter that does not need it after all. */
struct spare {
    struct dlist link;
    uint64_t token;
};

/* A question of a coordinator. */
struct settle {
    struct dlist link;
    struct parked parked;
    struct wait_id id;
    struct turn_point since;
    uint32_t first_key;
    bool is_moot; /* the waiter has been answered */
};

/* ---- what coordinators are told ---- */

static void answer_nothing(struct shard *sh, struct parked *p)
{
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    parked_answer(sh, p, &out);
}

/* What a shared rule has read goes along. */
static void append_early(struct shard *sh, struct waiter *w, struct reply *out)
{
    for (const struct chunk *at = w->early; at; at = at->next)
        if (at->size > 0) reply_raw(out, at->data, at->size);
    if (w->early) chunk_free_chain(&sh->mem, w->early);
    w->early = NULL;
}

static void report(struct shard *sh, struct waiter *w, struct turn_point since, uint32_t index)
{
    struct reply out;
    struct wait_report head = {0, since, index, false};
    reply_init(&out, NULL, &sh->mem);
    reply_raw(&out, &head, sizeof head);
    append_early(sh, w, &out);
    parked_answer(sh, &w->parked, &out);
}

void wait_claim_ask(struct shard *sh, struct waiter *w, uint32_t index, struct turn_point since)
{
    w->is_asked = true;
    report(sh, w, since, index);
}

/* ---- questions of coordinators ---- */

/* Older questions, with later bounds, need not be waited for. */
static void make_moot(struct shard *sh, const struct waiter *w)
{
    dlist_each (link, &sh->waits.settling) {
        struct settle *s = container_of(link, struct settle, link);
        if (memcmp(&s->id, &w->id, sizeof s->id) == 0) s->is_moot = true;
    }
}

void wait_claim_take_bounds(struct shard *sh, struct waiter *w)
{
    dlist_each (link, &sh->waits.settling) {
        const struct settle *s = container_of(link, struct settle, link);
        bool is_about = memcmp(&s->id, &w->id, sizeof s->id) == 0;
        if (is_about && turn_point_before(s->since, w->bound)) w->bound = s->since;
    }
}

/* ---- claims ---- */

/* Nobody else may touch the key until it is decided. */
static void claim(struct shard *sh, struct waiter *w, uint32_t index, struct turn_point since)
{
    struct key k = request_key(sh, &w->parked.request, index);
    w->claim_index = index;
    w->claim_token = locks_take_key(sh, &k, &since);
    w->claim_since = since;
    w->claim_number = locks_claim_number(w->claim_token);
}

/* The key is not held: what the claim is worth is read now. `claims` is what it is certain or in
 * doubt about: holdings of that point that come before it. */
static void claim_shared(struct shard *sh, struct waiter *w, uint32_t index,
                         struct turn_point since, uint64_t claims)
{
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    waiter_run(sh, w, index, &out);
    w->early = reply_take(&out);
    w->claim_index = index;
    w->claim_since = since;
    w->claim_number = claims + 1;
}

/* The key will be let go as soon as that is possible; it may be for the next in its queue. */
static void unclaim(struct shard *sh, struct waiter *w)
{
    if (w->rule->is_shared) {
        if (w->early) chunk_free_chain(&sh->mem, w->early);
        w->early = NULL;
        w->claim_index = 0;
        return;
    }
    struct key k = request_key(sh, &w->parked.request, w->claim_index);
    struct spare *spare = mem_alloc(&sh->mem, sizeof *spare);
    spare->token = w->claim_token;
    dlist_push_back(&sh->waits.spare, &spare->link);
    w->claim_index = 0;
    wait_note(sh, &k);
}

/* Whether no other key of this shard can turn out to have been ready for it before that point: one
 * that is held may be, when its holder lets go. */
static bool is_certain(struct shard *sh, struct waiter *w, struct turn_point since, uint64_t claims)
{
    if (likely(sh->locks.busy == 0)) return true;
    for (uint32_t i = 0; i < w->place_count; i++) {
        if (w->places[i].index == w->claim_index) continue;
        struct key k = request_key(sh, &w->parked.request, w->places[i].index);
        if (!locks_passed(sh, &k, since, claims)) return false;
    }
    return true;
}

/* Ends a claim whose command may have left something for the next in the queue. */
static void release_claim(struct shard *sh, struct waiter *w)
{
    struct key k = request_key(sh, &w->parked.request, w->claim_index);
    uint64_t token = w->claim_token;
    wait_note(sh, &k);
    waiter_free(sh, w);
    locks_release(sh, token);
}

/* What it gets has been read. */
static void conclude_shared(struct shard *sh, struct waiter *w)
{
    struct reply out;
    if (waiter_is_claimant(w)) {
        make_moot(sh, w);
        report(sh, w, w->claim_since, w->claim_index);
    } else {
        reply_init(&out, NULL, &sh->mem);
        append_early(sh, w, &out);
        parked_answer(sh, &w->parked, &out);
    }
    waiter_free(sh, w);
}

/* Its claim is certain: served here, or by its coordinator. */
static void conclude(struct shard *sh, struct waiter *w)
{
    dlist_remove(&w->tentative);
    waiter_leave_queues(sh, w);
    if (w->rule->is_shared) {
        conclude_shared(sh, w);
        return;
    }
    if (waiter_is_claimant(w)) {
        make_moot(sh, w);
        report(sh, w, w->claim_since, w->claim_index);
        return;
    }
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    waiter_run(sh, w, w->claim_index, &out);
    parked_answer(sh, &w->parked, &out);
    release_claim(sh, w);
}

/* Whether what happens at that point comes before what the waiter has a claim on. */
static bool is_before_claim(const struct shard *sh, const struct waiter *w, struct turn_point point)
{
    if (turn_point_before(point, w->claim_since)) return true;
    uint64_t number = locks_leaving_claim(sh);
    return number && number < w->claim_number && !turn_point_before(w->claim_since, point);
}

bool wait_claim_or_serve(struct shard *sh, struct waiter *w, uint32_t index,
                         struct turn_point point)
{
    if (w->claim_index) {
        if (!is_before_claim(sh, w, point)) return true; /* it has been already */
        dlist_remove(&w->tentative);
        unclaim(sh, w);
    }
    bool is_here_alone = !waiter_is_claimant(w);
    uint64_t number = locks_leaving_claim(sh);
    uint64_t claims = number ? number - 1 : sh->locks.claims_made;
    w->claim_index = index; /* the question is about the others */
    bool is_known = is_certain(sh, w, point, claims);
    bool is_shared = w->rule->is_shared;
    w->claim_index = 0;
    if (is_known && is_here_alone) {
        waiter_serve(sh, w, index);
        return true;
    }
    if (is_shared)
        claim_shared(sh, w, index, point, claims);
    else
        claim(sh, w, index, point);
    if (is_known)
        conclude(sh, w);
    else
        dlist_push_back(&sh->waits.tentative, &w->tentative);
    return is_shared;
}

void wait_claim_first(struct shard *sh, struct waiter *w, uint32_t index)
{
    claim(sh, w, index, w->parked.point);
    conclude(sh, w);
}

/* ---- settling ---- */

/* Nothing will come for it from this shard. */
static void dismiss(struct shard *sh, struct waiter *w)
{
    if (w->claim_index) unclaim(sh, w);
    make_moot(sh, w);
    /* Those behind it may have waited for it. */
    waiter_note_keys(sh, w);
    if (!w->is_asked) answer_nothing(sh, &w->parked);
    waiter_free(sh, w);
}

/* True: it is answered, or will be by itself. */
static bool settle_try(struct shard *sh, struct request *rq, const struct settle *s)
{
    struct waiter *w = waiter_find(sh, &s->id);
    /* One that was asked meanwhile still stands in its queue, and its coordinator takes it for
     * gone. */
    if (s->is_moot && w && w->is_asked) dismiss(sh, w);
    if (s->is_moot) return true;
    if (w && w->claim_index && !turn_point_before(s->since, w->claim_since)) return true;
    if (w && w->claim_index && dlist_is_empty(&w->tentative)) return true;
    for (uint32_t i = s->first_key; i < rq->argc; i++) {
        struct key k = request_key(sh, rq, i);
        if (!locks_passed(sh, &k, s->since, 0)) return false;
    }
    if (w) dismiss(sh, w);
    return true;
}

bool wait_settle(struct shard *sh, struct request *rq, const struct wait_id *id,
                 struct turn_point since, uint32_t first_key)
{
    struct settle s = {.id = *id, .since = since, .first_key = first_key};
    struct turn_point now = parked_point(sh, rq);
    if (turn_point_before(now, since)) s.since = now;
    if (settle_try(sh, rq, &s)) {
        wait_go_on(sh);
        return true;
    }
    struct settle *kept = mem_alloc(&sh->mem, sizeof *kept);
    *kept = s;
    parked_take_part(sh, &kept->parked, rq);
    dlist_push_back(&sh->waits.settling, &kept->link);
    struct waiter *w = waiter_find(sh, id);
    if (w) wait_claim_take_bounds(sh, w);
    return false;
}

static bool conclude_one(struct shard *sh)
{
    dlist_each (link, &sh->waits.tentative) {
        struct waiter *w = container_of(link, struct waiter, tentative);
        if (!is_certain(sh, w, w->claim_since, w->claim_number)) continue;
        conclude(sh, w);
        return true;
    }
    return false;
}

static bool release_one(struct shard *sh)
{
    struct dlist *link = dlist_pop_front(&sh->waits.spare);
    if (!link) return false;
    struct spare *spare = container_of(link, struct spare, link);
    uint64_t token = spare->token;
    mem_free(&sh->mem, spare, sizeof *spare);
    locks_release(sh, token);
    return true;
}

static bool settle_one(struct shard *sh)
{
    dlist_each (link, &sh->waits.settling) {
        struct settle *s = container_of(link, struct settle, link);
        if (!settle_try(sh, &s->parked.request, s)) continue;
        dlist_remove(&s->link);
        answer_nothing(sh, &s->parked);
        parked_free(sh, &s->parked);
        mem_free(&sh->mem, s, sizeof *s);
        return true;
    }
    return false;
}

void wait_go_on(struct shard *sh)
{
    struct waits *w = &sh->waits;
    if (likely(dlist_is_empty(&w->tentative) && dlist_is_empty(&w->spare) &&
               dlist_is_empty(&w->settling)))
        return;
    if (w->is_going_on) return;
    w->is_going_on = true;
    while (release_one(sh) || conclude_one(sh) || settle_one(sh)) {
    }
    w->is_going_on = false;
}

void wait_end_claim(struct shard *sh, const struct wait_id *id, struct reply *out)
{
    struct waiter *w = waiter_find(sh, id);
    CHECK(w && w->claim_index);
    if (out) waiter_run(sh, w, w->claim_index, out);
    release_claim(sh, w);
}

void wait_again(struct shard *sh, struct request *rq, const struct wait_id *id)
{
    struct waiter *w = waiter_find(sh, id);
    CHECK(w && w->is_asked);
    w->is_asked = false;
    parked_renew(sh, &w->parked, rq);
    waiter_note_keys(sh, w);
}
