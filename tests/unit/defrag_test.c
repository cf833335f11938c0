#include "shard/defrag.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "random.h"
#include "shard/cmd/families.h"
#include "shard/digest.h"
#include "shard/lazyfree.h"
#include "shard/object.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream_group.h"
#include "shard/type/zset.h"
#include "shard_fixture.h"

/* Commands come from tables of formats. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

static struct shard_fixture f;
static struct shard *sh;

static void setup(void)
{
    f = shard_fixture_make();
    sh = f.shard;
    shard_fixture_add_family(&f, &list_family);
    shard_fixture_add_family(&f, &set_family);
    shard_fixture_add_family(&f, &zset_family);
    shard_fixture_add_family(&f, &hash_family);
    shard_fixture_add_family(&f, &hash_expire_family);
    shard_fixture_add_family(&f, &stream_family);
    f.config->stream_node_max_bytes = 1024;
    f.config->stream_node_max_entries = 10;
    f.config->active_defrag = true;
    f.config->defrag_scan_fields_max = 1000;
    f.config->set_max_intset_entries = 64;
    f.config->set_max_listpack_entries = 32;
    f.config->set_max_listpack_value_bytes = 64;
    f.config->zset_max_listpack_entries = 32;
    f.config->zset_max_listpack_value_bytes = 64;
    f.config->hash_max_listpack_entries = 32;
    f.config->list_max_listpack_size = -1;
    defrag_set_effort(&sh->defrag, 100);
}

static void teardown(void)
{
    shard_fixture_free(&f);
}

TestSuite(defrag, .init = setup, .fini = teardown);

static void slice(void)
{
    sh->defrag.next_ns = 0;
    (void)defrag_step(sh);
}

static void run_cycle(void)
{
    uint64_t cycles = counter_read(&sh->defrag.cycles);
    while (counter_read(&sh->defrag.cycles) == cycles) slice();
}

/* ---- what must not change ---- */

static void add_value(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct digest one = {0};
    digest_mix(&one, entry_key(e));
    digest_mix_value(&one, e);
    digest_xor(context, &one);
}

static struct digest digest_of_all(void)
{
    struct digest d = {0};
    uint64_t cursor = 0;
    for (uint32_t db = 0; db < 2; db++) {
        do cursor = keyspace_scan(sh, db, cursor, 100, add_value, &d);
        while (cursor);
    }
    return d;
}

static void validate_value(UNUSED void *context, struct entry *e, UNUSED uint64_t position)
{
    struct list l;
    struct set s;
    struct zset z;
    struct hash h;
    switch (entry_type(e)) {
    case TYPE_LIST:
        l = list_of(e);
        list_validate(&l);
        break;
    case TYPE_SET:
        s = set_of(e);
        set_validate(&s);
        break;
    case TYPE_ZSET:
        z = zset_of(e);
        zset_validate(&z);
        break;
    case TYPE_HASH:
        h = hash_of(e);
        hash_validate(&h);
        break;
    case TYPE_STREAM:
        stream_validate(stream_of(e));
        break;
    case TYPE_STRING:
    case TYPE_COUNT:
        break;
    }
}

static void validate_all(void)
{
    keyspace_validate(sh);
    uint64_t cursor = 0;
    for (uint32_t db = 0; db < 2; db++) {
        do cursor = keyspace_scan(sh, db, cursor, 100, validate_value, NULL);
        while (cursor);
    }
}

/* ---- a random life ---- */

/* The last word is a number. */
static void random_stream_command(struct random *r)
{
    static const char *const forms[] = {
        "XADD x%u * field %u",
        "XADD x%u * field %u",
        "XADD x%u * field %u other text",
        "XADD x%u * field %u",
        "XREADGROUP GROUP g one COUNT 5 STREAMS x%u > %.0u",
        "XREADGROUP GROUP g two COUNT 3 STREAMS x%u > %.0u",
        "XAUTOCLAIM x%u g two 0 0 COUNT %u",
        "XTRIM x%u MAXLEN %u",
        "XGROUP CREATE x%u g 0 MKSTREAM %.0u",
    };
    char line[200];
    unsigned key = (unsigned)random_below(r, 3), value = (unsigned)random_below(r, 1000);
    snprintf(line, sizeof line, forms[random_below(r, ARRAY_LEN(forms))], key, value);
    shard_fixture_run_line(&f, line);
}

static void random_command(struct random *r)
{
    static const char *const forms[] = {
        "SET s%u %0*u",       "SET s%u %0*u EX 1000",    "APPEND s%u %0*u",
        "LPUSH l%u %0*u",     "RPUSH l%u %0*u",          "SADD m%u %0*u",
        "ZADD z%u 5 %0*u",    "HSET h%u %0*u value",     "HSET h%u field %0*u",
        "SADD m%u text-%0*u", "HSET h%u long-%0*u text", "ZADD z%u 1.5 long-%0*u",
    };
    static const char *const removals[] = {"LPOP l%u 20",   "RPOP l%u 20", "SPOP m%u 5",
                                           "ZPOPMIN z%u 5", "DEL s%u",     "HDEL h%u field"};
    char line[8000];
    unsigned key = (unsigned)random_below(r, 20), width = (unsigned)random_below(r, 90) + 1,
             value = (unsigned)random_below(r, 1000);
    if (random_below(r, 20) == 0) width = 1000 + (unsigned)random_below(r, 6000);
    f.db = random_below(r, 4) == 0;
    if (random_below(r, 6) == 0) {
        snprintf(line, sizeof line, removals[random_below(r, ARRAY_LEN(removals))], key);
    } else if (random_below(r, 40) == 0) {
        snprintf(line, sizeof line, "HPEXPIRE h%u 900000 FIELDS 1 field", key);
    } else {
        snprintf(line, sizeof line, forms[random_below(r, ARRAY_LEN(forms))], key, width, value);
    }
    shard_fixture_run_line(&f, line);
}

Test(defrag, everything_may_move_at_any_time)
{
    struct random r = random_make();
    sh->defrag.force = true;
    for (unsigned round = 0; round < 500; round++) {
        for (unsigned i = 0; i < 20; i++) random_command(&r);
        for (unsigned i = 0; i < 10; i++) random_stream_command(&r);
        shard_fixture_pass_ms(&f, 1);
        struct digest before = digest_of_all();
        uint64_t live = mem_live_bytes(&sh->mem);
        slice();
        struct digest after = digest_of_all();
        cr_assert_eq(memcmp(&before, &after, sizeof before), 0, "round %u", round);
        cr_assert_eq(mem_live_bytes(&sh->mem), live);
        if (round % 10 == 0) validate_all();
    }
    validate_all();
    cr_assert_gt(counter_read(&sh->defrag.hits), 10000);
    cr_assert_gt(counter_read(&sh->defrag.cycles), 3);
}

Test(defrag, a_big_value_is_worked_off_while_it_changes)
{
    struct random r = random_make();
    sh->defrag.force = true;
    char line[200];
    for (unsigned i = 0; i < 20000; i++) {
        static const char *const forms[] = {"RPUSH l %060u", "SADD m member-%u",
                                            "ZADD z %u member-%u", "HSET h field-%u value-%u"};
        snprintf(line, sizeof line, forms[i % 4], i, i);
        shard_fixture_run_line(&f, line);
    }
    for (unsigned round = 0; round < 300; round++) {
        sh->defrag.next_ns = 0;
        (void)defrag_step(sh);
        static const char *const forms[] = {
            "LPOP l 10",        "RPOP l 10",       "LPUSH l new-%u",  "SREM m member-%u",
            "ZREM z member-%u", "HDEL h field-%u", "ZADD z 7 new-%u", "LTRIM l 5 -6"};
        for (unsigned i = 0; i < 40; i++) {
            snprintf(line, sizeof line, forms[random_below(&r, ARRAY_LEN(forms))],
                     (unsigned)random_below(&r, 20000));
            shard_fixture_run_line(&f, line);
        }
    }
    validate_all();
    run_cycle();
    validate_all();
}

/* ---- what it is good for ---- */

static double waste_percent(void)
{
    struct mem_totals totals;
    struct mem_usage u;
    mem_read_totals(&totals);
    mem_read_usage(&sh->mem, &u);
    return 100.0 * (double)(u.active - u.allocated) / (double)u.allocated;
}

static void fill(const char *form, unsigned count)
{
    char line[400];
    for (unsigned i = 0; i < count; i++) {
        snprintf(line, sizeof line, form, i, i);
        shard_fixture_run_line(&f, line);
    }
}

static void thin_out(const char *form, unsigned count)
{
    char line[400];
    for (unsigned i = 0; i < count; i++) {
        if (i % 8 == 0) continue;
        snprintf(line, sizeof line, form, i);
        shard_fixture_run_line(&f, line);
    }
    while (free_list_pending(sh->free_list)) free_list_step(sh);
}

static void expect_dense_after_cycles(void)
{
    if (!mem_knows_slabs()) return; /* Another allocator: nothing to ask. */
    double before = waste_percent();
    for (unsigned i = 0; i < 3; i++) run_cycle();
    double after = waste_percent();
    cr_assert_gt(before, 100, "%.1f %%", before);
    cr_assert_lt(after, 25, "%.1f %% before, %.1f %% after", before, after);
    validate_all();
}

Test(defrag, sparse_slabs_of_keys_become_free)
{
    fill("SET key:%u %0200u", 40000);
    thin_out("DEL key:%u", 40000);
    expect_dense_after_cycles();
}

Test(defrag, sparse_slabs_of_members_become_free)
{
    fill("HSET h field-%u %0100u", 40000);
    fill("ZADD z %u member-%0100u", 40000);
    fill("SADD m member-%0100u", 40000);
    thin_out("HDEL h field-%u", 40000);
    thin_out("ZREM z member-%0100u", 40000);
    thin_out("SREM m member-%0100u", 40000);
    expect_dense_after_cycles();
}

Test(defrag, sparse_slabs_of_streams_become_free)
{
    char line[400];
    for (unsigned i = 0; i < 60000; i++) {
        snprintf(line, sizeof line, "XADD s:%u * field %0100u", i % 64, i);
        shard_fixture_run_line(&f, line);
    }
    thin_out("DEL s:%u", 64);
    expect_dense_after_cycles();
}

Test(defrag, sparse_slabs_of_list_nodes_become_free)
{
    fill("RPUSH list:%u %0300u", 20000);
    thin_out("DEL list:%u", 20000);
    expect_dense_after_cycles();
}

Test(defrag, dense_memory_stays_where_it_is)
{
    fill("SET key:%u %0200u", 40000);
    run_cycle();
    uint64_t hits = counter_read(&sh->defrag.hits), misses = counter_read(&sh->defrag.misses);
    cr_assert_lt(hits, 2000, "%lu", (unsigned long)hits);
    cr_assert_gt(misses, 38000);
}

/* ---- when it works ---- */

Test(defrag, without_an_effort_nothing_moves)
{
    sh->defrag.force = true;
    fill("SET key:%u %0200u", 1000);
    defrag_set_effort(&sh->defrag, 0);
    slice();
    cr_assert_eq(counter_read(&sh->defrag.hits), 0);
    cr_assert_gt(defrag_next_ns(sh), sh->now_ns);
    f.config->active_defrag = false;
    cr_assert_eq(defrag_next_ns(sh), UINT64_MAX);
}

static const struct entry *entry_of(const char *name)
{
    struct bytes b = bytes_of(name);
    struct key k = {b, bytes_hash(b, sh->keys.seed), 0};
    return keyspace_peek(sh, &k);
}

/* Holds a key, as a command over several shards does. */
static uint64_t lock(const char *name)
{
    static const struct command hold = {.name = "hold", .keys = KEYS_FIRST(KEY_RW)};
    static struct parcel pc;
    struct bytes argv[] = {BYTES_LITERAL("hold"), bytes_of(name)};
    parcel_reset(&pc, 0, 0);
    pc.requests[0] = (struct request){.command = &hold, .argc = 2, .argv = argv};
    pc.request_count = 1;
    sh->parcel = &pc;
    uint64_t token = locks_take(sh, &pc.requests[0]);
    sh->parcel = NULL;
    return token;
}

Test(defrag, a_locked_key_stays_where_it_is)
{
    sh->defrag.force = true;
    fill("SET key:%u %0200u", 10);
    uint64_t token = lock("key:3");
    const struct entry *held = entry_of("key:3"), *other = entry_of("key:4");
    run_cycle();
    cr_assert_eq(entry_of("key:3"), held);
    cr_assert_neq(entry_of("key:4"), other);
    locks_release(sh, token);
    run_cycle();
    cr_assert_neq(entry_of("key:3"), held);
}

static void add_address(void *context, struct entry *e, uint64_t position)
{
    (void)position;
    *(uint64_t *)context = *(uint64_t *)context * 31 + (uintptr_t)e;
}

/* Of all fields of a hash. */
static uint64_t addresses_in(const char *name)
{
    const struct entry *e = entry_of(name);
    const struct dict *d = object_ops(TYPE_HASH)->table(entry_root(e), entry_encoding(e));
    uint64_t sum = 0, cursor = 0;
    do cursor = dict_scan(d, cursor, add_address, &sum);
    while (cursor);
    return sum;
}

Test(defrag, a_big_value_that_is_locked_meanwhile_stays_as_it_is)
{
    sh->defrag.force = true;
    fill("HSET h field-%u value-%u", 40000);
    while (sh->defrag.value_cursor == 0) slice();
    uint64_t token = lock("h"), before = addresses_in("h");
    run_cycle();
    run_cycle();
    cr_assert_eq(addresses_in("h"), before);
    locks_release(sh, token);
    run_cycle();
    cr_assert_neq(addresses_in("h"), before);
}

Test(defrag, a_value_that_visits_from_another_shard_stays_where_it_is)
{
    shard_fixture_free(&f);
    f = shard_fixture_make_one_of(0, 4);
    sh = f.shard;
    f.config->active_defrag = true;
    defrag_set_effort(&sh->defrag, 100);
    sh->defrag.force = true;
    fill("SET key:%u %0200u", 40);
    uint64_t token = lock("another");
    unsigned own = 0, guests = 0;
    const struct entry *before[40];
    char name[40][16];
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name[i], sizeof name[i], "key:%u", i);
        before[i] = entry_of(name[i]);
    }
    run_cycle();
    for (unsigned i = 0; i < 40; i++) {
        struct bytes b = bytes_of(name[i]);
        uint64_t hash = bytes_hash(b, sh->keys.seed);
        bool is_own = bytes_shard(b, hash, sh->keys.seed, 4) == 0;
        cr_assert_eq(entry_of(name[i]) != before[i], is_own, "%s", name[i]);
        own += is_own;
        guests += !is_own;
    }
    cr_assert(own > 0 && guests > 0);
    locks_release(sh, token);
}

static struct snapshot_chunk *chunks[64];
static unsigned chunk_count;

static void keep_chunk(struct shard *at, struct snapshot_chunk *chunk)
{
    (void)at;
    cr_assert_lt(chunk_count, ARRAY_LEN(chunks));
    chunks[chunk_count++] = chunk;
}

Test(defrag, nothing_moves_while_a_big_value_is_serialised)
{
    static const struct shard_hooks hooks = {.send_chunk = keep_chunk};
    sh->hooks = &hooks;
    sh->defrag.force = true;
    fill("HSET h field-%u value-%u", 3000);
    fill("SET s:%u %060u", 500);
    snapshot_begin(sh, SNAPSHOT_RECORDS);
    snapshot_slice_entries(sh, 10);
    while (!big_value_is_any(&sh->snapshot.big_values)) (void)snapshot_step(sh);
    uint64_t hits = counter_read(&sh->defrag.hits);
    for (unsigned i = 0; i < 10; i++) slice();
    cr_assert_eq(counter_read(&sh->defrag.hits), hits);
    while (big_value_is_any(&sh->snapshot.big_values)) (void)snapshot_step(sh);
    run_cycle();
    cr_assert_gt(counter_read(&sh->defrag.hits), hits);
    while (sh->snapshot.is_walking) (void)snapshot_step(sh);
    while (chunk_count > 0) snapshot_chunk_is_back(sh, chunks[--chunk_count]);
    validate_all();
}

/* By which LRU, LFU and S3-FIFO judge a key. */
Test(defrag, an_entry_keeps_its_access_clock)
{
    char name[16];
    fill("SET s:%u %060u", 500);
    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "s:%u", i);
        entry_set_clock((struct entry *)(uintptr_t)entry_of(name), i * 30011);
    }
    sh->defrag.force = true;
    run_cycle();
    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "s:%u", i);
        cr_assert_eq(entry_clock(entry_of(name)), i * 30011, "%s", name);
    }
}

/* ---- all of it ---- */

/* Every block that the lines have made, whatever it is part of, moves within a cycle. */
static void expect_all_to_move(const char *const *forms, unsigned count)
{
    shard_fixture_run_line(&f, "SET first x EX 1000"); /* makes the database itself */
    uint64_t baseline = atomic_load(&sh->mem.live_count);
    for (; *forms; forms++) fill(*forms, count);
    uint64_t made = atomic_load(&sh->mem.live_count) - baseline;
    sh->defrag.force = true;
    run_cycle(); /* what was under way */
    uint64_t hits = counter_read(&sh->defrag.hits);
    run_cycle();
    hits = counter_read(&sh->defrag.hits) - hits;
    cr_expect_geq(hits, made, "%lu of %lu blocks moved", (unsigned long)hits, (unsigned long)made);
    validate_all();
}
#define EXPECT_ALL_TO_MOVE(count, ...)                                                             \
    expect_all_to_move((const char *const[]){__VA_ARGS__, NULL}, (count))

Test(defrag, every_block_of_strings_and_small_values_moves)
{
    EXPECT_ALL_TO_MOVE(500, "SET s:%u %060u", "SET big:%u %0390u", "RPUSH l:%u a b %u",
                       "SADD i:%u 1 2 3 %u", "SADD m:%u text %u", "ZADD z:%u 1 a 2 %u",
                       "HSET h:%u f v g %u", "XADD x:%u 1-1 field %u");
}

Test(defrag, every_block_of_big_collections_moves)
{
    EXPECT_ALL_TO_MOVE(3000, "RPUSH l %0100u", "SADD m member-%u", "ZADD z %u member-%u",
                       "HSET h field-%u value-%u", "SET s:%u %0300u");
}

Test(defrag, every_block_of_field_deadlines_moves)
{
    EXPECT_ALL_TO_MOVE(300, "HSET h field-%u value-%u", "HPEXPIRE h 900000 FIELDS 1 field-%u");
}

Test(defrag, every_block_of_streams_moves)
{
    EXPECT_ALL_TO_MOVE(300, "XADD x 1-%u field %0100u", "XADD y:%u 1-1 field %0100u",
                       "XADD e 5-%u field value");
    EXPECT_ALL_TO_MOVE(60, "XGROUP CREATE e group-with-a-name-of-its-own-%u 0",
                       "XGROUP CREATECONSUMER e group-with-a-name-of-its-own-%u consumer-%0100u",
                       "XGROUP CREATECONSUMER e group-with-a-name-of-its-own-0 consumer-%0100u",
                       "XREADGROUP GROUP group-with-a-name-of-its-own-0 consumer-%0100u COUNT 3 "
                       "STREAMS e >");
}

Test(defrag, sparse_slabs_of_consumers_become_free)
{
    shard_fixture_run_line(&f, "XGROUP CREATE x g 0 MKSTREAM");
    fill("XGROUP CREATECONSUMER x g %0190u", 20000);
    thin_out("XGROUP DELCONSUMER x g %0190u", 20000);
    expect_dense_after_cycles();
}

static void set_colour(void *context, struct entry *e, UNUSED uint64_t position)
{
    entry_set_colour(e, *(const unsigned *)context);
}

static void check_colour(void *context, struct entry *e, UNUSED uint64_t position)
{
    cr_assert_eq(entry_colour(e), *(const unsigned *)context);
}

Test(defrag, an_entry_keeps_its_colour)
{
    fill("SET s:%u %060u", 500);
    fill("HSET h field-%u value-%u", 500);
    sh->defrag.force = true;
    for (unsigned colour = 0; colour <= ENTRY_COLOUR; colour += ENTRY_COLOUR) {
        uint64_t hits = counter_read(&sh->defrag.hits), cursor = 0;
        do cursor = keyspace_scan(sh, 0, cursor, 100, set_colour, &colour);
        while (cursor);
        run_cycle();
        cr_assert_gt(counter_read(&sh->defrag.hits), hits);
        do cursor = keyspace_scan(sh, 0, cursor, 100, check_colour, &colour);
        while (cursor);
    }
}
