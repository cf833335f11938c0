/* What arguments live in when the piece that they arrived in is not enough. */
#include <criterion/criterion.h>

#include "net/payload.h"

static struct mem mem;

Test(payload, has_room_for_its_arguments_and_goes_with_its_last_count)
{
    mem_init(&mem, "test");
    struct payload *p = payload_try_create(&mem, 1000);
    cr_assert_not_null(p);
    cr_assert_eq(p->refs, 1);
    cr_assert_eq(p->argc, 1000);
    for (uint32_t i = 0; i < p->argc; i++) p->argv[i] = BYTES_LITERAL("argument");
    p->refs = 3;
    payload_unref(p);
    payload_unref(p);
    cr_assert_gt(mem_live_bytes(&mem), 16000);
    payload_unref(p);
    mem_deinit(&mem);
}

Test(payload, without_arguments_has_no_array)
{
    mem_init(&mem, "test");
    struct payload *p = payload_try_create(&mem, 0);
    cr_assert_not_null(p);
    cr_assert_null(p->argv);
    payload_unref(p);
    mem_deinit(&mem);
}

Test(payload, owns_the_bytes_that_were_gathered)
{
    mem_init(&mem, "test");
    struct payload *p = payload_try_create(&mem, 1);
    cr_assert_not_null(p);
    p->bytes.mem = &mem;
    buf_append_text(&p->bytes, "gathered");
    payload_unref(p);
    mem_deinit(&mem);
}

Test(payload, no_memory_is_an_answer)
{
    mem_init(&mem, "test");
    fault_set("mem_alloc", 1);
    struct payload *p = payload_try_create(&mem, 1);
    fault_set("mem_alloc", 0);
    if (p) payload_unref(p); /* there is no such fault point in this build */
    mem_deinit(&mem);
}

Test(payload, a_copied_piece_has_the_same_bytes_and_the_same_counts_as_one_of_the_kernel)
{
    mem_init(&mem, "test");
    char data[] = "some bytes\0and more";
    struct env_buffer *b = input_try_copy(&mem, data, sizeof data);
    cr_assert_not_null(b);
    cr_assert_neq((const void *)b->data, (const void *)data);
    cr_assert_eq(memcmp(b->data, data, sizeof data), 0);
    cr_assert_null(b->loop);
    env_buffer_ref(b);
    input_unref(b);
    cr_assert_eq(memcmp(b->data, data, sizeof data), 0);
    input_unref(b);
    mem_deinit(&mem);
}

Test(payload, holds_one_count_of_a_piece_for_all_its_requests)
{
    mem_init(&mem, "test");
    struct env_buffer *b = input_try_copy(&mem, "x", 1);
    struct payload *p = payload_try_create(&mem, 1);
    cr_assert(b && p);
    p->buffer = b;
    p->refs = 2;
    payload_unref(p);
    cr_assert_eq(b->refs, 1);
    payload_unref(p); /* and the piece with it */
    mem_deinit(&mem);
}
