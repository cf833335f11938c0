/* Prefetching looks at values before the requests of a window run, and must never be seen: what it
 * looked at may be another thing, or gone, by then. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "shard/cmd/families.h"
#include "shard/prefetch.h"
#include "shard/type/skiplist.h"
#include "tests/unit/parcel_fixture.h"
#include "tests/unit/random.h"

#define ROUNDS 400

static void add_families(struct shard_fixture *f)
{
    shard_fixture_add_family(f, &list_family);
    shard_fixture_add_family(f, &hash_family);
    shard_fixture_add_family(f, &set_family);
    shard_fixture_add_family(f, &zset_family);
}

/* Keys of every type under every command, so that types are often wrong. */
static void make_line(struct random *r, char *line, size_t size)
{
    static const char *const forms[] = {
        "ZADD k%u %u m%u",
        "ZADD k%u %u m%u",
        "ZREM k%u m%u m%u",
        "ZRANK k%u m%u",
        "ZINCRBY k%u %u m%u",
        "ZRANGE k%u 0 %u",
        "ZREVRANGE k%u 0 %u",
        "ZRANGE k%u -5 %u",
        "ZADD k%u nan%u m%u",
        "ZADD k%u inf m%u",
        "ZRANGE k%u 0 x%u",
        "ZSCORE k%u m%u",
        "LPUSH k%u %u m%u",
        "RPUSH k%u m%u m%u",
        "LPOP k%u",
        "RPOP k%u %u",
        "HSET k%u m%u m%u",
        "HGET k%u m%u",
        "HDEL k%u m%u m%u",
        "SADD k%u m%u m%u",
        "SISMEMBER k%u m%u",
        "SREM k%u m%u m%u",
        "DEL k%u",
        "SET k%u m%u",
        "SCARD k%u",
        "ZREMRANGEBYRANK k%u 0 %u",
        "ZCOUNT k%u %u inf",
    };
    unsigned kind = (unsigned)random_below(r, 4), key = (unsigned)random_below(r, 3);
    const char *form = forms[random_below(r, ARRAY_LEN(forms))];
    bool is_rare = form[0] == 'D' || form[0] == 'S';
    if (is_rare && random_below(r, 8) != 0) form = forms[random_below(r, 2)];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(line, size, form, kind * 10 + key, (unsigned)random_below(r, 400),
             (unsigned)random_below(r, 400));
#pragma GCC diagnostic pop
}

/* So that all of them are in their big encodings. */
static void fill(struct shard_fixture *f)
{
    static const char *const forms[] = {"ZADD k%u %u m%u", "HSET k1%u m%u m%u", "SADD k2%u m%u m%u",
                                        "RPUSH k3%u %u some-more-bytes-than-others-have-%u"};
    char line[96];
    shard_here = f->shard;
    for (unsigned i = 0; i < 4 * 3 * 600; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(line, sizeof line, forms[i % 4], i / 4 % 3, i / 12, i / 12);
#pragma GCC diagnostic pop
        shard_fixture_run_line(f, line);
    }
}

Test(prefetch, windows_on_collections_give_what_single_commands_give)
{
    struct random r = random_make();
    struct parcel_fixture p = parcel_fixture_make();
    struct shard_fixture single = shard_fixture_make();
    add_families(&p.f);
    add_families(&single);
    fill(&p.f);
    fill(&single);
    for (unsigned round = 0; round < ROUNDS; round++) {
        char lines[PARCEL_REQUESTS_MAX][64];
        unsigned count = (unsigned)random_below(&r, PARCEL_REQUESTS_MAX + 1);
        shard_here = p.f.shard;
        parcel_fixture_begin(&p);
        for (unsigned i = 0; i < count; i++) {
            make_line(&r, lines[i], sizeof lines[i]);
            parcel_fixture_add_line(&p, lines[i]);
        }
        parcel_fixture_run(&p);
        shard_here = single.shard;
        for (unsigned i = 0; i < count; i++) {
            struct bytes expected = shard_fixture_run_line(&single, lines[i]);
            cr_assert(bytes_equal(parcel_fixture_reply(&p, i), expected), "%s", lines[i]);
        }
    }
    shard_fixture_free(&single);
    shard_here = p.f.shard;
    parcel_fixture_free(&p);
}

Test(prefetch, a_scout_goes_to_the_end_of_the_way_and_no_further)
{
    struct mem mem;
    mem_init(&mem, "test");
    struct skiplist list;
    skiplist_init(&list, 1);
    struct skiplist_scout s = skiplist_scout_start(&list, 5, BYTES_LITERAL("m"));
    while (skiplist_scout_step(&s)) continue;
    for (unsigned i = 0; i < 1000; i++) {
        struct skiplist_node *n = skiplist_try_make(&mem, &list, i, BYTES_LITERAL("m"));
        cr_assert_not_null(n);
        skiplist_insert(&list, n);
    }
    for (unsigned i = 0; i < 1010; i++) {
        unsigned steps = 0;
        s = skiplist_scout_start(&list, i, BYTES_LITERAL("m"));
        while (skiplist_scout_step(&s)) steps++;
        cr_assert_lt(steps, 200);
        cr_assert(!skiplist_scout_step(&s));
    }
    struct skiplist_node *n;
    while ((n = skiplist_first(&list))) {
        skiplist_remove(&list, n);
        skiplist_free_node(&mem, n);
    }
    mem_deinit(&mem);
}
