#include <criterion/criterion.h>
#include <stdio.h>

#include "base/text.h"
#include "random.h"
#include "shard/lazyfree.h"
#include "shard/object.h"
#include "shard_fixture.h"

static struct shard_fixture f;
static struct shard *sh;

static void setup(void)
{
    f = shard_fixture_make();
    sh = f.shard;
}

static void teardown(void)
{
    fault_set("mem_try_alloc", 0);
    shard_fixture_free(&f);
}

TestSuite(keyspace, .init = setup, .fini = teardown);

static struct key key_in(uint32_t db, const char *name)
{
    struct bytes b = bytes_of(name);
    return (struct key){b, bytes_hash(b, sh->keys.seed), db};
}

static struct key key_of(const char *name)
{
    return key_in(0, name);
}

static void set(const char *name, const char *value, int64_t deadline_ms)
{
    struct key k = key_of(name);
    cr_assert_eq(keyspace_set_string(sh, &k, bytes_of(value), deadline_ms), OK);
    keyspace_validate(sh);
}

static struct entry *peek(const char *name)
{
    struct key k = key_of(name);
    return keyspace_peek(sh, &k);
}

static void expect_value(const char *name, const char *value, enum encoding encoding)
{
    char scratch[TEXT_I64_BYTES_MAX];
    struct entry *e = peek(name);
    cr_assert(e, "%s is missing", name);
    cr_assert(bytes_equal(entry_string(e, scratch), bytes_of(value)));
    cr_assert_eq(entry_encoding(e), encoding);
}

/* ---- values ---- */

Test(keyspace, a_value_that_is_set_is_found_with_the_encoding_of_redis)
{
    set("a", "abc", DEADLINE_NONE);
    expect_value("a", "abc", ENCODING_EMBSTR);
    set("a", "12", DEADLINE_NONE);
    expect_value("a", "12", ENCODING_INT);
    set("a", "-9223372036854775808", DEADLINE_NONE);
    expect_value("a", "-9223372036854775808", ENCODING_INT);
    set("a", "012", DEADLINE_NONE);
    expect_value("a", "012", ENCODING_EMBSTR);
    const char *long_text = "123456789012345678901234567890123456789012345";
    set("a", long_text, DEADLINE_NONE);
    expect_value("a", long_text, ENCODING_RAW);
    struct key k = key_of("a");
    cr_assert_eq(keyspace_set_text(sh, &k, bytes_of("3"), DEADLINE_NONE), OK);
    expect_value("a", "3", ENCODING_EMBSTR);
    cr_assert_eq(keyspace_set_integer(sh, &k, -7, DEADLINE_NONE), OK);
    expect_value("a", "-7", ENCODING_INT);
    cr_assert_eq(keyspace_size(sh, 0), 1);
}

Test(keyspace, a_value_may_come_from_the_entry_that_it_replaces)
{
    set("a", "some text that is here", DEADLINE_NONE);
    struct key k = key_of("a");
    struct bytes tail = entry_string(peek("a"), NULL);
    tail.data += 5;
    tail.size -= 5;
    cr_assert_eq(keyspace_set_string(sh, &k, tail, DEADLINE_NONE), OK);
    expect_value("a", "text that is here", ENCODING_EMBSTR);
    set("a", "text here", DEADLINE_NONE); /* The class has room for a deadline too. */
    struct bytes same = entry_string(peek("a"), NULL);
    cr_assert_eq(keyspace_set_string(sh, &k, same, sh->now_ms + 5), OK);
    expect_value("a", "text here", ENCODING_EMBSTR);
}

Test(keyspace, a_value_of_the_same_class_is_overwritten_in_place)
{
    set("key:000000000001", "a value of thirty-two bytes, say", DEADLINE_NONE);
    const struct entry *before = peek("key:000000000001");
    uint64_t bytes = mem_live_bytes(&sh->mem);
    set("key:000000000001", "another one of thirty-three bytes", DEADLINE_NONE);
    cr_assert_eq(peek("key:000000000001"), before);
    set("key:000000000001", "with a deadline beside it, 32 b.", sh->now_ms + 5);
    cr_assert_eq(peek("key:000000000001"), before);
    cr_assert_eq(mem_live_bytes(&sh->mem), bytes);
}

Test(keyspace, an_edited_string_is_raw_and_keeps_its_deadline)
{
    static const char *const values[] = {"12", "abc",
                                         "1234567890123456789012345678901234567890123456789"};
    for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
        set("a", values[i], sh->now_ms + 5000);
        size_t size = strlen(values[i]);
        struct key k = key_of("a");
        char *data;
        cr_assert_eq(keyspace_edit_string(sh, &k, 0, &data), OK); /* Never shorter. */
        expect_value("a", values[i], ENCODING_RAW);
        for (size_t to = size; to < 5000; to = to * 3 / 2 + 1) {
            cr_assert_eq(keyspace_edit_string(sh, &k, to, &data), OK);
            struct bytes all = entry_string(peek("a"), NULL);
            cr_assert_eq(all.data, data);
            cr_assert_eq(all.size, to);
            cr_assert_eq(memcmp(data, values[i], size), 0);
            for (size_t at = size; at < to; at++) cr_assert_eq(data[at], 0);
            cr_assert_eq(entry_deadline_ms(peek("a")), sh->now_ms + 5000);
            keyspace_validate(sh);
        }
    }
    struct key none = key_of("none");
    char *data;
    cr_assert_eq(keyspace_edit_string(sh, &none, 3, &data), OK);
    cr_assert_eq(memcmp(data, "\0\0\0", 3), 0);
    cr_assert_eq(entry_encoding(peek("none")), ENCODING_RAW);
}

Test(keyspace, appending_byte_by_byte_costs_at_most_twice_the_size)
{
    struct key k = key_of("a");
    uint64_t before = mem_live_bytes(&sh->mem);
    char *data, *last = NULL;
    unsigned moves = 0;
    for (size_t size = 1; size <= 100000; size++) {
        cr_assert_eq(keyspace_edit_string(sh, &k, size, &data), OK);
        data[size - 1] = (char)size;
        moves += data != last;
        last = data;
    }
    for (size_t i = 0; i < 100000; i++) cr_assert_eq(data[i], (char)(i + 1));
    cr_assert_leq(moves, 40);
    cr_assert_leq(mem_live_bytes(&sh->mem) - before, 300000);
}

Test(keyspace, a_ready_entry_replaces_what_was_there)
{
    set("a", "1", DEADLINE_NONE);
    struct key k = key_of("a");
    struct entry *e = object_try_thaw(&sh->mem, BYTES_LITERAL("\0\3xyz"), k.name, 0);
    keyspace_put_entry(sh, &k, e);
    expect_value("a", "xyz", ENCODING_EMBSTR);
    cr_assert_eq(keyspace_size(sh, 0), 1);
}

/* ---- deadlines ---- */

Test(keyspace, a_key_lives_at_its_deadline_and_is_gone_a_millisecond_later)
{
    set("a", "1", sh->now_ms + 10);
    shard_fixture_pass_ms(&f, 10);
    cr_assert(peek("a"));
    shard_fixture_pass_ms(&f, 1);
    cr_assert_null(peek("a"));
    cr_assert_eq(counter_read(&sh->counters.expired_keys), 1);
    cr_assert_eq(keyspace_size(sh, 0), 0);
    keyspace_validate(sh);
}

Test(keyspace, every_way_to_a_key_sees_that_it_has_expired)
{
    struct key k = key_of("a"), other = key_of("b");
    struct entry *e;
    for (unsigned way = 0; way < 9; way++) {
        set("a", "1", sh->now_ms + 1);
        shard_fixture_pass_ms(&f, 2);
        switch (way) {
        case 0:
            cr_assert_eq(keyspace_find(sh, &k, TYPE_STRING, &e), ERR_NO_KEY);
            break;
        case 1:
            cr_assert_null(keyspace_find_any(sh, &k));
            break;
        case 2:
            cr_assert_eq(keyspace_peek_typed(sh, &k, TYPE_STRING, &e), ERR_NO_KEY);
            break;
        case 3:
            cr_assert_not(keyspace_delete(sh, &k));
            break;
        case 4:
            cr_assert_not(keyspace_set_deadline(sh, &k, sh->now_ms + 100));
            break;
        case 5:
            cr_assert_eq(keyspace_move(sh, &k, &other), ERR_NO_KEY);
            break;
        case 6:
            cr_assert_null(keyspace_random(sh, 0));
            break;
        case 7: /* KEEP keeps nothing of a key that is gone. */
            cr_assert_eq(keyspace_set_integer(sh, &k, 1, DEADLINE_KEEP), OK);
            cr_assert_not(entry_has_deadline(peek("a")));
            cr_assert(keyspace_delete(sh, &k));
            break;
        case 8:
            cr_assert_null(peek("a"));
            break;
        }
        cr_assert_eq(counter_read(&sh->counters.expired_keys), way + 1, "way %u", way);
        cr_assert_eq(keyspace_size(sh, 0), 0);
    }
}

Test(keyspace, a_write_removes_replaces_or_keeps_the_deadline)
{
    int64_t later = sh->now_ms + 60000;
    static const char *const values[] = {"1", "short",
                                         "a text of more than forty-four bytes, so raw"};
    for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
        set("a", "x", later);
        set("a", values[i], DEADLINE_KEEP);
        cr_assert_eq(entry_deadline_ms(peek("a")), later);
        cr_assert_eq(counter_read(&sh->keys.databases[0]->expires_count), 1);
        set("a", values[i], later + 7777);
        cr_assert_eq(entry_deadline_ms(peek("a")), later + 7777);
        set("a", values[i], DEADLINE_NONE);
        cr_assert_not(entry_has_deadline(peek("a")));
        cr_assert_eq(counter_read(&sh->keys.databases[0]->expires_count), 0);
    }
}

Test(keyspace, setting_a_deadline_keeps_value_and_encoding)
{
    struct key k = key_of("a");
    char text[3000];
    for (size_t size = 0; size < sizeof text - 1; size += 7) {
        memset(text, 'x', size);
        text[size] = '\0';
        set("a", text, DEADLINE_NONE);
        enum encoding encoding = entry_encoding(peek("a"));
        for (int64_t at = sh->now_ms + 3; at < sh->now_ms + 4000; at += 1999) {
            cr_assert(keyspace_set_deadline(sh, &k, at));
            cr_assert_eq(entry_deadline_ms(peek("a")), at);
            expect_value("a", text, encoding);
            keyspace_validate(sh);
        }
        cr_assert(keyspace_set_deadline(sh, &k, DEADLINE_NONE));
        cr_assert_not(entry_has_deadline(peek("a")));
        expect_value("a", text, encoding);
        keyspace_validate(sh);
    }
    struct key none = key_of("none");
    cr_assert_not(keyspace_set_deadline(sh, &none, 5));
}

/* ---- statistics and clocks ---- */

Test(keyspace, reads_count_hits_and_misses_and_peeks_do_not)
{
    struct key a = key_of("a"), b = key_of("b");
    struct entry *e;
    set("a", "1", DEADLINE_NONE);
    peek("a");
    peek("b");
    cr_assert_eq(keyspace_peek_typed(sh, &b, TYPE_STRING, &e), ERR_NO_KEY);
    cr_assert_eq(counter_read(&sh->counters.keyspace_hits), 0);
    cr_assert_eq(counter_read(&sh->counters.keyspace_misses), 0);
    cr_assert_eq(keyspace_find(sh, &a, TYPE_STRING, &e), OK);
    cr_assert_eq(keyspace_find(sh, &a, TYPE_LIST, &e), ERR_WRONG_TYPE);
    cr_assert_eq(keyspace_find(sh, &b, TYPE_LIST, &e), ERR_NO_KEY);
    keyspace_find_any(sh, &a);
    keyspace_find_any(sh, &b);
    cr_assert_eq(counter_read(&sh->counters.keyspace_hits), 3);
    cr_assert_eq(counter_read(&sh->counters.keyspace_misses), 2);
    cr_assert_eq(keyspace_peek_typed(sh, &a, TYPE_LIST, &e), ERR_WRONG_TYPE);
}

Test(keyspace, idle_time_starts_anew_with_a_read_and_not_with_a_peek)
{
    struct key k = key_of("a");
    set("a", "1", DEADLINE_NONE);
    shard_fixture_pass_ms(&f, 5000);
    cr_assert_eq(keyspace_idle_ms(sh, peek("a")), 5000);
    keyspace_find_any(sh, &k);
    cr_assert_eq(keyspace_idle_ms(sh, peek("a")), 0);
    shard_fixture_pass_ms(&f, 3000);
    cr_assert_eq(keyspace_idle_ms(sh, peek("a")), 3000);
    set("a", "2", DEADLINE_NONE);
    cr_assert_eq(keyspace_idle_ms(sh, peek("a")), 0);
}

Test(keyspace, frequency_grows_with_the_logarithm_and_decays_with_minutes)
{
    f.config->evict_policy = EVICT_LFU;
    struct key k = key_of("a");
    set("a", "1", DEADLINE_NONE);
    cr_assert_eq(keyspace_frequency(sh, peek("a")), 5);
    unsigned last = 5;
    for (unsigned i = 0; i < 1000; i++) {
        keyspace_find_any(sh, &k);
        unsigned now = keyspace_frequency(sh, peek("a"));
        cr_assert(now == last || now == last + 1);
        last = now;
    }
    cr_assert(last > 10 && last < 30, "%u", last); /* 18 in Redis's documentation. */
    for (unsigned i = 0; i < 100000; i++) keyspace_find_any(sh, &k);
    unsigned busy = keyspace_frequency(sh, peek("a"));
    cr_assert(busy > 120 && busy < 170, "%u", busy); /* 142 */
    shard_fixture_pass_ms(&f, 3 * 60000);
    cr_assert_eq(keyspace_frequency(sh, peek("a")), busy - 3);
    set("a", "a value that is too long to be put where the old one has been", DEADLINE_NONE);
    cr_assert_geq(keyspace_frequency(sh, peek("a")), busy - 3);
    shard_fixture_pass_ms(&f, 1000 * 60000);
    cr_assert_eq(keyspace_frequency(sh, peek("a")), 0);
    f.config->lfu_decay_minutes = 0;
    cr_assert_geq(keyspace_frequency(sh, peek("a")), busy - 3);
}

Test(keyspace, statistics_of_a_database_are_exact)
{
    struct keyspace_stats stats;
    cr_assert_not(keyspace_read_stats(&sh->keys, 0, &stats));
    set("a", "1", DEADLINE_NONE);
    set("b", "1", sh->now_ms + 100);
    cr_assert(keyspace_read_stats(&sh->keys, 0, &stats));
    cr_assert_eq(stats.keys, 2);
    cr_assert_eq(stats.expires, 1);
    cr_assert_not(keyspace_read_stats(&sh->keys, 1, &stats));
}

Test(keyspace, the_bytes_of_a_table_are_told_as_it_grows_and_when_it_is_gone)
{
    struct keyspace_stats stats;
    char name[32];
    for (unsigned i = 0; i < 3000; i++) {
        sprintf(name, "key:%u", i);
        struct key k = key_of(name);
        cr_assert_eq(keyspace_set_string(sh, &k, bytes_of("v"), DEADLINE_NONE), OK);
        cr_assert(keyspace_read_stats(&sh->keys, 0, &stats));
        cr_assert_eq(stats.table_bytes, sh->keys.databases[0]->keys.bytes);
    }
    cr_assert_gt(stats.table_bytes, 3000 * 8);
    keyspace_flush(sh, 0);
    cr_assert(keyspace_read_stats(&sh->keys, 0, &stats));
    cr_assert_eq(stats.table_bytes, 0);
}

/* ---- moving, flushing ---- */

Test(keyspace, moving_takes_value_and_deadline_along_and_replaces_the_target)
{
    set("a", "12", sh->now_ms + 500);
    set("other", "x", DEADLINE_NONE);
    struct key a = key_of("a"), other = key_of("other"), far = key_in(3, "other");
    cr_assert_eq(keyspace_move(sh, &a, &a), OK);
    cr_assert_eq(keyspace_move(sh, &a, &other), OK);
    cr_assert_null(peek("a"));
    expect_value("other", "12", ENCODING_INT);
    cr_assert_eq(entry_deadline_ms(peek("other")), sh->now_ms + 500);
    cr_assert_eq(keyspace_move(sh, &other, &far), OK);
    cr_assert_eq(keyspace_size(sh, 0), 0);
    cr_assert_eq(keyspace_size(sh, 3), 1);
    cr_assert_eq(entry_deadline_ms(keyspace_peek(sh, &far)), sh->now_ms + 500);
    cr_assert_eq(keyspace_move(sh, &a, &far), ERR_NO_KEY);
    keyspace_validate(sh);
}

Test(keyspace, swapping_exchanges_two_databases)
{
    set("a", "1", sh->now_ms + 100);
    keyspace_swap(sh, 0, 5);
    cr_assert_eq(keyspace_size(sh, 0), 0);
    cr_assert_eq(keyspace_size(sh, 5), 1);
    struct key k = key_in(5, "a");
    cr_assert(keyspace_peek(sh, &k));
    keyspace_swap(sh, 5, 0);
    cr_assert(peek("a"));
    keyspace_validate(sh);
}

Test(keyspace, a_flushed_database_is_empty_at_once_and_freed_in_slices)
{
    char name[32];
    keyspace_flush(sh, 2);
    for (unsigned i = 0; i < 5000; i++) {
        sprintf(name, "key:%u", i);
        set(name, "v", i % 2 ? sh->now_ms + 1000 : DEADLINE_NONE);
        if (i == 100) i = 4000;
    }
    keyspace_flush(sh, 0);
    cr_assert_eq(keyspace_size(sh, 0), 0);
    cr_assert_null(peek("key:5"));
    cr_assert_eq(free_list_pending(sh->free_list), 1100);
    set("key:5", "new", DEADLINE_NONE);
    while (free_list_step(sh)) {
    }
    cr_assert_eq(free_list_pending(sh->free_list), 0);
    expect_value("key:5", "new", ENCODING_EMBSTR);
    cr_assert_eq(counter_read(&sh->keys.databases[0]->expires_count), 0);
}

static void count_key(void *context, struct entry *e, UNUSED uint64_t position)
{
    cr_assert(entry_key(e).size);
    ++*(unsigned *)context;
}

Test(keyspace, a_scan_tells_live_keys_and_asks_for_about_count_slots_at_a_time)
{
    char name[32];
    for (unsigned i = 0; i < 2000; i++) {
        sprintf(name, "key:%u", i);
        struct key k = key_of(name);
        int64_t at = i < 500 ? sh->now_ms + 1 : DEADLINE_NONE;
        cr_assert_eq(keyspace_set_string(sh, &k, k.name, at), OK);
    }
    shard_fixture_pass_ms(&f, 10);
    unsigned keys = 0, calls = 0;
    uint64_t cursor = 0;
    do {
        unsigned before = keys;
        cursor = keyspace_scan(sh, 0, cursor, 10, count_key, &keys);
        cr_assert_leq(keys - before, 60);
        calls++;
    } while (cursor);
    cr_assert_eq(keys, 1500);
    cr_assert(calls > 50 && calls < 250, "%u", calls);
    cr_assert_eq(keyspace_scan(sh, 9, 0, 10, count_key, &keys), 0);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_not(keyspace_is_expired(sh, keyspace_random(sh, 0)));
    }
    cr_assert_null(keyspace_random(sh, 9));
}

Test(keyspace, the_hash_of_a_request_is_that_of_its_first_key)
{
    struct bytes argv[] = {BYTES_LITERAL("del"), BYTES_LITERAL("a"), BYTES_LITERAL("b")};
    struct command row = {.name = "del", .keys = KEYS_ALL(KEY_RM)};
    struct request rq = {.command = &row, .argv = argv, .argc = 3, .db = 4, .hashed_index = 1};
    rq.hash = bytes_hash(argv[1], sh->keys.seed);
    for (uint32_t i = 1; i < 3; i++) {
        struct key k = request_key(sh, &rq, i);
        cr_assert(bytes_equal(k.name, argv[i]));
        cr_assert_eq(k.hash, bytes_hash(argv[i], sh->keys.seed));
        cr_assert_eq(k.db, 4);
    }
}

/* ---- failing allocations ---- */

static enum err try_operation(unsigned which)
{
    struct key a = key_of("a"), b = key_of("another name"), none = key_of("none");
    static char big[5000];
    char *data;
    switch (which) {
    case 0:
        return keyspace_set_string(sh, &a, bytes_make(big, sizeof big), DEADLINE_NONE);
    case 1:
        return keyspace_set_string(sh, &none, bytes_make(big, sizeof big), DEADLINE_NONE);
    case 2:
        return keyspace_edit_string(sh, &a, 200, &data);
    case 3:
        return keyspace_edit_string(sh, &a, 2000, &data);
    case 4:
        return keyspace_edit_string(sh, &none, 2000, &data);
    case 5:
        return keyspace_move(sh, &a, &b);
    case 6:
        return keyspace_set_deadline(sh, &a, sh->now_ms + 999) ? OK : ERR_ALLOC;
    default:
        return keyspace_set_integer(sh, &none, 1, DEADLINE_NONE);
    }
}

Test(keyspace, an_operation_without_memory_changes_nothing)
{
    /* 8 + 1 + 39 bytes fill a class, so that every change moves the entry. */
    const char *value = "a value of exactly 39 bytes: 123456789.";
    for (unsigned which = 0; which < 8; which++) {
        set("a", value, DEADLINE_NONE);
        set("another name", "x", DEADLINE_NONE);
        uint64_t before = mem_live_bytes(&sh->mem);
        enum err e = ERR_ALLOC;
        for (unsigned count = 1; e == ERR_ALLOC; count++) {
            fault_set("mem_try_alloc", count);
            e = try_operation(which);
            keyspace_validate(sh);
            if (e == OK) break;
            cr_assert_eq(e, ERR_ALLOC);
            expect_value("a", value, ENCODING_EMBSTR);
            cr_assert_not(entry_has_deadline(peek("a")));
            cr_assert_null(peek("none"));
            expect_value("another name", "x", ENCODING_EMBSTR);
            cr_assert_eq(mem_live_bytes(&sh->mem), before);
            cr_assert_leq(count, 3);
        }
        fault_set("mem_try_alloc", 0);
        keyspace_flush(sh, 0);
        while (free_list_step(sh)) {
        }
    }
    struct key a = key_of("a");
    char *data;
    set("a", value, DEADLINE_NONE);
    cr_assert_eq(keyspace_edit_string(sh, &a, (size_t)1 << 50, &data), ERR_ALLOC);
    expect_value("a", value, ENCODING_EMBSTR);
}

/* ---- against a model ---- */

#define MODEL_KEYS 60
#define MODEL_DBS 3
#define MODEL_TEXT_MAX 2500

struct model_value {
    bool present;
    int64_t deadline_ms;
    size_t size;
    char fill;
};

static struct model_value model[MODEL_DBS][MODEL_KEYS];

static bool is_alive(const struct model_value *v)
{
    return v->present && (v->deadline_ms == 0 || sh->now_ms <= v->deadline_ms);
}

static void check_key(const struct key *k, const struct model_value *v)
{
    struct entry *e = keyspace_peek(sh, k);
    cr_assert_eq(e != NULL, is_alive(v));
    if (!e) return;
    cr_assert_eq(entry_deadline_ms(e), v->deadline_ms);
    struct bytes text = entry_string(e, NULL);
    cr_assert_eq(text.size, v->size);
    for (size_t i = 0; i < text.size; i++) cr_assert_eq(text.data[i], v->fill);
}

static void model_step(struct random *r)
{
    char name[32], name_to[32];
    static char text[MODEL_TEXT_MAX];
    uint32_t db = (uint32_t)random_below(r, MODEL_DBS),
             db_to = (uint32_t)random_below(r, MODEL_DBS);
    unsigned n = (unsigned)random_below(r, MODEL_KEYS), m = (unsigned)random_below(r, MODEL_KEYS);
    sprintf(name, "%s%u", n % 7 ? "key:" : "a-rather-long-name:", n);
    sprintf(name_to, "%s%u", m % 7 ? "key:" : "a-rather-long-name:", m);
    struct key k = key_in(db, name), to = key_in(db_to, name_to);
    struct model_value *v = &model[db][n], *w = &model[db_to][m];
    if (!is_alive(v)) *v = (struct model_value){0};
    size_t size = random_below(r, 4) ? random_below(r, 100) : random_below(r, MODEL_TEXT_MAX);
    int64_t at = random_below(r, 2) ? sh->now_ms + (int64_t)random_below(r, 3000) : 0;
    char *data;
    switch (random_below(r, 8)) {
    case 0:
    case 1:
        memset(text, 'a' + (int)(n % 26), size);
        if (random_below(r, 3) == 0) at = DEADLINE_KEEP;
        cr_assert_eq(keyspace_set_string(sh, &k, bytes_make(text, size), at), OK);
        *v = (struct model_value){true, at == DEADLINE_KEEP ? v->deadline_ms : at, size,
                                  (char)('a' + n % 26)};
        break;
    case 2:
        cr_assert_eq(keyspace_edit_string(sh, &k, size, &data), OK);
        v->size = MAX(v->size, size);
        v->present = true;
        v->fill = 'z';
        memset(data, 'z', v->size);
        break;
    case 3:
        cr_assert_eq(keyspace_delete(sh, &k), v->present);
        *v = (struct model_value){0};
        break;
    case 4:
        cr_assert_eq(keyspace_set_deadline(sh, &k, at), v->present);
        v->deadline_ms = v->present ? at : 0;
        break;
    case 5:
        cr_assert_eq(keyspace_move(sh, &k, &to), v->present ? OK : ERR_NO_KEY);
        if (v->present && v != w) {
            *w = *v;
            *v = (struct model_value){0};
        }
        break;
    case 6:
        shard_fixture_pass_ms(&f, (int64_t)random_below(r, 40));
        break;
    default:
        if (random_below(r, 100)) break;
        keyspace_swap(sh, db, db_to);
        if (db == db_to) break;
        for (unsigned i = 0; i < MODEL_KEYS; i++) {
            struct model_value swapped = model[db][i];
            model[db][i] = model[db_to][i];
            model[db_to][i] = swapped;
        }
    }
    check_key(&k, &model[db][n]);
    check_key(&to, &model[db_to][m]);
}

Test(keyspace, behaves_as_a_model_under_random_operations)
{
    struct random r = random_make();
    for (unsigned i = 0; i < 40000; i++) {
        model_step(&r);
        keyspace_validate(sh);
        if (i % 10000 == 9999) {
            keyspace_flush(sh, 1);
            memset(model[1], 0, sizeof model[1]);
        }
        (void)free_list_step(sh);
    }
}
