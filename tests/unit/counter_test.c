/* Counters with one writer. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "base/counter.h"

Test(counter, adds_and_sets)
{
    struct counter c = {0};
    cr_assert_eq(counter_read(&c), 0);
    counter_add(&c, 3);
    counter_add(&c, 4);
    cr_assert_eq(counter_read(&c), 7);
    counter_set(&c, 100);
    cr_assert_eq(counter_read(&c), 100);
}

#define ADDITIONS 200000

static void *add_often(void *counter)
{
    for (int i = 0; i < ADDITIONS; i++) counter_add(counter, 1);
    return NULL;
}

Test(counter, a_reader_never_sees_it_shrink)
{
    struct counter c = {0};
    pthread_t writer;
    uint64_t last = 0;
    cr_assert_eq(pthread_create(&writer, NULL, add_often, &c), 0);
    while (last < ADDITIONS) {
        uint64_t now = counter_read(&c);
        cr_assert_geq(now, last);
        last = now;
    }
    pthread_join(writer, NULL);
    cr_assert_eq(counter_read(&c), ADDITIONS);
}
