/* reply_test.c: the bytes of every reply type, as redis-server 7.0.15 sends them (DEBUG PROTOCOL in
 * both versions), and chunks. */
#include "base/reply.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/unit/random.h"

struct fixture {
    struct mem mem;
    struct reply reply;
    struct buf text; /* what reply_take gave, joined */
};

static void fixture_init(struct fixture *f, uint8_t resp)
{
    *f = (struct fixture){.text = {.mem = &f->mem}};
    mem_init(&f->mem, "reply_test");
    reply_init(&f->reply, NULL, &f->mem);
    f->reply.resp = resp;
}

static void fixture_deinit(struct fixture *f)
{
    buf_clear(&f->text);
    mem_deinit(&f->mem);
}

/* Takes the reply; NUL-terminated, because the tests compare texts. */
static const char *sent(struct fixture *f)
{
    reply_validate(&f->reply);
    uint64_t size = reply_size(&f->reply);
    struct chunk *chain = reply_take(&f->reply);
    reply_validate(&f->reply);
    cr_assert_eq(reply_size(&f->reply), 0);
    f->text.size = 0;
    for (struct chunk *c = chain; c; c = c->next) {
        cr_assert(c->size > 0 || c == chain);
        buf_append(&f->text, c->data, c->size);
    }
    chunk_free_chain(&f->mem, chain);
    cr_assert_eq(f->text.size, size);
    buf_append(&f->text, "", 1);
    f->text.size--;
    return f->text.data;
}

/* ---- without memory ---- */

static const char lost_text[] = "-ERR out of memory: the value does not fit\r\n";

Test(reply, a_long_reply_without_memory_becomes_an_error_behind_what_was_complete)
{
    static char big[100000];
    struct fixture f;
    fixture_init(&f, 2);
    memset(big, 'x', sizeof big);
    reply_ok(&f.reply);
    f.reply.start = reply_size(&f.reply);
    reply_array(&f.reply, 3);
    fault_set("mem_try_alloc", 1);
    for (int i = 0; i < 3; i++) reply_bulk(&f.reply, bytes_make(big, i == 1 ? 100 : sizeof big));
    fault_set("mem_try_alloc", 0);
    /* A block of the usual size was there in the end. */
    cr_assert_not(f.reply.is_lost);
    reply_drop(&f.reply);

    reply_array(&f.reply, 3);
    reply_lose(&f.reply);
    for (int i = 0; i < 3; i++) reply_bulk(&f.reply, bytes_make(big, i == 1 ? 100 : sizeof big));
    for (int i = 0; i < 10000; i++) reply_i64(&f.reply, 1000000 + i);
    reply_close(&f.reply);
    cr_assert_eq(f.reply.error_count, 1);
    char expected[100];
    snprintf(expected, sizeof expected, "+OK\r\n%s", lost_text);
    cr_assert_str_eq(sent(&f), expected);
    fixture_deinit(&f);
}

Test(reply, a_short_reply_is_never_lost)
{
    struct fixture f;
    fixture_init(&f, 2);
    fault_set("mem_try_alloc", 1);
    reply_ok(&f.reply);
    cr_assert_not(f.reply.is_lost);
    cr_assert_str_eq(sent(&f), "+OK\r\n");
    fixture_deinit(&f);
}

Test(reply, what_is_taken_is_complete)
{
    struct fixture f;
    fixture_init(&f, 2);
    reply_array(&f.reply, 2);
    reply_lose(&f.reply);
    reply_ok(&f.reply);
    reply_close(&f.reply);
    cr_assert_str_eq(sent(&f), lost_text);
    fixture_deinit(&f);
}

/* ---- every type in both versions ---- */

static void make_string(struct reply *r)
{
    reply_bulk_text(r, "Hello World");
}

static void make_integer(struct reply *r)
{
    reply_i64(r, 12345);
}

static void make_double(struct reply *r)
{
    reply_double(r, 3.141);
}

static void make_infinities(struct reply *r)
{
    reply_double(r, (double)INFINITY);
    reply_double(r, (double)-INFINITY);
}

static void make_null(struct reply *r)
{
    reply_null(r);
}

static void make_null_array(struct reply *r)
{
    reply_null_array(r);
}

static void make_array(struct reply *r)
{
    reply_array(r, 3);
    for (int i = 0; i < 3; i++) reply_i64(r, i);
}

static void make_set(struct reply *r)
{
    reply_set(r, 3);
    for (int i = 0; i < 3; i++) reply_i64(r, i);
}

static void make_map(struct reply *r)
{
    reply_map(r, 3);
    for (int i = 0; i < 3; i++) {
        reply_i64(r, i);
        reply_bool(r, i == 1);
    }
}

static void make_attribute(struct reply *r)
{
    if (r->resp == 3) {
        reply_attribute(r, 1);
        reply_bulk_text(r, "key-popularity");
        reply_array(r, 2);
        reply_bulk_text(r, "key:123");
        reply_i64(r, 90);
    }
    reply_bulk_text(r, "Some real reply following the attribute");
}

static void make_push(struct reply *r)
{
    reply_push(r, 2);
    reply_bulk_text(r, "server-cpu-usage");
    reply_i64(r, 42);
}

static void make_verbatim(struct reply *r)
{
    reply_verbatim(r, "txt", BYTES_LITERAL("This is a verbatim\nstring"));
}

static void make_big_number(struct reply *r)
{
    reply_big_number(r, BYTES_LITERAL("1234567999999999999999999999999999999"));
}

static void make_broken_number(struct reply *r)
{
    reply_big_number(r, BYTES_LITERAL("1\r\n2"));
}

static void make_ok(struct reply *r)
{
    reply_ok(r);
    reply_status(r, "PONG");
    reply_status(r, "a\rb\n");
}

static void make_error(struct reply *r)
{
    reply_err(r, ERR_SYNTAX);
    reply_error(r, "ERR ab\r\nc %d\r\n", 7);
}

static void make_bulk_i64(struct reply *r)
{
    reply_bulk_i64(r, 7);
    reply_bulk_i64(r, INT64_MIN);
}

/* clang-format off */
static const struct {
    void (*make)(struct reply *r);
    const char *resp2, *resp3;
} types[] = {
    { make_string,     "$11\r\nHello World\r\n", "$11\r\nHello World\r\n" },
    { make_integer,    ":12345\r\n", ":12345\r\n" },
    { make_double,     "$5\r\n3.141\r\n", ",3.141\r\n" },
    { make_infinities, "$3\r\ninf\r\n$4\r\n-inf\r\n", ",inf\r\n,-inf\r\n" },
    { make_null,       "$-1\r\n", "_\r\n" },
    { make_null_array, "*-1\r\n", "_\r\n" },
    { make_array,      "*3\r\n:0\r\n:1\r\n:2\r\n", "*3\r\n:0\r\n:1\r\n:2\r\n" },
    { make_set,        "*3\r\n:0\r\n:1\r\n:2\r\n", "~3\r\n:0\r\n:1\r\n:2\r\n" },
    { make_map,        "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n", "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n" },
    { make_attribute,  "$39\r\nSome real reply following the attribute\r\n",
      "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n$39\r\nSome real reply following the attribute\r\n" },
    { make_push,       "*2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n", ">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n" },
    { make_verbatim,   "$25\r\nThis is a verbatim\nstring\r\n", "=29\r\ntxt:This is a verbatim\nstring\r\n" },
    { make_big_number, "$37\r\n1234567999999999999999999999999999999\r\n", "(1234567999999999999999999999999999999\r\n" },
    { make_broken_number, "$4\r\n1  2\r\n", "(1  2\r\n" },
    { make_ok,         "+OK\r\n+PONG\r\n+a b \r\n", "+OK\r\n+PONG\r\n+a b \r\n" },
    { make_error,      "-ERR syntax error\r\n-ERR ab  c 7\r\n", "-ERR syntax error\r\n-ERR ab  c 7\r\n" },
    { make_bulk_i64,   "$1\r\n7\r\n$20\r\n-9223372036854775808\r\n", "$1\r\n7\r\n$20\r\n-9223372036854775808\r\n" },
};
/* clang-format on */

Test(reply, types_look_as_redis_sends_them)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct fixture f;
        fixture_init(&f, 2);
        types[i].make(&f.reply);
        cr_expect_str_eq(sent(&f), types[i].resp2);
        f.reply.resp = 3;
        types[i].make(&f.reply);
        cr_expect_str_eq(sent(&f), types[i].resp3);
        fixture_deinit(&f);
    }
}

/* ---- numbers and lengths ---- */

Test(reply, integers_of_every_length_are_printed_whole)
{
    static const int64_t edges[] = {0, 9, 10, 99, 100, 101, 999, 1000, INT64_MAX, INT64_MIN};
    struct fixture f;
    fixture_init(&f, 2);
    char expected[64];
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        for (int sign = 0; sign < 2; sign++) {
            int64_t value = sign ? (int64_t)(0 - (uint64_t)edges[i]) : edges[i];
            reply_i64(&f.reply, value);
            snprintf(expected, sizeof(expected), ":%" PRId64 "\r\n", value);
            cr_expect_str_eq(sent(&f), expected);
        }
    }
    fixture_deinit(&f);
}

Test(reply, heads_carry_every_count)
{
    static const uint64_t large[] = {1000, 65535, 4294967296, UINT64_MAX};
    struct fixture f;
    fixture_init(&f, 3);
    char expected[64];
    for (uint64_t i = 0; i < 200 + ARRAY_LEN(large); i++) {
        uint64_t count = i < 200 ? i : large[i - 200];
        reply_array(&f.reply, count);
        reply_set(&f.reply, count);
        snprintf(expected, sizeof(expected), "*%" PRIu64 "\r\n~%" PRIu64 "\r\n", count, count);
        cr_expect_str_eq(sent(&f), expected);
    }
    fixture_deinit(&f);
}

Test(reply, strings_of_every_length_are_copied_whole)
{
    struct fixture f;
    fixture_init(&f, 3);
    char expected[1024];
    for (size_t size = 0; size < 500; size++) {
        char *value =
            malloc(size + 1); /* of exact size, so that a sanitizer sees a read beyond it */
        for (size_t i = 0; i < size; i++) value[i] = (char)('a' + (i * 7 + size) % 26);
        value = realloc(value, size ? size : 1);
        int printed =
            snprintf(expected, sizeof(expected), "$%zu\r\n%.*s\r\n", size, (int)size, value);
        cr_assert_lt((size_t)printed, sizeof(expected));
        reply_bulk(&f.reply, bytes_make(value, size));
        cr_expect_str_eq(sent(&f), expected);
        snprintf(expected, sizeof(expected), "=%zu\r\ntxt:%.*s\r\n", size + 4, (int)size, value);
        reply_verbatim(&f.reply, "txt", bytes_make(value, size));
        cr_expect_str_eq(sent(&f), expected);
        free(value);
    }
    reply_bulk(&f.reply, (struct bytes){NULL, 0});
    cr_expect_str_eq(sent(&f), "$0\r\n\r\n");
    fixture_deinit(&f);
}

/* ---- errors ---- */

Test(reply, errors_are_one_line_and_are_counted)
{
    struct fixture f;
    fixture_init(&f, 2);
    reply_ok(&f.reply);
    cr_assert_eq(f.reply.error_count, 0);
    reply_error(&f.reply, "ERR unknown command '%s'", "a\r\nb\nc");
    reply_err(&f.reply, ERR_WRONG_TYPE);
    cr_assert_eq(f.reply.error_count, 2);
    cr_assert_str_eq(sent(&f),
                     "+OK\r\n-ERR unknown command 'a  b c'\r\n"
                     "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    fixture_deinit(&f);
}

Test(reply, an_error_may_be_long)
{
    for (int size = 500; size < 40000; size += size < 530 ? 1 : 9999) {
        struct fixture f;
        fixture_init(&f, 2);
        char *expected = malloc((size_t)size + 10);
        snprintf(expected, (size_t)size + 10, "-ERR %0*d\r\n", size, 7);
        reply_error(&f.reply, "ERR %0*d", size, 7);
        cr_expect_str_eq(sent(&f), expected);
        reply_error(&f.reply, "ERR %0*d\n", size, 7);
        cr_expect_str_eq(sent(&f), expected);
        free(expected);
        fixture_deinit(&f);
    }
}

/* ---- chunks ---- */

union lent {
    struct chunk chunk;
    char room[sizeof(struct chunk) + 64];
};

static union lent lent_make(void)
{
    return (union lent){.chunk = {.capacity = 64, .home = CHUNK_LENT, .size = 12345}};
}

Test(reply, nothing_written_is_no_chain)
{
    struct fixture f;
    fixture_init(&f, 2);
    union lent lent = lent_make();
    cr_assert_null(reply_take(&f.reply));
    reply_init(&f.reply, &lent.chunk, &f.mem);
    cr_assert_eq(reply_size(&f.reply), 0);
    cr_assert_null(reply_take(&f.reply));
    cr_assert_not_null(reply_reserve(&f.reply, 1000));
    cr_assert_null(reply_take(&f.reply));
    fixture_deinit(&f);
}

Test(reply, a_small_reply_stays_in_the_lent_chunk)
{
    struct fixture f;
    fixture_init(&f, 2);
    union lent lent = lent_make();
    reply_init(&f.reply, &lent.chunk, &f.mem);
    for (int i = 0; i < 12; i++) reply_ok(&f.reply);
    cr_assert_eq(mem_live_bytes(&f.mem), 0);
    cr_assert_eq(reply_size(&f.reply), 60);
    cr_assert_eq(reply_take(&f.reply), &lent.chunk);
    cr_assert_eq(lent.chunk.size, 60);
    cr_assert_null(lent.chunk.next);
    fixture_deinit(&f);
}

Test(reply, overflow_chunks_name_their_home)
{
    struct fixture f;
    fixture_init(&f, 2);
    union lent lent = lent_make();
    reply_init(&f.reply, &lent.chunk, &f.mem);
    f.reply.home = 7;
    f.reply.owner_is_shard = 1;
    for (int i = 0; i < 13; i++) reply_ok(&f.reply);
    struct chunk *chain = reply_take(&f.reply);
    cr_assert_eq(chain, &lent.chunk);
    cr_assert_eq(chain->size, 60);
    cr_assert_eq(chain->next->size, 5);
    cr_assert_eq(chain->next->home, 7);
    cr_assert_eq(chain->next->owner_is_shard, 1);
    cr_assert_geq(chain->next->capacity, REPLY_CHUNK_BYTES);
    chunk_free_chain(&f.mem, chain);
    fixture_deinit(&f);
}

Test(reply, large_values_fill_chunks_that_grow)
{
    struct fixture f;
    fixture_init(&f, 2);
    size_t size = 10 << 20;
    char *value = malloc(size);
    memset(value, 'v', size);
    reply_bulk(&f.reply, bytes_make(value, size));
    reply_validate(&f.reply);
    struct chunk *chain = reply_take(&f.reply);
    unsigned count = 0;
    for (struct chunk *c = chain; c; c = c->next, count++) {
        cr_assert(c->next == NULL || c->size == c->capacity || c == chain);
    }
    cr_assert_leq(count, 20);
    chunk_free_chain(&f.mem, chain);
    free(value);
    fixture_deinit(&f);
}

Test(reply, many_small_replies_fill_chunks_that_grow)
{
    struct fixture f;
    fixture_init(&f, 2);
    for (int i = 0; i < 2000000; i++) reply_ok(&f.reply);
    struct chunk *chain = reply_take(&f.reply);
    unsigned count = 0;
    for (struct chunk *c = chain; c; c = c->next) count++;
    cr_assert_leq(count, 20);
    chunk_free_chain(&f.mem, chain);
    fixture_deinit(&f);
}

Test(reply, room_that_was_not_used_leaves_no_chunk)
{
    struct fixture f;
    fixture_init(&f, 2);
    union lent lent = lent_make();
    reply_init(&f.reply, &lent.chunk, &f.mem);
    for (size_t size = 100; size < 1000000; size *= 4) {
        cr_assert_not_null(reply_reserve(&f.reply, size));
        reply_validate(&f.reply);
    }
    reply_ok(&f.reply);
    char filler[1000] = {0};
    while (f.reply.cursor != f.reply.limit) {
        reply_raw(&f.reply, filler, MIN(sizeof(filler), (size_t)(f.reply.limit - f.reply.cursor)));
    }
    for (size_t size = 100; size < 10000000; size *= 4) {
        cr_assert_not_null(reply_reserve(&f.reply, size));
        reply_validate(&f.reply);
    }
    reply_ok(&f.reply);
    uint64_t size = reply_size(&f.reply);
    struct chunk *chain = reply_take(&f.reply);
    cr_assert_eq(chain, &lent.chunk);
    cr_assert_eq(chain->size, 0);
    cr_assert_eq(chain->next->size, size - 5);
    cr_assert_eq(chain->next->next->size, 5);
    cr_assert_null(chain->next->next->next);
    chunk_free_chain(&f.mem, chain);
    fixture_deinit(&f);
}

Test(reply, try_reserve_fails_without_a_trace)
{
    struct fixture f;
    fixture_init(&f, 2);
    reply_ok(&f.reply);
    uint64_t live = mem_live_bytes(&f.mem);
    fault_set("mem_try_alloc", 1);
    cr_assert_null(reply_try_reserve(&f.reply, 100000));
    cr_assert_null(reply_try_reserve(&f.reply, (size_t)1 << 40));
    cr_assert_null(reply_try_reserve(&f.reply, SIZE_MAX));
    reply_validate(&f.reply);
    cr_assert_eq(mem_live_bytes(&f.mem), live);
    cr_assert_str_eq(sent(&f), "+OK\r\n");
    fixture_deinit(&f);
}

Test(reply, a_string_fits_what_was_reserved_for_it)
{
    for (size_t size = 1; size < 1 << 24; size = size * 3 + 1) {
        struct fixture f;
        fixture_init(&f, 3);
        char *value = malloc(size);
        memset(value, 'v', size);
        cr_assert_not_null(reply_try_reserve(&f.reply, REPLY_STRING_BYTES(size)));
        uint64_t live = mem_live_bytes(&f.mem);
        reply_verbatim(&f.reply, "txt", bytes_make(value, size));
        cr_assert_eq(mem_live_bytes(&f.mem), live);
        sent(&f);
        free(value);
        fixture_deinit(&f);
    }
}

/* ---- random replies against a plain buffer ---- */

static void random_part(struct reply *r, struct buf *expected, const char *letters,
                        struct random *random)
{
    uint32_t size = (uint32_t)random_below(random, random_below(random, 20) ? 150 : 60000);
    char *room;
    switch (random_below(random, 6)) {
    case 0:
        reply_i64(r, (int64_t)size - 75);
        buf_printf(expected, ":%d\r\n", (int)size - 75);
        break;
    case 1:
        reply_bulk(r, bytes_make(letters, size));
        buf_printf(expected, "$%u\r\n%.*s\r\n", size, (int)size, letters);
        break;
    case 2:
        reply_raw(r, letters, size);
        buf_append(expected, letters, size);
        break;
    case 3:
        reply_array(r, size);
        buf_printf(expected, "*%u\r\n", size);
        break;
    case 4: /* reserved, but used in part or not at all */
        room = reply_reserve(r, size);
        size = (uint32_t)(random_below(random, size + 1) * random_below(random, 2));
        if (size) memcpy(room, letters, size);
        reply_advance(r, size);
        buf_append(expected, letters, size);
        break;
    case 5:
        reply_error(r, "ERR %.*s", (int)size, letters);
        buf_printf(expected, "-ERR %.*s\r\n", (int)size, letters);
        break;
    }
}

Test(reply, random_replies_leave_as_they_were_written)
{
    struct random random = random_make();
    static char letters[60001];
    for (size_t i = 0; i < sizeof(letters) - 1; i++) letters[i] = (char)('a' + i % 26);
    for (int round = 0; round < 300; round++) {
        struct fixture f;
        fixture_init(&f, 2);
        union lent lent = lent_make();
        if (random_below(&random, 2)) reply_init(&f.reply, &lent.chunk, &f.mem);
        struct buf expected = {.mem = &f.mem};
        for (uint64_t i = random_below(&random, 200); i > 0; i--) {
            random_part(&f.reply, &expected, letters, &random);
            reply_validate(&f.reply);
            cr_assert_eq(reply_size(&f.reply), expected.size);
        }
        sent(&f);
        buf_append(&expected, "", 1);
        expected.size--;
        cr_assert(bytes_equal(buf_view(&f.text), buf_view(&expected)), "round %d", round);
        buf_clear(&expected);
        fixture_deinit(&f);
    }
}
