#include "shard/digest.h"

#include <criterion/criterion.h>

#include "shard/dump.h"

static struct mem mem;

static void setup(void)
{
    mem_init(&mem, "test");
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(digest, .init = setup, .fini = teardown);

#define B(text) BYTES_LITERAL(text)

/* The value has that digest; with a deadline, when `deadline_ms` is not 0. */
static void expect_digest(struct bytes value, int64_t deadline_ms, const char *hex)
{
    struct entry *e = object_try_thaw(&mem, value, B("key"), deadline_ms);
    struct digest d = {0};
    char out[2 * SHA1_BYTES + 1] = "";
    cr_assert(e);
    digest_mix_value(&d, e);
    sha1_to_hex(d.bytes, out);
    cr_assert_str_eq(out, hex);
    object_free(&mem, e);
}

/* Texts of redis-server 7.0: DEBUG DIGEST-VALUE of the same values. */
Test(digest, of_a_value_is_that_of_redis_server)
{
    expect_digest(B("\0\1v"), 0, "d79ee9fe5d5ad902d7f6620efc3b07b75ddd742f");
    expect_digest(B("\0\1v"), 5000, "311b17018163335616e089f6b951c82c477335ac");
    expect_digest(B("\1\2\1a\1b"), 0, "62f55a532623cf6c3d81081db480b6fd8461eb3f");
    expect_digest(B("\2\2\1a\1b"), 0, "dd99329063ca0f1f28df2ac68d94b82fd95501c6");
    expect_digest(B("\5\2\1a\0\0\0\0\0\0\xf0\x3f\1b\0\0\0\0\0\0\0\x40"), 0,
                  "4de4c922f0624dd27cb8fc6bbf04d3d6df72c877");
    expect_digest(B("\4\1\1a\1b"), 0, "e74b6918422998016f954e98a1a8c89a0e1e4a25");
}

Test(digest, does_not_depend_on_the_encoding)
{
    expect_digest(B("\x82\2\1a\1b"), 0, "dd99329063ca0f1f28df2ac68d94b82fd95501c6");
    expect_digest(B("\x84\1\1a\1b"), 0, "e74b6918422998016f954e98a1a8c89a0e1e4a25");
    expect_digest(B("\x85\2\1a\0\0\0\0\0\0\xf0\x3f\1b\0\0\0\0\0\0\0\x40"), 0,
                  "4de4c922f0624dd27cb8fc6bbf04d3d6df72c877");
    expect_digest(B("\x12\2\1\1a\1\1b"), 0, "62f55a532623cf6c3d81081db480b6fd8461eb3f");
}

Test(digest, depends_on_order_only_when_mixed)
{
    struct digest added[2] = {0}, mixed[2] = {0};
    digest_add(&added[0], B("a"));
    digest_add(&added[0], B("b"));
    digest_add(&added[1], B("b"));
    digest_add(&added[1], B("a"));
    cr_assert(bytes_equal(digest_view(&added[0]), digest_view(&added[1])));
    digest_mix(&mixed[0], B("a"));
    digest_mix(&mixed[0], B("b"));
    digest_mix(&mixed[1], B("b"));
    digest_mix(&mixed[1], B("a"));
    cr_assert_not(bytes_equal(digest_view(&mixed[0]), digest_view(&mixed[1])));
}
