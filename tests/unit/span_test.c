/* What is measured of requests: who is found to be slow, and who is not. Commands that take long
 * spin: times are real ones, so only lower bounds are asserted, and what does not depend on them.
 */
#include "shard/span.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/parcel_fixture.h"

#define SLOW_US 5000

static struct parcel_fixture p;
static struct {
    uint32_t index;
    uint64_t us;
    const char *name;
} slow[PARCEL_REQUESTS_MAX];
static uint32_t slow_count, event_count;
static const char *last_event;

static void note_slow(struct shard *sh, const struct request *rq, uint64_t us,
                      struct slow_entry **list)
{
    cr_assert_eq(list, sh->slow_to);
    slow[slow_count].index = sh->request_index;
    slow[slow_count].us = us;
    slow[slow_count++].name = rq->command->name;
}

static void note_latency(struct shard *sh, const char *event, uint64_t ms)
{
    cr_assert_geq(ms, sh->config->latency_ms);
    last_event = event;
    event_count++;
}

static const struct shard_hooks hooks = {.note_slow = note_slow, .note_latency = note_latency};

static void spin_us(uint64_t us)
{
    uint64_t until = env_ticks() + (uint64_t)((double)us * env_ticks_per_us());
    while (env_ticks() < until) continue;
}

/* argv[1]: how long; argv[2]: bytes of the reply. */
static enum err on_spin(UNUSED struct shard *sh, struct request *rq, struct reply *out)
{
    static char filler[64 * 1024];
    spin_us(strtoul(rq->argv[1].data, NULL, 10));
    reply_bulk(out, bytes_make(filler, rq->argc > 2 ? strtoul(rq->argv[2].data, NULL, 10) : 1));
    return OK;
}

static const struct command plain = {.name = "plain", .on_shard = on_spin};
static const struct command fast = {.name = "fast", .on_shard = on_spin, .flags = CMD_FAST};
static const struct command errand = {.name = "errand", .on_shard = on_spin, .flags = CMD_ERRAND};
static const struct command hidden = {
    .name = "hidden", .on_shard = on_spin, .flags = CMD_SKIP_SLOWLOG};

static struct request *add(const struct command *row, const char *us, const char *reply_bytes)
{
    struct bytes words[16] = {bytes_of(row->name), bytes_make(us, strlen(us) + 1),
                              bytes_make(reply_bytes, strlen(reply_bytes) + 1)};
    return parcel_fixture_add(&p, row, 3, words);
}

static void start(int64_t slowlog_us)
{
    p = parcel_fixture_make();
    p.f.shard->hooks = &hooks;
    p.f.config->slowlog_us = slowlog_us;
    p.f.config->latency_tracking = true;
    span_apply_config(p.f.shard);
}

static uint64_t samples(void)
{
    static struct histogram_sum sum;
    memset(&sum, 0, sizeof sum);
    histogram_sum_add_slot(&sum, &p.f.shard->per_command[0].histogram);
    return sum.total;
}

static bool has_index(uint32_t index)
{
    for (uint32_t i = 0; i < slow_count; i++)
        if (slow[i].index == index) return slow[i].us >= SLOW_US;
    return false;
}

Test(span, a_slow_command_among_its_like_is_found)
{
    start(SLOW_US);
    for (unsigned i = 0; i < 40; i++) add(&plain, i == 17 ? "6000" : "1", "1");
    parcel_fixture_run(&p);
    cr_assert(has_index(17));
    cr_assert_eq(samples(), 40);
    parcel_fixture_free(&p);
}

Test(span, many_that_are_not_slow_are_not_slow_together)
{
    start(1000000);
    for (unsigned i = 0; i < 10; i++) add(&plain, "2000", "1");
    parcel_fixture_run(&p);
    cr_assert_eq(slow_count, 0);
    parcel_fixture_free(&p);
}

Test(span, nobody_of_a_run_of_short_commands_is_accused_but_the_next_ones_are_watched)
{
    start(SLOW_US);
    for (unsigned i = 0; i < 40; i++) add(&fast, i == 17 ? "6000" : "1", "1");
    parcel_fixture_run(&p);
    cr_assert_eq(slow_count, 0);
    cr_assert_eq(samples(), 40);
    parcel_fixture_begin(&p);
    for (unsigned i = 0; i < 40; i++) add(&fast, i == 17 ? "6000" : "1", "1");
    parcel_fixture_run(&p);
    cr_assert(has_index(17));
    parcel_fixture_free(&p);
}

Test(span, a_short_command_that_runs_alone_is_measured)
{
    start(SLOW_US);
    add(&fast, "6000", "1");
    add(&plain, "1", "1");
    parcel_fixture_run(&p);
    cr_assert(has_index(0));
    parcel_fixture_free(&p);
}

Test(span, a_short_command_with_a_long_reply_is_charged)
{
    start(SLOW_US);
    for (unsigned i = 0; i < 40; i++)
        add(&fast, i == 17 ? "6000" : "1", i == 17 || i == 30 ? "20000" : "1");
    parcel_fixture_run(&p);
    cr_assert(has_index(17));
    cr_assert_eq(samples(), 40);
    parcel_fixture_free(&p);
}

Test(span, a_short_command_with_many_arguments_is_measured_for_itself)
{
    start(SLOW_US);
    for (unsigned i = 0; i < 40; i++) add(&fast, i == 17 ? "6000" : "1", "1")->argc = 3;
    parcel_fixture_begin(&p);
    struct bytes words[SPAN_ARGS_BRIEF + 1];
    for (unsigned i = 0; i <= SPAN_ARGS_BRIEF; i++) words[i] = bytes_make("1", 2);
    for (unsigned i = 0; i < 10; i++) {
        words[1] = i == 4 ? bytes_make("6000", 5) : bytes_make("1", 2);
        parcel_fixture_add(&p, &fast, i == 4 ? SPAN_ARGS_BRIEF + 1 : 2, words);
    }
    parcel_fixture_run(&p);
    cr_assert(has_index(4));
    parcel_fixture_free(&p);
}

Test(span, a_low_threshold_measures_every_command)
{
    start(0);
    for (unsigned i = 0; i < 100; i++) add(&fast, "0", "1");
    parcel_fixture_run(&p);
    cr_assert_eq(slow_count, 100);
    for (unsigned i = 0; i < 100; i++) cr_assert_eq(slow[i].index, i);
    parcel_fixture_free(&p);
}

Test(span, errands_and_what_is_hidden_are_not_logged)
{
    start(0);
    add(&errand, "10", "1");
    add(&hidden, "10", "1");
    parcel_fixture_run(&p);
    cr_assert_eq(slow_count, 0);
    cr_assert_eq(samples(), 1, "of the hidden one");
    parcel_fixture_free(&p);
}

static enum err on_room(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t started = env_ticks();
    enum err e = on_spin(sh, rq, out);
    sh->spans.apart_ticks += env_ticks() - started;
    return e;
}

Test(span, making_room_is_not_charged_to_the_command)
{
    static const struct command room = {.name = "room", .on_shard = on_room};
    start(50000);
    add(&room, "60000", "1");
    parcel_fixture_run(&p);
    cr_assert_eq(slow_count, 0);
    cr_assert_eq(p.f.shard->spans.apart_ticks, 0);
    parcel_fixture_free(&p);
}

Test(span, minus_one_logs_nothing)
{
    start(-1);
    add(&plain, "6000", "1");
    parcel_fixture_run(&p);
    cr_assert_eq(slow_count, 0);
    parcel_fixture_free(&p);
}

Test(span, latency_events_have_a_threshold_of_their_own)
{
    start(-1);
    p.f.config->latency_ms = SLOW_US / 1000;
    span_apply_config(p.f.shard);
    add(&plain, "6000", "1");
    parcel_fixture_run(&p);
    cr_assert_eq(slow_count, 0);
    cr_assert_eq(event_count, 1);
    cr_assert_str_eq(last_event, "command");
    parcel_fixture_begin(&p);
    add(&fast, "6000", "1");
    parcel_fixture_run(&p);
    cr_assert_eq(event_count, 2);
    cr_assert_str_eq(last_event, "fast-command");

    uint64_t started = span_event_start(p.f.shard);
    spin_us(SLOW_US);
    span_event_end(p.f.shard, "expire-cycle", started);
    cr_assert_str_eq(last_event, "expire-cycle");
    p.f.config->latency_ms = 0;
    cr_assert_eq(span_event_start(p.f.shard), 0);
    parcel_fixture_free(&p);
}

Test(span, without_tracking_there_are_no_histograms)
{
    start(-1);
    p.f.config->latency_tracking = false;
    for (unsigned i = 0; i < 3; i++) add(&plain, "1", "1");
    for (unsigned i = 0; i < 3; i++) add(&fast, "1", "1");
    parcel_fixture_run(&p);
    cr_assert_eq(samples(), 0);
    parcel_fixture_free(&p);
}
