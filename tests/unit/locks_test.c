/* Key locks: who waits for whom, and in which order those who waited run. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/parcel_fixture.h"
#include "tests/unit/random.h"

#define ITEMS_MAX 20000
#define KEYS_MAX 8

/* ---- commands that write down when they run ---- */

enum kind { TOUCH, SWEEP, HOLD, HOLD_ALL };

/* A request, by its number; the model of what must come before what. */
struct item {
    enum kind kind;
    uint8_t keys; /* a bit each; SWEEP, HOLD_ALL: all */
    bool has_run, is_over, has_reply;
    uint64_t token;
};

static struct item items[ITEMS_MAX];
static unsigned item_count, first_open; /* those before first_open are over */

static bool conflict(const struct item *a, const struct item *b)
{
    bool one_is_for_all = a->kind == SWEEP || b->kind == SWEEP;
    one_is_for_all |= a->kind == HOLD_ALL || b->kind == HOLD_ALL;
    return one_is_for_all || (a->keys & b->keys);
}

/* True if some earlier item that shares a key is not over. */
static bool must_wait(unsigned number)
{
    for (unsigned i = first_open; i < number; i++)
        if (!items[i].is_over && conflict(&items[i], &items[number])) return true;
    return false;
}

static unsigned number_of(struct bytes arg)
{
    unsigned number;
    cr_assert_eq(arg.size, sizeof number);
    memcpy(&number, arg.data, sizeof number);
    cr_assert_lt(number, item_count);
    return number;
}

static struct item *run_item(const struct request *rq, struct reply *out)
{
    unsigned number = number_of(rq->argv[rq->argc - 1]);
    struct item *it = &items[number];
    cr_assert_not(it->has_run, "%u runs twice", number);
    cr_assert_not(must_wait(number), "%u runs before one that it must wait for", number);
    it->has_run = true;
    reply_i64(out, number);
    return it;
}

static enum err on_touch(struct shard *sh, struct request *rq, struct reply *out)
{
    cr_assert_eq(sh, shard_here);
    run_item(rq, out)->is_over = true;
    return OK;
}

static enum err on_hold(struct shard *sh, struct request *rq, struct reply *out)
{
    run_item(rq, out)->token = locks_take(sh, rq);
    return OK;
}

static enum err on_release(struct shard *sh, struct request *rq, struct reply *out)
{
    struct item *it = &items[number_of(rq->argv[1])];
    it->is_over = true;
    locks_release(sh, it->token);
    reply_ok(out);
    return OK;
}

static enum err on_effect(struct shard *sh, struct request *rq, struct reply *out)
{
    cr_assert(sh && rq->argc > 1);
    reply_ok(out);
    return OK;
}

#define ALL_BUT_LAST                                                                               \
    {                                                                                              \
        {                                                                                          \
            .flags = KEY_RW, .begin = 1, .last = -2, .step = 1                                     \
        }                                                                                          \
    }
static const struct command touch = {.name = "touch", .on_shard = on_touch, .keys = ALL_BUT_LAST};
static const struct command hold = {.name = "hold", .on_shard = on_hold, .keys = ALL_BUT_LAST};
static const struct command sweep = {.name = "sweep", .on_shard = on_touch, .keys = KEYS_NONE};
static const struct command hold_all = {.name = "hold_all", .on_shard = on_hold, .keys = KEYS_NONE};
static const struct command release = {.name = "release", .on_shard = on_release};
static const struct command effect = {
    .name = "effect", .on_shard = on_effect, .keys = KEYS_FIRST(KEY_RW)};

/* ---- sending them ---- */

static struct parcel_fixture p;

static void expect_reply(unsigned number, struct bytes reply)
{
    char text[16];
    int size = snprintf(text, sizeof text, ":%u\r\n", number);
    cr_assert(bytes_equal(reply, bytes_make(text, (size_t)size)), "reply to %u: %.*s", number,
              (int)reply.size, reply.data);
    cr_assert_not(items[number].has_reply, "%u is answered twice", number);
    items[number].has_reply = true;
}

/* The run says which connection waits; the fixture numbers them. Items of a parcel follow one
 * another. */
static unsigned run_base;

static void on_late(const struct late_reply *late, struct bytes reply)
{
    unsigned number = (unsigned)strtoul(reply.data + 1, NULL, 10);
    cr_assert_lt(number, item_count);
    cr_assert_eq(late->run.conn_index, 100u + number % PARCEL_REQUESTS_MAX);
    cr_assert_eq(late->run.slot, 7);
    cr_assert_eq(late->index, 0);
    cr_assert_eq(late->shard_id, p.f.shard->id);
    expect_reply(number, reply);
}

static void start(void)
{
    p = parcel_fixture_make();
    parcel_fixture_on_late(on_late);
    item_count = first_open = run_base = 0;
}

static void finish(void)
{
    cr_assert_eq(p.f.shard->locks.busy, 0);
    cr_assert(shard_is_settled(p.f.shard));
    for (unsigned i = 0; i < item_count; i++) cr_assert(items[i].has_reply, "%u has no reply", i);
    parcel_fixture_free(&p);
}

static const char *const names[KEYS_MAX] = {"a", "b", "c", "d", "e", "f", "g", "h"};

/* Keys as "abca": a letter each, repeated ones too. Adds it to the parcel; returns its number. */
static unsigned add(enum kind kind, const char *keys)
{
    cr_assert_lt(item_count, ITEMS_MAX);
    unsigned number = item_count++;
    items[number] = (struct item){.kind = kind};
    struct bytes argv[32];
    uint32_t argc = 0;
    argv[argc++] = BYTES_LITERAL("name");
    for (const char *k = keys; *k; k++) {
        items[number].keys |= (uint8_t)(1 << (*k - 'a'));
        argv[argc++] = bytes_of(names[*k - 'a']);
    }
    argv[argc++] = bytes_make(&number, sizeof number);
    const struct command *rows[] = {
        [TOUCH] = &touch, [SWEEP] = &sweep, [HOLD] = &hold, [HOLD_ALL] = &hold_all};
    parcel_fixture_add(&p, rows[kind], argc, argv);
    p.parcel->runs[p.parcel->run_count - 1].conn_index = 100u + number % PARCEL_REQUESTS_MAX;
    return number;
}

static void add_release(unsigned number)
{
    struct bytes argv[] = {BYTES_LITERAL("release"), bytes_make(&number, sizeof number)};
    parcel_fixture_add(&p, &release, 2, argv)->flags = REQUEST_COMMIT;
}

/* Everybody who need not wait has run, and nobody else. */
static void check_all(void)
{
    locks_validate(p.f.shard);
    while (first_open < item_count && items[first_open].is_over) first_open++;
    for (unsigned i = first_open; i < item_count; i++)
        cr_assert_eq(items[i].has_run, !must_wait(i), "%u waits for nobody", i);
}

static void run_all(void)
{
    parcel_fixture_run(&p);
    for (uint32_t i = 0; i < p.parcel->request_count; i++) {
        const struct request *rq = &p.parcel->requests[i];
        struct bytes reply = parcel_fixture_reply(&p, i);
        if (rq->flags & REQUEST_PARKED)
            cr_assert_eq(reply.size, 0);
        else if (!(rq->flags & REQUEST_COMMIT))
            expect_reply(number_of(rq->argv[rq->argc - 1]), reply);
    }
    parcel_fixture_begin(&p);
    check_all();
}

static unsigned send(enum kind kind, const char *keys)
{
    unsigned number = add(kind, keys);
    run_all();
    return number;
}

static void send_release(unsigned number)
{
    add_release(number);
    run_all();
}

/* ---- by hand ---- */

Test(locks, without_locks_nothing_waits)
{
    start();
    cr_assert(items[send(TOUCH, "ab")].is_over);
    cr_assert(items[send(SWEEP, "")].is_over);
    cr_assert_eq(p.f.shard->counters.locked_waits.value, 0);
    finish();
}

Test(locks, a_request_for_a_locked_key_waits_and_others_go_on)
{
    start();
    unsigned h = send(HOLD, "a");
    cr_assert_eq(p.f.shard->locks.busy, 1);
    unsigned waits = send(TOUCH, "a"), goes = send(TOUCH, "b");
    cr_assert_not(items[waits].has_run);
    cr_assert(items[goes].has_run);
    send_release(h);
    cr_assert(items[waits].has_run);
    cr_assert_eq(p.f.shard->counters.locked_waits.value, 1);
    finish();
}

Test(locks, waiters_of_a_key_run_in_turn_order)
{
    start();
    unsigned h = send(HOLD, "a");
    for (unsigned i = 0; i < 10; i++) send(TOUCH, "a");
    send_release(h);
    finish();
}

Test(locks, a_waiter_with_several_keys_holds_up_those_behind_it_on_all_of_them)
{
    start();
    unsigned h = send(HOLD, "a");
    unsigned both = send(TOUCH, "ab"), behind = send(TOUCH, "b"), chained = send(TOUCH, "bc"),
             third = send(TOUCH, "c"), free_one = send(TOUCH, "d");
    cr_assert(items[free_one].has_run);
    cr_assert_not(items[both].has_run || items[behind].has_run || items[chained].has_run);
    cr_assert_not(items[third].has_run);
    send_release(h);
    finish();
}

Test(locks, a_waiter_needs_all_its_keys)
{
    start();
    unsigned first = send(HOLD, "a"), second = send(HOLD, "b");
    unsigned both = send(TOUCH, "ab");
    send_release(first);
    cr_assert_not(items[both].has_run);
    send_release(second);
    cr_assert(items[both].has_run);
    finish();
}

Test(locks, a_lock_that_waited_holds_its_keys_from_then_on)
{
    start();
    unsigned first = send(HOLD, "a"), second = send(HOLD, "ab"), last = send(TOUCH, "b");
    send_release(first);
    cr_assert(items[second].has_run);
    cr_assert_not(items[last].has_run);
    send_release(second);
    cr_assert(items[last].has_run);
    finish();
}

Test(locks, the_same_key_twice_is_one_lock)
{
    start();
    unsigned h = send(HOLD, "aaba");
    cr_assert_eq(p.f.shard->locks.entry_count, 2);
    unsigned w = send(TOUCH, "aa"), again = send(HOLD, "bbb");
    send_release(h);
    cr_assert(items[w].has_run && items[again].has_run);
    send_release(again);
    finish();
}

Test(locks, commits_pass_whatever_is_locked)
{
    start();
    unsigned h = send(HOLD, "a");
    send(SWEEP, "");
    struct bytes argv[] = {BYTES_LITERAL("effect"), BYTES_LITERAL("a")};
    parcel_fixture_add(&p, &effect, 2, argv)->flags = REQUEST_COMMIT;
    parcel_fixture_run(&p);
    cr_assert_not(p.parcel->has_parked);
    cr_assert(bytes_equal(parcel_fixture_reply(&p, 0), BYTES_LITERAL("+OK\r\n")));
    parcel_fixture_begin(&p);
    send_release(h);
    finish();
}

Test(locks, a_request_for_everything_waits_for_all_locks_and_holds_up_all_behind_it)
{
    start();
    unsigned first = send(HOLD, "a"), second = send(HOLD, "b");
    unsigned all = send(SWEEP, ""), behind = send(TOUCH, "c"), more = send(SWEEP, "");
    cr_assert_not(items[all].has_run || items[behind].has_run || items[more].has_run);
    send_release(second);
    cr_assert_not(items[all].has_run);
    send_release(first);
    cr_assert(items[all].has_run && items[behind].has_run && items[more].has_run);
    finish();
}

Test(locks, a_lock_at_the_gate_closes_it_again_for_the_next_request_for_everything)
{
    start();
    unsigned first = send(HOLD, "a"), all = send(SWEEP, ""), second = send(HOLD, "b");
    unsigned next_all = send(SWEEP, ""), last = send(TOUCH, "c");
    send_release(first);
    cr_assert(items[all].has_run && items[second].has_run);
    cr_assert_not(items[next_all].has_run || items[last].has_run);
    send_release(second);
    finish();
}

Test(locks, keys_behind_the_gate_wait_in_their_queues_when_it_opens)
{
    start();
    unsigned first = send(HOLD, "a"), all = send(SWEEP, ""), second = send(HOLD, "b"),
             waits = send(TOUCH, "b"), goes = send(TOUCH, "c");
    send_release(first);
    cr_assert(items[all].has_run && items[second].has_run && items[goes].has_run);
    cr_assert_not(items[waits].has_run);
    send_release(second);
    finish();
}

Test(locks, a_request_may_hold_everything_and_then_all_others_wait)
{
    start();
    unsigned a = send(HOLD, "a"), all = send(HOLD_ALL, "");
    cr_assert_not(items[all].has_run);
    unsigned b = send(TOUCH, "b");
    send_release(a);
    cr_assert(items[all].has_run);
    cr_assert_not(items[b].has_run);
    unsigned sweeping = send(SWEEP, ""), second = send(HOLD_ALL, ""), c = send(TOUCH, "c");
    send_release(all);
    cr_assert(items[b].has_run && items[sweeping].has_run && items[second].has_run);
    cr_assert_not(items[c].has_run);
    send_release(second);
    cr_assert(items[c].has_run);
    finish();
}

Test(locks, everything_can_be_held_at_once_if_there_is_no_other_holding)
{
    start();
    unsigned all = send(HOLD_ALL, "");
    cr_assert(items[all].has_run);
    unsigned second = send(HOLD_ALL, ""), key = send(TOUCH, "a");
    struct bytes argv[] = {BYTES_LITERAL("effect"), BYTES_LITERAL("a")};
    parcel_fixture_add(&p, &effect, 2, argv)->flags = REQUEST_COMMIT;
    parcel_fixture_run(&p);
    cr_assert(bytes_equal(parcel_fixture_reply(&p, 0), BYTES_LITERAL("+OK\r\n")));
    parcel_fixture_begin(&p);
    send_release(all);
    cr_assert(items[second].has_run && !items[key].has_run);
    send_release(second);
    finish();
}

Test(locks, a_parked_request_keeps_its_arguments_after_its_parcel_has_gone)
{
    start();
    unsigned h = send(HOLD, "a");
    unsigned w = send(TOUCH, "abcdefgh"); /* the fixture frees the arguments with the parcel */
    send_release(h);
    cr_assert(items[w].has_reply);
    finish();
}

Test(locks, one_parcel_may_bring_a_request_that_waits_and_what_releases_it)
{
    start();
    unsigned h = send(HOLD, "a");
    unsigned w = add(TOUCH, "a");
    add_release(h);
    shard_run_parcel(p.f.shard, p.parcel);
    cr_assert(items[w].has_run);
    cr_assert(p.parcel->has_parked && p.parcel->requests[0].flags & REQUEST_PARKED);
    cr_assert_not(items[w].has_reply, "the parcel must go home first");
    shard_send_late(p.f.shard);
    cr_assert(items[w].has_reply);
    parcel_fixture_begin(&p);
    check_all();
    finish();
}

/* More keys than the table has chains: it must neither lose one nor take a time that grows with
 * their square. */
static unsigned over_count;

static enum err on_many(struct shard *sh, struct request *rq, struct reply *out)
{
    items[0].token = locks_take(sh, rq);
    reply_ok(out);
    return OK;
}

static enum err on_count(struct shard *sh, struct request *rq, struct reply *out)
{
    cr_assert(sh && rq->argc == 2);
    over_count++;
    reply_ok(out);
    return OK;
}

static void ignore_late(const struct late_reply *late, struct bytes reply)
{
    cr_assert(late && bytes_equal(reply, BYTES_LITERAL("+OK\r\n")));
}

Test(locks, very_many_keys_of_one_request_are_locked_and_let_go)
{
    const struct command many = {.name = "many", .on_shard = on_many, .keys = KEYS_ALL(KEY_RW)};
    const struct command count = {
        .name = "count", .on_shard = on_count, .keys = KEYS_FIRST(KEY_RW)};
    enum { COUNT = 200000, WAITERS = 50 };
    start();
    parcel_fixture_on_late(ignore_late);
    struct bytes *argv = malloc((COUNT + 1) * sizeof *argv);
    unsigned *numbers = malloc((COUNT + 1) * sizeof *numbers);
    cr_assert(argv && numbers);
    for (unsigned i = 0; i <= COUNT; i++) {
        numbers[i] = i;
        argv[i] = bytes_make(&numbers[i], sizeof numbers[i]);
    }
    parcel_fixture_add(&p, &many, COUNT + 1, argv);
    parcel_fixture_run(&p);
    cr_assert_eq(p.f.shard->locks.entry_count, COUNT);
    locks_validate(p.f.shard);
    parcel_fixture_begin(&p);
    for (unsigned i = 0; i < WAITERS; i++) parcel_fixture_add(&p, &count, 2, &argv[i * 1000 + 1]);
    parcel_fixture_run(&p);
    cr_assert_eq(over_count, 0);
    parcel_fixture_begin(&p);
    locks_release(p.f.shard, items[0].token);
    shard_send_late(p.f.shard);
    cr_assert_eq(over_count, WAITERS);
    locks_validate(p.f.shard);
    free(argv);
    free(numbers);
    finish();
}

/* ---- against the model ---- */

static unsigned held(struct random *r)
{
    unsigned found = ITEMS_MAX, seen = 0;
    for (unsigned i = first_open; i < item_count; i++) {
        bool holds = items[i].kind == HOLD || items[i].kind == HOLD_ALL;
        if (!holds || !items[i].has_run || items[i].is_over) continue;
        if (random_below(r, ++seen) == 0) found = i;
    }
    return found;
}

static void add_random(struct random *r)
{
    char keys[6] = "";
    unsigned count = 1 + (unsigned)random_below(r, 4);
    for (unsigned i = 0; i < count; i++) keys[i] = (char)('a' + random_below(r, KEYS_MAX));
    uint64_t what = random_below(r, 20);
    if (what == 0)
        add(random_below(r, 2) ? SWEEP : HOLD_ALL, "");
    else
        add(what < 6 ? HOLD : TOUCH, keys);
}

Test(locks, random_requests_run_as_the_model_says)
{
    struct random r = random_make();
    start();
    while (item_count < ITEMS_MAX - 8) {
        bool is_crowded = item_count - first_open > 60;
        unsigned h = held(&r);
        if (h < ITEMS_MAX && (is_crowded || random_below(&r, 3) == 0)) {
            send_release(h);
            continue;
        }
        unsigned count = 1 + (unsigned)random_below(&r, 4);
        for (unsigned i = 0; i < count; i++) add_random(&r);
        run_all();
    }
    for (unsigned h; (h = held(&r)) < ITEMS_MAX;) send_release(h);
    cr_assert_gt(p.f.shard->counters.locked_waits.value, 1000);
    finish();
}
