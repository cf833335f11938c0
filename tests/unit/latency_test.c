/* Latency events by themselves: samples, and how they are drawn. */
#include "server/latency.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"

static struct latency l;

/* Samples with times of the test's choice. */
static struct latency_event make(uint32_t first_s, uint32_t step_s, uint32_t count,
                                 const uint32_t *ms)
{
    struct latency_event e = {.name = "command"};
    for (uint32_t i = 0; i < count; i++) {
        e.samples[e.next] = (struct latency_sample){first_s + i * step_s, ms[i]};
        e.next = (e.next + 1) % LATENCY_SAMPLES_MAX;
        e.count++;
        e.ms_max = MAX(e.ms_max, ms[i]);
    }
    return e;
}

static void expect_graph(const struct latency_event *e, uint32_t now_s, const char *wanted)
{
    struct mem mem;
    mem_init(&mem, "test");
    struct buf out = {.mem = &mem};
    latency_draw(e, now_s, &out);
    buf_append(&out, "", 1);
    cr_assert_str_eq(out.data, wanted);
    buf_clear(&out);
    mem_deinit(&mem);
}

#define RULE "--------------------------------------------------------------------------------\n"

Test(latency, keeps_the_longest_of_a_second)
{
    struct latency_event e;
    latency_init(&l);
    /* A second may end in between, so there are one or two samples of each. */
    for (uint32_t i = 0; i < 50; i++) latency_add(&l, "command", i == 20 ? 90 : i);
    latency_add(&l, "expire-cycle", 3);
    cr_assert(latency_find(&l, BYTES_LITERAL("command"), &e));
    cr_assert_leq(e.count, 2);
    cr_assert_eq(e.ms_max, 90);
    cr_assert(latency_read(&l, 1, &e));
    cr_assert_str_eq(e.name, "expire-cycle");
    cr_assert_not(latency_read(&l, 2, &e));
    cr_assert_not(latency_find(&l, BYTES_LITERAL("COMMAND"), &e));
    latency_deinit(&l);
}

Test(latency, forgets_one_event_and_keeps_the_others)
{
    struct latency_event e;
    latency_init(&l);
    latency_add(&l, "a", 1);
    latency_add(&l, "b", 2);
    latency_add(&l, "c", 3);
    cr_assert(latency_forget(&l, BYTES_LITERAL("b")));
    cr_assert_not(latency_forget(&l, BYTES_LITERAL("b")));
    cr_assert(latency_read(&l, 1, &e));
    cr_assert_str_eq(e.name, "c");
    cr_assert_eq(latency_sample(&e, 0)->ms, 3);
    cr_assert_not(latency_read(&l, 2, &e));
    latency_deinit(&l);
}

Test(latency, more_kinds_of_events_than_there_is_room_for_are_dropped)
{
    static const char names[LATENCY_EVENTS_MAX + 4][2] = {"a", "b", "c", "d", "e", "f", "g",
                                                          "h", "i", "j", "k", "l", "m", "n",
                                                          "o", "p", "q", "r", "s", "t"};
    struct latency_event e;
    latency_init(&l);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) latency_add(&l, names[i], 1);
    cr_assert(latency_read(&l, LATENCY_EVENTS_MAX - 1, &e));
    cr_assert_not(latency_read(&l, LATENCY_EVENTS_MAX, &e));
    latency_deinit(&l);
}

Test(latency, samples_wrap_and_the_oldest_go)
{
    uint32_t ms[LATENCY_SAMPLES_MAX + 10];
    for (uint32_t i = 0; i < ARRAY_LEN(ms); i++) ms[i] = i;
    struct latency_event e = make(100, 1, ARRAY_LEN(ms), ms);
    e.count = LATENCY_SAMPLES_MAX;
    cr_assert_eq(latency_sample(&e, 0)->ms, 10);
    cr_assert_eq(latency_sample(&e, LATENCY_SAMPLES_MAX - 1)->ms, LATENCY_SAMPLES_MAX + 9);
}

Test(latency, measures_mean_deviation_and_period)
{
    static const uint32_t ms[] = {10, 20, 30, 40};
    struct latency_event e = make(1000, 5, 4, ms);
    struct latency_extent x = latency_measure(&e, 1020);
    cr_assert_eq(x.ms_min, 10);
    cr_assert_eq(x.ms_max, 40);
    cr_assert_eq((int64_t)(x.ms_mean * 1000 + 0.5), 25000);
    cr_assert_eq((int64_t)(x.ms_deviation * 1000 + 0.5), 10000);
    cr_assert_eq((int64_t)(x.period_s * 1000 + 0.5), 5000);
}

/* The same samples as a Redis server was seen to draw. */
Test(latency, draws_bars_between_the_lowest_and_the_highest)
{
    static const uint32_t ms[] = {5, 68, 267, 530, 1050, 2000};
    struct latency_event e = make(100, 1, 6, ms);
    e.samples[4].unix_s = 105;
    e.samples[5].unix_s = 107;
    expect_graph(&e, 107,
                 "command - high 2000 ms, low 5 ms (all time high 2000 ms)\n" RULE "     #\n"
                 "    _|\n"
                 "   _||\n"
                 "__o|||\n"
                 "      \n"
                 "765420\n"
                 "ssssss\n");
}

Test(latency, draws_a_single_sample)
{
    static const uint32_t ms[] = {7};
    struct latency_event e = make(100, 1, 1, ms);
    expect_graph(&e, 100,
                 "command - high 7 ms, low 7 ms (all time high 7 ms)\n" RULE
                 " \n \n \n_\n \n0\ns\n");
}

Test(latency, labels_are_in_the_largest_unit_and_upright)
{
    static const uint32_t ms[] = {1, 2, 3, 4};
    struct latency_event e = make(0, 0, 4, ms);
    e.samples[0].unix_s = 1000000 - 3 * 86400 - 5;
    e.samples[1].unix_s = 1000000 - 12 * 3600;
    e.samples[2].unix_s = 1000000 - 61;
    e.samples[3].unix_s = 1000000 - 59;
    expect_graph(&e, 1000000,
                 "command - high 4 ms, low 1 ms (all time high 4 ms)\n" RULE "   #\n"
                 "  #|\n"
                 " o||\n"
                 "_|||\n"
                 "    \n"
                 "3115\n"
                 "d2m9\n"
                 " h s\n");
}

Test(latency, a_long_history_is_drawn_in_sections)
{
    uint32_t ms[81];
    for (uint32_t i = 0; i < ARRAY_LEN(ms); i++) ms[i] = i == 80 ? 2 : 1;
    struct latency_event e = make(100, 0, ARRAY_LEN(ms), ms);
    struct mem mem;
    mem_init(&mem, "test");
    struct buf out = {.mem = &mem};
    latency_draw(&e, 100, &out);
    buf_append(&out, "", 1);
    cr_assert(strstr(out.data, "s\n\n#\n|\n|\n|\n \n0\ns\n"));
    buf_clear(&out);
    mem_deinit(&mem);
}
