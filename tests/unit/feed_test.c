#include "base/feed.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct mem mem;
static struct mesh mesh;
static struct thread threads[2];
static struct feed feed;
static char got[256];
static size_t slice; /* how much the reader takes at a time; 0: all */

static size_t read_some(struct thread *at, uint16_t sender_id, struct bytes data)
{
    cr_assert_eq(at, &threads[1]);
    cr_assert_eq(sender_id, 7);
    size_t n = slice && slice < data.size ? slice : data.size;
    strncat(got, data.data, n);
    return n;
}

static void start(void)
{
    mem_init(&mem, "feed_test");
    mesh_init(&mesh, 2, 2, 0);
    for (uint16_t i = 0; i < 2; i++) {
        threads[i] = (struct thread){.id = i, .net_id = i, .shard_id = -1, .mesh = &mesh};
        mesh.threads[i] = mesh.net_threads[i] = &threads[i];
    }
    feed_init(&feed, &mem, 7, read_some);
}

static void stop(void)
{
    feed_deinit(&feed);
    cr_assert_eq(mem_live_bytes(&mem), 0);
    mem_deinit(&mem);
    mesh_deinit(&mesh);
}

TestSuite(feed, .init = start, .fini = stop);

static void write_text(const char *text)
{
    buf_append(&feed.filling, text, strlen(text));
    feed_flush(&feed, &threads[0], 1);
}

static void settle(void)
{
    unsigned ran;
    do {
        ran = thread_run_calls(&threads[1]);
        ran += thread_run_calls(&threads[0]);
    } while (ran > 0);
}

Test(feed, bytes_arrive_in_their_order_and_what_comes_meanwhile_follows)
{
    write_text("one ");
    write_text("two ");
    write_text("three ");
    cr_assert_eq(feed_waiting_bytes(&feed), strlen("two three "));
    cr_assert_not(feed_is_empty(&feed));
    settle();
    cr_assert_str_eq(got, "one two three ");
    cr_assert(feed_is_empty(&feed));
}

Test(feed, a_reader_may_take_a_slice_in_each_step)
{
    slice = 3;
    write_text("abcdefgh");
    write_text("ij");
    cr_assert(thread_run_calls(&threads[1]));
    cr_assert_lt(strlen(got), 8, "the rest waits");
    settle();
    cr_assert_str_eq(got, "abcdefghij");
}

Test(feed, nothing_is_sent_when_there_is_nothing)
{
    feed_flush(&feed, &threads[0], 1);
    cr_assert(feed_is_empty(&feed));
    cr_assert_not(thread_run_calls(&threads[1]));
}
