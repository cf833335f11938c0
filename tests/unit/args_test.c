/* Numbers, times, ranges and scan options of requests. */
#include <criterion/criterion.h>

#include "shard/cmd/args.h"

#define NOW_MS 1700000000000

static struct request request_of(struct bytes *argv, uint32_t argc)
{
    return (struct request){.argv = argv, .argc = argc};
}

Test(args, times_are_scaled_and_based_by_their_form)
{
    int64_t ms;
    cr_assert(time_to_deadline(7, TIME_SECONDS, NOW_MS, &ms) && ms == NOW_MS + 7000);
    cr_assert(time_to_deadline(-7, TIME_MS, NOW_MS, &ms) && ms == NOW_MS - 7);
    cr_assert(time_to_deadline(7, TIME_AT_SECONDS, NOW_MS, &ms) && ms == 7000);
    cr_assert(time_to_deadline(-7, TIME_AT_MS, NOW_MS, &ms) && ms == -7);
}

Test(args, times_that_do_not_fit_leave_the_result_alone)
{
    int64_t ms = 5;
    cr_assert(!time_to_deadline(INT64_MAX / 1000 + 1, TIME_AT_SECONDS, NOW_MS, &ms));
    cr_assert(!time_to_deadline(INT64_MIN / 1000 - 1, TIME_AT_SECONDS, NOW_MS, &ms));
    cr_assert(!time_to_deadline(INT64_MAX - NOW_MS + 1, TIME_MS, NOW_MS, &ms));
    cr_assert(!time_to_deadline(INT64_MAX / 1000, TIME_SECONDS, NOW_MS, &ms));
    cr_assert_eq(ms, 5);
    cr_assert(time_to_deadline(INT64_MAX - NOW_MS, TIME_MS, NOW_MS, &ms) && ms == INT64_MAX);
}

Test(args, time_forms_are_read_in_any_case)
{
    struct bytes argv[] = {bytes_of("ex"), bytes_of("PX"), bytes_of("exAT"), bytes_of("pxat"),
                           bytes_of("e")};
    struct request rq = request_of(argv, ARRAY_LEN(argv));
    static const enum time_form forms[] = {TIME_SECONDS, TIME_MS, TIME_AT_SECONDS, TIME_AT_MS};
    enum time_form form;
    for (uint32_t i = 0; i < ARRAY_LEN(forms); i++) {
        cr_assert(arg_time_form(&rq, i, &form));
        cr_assert_eq(form, forms[i]);
    }
    cr_assert(!arg_time_form(&rq, 4, &form));
}

static void check_range(int64_t start, int64_t end, uint64_t count, int64_t first,
                        uint64_t selected)
{
    uint64_t f = 99, n = 99;
    bool any = range_clip(start, end, count, &f, &n);
    cr_assert_eq(any, first >= 0, "%ld %ld of %lu", start, end, count);
    if (any) cr_assert(f == (uint64_t)first && n == selected, "%ld %ld: %lu %lu", start, end, f, n);
}

Test(args, ranges_are_clipped_to_the_elements)
{
    check_range(0, -1, 5, 0, 5);
    check_range(-100, 100, 5, 0, 5);
    check_range(INT64_MIN, INT64_MAX, 5, 0, 5);
    check_range(-2, -1, 5, 3, 2);
    check_range(1, 1, 5, 1, 1);
    check_range(4, 3, 5, -1, 0);
    check_range(5, 9, 5, -1, 0);
    check_range(0, -6, 5, -1, 0);
    check_range(0, -1, 0, -1, 0);
    check_range(-1, 0, 0, -1, 0);
}

Test(args, scan_options_have_defaults_and_the_last_one_counts)
{
    struct bytes argv[] = {bytes_of("scan"),  bytes_of("0"), bytes_of("COUNT"), bytes_of("5"),
                           bytes_of("MATCH"), bytes_of("a"), bytes_of("match"), bytes_of("*"),
                           bytes_of("count"), bytes_of("7")};
    struct request rq = request_of(argv, 2);
    struct scan_options o;
    cr_assert_eq(args_scan_options(&rq, 2, false, &o), OK);
    cr_assert(o.count == 10 && !o.has_pattern && !o.has_type);
    rq.argc = 6;
    cr_assert_eq(args_scan_options(&rq, 2, false, &o), OK);
    cr_assert(o.count == 5 && o.has_pattern);
    cr_assert(scan_options_match(&o, bytes_of("a")) && !scan_options_match(&o, bytes_of("b")));
    rq.argc = 10;
    cr_assert_eq(args_scan_options(&rq, 2, false, &o), OK);
    cr_assert_eq(o.count, 7);
    cr_assert(scan_options_match(&o, bytes_of("b")));
}

Test(args, type_is_an_option_of_scan_alone)
{
    struct bytes argv[] = {bytes_of("scan"), bytes_of("0"), bytes_of("TYPE"), bytes_of("ZSet")};
    struct request rq = request_of(argv, 4);
    struct scan_options o = {.count = 3};
    cr_assert_eq(args_scan_options(&rq, 2, false, &o), ERR_SYNTAX);
    cr_assert_eq(o.count, 3);
    cr_assert_eq(args_scan_options(&rq, 2, true, &o), OK);
    cr_assert(o.has_type && o.type == TYPE_ZSET);
    argv[3] = bytes_of("zsets");
    cr_assert_eq(args_scan_options(&rq, 2, true, &o), OK);
    cr_assert(o.has_type && o.type == TYPE_COUNT);
}

Test(args, cursors_may_be_signed_and_wrap_as_strtoul)
{
    struct bytes argv[] = {bytes_of("18446744073709551615")};
    struct request rq = request_of(argv, 1);
    uint64_t cursor;
    cr_assert(arg_scan_cursor(&rq, 0, &cursor) == OK && cursor == UINT64_MAX);
    argv[0] = bytes_of("-1");
    cr_assert(arg_scan_cursor(&rq, 0, &cursor) == OK && cursor == UINT64_MAX);
    argv[0] = bytes_of("18446744073709551616");
    cr_assert_eq(arg_scan_cursor(&rq, 0, &cursor), ERR_INVALID_CURSOR);
    argv[0] = bytes_make("", 0);
    cr_assert(arg_scan_cursor(&rq, 0, &cursor) == OK && cursor == 0);
}
