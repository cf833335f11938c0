/* Every command whose size a client chooses, with its first, second, third … allocation failing:
 * it is done or it is not, nobody hears of what is not done, and nothing is lost. */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "shard/digest.h"
#include "shard/lazyfree.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/zset.h"
#include "tests/unit/shard_fixture.h"

#define FAULT "mem_try_alloc"
#define WORDS_MAX 4000

static struct shard_fixture f;
static struct shard *sh;
static struct mem own;
static unsigned events, points;
static unsigned fault_n; /* the allocation of the next line that fails; 0: none */
static bool was_reached;

static void on_event(struct shard *at, uint32_t class, const char *event, const struct key *k)
{
    cr_assert(at == sh && class && event && k);
    events++;
}

static void setup(void)
{
    static const struct shard_hooks hooks = {.notify = on_event};
    static const struct command_family *const families[] = {
        &list_family, &set_family, &zset_family, &hash_family, &hash_expire_family, &stream_family,
        &bits_family, &geo_family, &sort_family, &dump_family, &hyperloglog_family,
    };
    f = shard_fixture_make();
    sh = f.shard;
    mem_init(&own, "test");
    f.reply.mem = &own;
    cr_assert(buf_try_reserve(&f.reply, 1 << 22));
    for (size_t i = 0; i < ARRAY_LEN(families); i++) shard_fixture_add_family(&f, families[i]);
    sh->hooks = &hooks;
    f.config->notify_classes = UINT32_MAX;
    f.config->set_max_intset_entries = 16;
    f.config->set_max_listpack_entries = 16;
    f.config->set_max_listpack_value_bytes = 32;
    f.config->zset_max_listpack_entries = 16;
    f.config->zset_max_listpack_value_bytes = 32;
    f.config->hash_max_listpack_entries = 16;
    f.config->hash_max_listpack_value_bytes = 32;
    f.config->hll_sparse_bytes_max = 3000;
    f.config->list_max_listpack_size = 8;
    f.config->stream_node_max_bytes = 1024;
    f.config->stream_node_max_entries = 10;
}

static void teardown(void)
{
    cr_log_info("%u points", points);
    shard_fixture_free(&f); /* checks that no block is left */
    mem_deinit(&own);
}

TestSuite(allocation, .init = setup, .fini = teardown);

/* ---- all that can be read of the keyspace ---- */

static void add_field(void *context, const struct hash_field *field)
{
    struct digest one = {0};
    char scratch[TEXT_I64_BYTES_MAX];
    struct bytes name = bytes_make(field->name.text, field->name.size);
    if (!field->name.text) name = bytes_make(scratch, text_from_i64(scratch, field->name.integer));
    digest_mix(&one, name);
    digest_mix(&one, bytes_make(&field->deadline_ms, sizeof field->deadline_ms));
    digest_xor(context, &one);
}

static void add_value(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct digest one = {0};
    int64_t deadline_ms = entry_deadline_ms(e);
    digest_mix(&one, entry_key(e));
    digest_mix(&one, bytes_make(&deadline_ms, sizeof deadline_ms));
    digest_mix_value(&one, e);
    if (entry_type(e) == TYPE_HASH) {
        struct hash h = hash_of(e);
        hash_each(&h, add_field, &one);
    }
    if (entry_type(e) == TYPE_STREAM) { /* with its groups */
        struct buf frozen = {.mem = &own};
        struct rdb_writer w = {.out = &frozen};
        cr_assert(object_try_freeze(e, &w));
        digest_mix(&one, buf_view(&frozen));
        rdb_writer_deinit(&w);
        buf_clear(&frozen);
    }
    digest_xor(context, &one);
}

static struct digest digest_of_all(void)
{
    struct digest d = {0};
    for (uint32_t db = 0; db < 2; db++) {
        uint64_t cursor = 0;
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
    if (entry_type(e) == TYPE_LIST) list_validate((l = list_of(e), &l));
    if (entry_type(e) == TYPE_SET) set_validate((s = set_of(e), &s));
    if (entry_type(e) == TYPE_ZSET) zset_validate((z = zset_of(e), &z));
    if (entry_type(e) == TYPE_HASH) hash_validate((h = hash_of(e), &h));
}

static void validate_all(void)
{
    uint64_t cursor = 0;
    keyspace_validate(sh);
    do cursor = keyspace_scan(sh, 0, cursor, 100, validate_value, NULL);
    while (cursor);
}

/* Whether the fault point is still armed, which ends here. */
static bool is_armed(unsigned n)
{
    bool armed = false;
    for (unsigned i = 0; i < n && !armed; i++) armed = fault_hit(FAULT);
    fault_set(FAULT, 0);
    return armed;
}

/* ---- running lines with memory that does not count ---- */

static struct bytes run_line(const char *line)
{
    static struct bytes words[WORDS_MAX];
    struct buf storage = {.mem = &own};
    int count = text_split_words(bytes_of(line), &storage, words, WORDS_MAX);
    cr_assert(count > 0 && count <= WORDS_MAX, "not a command: %.60s", line);
    if (fault_n) fault_set(FAULT, fault_n);
    struct bytes reply = shard_fixture_run(&f, (uint32_t)count, words);
    was_reached = fault_n && !is_armed(fault_n);
    fault_n = 0;
    buf_clear(&storage);
    return reply;
}

/* ---- one command, again and again ---- */

static void prepare(const char *const *before)
{
    for (uint32_t db = 0; db < 2; db++) keyspace_flush(sh, db);
    while (free_list_pending(sh->free_list)) free_list_step(sh);
    sh->random_state = 12345;
    for (; *before; before++) {
        struct bytes reply = run_line(*before);
        cr_assert_neq(reply.data[0], '-', "%s: %.*s", *before, (int)reply.size, reply.data);
    }
    sh->random_state = 54321;
    events = 0;
}

struct outcome {
    struct digest digest;
    unsigned events;
};

static bool equal(const struct outcome *a, const struct outcome *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static struct outcome outcome(void)
{
    struct outcome o;
    memset(&o, 0, sizeof o);
    o.digest = digest_of_all();
    o.events = events;
    return o;
}

/* The n-th allocation fails. False: there is no n-th. */
static bool try_point(const char *const *before, const char *line, unsigned n,
                      const struct outcome *done)
{
    prepare(before);
    struct outcome undone = outcome();
    fault_n = n;
    struct bytes reply = run_line(line);
    if (!was_reached) return false;
    points++;
    const char *text = "-ERR out of memory: the value does not fit\r\n",
               *has_run = "-ERR out of memory for the reply: the command has run\r\n";
    bool may_be_done = line[0] == 'X'; /* of streams: XREADGROUP and the like */
    bool failed = reply.data[0] == '-' && !(may_be_done && bytes_equal(reply, bytes_of(has_run)));
    struct outcome now = outcome();
    if (failed) {
        cr_expect(bytes_equal(reply, bytes_of(text)), "%.60s, %u: %.*s", line, n, (int)reply.size,
                  reply.data);
        cr_expect(equal(&now, &undone), "%.60s: allocation %u fails: half done, %u events", line, n,
                  now.events);
    } else {
        cr_expect(equal(&now, done), "%.60s: done without allocation %u: not the same, %u events",
                  line, n, now.events);
    }
    if (n % 16 == 1) validate_all();
    return equal(&now, failed ? &undone : done);
}

static void check(const char *line, const char *const *before)
{
    prepare(before);
    struct bytes reply = run_line(line);
    cr_assert_neq(reply.data[0], '-', "%s: %.*s", line, (int)reply.size, reply.data);
    struct outcome done = outcome();
    for (unsigned n = 1; try_point(before, line, n, &done); n++) {
    }
}
#define CHECK_LINE(line, ...) check((line), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* A line of many arguments. */
static char *many(char *out, const char *head, const char *form, unsigned count)
{
    char *p = out + sprintf(out, "%s", head);
    for (unsigned i = 0; i < count; i++) {
        *p++ = ' ';
        for (const char *c = form; *c; c++) {
            if (*c == '#')
                p += sprintf(p, "%u", i);
            else if (*c == '@')
                p += sprintf(p, "%060u", i);
            else
                *p++ = *c;
        }
    }
    *p = '\0';
    return out;
}

static char line[200000], line_b[200000], line_c[200000];

/* ---- the types ---- */

Test(allocation, strings)
{
    char *big = many(line_b, "SET big", "@", 1);
    CHECK_LINE("SET k value");
    CHECK_LINE("SET k value EX 100", "SET k something-else");
    CHECK_LINE("SET k 12345 KEEPTTL GET", "SET k something-else EX 1000");
    CHECK_LINE(big);
    CHECK_LINE("SETRANGE k 5000 tail", "SET k head EX 50");
    CHECK_LINE("SETRANGE k 100 tail");
    CHECK_LINE("APPEND k tail", "SET k 12");
    CHECK_LINE("APPEND k 123456789012345678901234567890123456789012345", "SETRANGE k 2000 x");
    CHECK_LINE("INCR k");
    CHECK_LINE("INCRBYFLOAT k 1.5", "SET k 1.25 EX 9");
    CHECK_LINE("MSET a 1 b 2 c 3 d 4", "SET b old EX 100", "SADD c x");
    CHECK_LINE("MSETNX a 1 b 2 c 3 d 4");
    CHECK_LINE("GETSET k new", "SET k old EX 100");
    CHECK_LINE("SETEX k 100 new", "RPUSH k a b c");
    CHECK_LINE("GETEX k EX 100", "SET k 123456789012345678901234567890abcdefghi");
    CHECK_LINE("SETBIT k 80000 1");
    CHECK_LINE("SETBIT k 80000 1", "SET k text EX 10");
    CHECK_LINE("BITFIELD k SET u8 1000 7 SET u8 90000 9 INCRBY i5 100000 1", "SET k text");
    CHECK_LINE("BITOP AND d a b", "SETRANGE a 3000 a", "SETRANGE b 2000 b", "SET d old");
    CHECK_LINE("LCS a b", "SETRANGE a 300 a", "SETRANGE b 200 b");
    CHECK_LINE("PFADD h a b c d e f g");
    CHECK_LINE("PFADD h a b c d e f g", "PFADD h 1 2 3");
    CHECK_LINE("PFMERGE d a b", "PFADD a 1 2 3", "PFADD b 4 5 6", "PFADD d 7");
    CHECK_LINE(many(line, "MSET", "k# value-@", 150));
}

Test(allocation, keys)
{
    CHECK_LINE("EXPIRE k 100", "SET k 123456789012345678901234567890abcdefghi");
    CHECK_LINE("PERSIST k", "SET k 12345678901234567890123456789012 EX 5");
    CHECK_LINE("RENAME a a-much-longer-name-than-before-for-another-class", "SET a x EX 6");
    CHECK_LINE("RENAME a b", "HSET a f v", "SET b other");
    CHECK_LINE("RENAMENX a b", "SADD a f v");
    CHECK_LINE("MOVE a 1", "SADD a f v");
    CHECK_LINE("COPY a b", "SET a x EX 6");
    CHECK_LINE("COPY a b REPLACE", many(line, "SADD a", "m-@", 200), "SET b x");
    CHECK_LINE("COPY a b REPLACE", many(line, "ZADD a", "# m-@", 200), "SET b x");
    CHECK_LINE("COPY a b REPLACE", many(line, "HSET a", "m-@ v-#", 200), "SET b x");
    CHECK_LINE("COPY a b REPLACE", many(line, "RPUSH a", "m-@", 200), "SET b x");
    CHECK_LINE("COPY a b", many(line, "HSET a", "m-@ v-#", 20), "HEXPIRE a 100 FIELDS 1 m-@");
}

Test(allocation, lists)
{
    many(line, "RPUSH l", "value-#", 100);
    many(line_b, "LPUSH l", "@@", 100);
    CHECK_LINE("RPUSH l a");
    CHECK_LINE("RPUSH l a b c d e f g h i j k l m n o p");
    CHECK_LINE(line);
    CHECK_LINE(line, "LPUSH l a b c d e f");
    CHECK_LINE(line_b);
    CHECK_LINE(line_b, line);
    CHECK_LINE("LINSERT l BEFORE value-50 something-new", line);
    CHECK_LINE("LINSERT l AFTER value-3 something-new",
               "RPUSH l value-1 value-2 value-3 4 5 6 7 8");
    CHECK_LINE("LSET l 50 @@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@", line);
    CHECK_LINE("LMOVE l m LEFT RIGHT", line);
    CHECK_LINE("LMOVE l m RIGHT LEFT", line, "RPUSH m 1 2 3 4 5 6 7 8");
    CHECK_LINE("LMOVE l l RIGHT LEFT", line);
    CHECK_LINE("RPOPLPUSH l m", "RPUSH l only-one");
    CHECK_LINE("LPUSHX l a b c d e f g h i", "RPUSH l 1");
    CHECK_LINE("SORT l ALPHA STORE d", line, "SET d old");
    many(line, "RPUSH l", "value-#-@", 1900);
    CHECK_LINE(line);
    CHECK_LINE(line, "LPUSH l a b c d e f");
}

Test(allocation, sets)
{
    many(line, "SADD s", "member-#", 100);
    many(line_b, "SADD t", "#", 100);
    many(line_c, "SADD u", "@", 100);
    CHECK_LINE("SADD s a");
    CHECK_LINE("SADD s 1 2 3 4 5 6 7 8 9");
    CHECK_LINE("SADD s 1 2 3 4 5 6 text 7 8 9");
    CHECK_LINE("SADD s 1 2 3 a-very-long-member-that-is-too-long-for-a-listpack 4 5",
               "SADD s 7 8 9");
    CHECK_LINE(line);
    CHECK_LINE(line, "SADD s a b c");
    CHECK_LINE(line, "SADD s 1 2 3");
    CHECK_LINE(line_b);
    CHECK_LINE(line_c, "SADD u 0 1 2");
    CHECK_LINE("SMOVE s t member-7", line, "SADD t 1 2 3");
    CHECK_LINE("SMOVE s t member-7", line);
    CHECK_LINE("SUNIONSTORE d s t u", line, line_b, line_c, "SET d old");
    CHECK_LINE("SINTERSTORE d s t", line, many(line_c, "SADD t", "member-#", 60));
    CHECK_LINE("SDIFFSTORE d s t", line, "SADD t member-5");
    CHECK_LINE("SINTER s t", line, line_c);
    CHECK_LINE("SUNION s t", line, line_c);
    CHECK_LINE("SPOP s 40", line);
    CHECK_LINE("SPOP s 3", "SADD s 1 2 3 4 5 6");
    CHECK_LINE("SRANDMEMBER s 50", line);
    CHECK_LINE(many(line, "SADD s", "member-@", 1900));
    CHECK_LINE(line, "SADD s 1 2 3");
}

Test(allocation, sorted_sets)
{
    many(line, "ZADD s", "# member-#", 100);
    many(line_b, "ZADD t", "1.5 m-@", 100);
    CHECK_LINE("ZADD s 1 a");
    CHECK_LINE("ZADD s 1 a 2 b 3 c 1.5 d 5 a");
    CHECK_LINE("ZADD s 9 a 8 b 7 c 6 new", "ZADD s 1 a 2 b 3 c 4 d 5 e");
    CHECK_LINE("ZADD s INCR 9 a", "ZADD s 1 a 2 b 3 c 4 d 5 e");
    CHECK_LINE("ZADD s GT CH 9 a 0 b 4 c 8 x", "ZADD s 1 a 2 b 3 c 4 d 5 e");
    CHECK_LINE("ZINCRBY s 1.25 a", "ZADD s 1 a 2 b 3 c 4 d 5 e");
    CHECK_LINE(line);
    CHECK_LINE(line, "ZADD s 5 a 6 member-3");
    CHECK_LINE(line_b, "ZADD t 5 a 6 b");
    CHECK_LINE("ZRANGESTORE d s 10 80", line, "SET d old");
    CHECK_LINE("ZUNIONSTORE d 2 s t", line, line_b, "SET d old");
    CHECK_LINE("ZINTERSTORE d 2 s t", line, many(line_c, "ZADD t", "1.5 member-#", 60));
    CHECK_LINE("ZDIFFSTORE d 2 s t", line, line_b);
    CHECK_LINE("ZUNION 2 s t WITHSCORES", line, line_b);
    CHECK_LINE("ZPOPMIN s 20", line);
    CHECK_LINE("ZRANDMEMBER s 20", line);
    CHECK_LINE("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania");
    CHECK_LINE("GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km ASC",
               "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", "SET d old");
    CHECK_LINE(many(line, "ZADD s", "# member-@", 1900));
    CHECK_LINE(line, "ZADD s 1 a 2 b");
}

Test(allocation, hashes)
{
    many(line, "HSET h", "field-# value-#", 100);
    many(line_b, "HSET h", "field-# @@", 100);
    CHECK_LINE("HSET h f v");
    CHECK_LINE("HSET h a 1 b 2 c 3 d 4");
    CHECK_LINE("HSET h a another-value b 2 c 3 d 4 new five", "HSET h a 1 b 1 c 1");
    CHECK_LINE("HMSET h a another-value b 2 c 3 d 4 new five", "HSET h a 1 b 1 c 1");
    CHECK_LINE("HSET h a 1 b a-value-that-is-too-long-for-a-listpack-of-ours c 3",
               "HSET h c 1 d 1");
    CHECK_LINE(line);
    CHECK_LINE(line, "HSET h a 1 b 2 field-3 old");
    CHECK_LINE(line_b);
    CHECK_LINE(line_b, line);
    CHECK_LINE(line_b, line, "HEXPIRE h 100 FIELDS 2 field-1 field-2");
    CHECK_LINE("HSETNX h new value", "HSET h a 1");
    CHECK_LINE("HINCRBY h a 5", "HSET h a 1");
    CHECK_LINE("HINCRBYFLOAT h a 5.25", "HSET h a 1");
    CHECK_LINE("HEXPIRE h 100 FIELDS 3 a b c", "HSET h a 1 b 2 c 3 d 4");
    CHECK_LINE("HPEXPIRE h 100000 FIELDS 3 field-1 field-2 field-3", line);
    CHECK_LINE("HPERSIST h FIELDS 3 field-1 field-2 field-3", line,
               "HEXPIRE h 100 FIELDS 3 field-1 field-2 field-3");
    CHECK_LINE("HGETALL h", line);
    CHECK_LINE("HRANDFIELD h 20 WITHVALUES", line);
    CHECK_LINE(many(line, "HSET h", "field-# value-@", 1900));
    CHECK_LINE(line, "HSET h a 1 b 2");
    CHECK_LINE(line, line_b);
}

Test(allocation, streams)
{
    CHECK_LINE("XADD s 1-1 field value");
    CHECK_LINE(many(line, "XADD s 1-1", "f# @", 200));
    CHECK_LINE("XADD s 2-1 field value other value", "XADD s 1-1 field value");
    CHECK_LINE("XADD s MAXLEN 2 9-1 field value", "XADD s 1-1 f v", "XADD s 2-1 f v",
               "XADD s 3-1 f v");
    CHECK_LINE("XGROUP CREATE s group 0 MKSTREAM");
    CHECK_LINE("XGROUP CREATE s other 0", "XADD s 1-1 f v", "XGROUP CREATE s group 0");
    CHECK_LINE("XGROUP CREATECONSUMER s g someone", "XGROUP CREATE s g 0 MKSTREAM");
    CHECK_LINE("XREADGROUP GROUP g c STREAMS s >", "XADD s 1-1 f v", "XADD s 2-1 f v",
               "XGROUP CREATE s g 0");
    CHECK_LINE("XCLAIM s g d 0 1-1", "XADD s 1-1 f v", "XGROUP CREATE s g 0",
               "XREADGROUP GROUP g c STREAMS s >");
    CHECK_LINE("XDEL s 1-1 2-1", "XADD s 1-1 f v", "XADD s 2-1 f v", "XADD s 3-1 f v");
    CHECK_LINE("COPY s t", "XADD s 1-1 f v", "XGROUP CREATE s g 0",
               "XREADGROUP GROUP g c STREAMS s >");
}

/* What is taken away is in the reply, or is still there. */
Test(allocation, long_replies_of_what_goes)
{
    static char big[80000];
    many(line, "RPUSH l", "@", 1900);
    many(line_b, "SADD s", "@", 1900);
    many(line_c, "ZADD z", "# @", 1900);
    sprintf(big, "SET k %070000d", 1);
    CHECK_LINE("LPOP l 1500", line);
    CHECK_LINE("RPOP l 5000", line);
    CHECK_LINE("LMPOP 2 other l RIGHT COUNT 1000", line);
    CHECK_LINE("SPOP s 1900", line_b);
    CHECK_LINE("ZPOPMIN z 1500", line_c);
    CHECK_LINE("ZPOPMAX z 1900", line_c);
    CHECK_LINE("ZMPOP 2 other z MIN COUNT 1000", line_c);
    CHECK_LINE("GETDEL k", big);
    CHECK_LINE("GETSET k new", big);
    CHECK_LINE("SET k new GET", big);
    CHECK_LINE("GETEX k EXAT 1", big);
    sprintf(big, "RPUSH l %070000d", 1);
    CHECK_LINE("LPOP l", big);
    CHECK_LINE("LMOVE l m LEFT RIGHT", big);
    CHECK_LINE("LMOVE l l LEFT RIGHT", big, "RPUSH l 2");
    sprintf(big, "SADD s %070000d", 1);
    CHECK_LINE("SPOP s", big, "SADD s 1 2 3");
    sprintf(big, "ZADD z 1 %070000d", 1);
    CHECK_LINE("ZPOPMIN z", big);
    CHECK_LINE(many(line_b, "BITFIELD k", "INCRBY u8 # 3", 400), "SETRANGE k 2000 x");
    many(line, "HSET h", "f# v", 220);
    CHECK_LINE(many(line_b, "HEXPIRE h 100 FIELDS 200", "f#", 200), line);
    CHECK_LINE(many(line_c, "HPERSIST h FIELDS 200", "f#", 200), line, line_b);
    many(line, "XADD s 1-1", "f# @", 500);
    CHECK_LINE("XREADGROUP GROUP g c STREAMS s >", line, "XGROUP CREATE s g 0");
    CHECK_LINE("XCLAIM s g d 0 1-1", line, "XGROUP CREATE s g 0",
               "XREADGROUP GROUP g c STREAMS s >");
    CHECK_LINE("XAUTOCLAIM s g d 0 0", line, "XGROUP CREATE s g 0",
               "XREADGROUP GROUP g c STREAMS s >");
}

/* Without memory for all of them it takes fewer, and says which. */
Test(allocation, spop_takes_no_more_than_it_can_tell)
{
    static const char *const before[] = {line, NULL};
    many(line, "SADD s", "@@", 1500);
    was_reached = true;
    unsigned fewer = 0;
    for (unsigned n = 1; was_reached; n++) {
        prepare(before);
        fault_n = n;
        struct bytes reply = run_line("SPOP s 1200");
        bool reached = was_reached;
        long popped = reply.data[0] == '*' ? atol(reply.data + 1) : 0;
        long members = 0;
        for (size_t i = 0; i < reply.size; i++) members += reply.data[i] == '$';
        cr_assert_eq(members, popped);
        fewer += popped > 0 && popped < 1200;
        char expected[40];
        snprintf(expected, sizeof expected, ":%ld\r\n", 1500 - popped);
        cr_assert(bytes_equal(run_line("SCARD s"), bytes_of(expected)), "%u: %ld", n, popped);
        was_reached = reached;
        points++;
    }
    cr_expect_gt(fewer, 0);
}

/* RESTORE of what a command made. */
static void check_restore(const char *form)
{
    static char text[800000];
    prepare((const char *const[]){form, NULL});
    struct bytes dump = run_line("DUMP k");
    cr_assert_eq(dump.data[0], '$');
    const char *start = memchr(dump.data, '\n', dump.size);
    char *p = text + sprintf(text, "RESTORE k 100000 \"");
    for (const char *c = start + 1; c < dump.data + dump.size - 2; c++)
        p += sprintf(p, "\\x%02x", (unsigned char)*c);
    strcpy(p, "\" REPLACE");
    CHECK_LINE(text, "SET k old");
}

Test(allocation, restored_values)
{
    check_restore("SET k value");
    check_restore("SETRANGE k 3000 x");
    check_restore("RPUSH k a b c");
    check_restore(many(line, "RPUSH k", "value-#-@", 300));
    check_restore("SADD k 1 2 3");
    check_restore("SADD k 1 2 3 text");
    check_restore(many(line, "SADD k", "value-#-@", 300));
    check_restore("ZADD k 1 a 2 b");
    check_restore(many(line, "ZADD k", "# value-#-@", 300));
    check_restore(many(line, "XADD k 1-1", "f# @", 50));
    check_restore("HSET k a 1 b 2");
    check_restore(many(line, "HSET k", "# value-#-@", 300));
}
