#include <criterion/criterion.h>
#include <stdlib.h>

#include "random.h"
#include "shard/shard.h"
#include "shard/type/hash.h"

static struct mem mem;
static struct hash h;
static const struct shard_config config = {.hash_max_listpack_entries = 16,
                                           .hash_max_listpack_value_bytes = 20};
static struct shard shard = {.config = &config, .keys = {.seed = 7}};

static void setup(void)
{
    mem_init(&mem, "test");
    shard_here = &shard;
    cr_assert(hash_try_create(&mem, &h));
}

static void teardown(void)
{
    hash_validate(&h);
    hash_free(&mem, &h);
    mem_deinit(&mem);
}

TestSuite(hash, .init = setup, .fini = teardown);

#define B(text) BYTES_LITERAL(text)

static bool set_deadline(struct bytes field, int64_t deadline_ms)
{
    struct hash_undo undo;
    if (!hash_try_change_deadline(&mem, &h, field, deadline_ms, &undo)) return false;
    hash_keep_change(&mem, &undo);
    return true;
}
#define NOW 1000000

static bool set(struct bytes field, struct bytes value, int64_t deadline_ms)
{
    bool added;
    struct hash_pair pair = {field, value, deadline_ms};
    cr_assert(hash_try_set(&mem, &config, &h, &pair, &added));
    return added;
}

static bool set_text(const char *field, const char *value)
{
    return set(bytes_of(field), bytes_of(value), 0);
}

static void set_numbers(int count)
{
    for (int i = 0; i < count; i++) {
        char text[TEXT_I64_BYTES_MAX];
        struct bytes field = bytes_make(text, text_from_i64(text, i));
        set(field, field, 0);
    }
}

static bool has(const char *field, int64_t now_ms)
{
    struct hash_field f;
    return hash_find(&h, bytes_of(field), now_ms, &f);
}

/* ---- encodings ---- */

Test(hash, it_stays_a_listpack_up_to_the_configured_count)
{
    set_numbers(16);
    cr_assert_eq(h.encoding, ENCODING_LISTPACK);
    cr_assert_not(set_text("3", "three"));
    cr_assert_eq(h.encoding, ENCODING_LISTPACK);
    cr_assert(set_text("x", "y"));
    cr_assert_eq(h.encoding, ENCODING_HASHTABLE);
    cr_assert_eq(hash_length(&h), 17);
    struct hash_field f;
    cr_assert(hash_find(&h, B("3"), NOW, &f));
    cr_assert(bytes_equal(bytes_make(f.value.text, f.value.size), B("three")));
}

Test(hash, a_long_field_or_value_makes_it_a_table_and_nothing_makes_it_small_again)
{
    set_text("a", "20 bytes, just so ma");
    cr_assert_eq(h.encoding, ENCODING_LISTPACK);
    set_text("a", "21 bytes, one too many");
    cr_assert_eq(h.encoding, ENCODING_HASHTABLE);
    set_text("a", "");
    cr_assert(hash_remove(&mem, &h, B("a")));
    set_text("b", "c");
    cr_assert_eq(h.encoding, ENCODING_HASHTABLE);
}

Test(hash, preparing_looks_at_what_is_to_come)
{
    cr_assert(hash_try_prepare(&mem, &config, &h, 16, 20));
    cr_assert_eq(h.encoding, ENCODING_LISTPACK);
    cr_assert(hash_try_prepare(&mem, &config, &h, 1, 21));
    cr_assert_eq(h.encoding, ENCODING_HASHTABLE);
}

/* ---- deadlines ---- */

Test(hash, a_field_is_absent_once_its_deadline_has_passed)
{
    set_text("a", "1");
    set_text("b", "2");
    cr_assert(set_deadline(B("a"), NOW));
    cr_assert_eq(h.encoding, ENCODING_HASHTABLE);
    cr_assert(has("a", NOW));
    cr_assert_not(has("a", NOW + 1));
    cr_assert(has("b", NOW + 1));
    cr_assert_not(hash_has_expired(&h, NOW));
    cr_assert(hash_has_expired(&h, NOW + 1));
    cr_assert_eq(hash_drop_expired(&mem, &h, NOW + 1, NULL), 1);
    cr_assert_eq(hash_length(&h), 1);
    cr_assert_not(hash_has_expired(&h, INT64_MAX - 1));
}

/* The first field that stays, in the order of walks. */
static void first_to_stay(void *context, const struct hash_field *f)
{
    struct bytes *first = context;
    if (f->deadline_ms > NOW && !first->data) *first = bytes_make(f->name.text, f->name.size);
}

Test(hash, a_walk_in_slices_forgets_no_deadline_that_is_set_meanwhile)
{
    char text[TEXT_I64_BYTES_MAX];
    struct bytes first = {0};
    set_numbers(2000);
    for (int i = 0; i < 2000; i++) {
        struct bytes field = bytes_make(text, text_from_i64(text, i));
        int64_t deadline_ms = i % 2 ? NOW : NOW + 100000;
        cr_assert(set_deadline(field, deadline_ms));
    }
    hash_each(&h, first_to_stay, &first);
    memcpy(text, first.data, first.size);
    uint64_t dropped = 0;
    for (unsigned slices = 0; hash_has_expired(&h, NOW + 1); slices++) {
        unsigned budget = 1;
        dropped += hash_drop_some_expired(&mem, &h, NOW + 1, &budget, NULL);
        if (slices == 20) cr_assert(set_deadline(bytes_make(text, first.size), NOW + 50));
        hash_validate(&h);
    }
    cr_assert_eq(dropped, 1000);
    cr_assert(hash_has_expired(&h, NOW + 51));
    cr_assert_eq(hash_drop_expired(&mem, &h, NOW + 51, NULL), 1);
}

Test(hash, a_deadline_goes_with_its_removal_and_with_another_value)
{
    set(B("a"), B("1"), NOW);
    set(B("b"), B("1"), NOW);
    set(B("c"), B("1"), NOW);
    cr_assert_eq(hash_volatile_count(&h), 3);
    cr_assert(set_deadline(B("a"), 0));
    set(B("b"), B("a value that needs another block, so the entry moves"), 0);
    cr_assert_eq(hash_volatile_count(&h), 1);
    cr_assert_eq(hash_drop_expired(&mem, &h, NOW + 1, NULL), 1);
    cr_assert(has("a", NOW + 1) && has("b", NOW + 1));
}

Test(hash, only_what_is_due_is_dropped)
{
    for (int i = 0; i < 1000; i++) {
        char text[TEXT_I64_BYTES_MAX];
        struct bytes field = bytes_make(text, text_from_i64(text, i));
        set(field, field, i % 2 ? NOW + i * 100 : 0);
    }
    cr_assert_eq(hash_drop_expired(&mem, &h, NOW + 50000, NULL), 250);
    hash_validate(&h);
    cr_assert_eq(hash_length(&h), 750);
    cr_assert(hash_has_expired(&h, NOW + 50101));
    cr_assert_not(hash_has_expired(&h, NOW + 50100));
}

/* ---- walking ---- */

struct seen {
    unsigned times[1000], count;
};

static void note(void *context, const struct hash_field *f)
{
    struct seen *s = context;
    int64_t n = f->name.integer;
    if (f->name.text) cr_assert(text_to_i64(bytes_make(f->name.text, f->name.size), &n));
    s->times[n]++;
    s->count++;
}

static void expect_walks(unsigned count)
{
    struct seen all = {.count = 0}, scanned = {.count = 0};
    set_numbers((int)count);
    hash_each(&h, note, &all);
    uint64_t cursor = 0;
    do cursor = hash_scan(&h, cursor, 10, note, &scanned);
    while (cursor != 0);
    cr_assert_eq(all.count, count);
    for (unsigned i = 0; i < count; i++) cr_assert(all.times[i] == 1 && scanned.times[i] == 1);
}

Test(hash, each_and_scan_tell_of_every_field)
{
    expect_walks(10);
    cr_assert_eq(h.encoding, ENCODING_LISTPACK);
    expect_walks(1000);
}

Test(hash, every_field_is_chosen_at_random_sooner_or_later)
{
    struct random r = random_make();
    for (unsigned count = 10; count <= 50; count += 40) {
        struct seen s = {.count = 0};
        set_numbers((int)count);
        for (int i = 0; i < 5000; i++) {
            struct hash_field f;
            hash_random(&h, random_next(&r), &f);
            note(&s, &f);
        }
        for (unsigned i = 0; i < count; i++) cr_assert_gt(s.times[i], 0);
    }
}

/* ---- type_ops ---- */

static void expect_same_after_a_journey(void)
{
    struct buf frozen = {.mem = &mem};
    cr_assert(hash_ops.freeze(h.root, h.encoding, &(struct rdb_writer){.out = &frozen}));
    uint8_t type = (uint8_t)frozen.data[0];
    struct hash other;
    for (size_t cut = 0; cut + 1 < frozen.size; cut += 1 + cut / 20) {
        char *exact = malloc(cut + 1);
        memcpy(exact, frozen.data + 1, cut);
        struct bytes in = bytes_make(exact, cut);
        cr_assert_null(hash_ops.thaw(&mem, type, &in, &other.encoding));
        free(exact);
    }
    struct bytes in = bytes_make(frozen.data + 1, frozen.size - 1);
    other.root = hash_ops.thaw(&mem, type, &in, &other.encoding);
    cr_assert_not_null(other.root);
    cr_assert_eq(in.size, 0);
    cr_assert_eq(other.encoding, h.encoding);
    cr_assert_eq(hash_length(&other), hash_length(&h));
    cr_assert_eq(hash_volatile_count(&other), hash_volatile_count(&h));
    hash_validate(&other);
    struct buf again = {.mem = &mem};
    cr_assert(hash_ops.freeze(other.root, other.encoding, &(struct rdb_writer){.out = &again}));
    cr_assert_eq(again.size, frozen.size); /* Fields of a table may come in another order. */
    cr_assert_eq(again.data[0], frozen.data[0]);
    hash_free(&mem, &other);
    buf_clear(&again);
    buf_clear(&frozen);
}

Test(hash, freezing_and_thawing_keep_fields_deadlines_and_encoding)
{
    set_numbers(10);
    expect_same_after_a_journey();
    set_text("long", "a value of more than twenty bytes");
    expect_same_after_a_journey();
    hash_remove(&mem, &h, B("long"));
    expect_same_after_a_journey(); /* a table that could be a listpack */
    set_numbers(500);
    expect_same_after_a_journey();
    set(B("5"), B("5"), NOW);
    set(B("6"), B("6"), NOW + 100000);
    expect_same_after_a_journey();
}

Test(hash, the_payload_of_redis_is_understood_and_checked)
{
    struct hash other;
    struct bytes in = B("\2\1a\1b\1c\xc0\5");
    other.root = hash_ops.thaw(&mem, 4, &in, &other.encoding);
    cr_assert_eq(other.encoding, ENCODING_LISTPACK);
    cr_assert_eq(hash_length(&other), 2);
    hash_free(&mem, &other);
    static const struct {
        uint8_t type;
        struct bytes bytes;
    } bad[] = {
        {4, {"\0", 1}},                                     /* empty */
        {4, {"\2\1a\1b\1a\1c", 9}},                         /* a field twice */
        {16, {"\7\7\0\0\0\0\0\xff", 8}},                    /* empty */
        {16, {"\11\11\0\0\0\1\0\5\1\xff", 10}},             /* a field without value */
        {16, {"\17\17\0\0\0\4\0\5\1\5\1\5\1\5\1\xff", 16}}, /* a field twice */
        {24, {"\0\0\0\0\0\0\0\0\1\1\1a\1b", 13}},           /* no point in time */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        in = bad[i].bytes;
        cr_assert_null(hash_ops.thaw(&mem, bad[i].type, &in, &other.encoding), "%zu", i);
    }
}

Test(hash, a_copy_has_the_same_fields_and_freeing_goes_in_slices)
{
    set_numbers(500);
    set(B("1"), B("x"), NOW);
    struct hash copy = {hash_ops.copy(&mem, h.root, h.encoding), h.encoding};
    hash_remove(&mem, &h, B("2"));
    cr_assert_eq(hash_length(&copy), 500);
    cr_assert_eq(hash_volatile_count(&copy), 1);
    cr_assert(hash_has_expired(&copy, NOW + 1));
    hash_validate(&copy);
    unsigned slices = 1;
    while (!hash_ops.free_some(&mem, copy.root, copy.encoding, 50)) slices++;
    cr_assert_geq(slices, 5);
}

/* ---- against a model: an array by number of field ---- */

#define MODEL_FIELDS 60

struct model {
    uint32_t values[MODEL_FIELDS]; /* 0: no such field */
    int64_t deadlines[MODEL_FIELDS];
    int64_t now_ms;
};

static struct bytes value_of(uint32_t id, char *text)
{
    size_t size = text_from_u64(text, id);
    if (id % 3 == 0) return bytes_make(text, size);
    size_t wanted = id % 50 == 1 ? 1500 : id % 60;
    for (; size < wanted; size++) text[size] = 'v';
    return bytes_make(text, size);
}

static void step(struct model *m, struct random *r, uint64_t field_count)
{
    char name[TEXT_I64_BYTES_MAX], text[2000];
    uint64_t n = random_below(r, field_count);
    struct bytes field = bytes_make(name, text_from_u64(name, n));
    bool is_live = m->values[n] && (m->deadlines[n] == 0 || m->now_ms <= m->deadlines[n]);
    switch (random_below(r, 5)) {
    case 0:
    case 1:
        if (!is_live) hash_remove(&mem, &h, field);
        m->values[n] = 1 + (uint32_t)random_below(r, 100000);
        m->deadlines[n] = random_below(r, 8) ? 0 : m->now_ms + (int64_t)random_below(r, 50);
        cr_assert_eq(set(field, value_of(m->values[n], text), m->deadlines[n]), !is_live);
        break;
    case 2:
        cr_assert(hash_remove(&mem, &h, field) || !is_live);
        m->values[n] = 0;
        break;
    case 3:
        if (!is_live) break;
        m->deadlines[n] = random_below(r, 2) ? 0 : m->now_ms + (int64_t)random_below(r, 50);
        cr_assert(set_deadline(field, m->deadlines[n]));
        break;
    default:
        m->now_ms += (int64_t)random_below(r, 5);
        if (random_below(r, 2)) hash_drop_expired(&mem, &h, m->now_ms, NULL);
    }
}

static void expect_model(const struct model *m)
{
    hash_validate(&h);
    for (uint64_t n = 0; n < MODEL_FIELDS; n++) {
        char name[TEXT_I64_BYTES_MAX], text[2000], scratch[TEXT_I64_BYTES_MAX];
        struct bytes field = bytes_make(name, text_from_u64(name, n));
        bool is_live = m->values[n] && (m->deadlines[n] == 0 || m->now_ms <= m->deadlines[n]);
        struct hash_field f;
        cr_assert_eq(hash_find(&h, field, m->now_ms, &f), is_live);
        if (!is_live) continue;
        cr_assert_eq(f.deadline_ms, m->deadlines[n]);
        struct bytes value = bytes_make(f.value.text, f.value.size);
        if (!f.value.text) value = bytes_make(scratch, text_from_i64(scratch, f.value.integer));
        cr_assert(bytes_equal(value, value_of(m->values[n], text)));
    }
}

Test(hash, random_changes_agree_with_an_array)
{
    struct random r = random_make();
    struct model m = {.now_ms = NOW};
    for (int i = 0; i < 6000; i++) {
        step(&m, &r, i < 1000 ? 6 : MODEL_FIELDS);
        if (i % 4 == 0) expect_model(&m);
    }
}
