#include <criterion/criterion.h>
#include <stdio.h>

#include "random.h"
#include "shard/shard.h"
#include "shard/type/stream_group.h"

static struct mem mem;
static struct shard_config config;

static void setup(void)
{
    mem_init(&mem, "test");
    config = (struct shard_config){.stream_node_max_bytes = 4096, .stream_node_max_entries = 10};
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(stream, .init = setup, .fini = teardown);

#define B(text) BYTES_LITERAL(text)
#define ID(ms, seq) ((struct stream_id){(ms), (seq)})

static void add(struct stream *s, struct stream_id id, const char *value)
{
    struct bytes pairs[] = {B("field"), bytes_of(value)};
    cr_assert(stream_try_add(&mem, &config, s, id, pairs, 1));
    stream_validate(s);
}

static struct stream *make(uint64_t count)
{
    struct stream *s = stream_create(&mem);
    for (uint64_t i = 1; i <= count; i++) add(s, ID(i, 0), "value");
    return s;
}

static uint64_t count_range(const struct stream *s, struct stream_id first, struct stream_id last,
                            bool backwards)
{
    struct stream_iterator it;
    struct stream_entry e;
    uint64_t count = 0;
    stream_iterator_init(&it, s, first, last, backwards);
    while (stream_iterator_next(&it, &e)) count++;
    return count;
}

static uint64_t stored_bytes(const struct stream *s)
{
    return stream_ops.bytes(s, ENCODING_STREAM, 0);
}

Test(stream, ids_are_read_as_redis_reads_them)
{
    struct stream_id id;
    bool any;
    cr_assert(stream_id_parse(B("5"), 7, &id, NULL) && stream_id_compare(id, ID(5, 7)) == 0);
    cr_assert(stream_id_parse(B("+05-1"), 0, &id, NULL) && stream_id_compare(id, ID(5, 1)) == 0);
    cr_assert(stream_id_parse(B("5-1\0x"), 0, &id, NULL) && stream_id_compare(id, ID(5, 1)) == 0);
    cr_assert(stream_id_parse(B("18446744073709551615"), 0, &id, NULL) && id.ms == UINT64_MAX);
    cr_assert(stream_id_parse(B("5-*"), 0, &id, &any) && any && id.seq == 0);
    cr_assert(stream_id_parse(B("5-6"), 0, &id, &any) && !any && id.seq == 6);
    const struct bytes wrong[] = {B(""),    B("-"),     B("5-"),
                                  B("-5"),  B("5-*"),   B("5 "),
                                  B("0x5"), B("1-2-3"), B("18446744073709551616")};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        cr_assert_not(stream_id_parse(wrong[i], 0, &id, NULL), "%s", wrong[i].data);
    }
}

Test(stream, a_node_ends_at_its_limits)
{
    struct stream *s = make(25);
    cr_assert_eq(s->nodes.count, 3);
    config.stream_node_max_entries = 0;
    config.stream_node_max_bytes = listpack_bytes(idtree_item(idtree_last(&s->nodes))) + 11;
    add(s, ID(26, 0), "value"); /* 10 bytes of field and value still fit */
    cr_assert_eq(s->nodes.count, 3);
    config.stream_node_max_bytes = listpack_bytes(idtree_item(idtree_last(&s->nodes))) + 10;
    add(s, ID(27, 0), "value");
    cr_assert_eq(s->nodes.count, 4);
    stream_free(&mem, s);
}

Test(stream, fields_of_the_master_are_not_stored_again)
{
    config.stream_node_max_entries = 100;
    struct stream *same = stream_create(&mem), *other = stream_create(&mem);
    const struct bytes names[] = {B("a-long-name-of-a-field"), B("another-name-of-a-field!")};
    for (uint64_t i = 0; i < 50; i++) {
        struct bytes pairs[] = {names[0], B("v")}, turns[] = {names[i % 2], B("v")};
        cr_assert(stream_try_add(&mem, &config, same, ID(1, i), pairs, 1));
        cr_assert(stream_try_add(&mem, &config, other, ID(1, i), turns, 1));
    }
    cr_assert_lt(stored_bytes(same), stored_bytes(other));
    stream_validate(other);
    stream_free(&mem, same);
    stream_free(&mem, other);
}

Test(stream, whole_nodes_go_when_trimming_is_approximate)
{
    struct stream *s = make(35);
    struct stream_trim t = {.by = STREAM_TRIM_MAXLEN, .whole_nodes = true, .length = 12};
    cr_assert_eq(stream_trim(&mem, s, &t), 20);
    cr_assert_eq(s->length, 15);
    t.length = 0;
    t.limit = 9;
    cr_assert_eq(stream_trim(&mem, s, &t), 0);
    t = (struct stream_trim){.by = STREAM_TRIM_MINID, .min_id = ID(33, 0)};
    cr_assert_eq(stream_trim(&mem, s, &t), 12);
    stream_validate(s);
    cr_assert_eq(stream_id_compare(s->first_id, ID(33, 0)), 0);
    stream_free(&mem, s);
}

Test(stream, entries_that_wrap_round_the_sequence_keep_their_order)
{
    struct stream *s = stream_create(&mem);
    add(s, ID(1, UINT64_MAX), "a");
    add(s, ID(2, 0), "b");
    add(s, ID(UINT64_MAX, 0), "c");
    add(s, ID(UINT64_MAX, UINT64_MAX), "d");
    cr_assert_eq(count_range(s, ID(2, 0), STREAM_ID_MAX, false), 3);
    cr_assert_eq(count_range(s, STREAM_ID_MIN, ID(2, 0), true), 2);
    struct stream_id id;
    cr_assert_not(stream_next_id(s->last_id, 5, &id));
    stream_free(&mem, s);
}

Test(stream, ids_behind_what_was_deleted_can_be_used_again)
{
    struct stream *s = make(5);
    for (uint64_t i = 3; i <= 5; i++) {
        cr_assert_eq(stream_try_remove(&mem, s, ID(i, 0)), STREAM_REMOVED);
    }
    s->last_id = ID(2, 0); /* as XSETID does */
    add(s, ID(3, 1), "again");
    cr_assert_eq(count_range(s, ID(3, 0), ID(4, 0), false), 1);
    cr_assert_eq(count_range(s, ID(3, 0), ID(4, 0), true), 1);
    stream_free(&mem, s);
}

/* ---- against a model ---- */

#define MODEL_ENTRIES 400
#define CONSUMERS 3

struct model {
    bool is_live[MODEL_ENTRIES];
    int owner[MODEL_ENTRIES]; /* of what is pending; -1: nobody */
    uint64_t next, live, deliveries;
};

static const char *const names[CONSUMERS] = {"anna", "bert", "c"};

static void model_add(struct stream *s, struct model *m, struct random *r)
{
    if (m->next == MODEL_ENTRIES) return;
    char text[64];
    snprintf(text, sizeof text, "%llu", (unsigned long long)m->next);
    struct bytes pairs[] = {B("n"), bytes_of(text), B("x"), B("123456789012")};
    uint64_t pair_count = 1 + random_below(r, 2);
    if (random_below(r, 4) == 0) pairs[0] = B("m");
    cr_assert(stream_try_add(&mem, &config, s, ID(m->next / 7 + 1, m->next), pairs, pair_count));
    m->is_live[m->next] = true;
    m->owner[m->next++] = -1;
    m->live++;
}

static struct stream_id model_id(uint64_t n)
{
    return ID(n / 7 + 1, n);
}

static void model_remove(struct stream *s, struct model *m, uint64_t n)
{
    enum stream_removal r = stream_try_remove(&mem, s, model_id(n));
    cr_assert_eq(r, m->is_live[n] ? STREAM_REMOVED : STREAM_NO_SUCH_ENTRY);
    m->live -= m->is_live[n];
    m->is_live[n] = false;
}

static void model_trim(struct stream *s, struct model *m, struct random *r, uint64_t n)
{
    bool by_length = random_below(r, 2);
    struct stream_trim t = {.by = by_length ? STREAM_TRIM_MAXLEN : STREAM_TRIM_MINID,
                            .length = m->live - MIN(m->live, n % 9),
                            .min_id = model_id(n)};
    uint64_t gone = 0;
    for (uint64_t i = 0; i < m->next; i++) {
        if (by_length ? m->live <= t.length : i >= n) break;
        gone += m->is_live[i];
        m->live -= m->is_live[i];
        m->is_live[i] = false;
    }
    cr_assert_eq(stream_trim(&mem, s, &t), gone);
}

static struct stream_consumer *consumer(struct stream_group *g, int index)
{
    struct bytes name = bytes_of(names[index]);
    struct stream_consumer *c = stream_consumer_find(g, name);
    if (!c) c = stream_consumer_try_create(&mem, g, name, 1000);
    cr_assert(c);
    return c;
}

static void model_deliver(struct stream *s, struct model *m, struct random *r, uint64_t n)
{
    struct stream_group *g = stream_group_find(s, B("group"));
    int owner = (int)random_below(r, CONSUMERS);
    struct stream_pending *p = stream_pending_find(g, model_id(n));
    cr_assert_eq(p != NULL, m->owner[n] >= 0);
    if (p) {
        stream_pending_move(&mem, p, model_id(n), consumer(g, owner));
    } else {
        p = stream_pending_add(&mem, g, consumer(g, owner), model_id(n));
    }
    p->delivery_count = ++m->deliveries;
    p->delivered_ms = (int64_t)n;
    m->owner[n] = owner;
}

static void model_acknowledge(struct stream *s, struct model *m, uint64_t n)
{
    struct stream_group *g = stream_group_find(s, B("group"));
    cr_assert_eq(stream_pending_remove(&mem, g, model_id(n)), m->owner[n] >= 0);
    m->owner[n] = -1;
}

static void model_delete_consumer(struct stream *s, struct model *m, int owner)
{
    struct stream_group *g = stream_group_find(s, B("group"));
    uint64_t pending = 0;
    for (uint64_t i = 0; i < m->next; i++) {
        if (m->owner[i] != owner) continue;
        m->owner[i] = -1;
        pending++;
    }
    cr_assert_eq(stream_consumer_delete(&mem, g, consumer(g, owner)), pending);
}

/* The entries from `first` to `last`, in both directions. */
static void model_compare(const struct stream *s, const struct model *m, uint64_t first,
                          uint64_t last)
{
    for (unsigned backwards = 0; backwards < 2; backwards++) {
        struct stream_iterator it;
        struct stream_entry e;
        stream_iterator_init(&it, s, model_id(first), model_id(last), backwards);
        for (uint64_t i = 0; first + i <= last; i++) {
            uint64_t n = backwards ? last - i : first + i;
            if (n >= m->next || !m->is_live[n]) continue;
            char scratch[2][TEXT_I64_BYTES_MAX];
            struct bytes field, value;
            cr_assert(stream_iterator_next(&it, &e));
            cr_assert_eq(stream_id_compare(e.id, model_id(n)), 0);
            stream_entry_next_pair(&e, &field, scratch[0], &value, scratch[1]);
            int64_t number;
            cr_assert(text_to_i64(value, &number));
            cr_assert_eq((uint64_t)number, n);
        }
        cr_assert_not(stream_iterator_next(&it, &e));
    }
}

static struct stream *thawed(const struct stream *s)
{
    struct buf frozen = {.mem = &mem};
    enum encoding encoding;
    cr_assert(stream_ops.freeze(s, ENCODING_STREAM, &(struct rdb_writer){.out = &frozen}));
    struct bytes in = bytes_make(frozen.data + 1, frozen.size - 1);
    struct stream *copy = stream_ops.thaw(&mem, (uint8_t)frozen.data[0], &in, &encoding);
    cr_assert(copy);
    cr_assert_eq(in.size, 0);
    cr_assert_eq(encoding, ENCODING_STREAM);
    struct buf again = {.mem = &mem};
    cr_assert(stream_ops.freeze(copy, ENCODING_STREAM, &(struct rdb_writer){.out = &again}));
    cr_assert(bytes_equal(buf_view(&frozen), buf_view(&again)));
    /* Cut short anywhere, it is refused. */
    for (size_t size = 0; size + 1 < frozen.size; size += 1 + frozen.size / 50) {
        in = bytes_make(frozen.data + 1, size);
        cr_assert_null(stream_ops.thaw(&mem, (uint8_t)frozen.data[0], &in, &encoding));
    }
    buf_clear(&frozen);
    buf_clear(&again);
    return copy;
}

/* What stands in its place goes on. */
static struct stream *replaced(struct stream *s, bool by_copy)
{
    struct stream *copy = by_copy ? stream_ops.copy(&mem, s, ENCODING_STREAM) : thawed(s);
    cr_assert_eq(stream_ops.effort(copy, ENCODING_STREAM), stream_ops.effort(s, ENCODING_STREAM));
    cr_assert_gt(stored_bytes(copy), 0);
    while (!stream_ops.free_some(&mem, s, ENCODING_STREAM, 3)) {
    }
    return copy;
}

Test(stream, equals_a_model_under_random_changes)
{
    struct random r = random_make();
    for (int round = 0; round < 12; round++) {
        static struct model m;
        m = (struct model){.next = 0};
        config.stream_node_max_entries = 1 + random_below(&r, 12);
        struct stream *s = stream_create(&mem);
        cr_assert(stream_group_try_create(&mem, s, B("group"), STREAM_ID_MIN, -1));
        for (int step = 0; step < 1500; step++) {
            uint64_t choice = random_below(&r, 100);
            uint64_t n = m.next ? random_below(&r, m.next) : 0;
            if (choice < 40 || m.next == 0)
                model_add(s, &m, &r);
            else if (choice < 60)
                model_remove(s, &m, n);
            else if (choice < 64)
                model_trim(s, &m, &r, n / 4);
            else if (choice < 80)
                model_deliver(s, &m, &r, n);
            else if (choice < 95)
                model_acknowledge(s, &m, n);
            else if (choice < 97)
                model_delete_consumer(s, &m, (int)random_below(&r, CONSUMERS));
            else
                model_compare(s, &m, n, MIN(n + random_below(&r, 60), m.next - 1));
            if (step % 300 == 299) s = replaced(s, random_below(&r, 2));
            stream_validate(s);
            cr_assert_eq(s->length, m.live);
        }
        model_compare(s, &m, 0, MODEL_ENTRIES - 1);
        cr_assert_eq(s->entries_added, m.next);
        stream_free(&mem, s);
    }
}

/* ---- groups ---- */

Test(stream, names_are_told_in_their_order)
{
    struct stream *s = make(1);
    const char *const given[] = {"b", "a", "", "c", "ab"};
    const char *const sorted[] = {"", "a", "ab", "b", "c"};
    for (unsigned i = 0; i < 5; i++) {
        cr_assert(stream_group_try_create(&mem, s, bytes_of(given[i]), STREAM_ID_MIN, -1));
    }
    for (unsigned i = 0; i < 5; i++) {
        cr_assert(bytes_equal(stream_name_view(&s->groups[i]->name), bytes_of(sorted[i])));
    }
    stream_group_destroy(&mem, s, stream_group_find(s, B("ab")));
    cr_assert_null(stream_group_find(s, B("ab")));
    cr_assert_eq(s->group_count, 4);
    stream_validate(s);
    stream_free(&mem, s);
}

Test(stream, the_lag_is_known_unless_something_behind_was_deleted)
{
    struct stream *s = make(10);
    uint64_t lag = 99;
    struct stream_group *g = stream_group_try_create(&mem, s, B("g"), STREAM_ID_MIN, -1);
    cr_assert(stream_group_lag(s, g, &lag));
    cr_assert_eq(lag, 10);
    for (uint64_t i = 1; i <= 4; i++) stream_group_advance(s, g, ID(i, 0));
    cr_assert_eq(g->entries_read, 4);
    cr_assert(stream_group_lag(s, g, &lag));
    cr_assert_eq(lag, 6);
    cr_assert_eq(stream_try_remove(&mem, s, ID(7, 0)), STREAM_REMOVED);
    cr_assert_not(stream_group_lag(s, g, &lag));
    for (uint64_t i = 5; i <= 10; i++) stream_group_advance(s, g, ID(i, 0));
    cr_assert(stream_group_lag(s, g, &lag));
    cr_assert_eq(lag, 0);
    stream_free(&mem, s);
}

/* ---- bytes from elsewhere ---- */

static struct stream *thaw_bytes(uint8_t type, struct bytes in)
{
    enum encoding encoding;
    struct stream *s = stream_ops.thaw(&mem, type, &in, &encoding);
    if (!s) return NULL;
    cr_assert_eq(in.size, 0);
    stream_validate(s);
    return s;
}

/* What redis-server 7.0 wrote for XADD s 1-1 a b; XADD s 2-1 a c; XGROUP CREATE s g 1-1; XREADGROUP
 * GROUP g c STREAMS s >, without the type byte and the checksum. */
#define NODE                                                                                       \
    "\x01\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01((\0\0\0\x0f\0\x02\x01\0\x01\x01\x01\x81"         \
    "a\x02\0\x01\x02\x01\0\x01\0\x01\x81"                                                          \
    "b\x02\x04\x01\x02\x01\x01\x01\0\x01\x81"                                                      \
    "c\x02\x04\x01\xff"
#define DELIVERED "\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01"
#define SEEN "\x7b\0\0\0\0\0\0\0"

Test(stream, reads_what_other_servers_write)
{
    struct stream *s =
        thaw_bytes(15, B(NODE "\x02\x02\x01\x01\x01g\x01\x01" DELIVERED SEEN "\x03\x01\x01"
                              "c" SEEN DELIVERED));
    cr_assert(s);
    cr_assert_eq(s->entries_added, 2);
    cr_assert_eq(s->groups[0]->entries_read, 1);
    stream_free(&mem, s);
    s = thaw_bytes(19, B(NODE "\x02\x02\x01\x01\x01\0\0\x05\x01\x01g\x01\x01\x02" DELIVERED SEEN
                              "\x03\x01\x01"
                              "c" SEEN DELIVERED));
    cr_assert(s);
    cr_assert_eq(s->entries_added, 5);
    cr_assert_eq(s->groups[0]->entries_read, 2);
    cr_assert_eq(s->groups[0]->consumers[0]->active_ms, 123);
    stream_free(&mem, s);
    s = thaw_bytes(21, B(NODE "\x02\x02\x01\x01\x01\0\0\x05\x01\x01g\x01\x01\x02" DELIVERED SEEN
                              "\x03\x01\x01"
                              "c" SEEN "\xff\xff\xff\xff\xff\xff\xff\xff" DELIVERED));
    cr_assert(s);
    cr_assert_eq(s->groups[0]->consumers[0]->seen_ms, 123);
    cr_assert_eq(s->groups[0]->consumers[0]->active_ms, STREAM_NEVER);
    cr_assert_eq(stream_pending_find(s->groups[0], ID(2, 1))->delivery_count, 3);
    stream_free(&mem, s);
}

Test(stream, refuses_what_contradicts_itself)
{
    const struct bytes wrong[] = {
        B(NODE "\x03\x02\x01\0"),                             /* not the length */
        B(NODE "\x02\x01\x01\0"),                             /* the last id is too small */
        B(NODE "\x02\x02\x01\x02\x01g\0\0\0\0\x01g\0\0\0\0"), /* a group twice */
        B(NODE "\x02\x02\x01\x01\x01g\x01\x01" DELIVERED SEEN "\x03\0"), /* pending for nobody */
        B(NODE "\x02\x02\x01\x01\x01g\x01\x01\0\x01\x01"
               "c" SEEN DELIVERED), /* never delivered */
    };
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        cr_assert_null(thaw_bytes(15, wrong[i]), "%u", i);
    }
    struct stream *s = thaw_bytes(15, B(NODE "\x02\x02\x01\0"));
    cr_assert(s);
    stream_free(&mem, s);
}
