/* Commands over three shards, blocks, scripts and commands that wait, with their first, second,
 * third … allocation failing, on whichever thread: done or not done, and nothing stays held. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/text.h"
#include "server/merge_parts.h"
#include "server/worker.h"
#include "shard/digest.h"
#include "tests/unit/server_fixture.h"

#define FAULT "mem_try_alloc"
#define OUT_OF_MEMORY "-ERR out of memory"
/* What waits for memory tries again ten times a second. */
#define RETRIES_MS 500
#define WORDS_MAX 1000

static struct server_fixture f;
static struct session *s, *other;
static unsigned points;
static char reply_text[1 << 20];
static struct bytes reply;

static void start(void)
{
    f = server_fixture_make(3);
    s = server_fixture_connect(&f, 0);
    other = server_fixture_connect(&f, 1);
}

static void stop(void)
{
    cr_log_info("%u points", points);
    server_fixture_free(&f); /* checks that no block is left */
}

TestSuite(locked_allocation, .init = start, .fini = stop);

/* ---- all that can be read ---- */

static void add_value(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct digest one = {0};
    int64_t deadline_ms = entry_deadline_ms(e);
    digest_mix(&one, entry_key(e));
    digest_mix(&one, bytes_make(&deadline_ms, sizeof deadline_ms));
    digest_mix_value(&one, e);
    digest_xor(context, &one);
}

/* Every key on its own shard, and nothing of a command left there. */
static struct digest digest_of_all(void)
{
    struct digest d = {0};
    for (uint16_t i = 0; i < f.server->mesh.shard_count; i++) {
        struct shard *sh = &f.server->shard_workers[i]->shard;
        shard_here = sh;
        for (uint32_t db = 0; db < 2; db++) {
            uint64_t cursor = 0;
            do cursor = keyspace_scan(sh, db, cursor, 100, add_value, &d);
            while (cursor);
        }
        cr_assert_eq(sh->locks.busy, 0);
        cr_assert_eq(sh->locks.short_count, 0);
        cr_assert_eq(sh->watches.key_count, 0);
        keyspace_validate(sh);
    }
    return d;
}

/* ---- running lines ---- */

/* Of a script, its position follows; Lua's compiler has words of its own. */
static bool is_out_of_memory(struct bytes text)
{
    size_t size = sizeof OUT_OF_MEMORY - 1;
    if (memmem(text.data, text.size, "not enough memory", 17)) return true;
    return text.size > size && memcmp(text.data, OUT_OF_MEMORY, size) == 0;
}

/* A connection whose reply is lost is closed, or is about to be. */
static bool is_closed(void)
{
    return s->conn.is_closing || s->conn.has_lost_output;
}

static bool was_closed(void)
{
    bool is = is_closed();
    if (is) s = server_fixture_connect(&f, 0);
    return is;
}

static void keep_reply(struct session *from)
{
    struct bytes sent = server_fixture_take(&f, from);
    cr_assert_leq(sent.size, sizeof reply_text);
    memcpy(reply_text, sent.data, sent.size);
    reply = bytes_make(reply_text, sent.size);
}

/* As an array: lines are split with memory of their own. */
static void send(struct session *to, const char *line)
{
    static struct bytes words[WORDS_MAX];
    static char text[1 << 20];
    struct buf storage = {.mem = &f.server->mem};
    int count = text_split_words(bytes_of(line), &storage, words, WORDS_MAX);
    cr_assert(count > 0, "not a command: %.60s", line);
    char *p = text + sprintf(text, "*%d\r\n", count);
    for (int i = 0; i < count; i++)
        p += sprintf(p, "$%zu\r\n%.*s\r\n", words[i].size, (int)words[i].size, words[i].data);
    buf_clear(&storage);
    p[-2] = '\0'; /* the fixture ends it */
    server_fixture_send(&f, to, text);
}

static void run(const char *line)
{
    send(s, line);
    server_fixture_settle(&f);
    keep_reply(s);
    cr_assert(reply.size > 0 && reply.data[0] != '-', "%.60s: %.*s", line, (int)reply.size,
              reply.data);
}

static bool is_armed(unsigned n)
{
    bool armed = false;
    for (unsigned i = 0; i < n && !armed; i++) armed = fault_hit(FAULT);
    fault_set(FAULT, 0);
    return armed;
}

/* False: there is no n-th allocation. */
static bool run_with_fault(const char *line, unsigned n)
{
    send(s, line);
    fault_set(FAULT, n);
    server_fixture_settle(&f);
    bool was_reached = !is_armed(n);
    for (unsigned ms = 0; ms < RETRIES_MS; ms += 50) server_fixture_pass_ms(&f, 50);
    keep_reply(s);
    cr_assert(reply.size > 0 || is_closed(), "%.60s, %u: no reply", line, n);
    return was_reached;
}

static void prepare(const char *const *before)
{
    run("FLUSHALL SYNC");
    for (; *before; before++) run(*before);
}

/* ---- one command, again and again ---- */

static void check(const char *line, const char *const *before)
{
    prepare(before);
    struct digest undone = digest_of_all();
    run(line);
    struct digest done = digest_of_all();
    for (unsigned n = 1;; n++) {
        prepare(before);
        if (!run_with_fault(line, n)) break;
        points++;
        struct digest now = digest_of_all();
        bool failed = reply.size > 0 && reply.data[0] == '-';
        (void)!was_closed();
        if (failed)
            cr_expect(is_out_of_memory(reply), "%.60s, %u: %.*s", line, n, (int)reply.size,
                      reply.data);
        bool is_done = memcmp(&now, &done, sizeof now) == 0,
             is_undone = memcmp(&now, &undone, sizeof now) == 0;
        /* A script that fails behind its command has run that. */
        bool is_right = failed ? is_undone || (is_done && line[0] == 'E') : is_done;
        cr_assert(is_right, "%.60s: %s %u: half", line, failed ? "failed at" : "done without", n);
    }
}
#define CHECK_LINE(line, ...) check((line), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* ---- without memory from some allocation on ---- */

/* Nothing is held any more while there is still no memory: whoever else comes is served. */
static void check_idle(const char *line, unsigned n)
{
    for (uint16_t i = 0; i < f.server->mesh.shard_count; i++)
        cr_assert_eq(f.server->shard_workers[i]->shard.locks.busy, 0, "%.60s: held at %u", line, n);
}

static void check_lasting(const char *line, const char *const *before)
{
    prepare(before);
    struct digest undone = digest_of_all();
    run(line);
    struct digest done = digest_of_all();
    bool was_reached = true;
    for (unsigned n = 1; was_reached; n++) {
        prepare(before);
        send(s, line);
        fault_set(FAULT, FAULT_LASTING | n);
        server_fixture_settle(&f);
        check_idle(line, n);
        was_reached = fault_hit(FAULT);
        fault_set(FAULT, 0);
        server_fixture_settle(&f);
        keep_reply(s);
        points++;
        struct digest now = digest_of_all();
        bool is_done = memcmp(&now, &done, sizeof now) == 0,
             is_undone = memcmp(&now, &undone, sizeof now) == 0;
        if (was_closed()) {
            cr_assert(is_done || is_undone, "%.60s: closed at %u: half", line, n);
            continue;
        }
        cr_assert_gt(reply.size, 0, "%.60s, %u: no reply", line, n);
        bool failed = reply.data[0] == '-';
        if (failed) cr_expect(is_out_of_memory(reply), "%.60s, %u", line, n);
        cr_assert(failed ? is_undone : is_done, "%.60s: %s %u: %s", line,
                  failed ? "failed at" : "done without", n, is_done ? "done" : "half");
    }
}
#define CHECK_LASTING(line, ...)                                                                   \
    check_lasting((line), (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static char *many(char *out, const char *head, const char *form, unsigned count)
{
    char *p = out + sprintf(out, "%s", head);
    for (unsigned i = 0; i < count; i++) {
        *p++ = ' ';
        for (const char *c = form; *c; c++) {
            if (*c == '#')
                p += sprintf(p, "%u", i);
            else
                *p++ = *c;
        }
    }
    *p = '\0';
    return out;
}

static char line_a[20000], line_b[20000], line_c[20000];

static char *big_pairs(char *out, const char *head, unsigned count, unsigned value_bytes)
{
    char *p = out + sprintf(out, "%s", head);
    for (unsigned i = 0; i < count; i++) p += sprintf(p, " key:%u %0*u", i, (int)value_bytes, i);
    return out;
}

Test(locked_allocation, pairs)
{
    static char line[100000];
    CHECK_LINE("MSET a 1 b 2 c 3 d 4");
    CHECK_LINE("MSET a 1 b 2 c 3 d 4 a 5", "HSET a f v", "SET d old PXAT 1900000000000");
    CHECK_LINE(many(line_a, "MSET", "key:# value-#", 130));
    CHECK_LINE(big_pairs(line, "MSET", 20, 1000));
    CHECK_LINE(big_pairs(line, "MSET", 300, 100), "SET key:1 old", "SADD key:2 x");
    CHECK_LINE(big_pairs(line, "MSET key:7 first", 12, 5000), "SET key:7 old");
}

static void check_strings_and_keys(void)
{
    CHECK_LINE("MSETNX a 1 b 2 c 3 d 4");
    CHECK_LINE(many(line_a, "MSETNX", "key:# value-#", 100));
    CHECK_LINE("RENAME a b", "HSET a f v", "SET b other");
    CHECK_LINE("RENAME a c", "SET a x PXAT 1900000000000");
    CHECK_LINE("RENAMENX a b", "SADD a f v");
    CHECK_LINE("COPY a b REPLACE", many(line_a, "RPUSH a", "element-#", 200), "SET b old");
    CHECK_LINE("COPY a b DB 1", "SET a value PXAT 1900000000000");
    CHECK_LINE("BITOP OR d a b c", "SET a 1", "SETRANGE b 2000 x", "SET d old");
    CHECK_LINE("PFMERGE d a b c", "PFADD a 1 2", "PFADD b 3", "PFADD c 4 5", "PFADD d 9");
    CHECK_LINE("PFCOUNT a b c", "PFADD a 1 2", "PFADD b 3", "PFADD c 4 5");
    CHECK_LINE("LCS a b", "SETRANGE a 300 a", "SETRANGE b 200 b");
}

Test(locked_allocation, strings_and_keys)
{
    check_strings_and_keys();
}

Test(locked_allocation, with_keyspace_events)
{
    run("CONFIG SET notify-keyspace-events KEA");
    check_strings_and_keys();
}

Test(locked_allocation, collections)
{
    many(line_a, "SADD a", "member-#", 150);
    many(line_b, "ZADD b", "# member-#", 150);
    many(line_c, "RPUSH c", "element-#", 150);
    CHECK_LINE("SUNIONSTORE d a b c", line_a, "SADD b 1 2 3", "SET d old");
    CHECK_LINE("SINTERSTORE d a b", line_a, "SADD b member-1 member-2");
    CHECK_LINE("SDIFFSTORE d a b c", line_a, "SADD b member-1", "SADD d old");
    CHECK_LINE("SINTER a b c", line_a, "SADD b member-1", "SADD c member-1 2");
    CHECK_LINE("SMOVE a b member-3", line_a, "SADD b 1 2 3");
    CHECK_LINE("SMOVE a c member-3", line_a);
    CHECK_LINE("ZUNIONSTORE d 3 a b c", line_a, line_b, "ZADD c 1 x", "ZADD d 5 old");
    CHECK_LINE("ZINTERSTORE d 2 a b", line_a, line_b);
    CHECK_LINE("ZDIFFSTORE d 2 b a", line_a, line_b, "ZADD b 1000 alone");
    CHECK_LINE("ZRANGESTORE d b 10 80", line_b, "SET d old");
    CHECK_LINE("ZUNION 3 a b c", line_a, line_b, "ZADD c 1 x");
    CHECK_LINE("LMOVE c a LEFT RIGHT", line_c, "RPUSH a 1");
    CHECK_LINE("RPOPLPUSH c b", line_c);
    CHECK_LINE("LMPOP 3 a b c LEFT COUNT 5", line_c);
    CHECK_LINE("ZMPOP 3 a b c MIN COUNT 5", line_b);
    CHECK_LINE("GEOSEARCHSTORE d b FROMLONLAT 15 37 BYRADIUS 200 km ASC",
               "GEOADD b 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", "SET d old");
}

/* Replies of many chunks have to be put together. */
Test(locked_allocation, merged_replies)
{
    static char big[30000];
    int head = sprintf(big, "SET a ");
    memset(big + head, 'x', sizeof big - (size_t)head - 1);
    CHECK_LINE("MGET a b c d", big, "SET b 1", "SET c 2");
    CHECK_LINE("DEL a b c d", "SET a 1", "SET b 2");
    CHECK_LINE("KEYS *", many(line_a, "MSET", "key-# value", 300));
}

Test(locked_allocation, streams)
{
    many(line_a, "XADD a 1-1", "field-# value-#", 300);
    CHECK_LINE("XREAD STREAMS a b c 0 0 0", line_a, "XADD b 1-1 f v", "XADD c 1-1 f v");
    CHECK_LINE("XREAD BLOCK 0 STREAMS a b c 0 0 0", line_a, "XADD c 1-1 f v");
    const char *read = "XREADGROUP GROUP g one COUNT 5 STREAMS a b c > > >";
    CHECK_LINE(read, line_a, "XADD b 1-1 f v", "XADD c 1-1 f v", "XGROUP CREATE a g 0",
               "XGROUP CREATE b g 0", "XGROUP CREATE c g 0");
}

Test(locked_allocation, sort_with_patterns)
{
    CHECK_LINE("SORT a BY w_* GET o_* GET h_*->f GET # STORE d", "RPUSH a 3 1 2",
               "MSET w_1 9 w_2 8", "MSET w_3 7 o_1 one", "MSET o_2 two o_3 three", "HSET h_1 f x",
               "HSET h_2 f y", "SET d old");
    CHECK_LINE("SORT a BY w_* GET o_*", many(line_a, "RPUSH a", "#", 100),
               many(line_b, "MSET", "w_# #", 100), many(line_c, "MSET", "o_# #", 100));
}

Test(locked_allocation, scripts)
{
    static char big[100000];
    /* A thread's first script makes its interpreter, which it cannot do without. */
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (unsigned i = 0; i < 2 * ARRAY_LEN(keys); i++) {
        char line[80];
        snprintf(line, sizeof line, "EVAL \"return %u\" 1 %s", i / 8, keys[i % 8]);
        run(line);
    }
    for (uint16_t i = 0; i < f.server->worker_count; i++)
        cr_assert(script_vm(&f.server->workers[i]));
    CHECK_LINE("EVAL \"return redis.call('sunionstore', KEYS[1], KEYS[2], KEYS[3])\" 3 d a b",
               "SADD a 1 2 3", "SADD b x y", "SET d old");
    big_pairs(big, "EVAL \"return redis.call('mset', unpack(ARGV))\" 0", 40, 600);
    CHECK_LINE(big, "SET key:1 old");
    CHECK_LINE("EVAL \"return redis.call('rename', KEYS[1], KEYS[2])\" 2 a b", "HSET a f v",
               "SET b old");
}

/* Nothing waits for memory with its keys held. */
Test(locked_allocation, nobody_holds_keys_until_there_is_memory)
{
    static char pairs[20000];
    many(line_a, "RPUSH a", "element-#", 150);
    many(line_b, "SADD b", "member-#", 150);
    many(line_c, "ZADD c", "# member-#", 150);
    big_pairs(pairs, "MSETNX", 10, 1000);
    CHECK_LASTING("RENAME a d", line_a, "SET d old");
    CHECK_LASTING("RENAME b a", line_a, line_b);
    CHECK_LASTING("RENAMENX a b", line_a);
    CHECK_LASTING("COPY a d REPLACE", line_a, "SET d old");
    CHECK_LASTING(pairs, "SET other 1");
    CHECK_LASTING("SMOVE b d member-3", line_b);
    CHECK_LASTING("LMOVE a d LEFT RIGHT", line_a);
    CHECK_LASTING("SUNION b d", line_b, "SADD d 1 2");
    CHECK_LASTING("SUNIONSTORE d b e", line_b, "SADD e 1 2", "SET d old");
    CHECK_LASTING("ZUNIONSTORE d 2 b c", line_b, line_c);
    CHECK_LASTING("LMPOP 3 x y a LEFT COUNT 100", line_a);
    CHECK_LASTING("ZMPOP 3 x y c MIN COUNT 100", line_c);
    CHECK_LASTING("ZMPOP 3 x d c MIN COUNT 100", line_c, "ZADD d 1 one", "PEXPIRE d 100000");
    CHECK_LASTING("SORT b BY w_* ALPHA STORE d", line_b, "MSET w_member-1 9 w_member-2 8");
    CHECK_LASTING("XREADGROUP GROUP g one STREAMS e d > >",
                  many(pairs, "XADD e 1-1", "field-# value-#", 100), "XADD d 1-1 f v",
                  "XGROUP CREATE e g 0", "XGROUP CREATE d g 0");
}

/* ---- blocks ---- */

/* What the block has done is what those of its commands do that did not fail. */
static void check_block(const char *const *before, const char *const *commands)
{
    for (unsigned n = 1;; n++) {
        prepare(before);
        run("MULTI");
        for (const char *const *c = commands; *c; c++) run(*c);
        if (!run_with_fault("EXEC", n)) break;
        points++;
        if (was_closed()) continue;
        struct digest now = digest_of_all();
        static char kept[sizeof reply_text];
        memcpy(kept, reply_text, reply.size);
        struct bytes left = bytes_make(kept, reply.size);
        bool ran = left.data[0] == '*';
        if (!ran) cr_assert(is_out_of_memory(left));
        prepare(before);
        const char *at = ran ? (const char *)memchr(left.data, '\n', left.size) + 1 : NULL;
        for (const char *const *c = commands; ran && *c; c++) {
            size_t size = reply_value_bytes(bytes_make(at, left.size - (size_t)(at - kept)));
            if (at[0] != '-') run(*c);
            at += size;
        }
        struct digest expected = digest_of_all();
        cr_assert_eq(memcmp(&now, &expected, sizeof now), 0, "%s, %u: not what it says",
                     commands[0], n);
    }
}

Test(locked_allocation, blocks)
{
    many(line_a, "SADD a", "member-#", 150);
    check_block((const char *const[]){"SET a 1", "SET b 2", NULL},
                (const char *const[]){"APPEND a 22222222222222222222222222222222222222222222",
                                      "INCR b", "SET c 3", "RPUSH d 1 2 3", NULL});
    check_block((const char *const[]){line_a, "SADD b 1 2 3", "SET d old", NULL},
                (const char *const[]){"SET e before", "SUNIONSTORE d a b c", "RENAME d f",
                                      "LMPOP 2 x y LEFT", "MSETNX g 1 h 2 i 3", "GET e", NULL});
    static char line[100000], small[20000];
    check_block((const char *const[]){"SET key:1 1", "SET b 2", NULL},
                (const char *const[]){big_pairs(line, "MSET", 20, 1000), "INCR key:3",
                                      many(small, "MSET", "key:# value-#", 20), NULL});
    check_block((const char *const[]){"SET key:1 1", "SET b 2", NULL},
                (const char *const[]){"INCR b", many(small, "MSET", "key:# value-#", 20),
                                      "MGET key:1 key:2 key:3 nothing", NULL});
}

/* ---- waiting ---- */

/* Who finds no memory to wait is told so, and takes nothing. */
static void check_waiter(const char *line, const char *push)
{
    run("FLUSHALL SYNC");
    for (unsigned n = 1;; n++) {
        run("FLUSHALL SYNC");
        send(s, line);
        fault_set(FAULT, n);
        server_fixture_settle(&f);
        bool was_reached = !is_armed(n);
        keep_reply(s);
        bool refused = reply.size > 0;
        if (refused) cr_assert(is_out_of_memory(reply));
        send(other, push);
        server_fixture_settle(&f);
        (void)server_fixture_take(&f, other);
        keep_reply(s);
        cr_assert_eq(reply.size > 0, !refused, "%s, %u", line, n);
        (void)digest_of_all();
        if (!was_reached) break;
        points++;
    }
}

Test(locked_allocation, commands_that_wait)
{
    check_waiter("BLPOP {k}a {k}b {k}c {k}b 0", "RPUSH {k}b value");
    check_waiter("BZPOPMIN {k}a {k}b 0", "ZADD {k}b 1 value");
    check_waiter("BLMPOP 0 3 {k}a {k}b {k}c LEFT COUNT 2", "RPUSH {k}c value");
    check_waiter("BLMOVE {k}a {k}b LEFT LEFT 0", "RPUSH {k}a value");
    check_waiter("XREAD BLOCK 0 STREAMS {k}a {k}b $ $", "XADD {k}b 1-1 f v");
}

/* The waiter stands on three shards, and asks them who was first. */
Test(locked_allocation, commands_that_wait_on_several_shards)
{
    check_waiter("BLPOP a b c 0", "RPUSH b value");
    check_waiter("BZMPOP 0 3 a b c MIN", "ZADD c 1 value");
    check_waiter("XREAD BLOCK 0 STREAMS a b c $ $ $", "XADD b 1-1 f v");
}
