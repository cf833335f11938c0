/* The family of sorted sets. Differences from redis-server are looked for by tests/compat; here are
 * the cases that it cannot see, and one of each kind. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "shard_fixture.h"

#define WRONG_TYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"

static struct shard_fixture f;

static void setup(void)
{
    f = shard_fixture_make();
    f.config->set_max_intset_entries = 512;
    f.config->set_max_listpack_entries = 128;
    f.config->set_max_listpack_value_bytes = 64;
    f.config->zset_max_listpack_entries = 128;
    f.config->zset_max_listpack_value_bytes = 64;
    shard_fixture_add_family(&f, &set_family);
    shard_fixture_add_family(&f, &zset_family);
}

static void teardown(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_zset, .init = setup, .fini = teardown);

static void fill(const char *key, int count)
{
    for (int i = 0; i < count; i++) {
        char line[64];
        snprintf(line, sizeof line, "ZADD %s %d m%d", key, i, i);
        expect(&f, line, ":1\r\n");
    }
}

Test(cmd_zset, ranks_come_with_scores_as_in_redis_7_2)
{
    expect(&f, "ZADD z 1 a 2.5 b", ":2\r\n");
    expect(&f, "ZRANK z b WITHSCORE", "*2\r\n:1\r\n$3\r\n2.5\r\n");
    expect(&f, "ZREVRANK z b withscore", "*2\r\n:0\r\n$3\r\n2.5\r\n");
    expect(&f, "ZRANK z c WITHSCORE", "*-1\r\n");
    expect(&f, "ZRANK none c WITHSCORE", "*-1\r\n");
    expect(&f, "ZRANK z c", "$-1\r\n");
    expect(&f, "ZRANK z b WITHSCORES", "-ERR syntax error\r\n");
    expect(&f, "ZRANK z b WITHSCORE x", "-ERR wrong number of arguments for 'zrank' command\r\n");
    f.resp = 3;
    expect(&f, "ZRANK z b WITHSCORE", "*2\r\n:1\r\n,2.5\r\n");
    expect(&f, "ZRANK z c WITHSCORE", "_\r\n");
}

Test(cmd_zset, options_of_zadd_decide_what_is_changed)
{
    expect(&f, "ZADD z XX 1 a", ":0\r\n");
    expect(&f, "EXISTS z", ":0\r\n");
    expect(&f, "ZADD z NX 5 a", ":1\r\n");
    expect(&f, "ZADD z NX 6 a 6 b", ":1\r\n");
    expect(&f, "ZADD z GT CH 4 a 7 b", ":1\r\n");
    expect(&f, "ZADD z LT CH 4 a 8 b", ":1\r\n");
    expect(&f, "ZADD z XX GT INCR -1 a", "$-1\r\n");
    expect(&f, "ZADD z INCR 1.5 a", "$3\r\n5.5\r\n");
    expect(&f, "ZRANGE z 0 -1 WITHSCORES", "*4\r\n$1\r\na\r\n$3\r\n5.5\r\n$1\r\nb\r\n$1\r\n7\r\n");
}

Test(cmd_zset, a_bad_score_anywhere_changes_nothing)
{
    expect(&f, "ZADD z 1 a x b", "-ERR value is not a valid float\r\n");
    expect(&f, "EXISTS z", ":0\r\n");
    expect(&f, "ZADD z inf a", ":1\r\n");
    expect(&f, "ZINCRBY z -inf a", "-ERR resulting score is not a number (NaN)\r\n");
    expect(&f, "ZSCORE z a", "$3\r\ninf\r\n");
}

Test(cmd_zset, many_pairs_at_once_are_added)
{
    struct bytes argv[2 + 2 * 200] = {BYTES_LITERAL("ZADD"), BYTES_LITERAL("z")};
    char text[400][12];
    for (unsigned i = 0; i < 200; i++) {
        argv[2 + 2 * i] = bytes_make(text[2 * i], (size_t)sprintf(text[2 * i], "%u", i));
        argv[3 + 2 * i] = bytes_make(text[2 * i + 1], (size_t)sprintf(text[2 * i + 1], "m%u", i));
    }
    struct bytes reply = shard_fixture_run(&f, ARRAY_LEN(argv), argv);
    cr_assert(bytes_equal(reply, BYTES_LITERAL(":200\r\n")));
    expect(&f, "OBJECT ENCODING z", "$8\r\nskiplist\r\n");
    expect(&f, "ZRANGE z 198 -1", "*2\r\n$4\r\nm198\r\n$4\r\nm199\r\n");
}

Test(cmd_zset, the_last_element_takes_the_key_with_it)
{
    static const char *const lines[] = {
        "ZREM z a",
        "ZPOPMIN z",
        "ZPOPMAX z 5",
        "ZMPOP 1 z MIN",
        "ZREMRANGEBYRANK z 0 -1",
        "ZREMRANGEBYSCORE z -inf +inf",
        "ZREMRANGEBYLEX z - +",
        "ZRANGESTORE z z 5 6",
        "ZDIFFSTORE z 2 z z",
        "ZINTERSTORE z 2 z none",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        expect(&f, "ZADD z 1 a", ":1\r\n");
        (void)shard_fixture_run_line(&f, lines[i]);
        cr_assert(bytes_equal(shard_fixture_run_line(&f, "EXISTS z"), BYTES_LITERAL(":0\r\n")),
                  "%s", lines[i]);
    }
}

Test(cmd_zset, limits_count_from_the_end_of_a_reversed_range)
{
    for (int round = 0; round < 2; round++) {
        if (round)
            fill("z", 200);
        else
            fill("z", 10);
        if (round) expect(&f, "ZREMRANGEBYRANK z 10 -1", ":190\r\n");
        expect(&f, "ZRANGE z 2 7 BYSCORE LIMIT 1 2", "*2\r\n$2\r\nm3\r\n$2\r\nm4\r\n");
        expect(&f, "ZRANGE z 7 2 BYSCORE REV LIMIT 1 2", "*2\r\n$2\r\nm6\r\n$2\r\nm5\r\n");
        expect(&f, "ZREVRANGEBYSCORE z (7 2 LIMIT 4 -1", "*1\r\n$2\r\nm2\r\n");
        expect(&f, "ZRANGEBYSCORE z 2 7 LIMIT -1 2", "*0\r\n");
        expect(&f, "ZRANGEBYSCORE z 2 7 LIMIT 6 2", "*0\r\n");
        expect(&f, "ZRANGE z -2 -1 REV", "*2\r\n$2\r\nm1\r\n$2\r\nm0\r\n");
        expect(&f, "ZCOUNT z (2 +inf", ":7\r\n");
        expect(&f, "ZRANGESTORE to z 7 2 BYSCORE REV LIMIT 1 2", ":2\r\n");
        expect(&f, "ZRANGE to 0 -1 WITHSCORES",
               "*4\r\n$2\r\nm5\r\n$1\r\n5\r\n$2\r\nm6\r\n$1\r\n6\r\n");
        expect(&f, "DEL z", ":1\r\n");
    }
}

Test(cmd_zset, pairs_are_nested_in_resp3)
{
    expect(&f, "ZADD z 1 a 2 b", ":2\r\n");
    f.resp = 3;
    expect(&f, "ZRANGE z 0 -1 WITHSCORES", "*2\r\n*2\r\n$1\r\na\r\n,1\r\n*2\r\n$1\r\nb\r\n,2\r\n");
    expect(&f, "ZSCAN z 0", "*2\r\n$1\r\n0\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n");
    expect(&f, "ZPOPMAX z", "*2\r\n$1\r\nb\r\n,2\r\n");
    expect(&f, "ZMPOP 2 none z MIN COUNT 3", "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\na\r\n,1\r\n");
    expect(&f, "ZMPOP 1 z MIN", "_\r\n");
}

Test(cmd_zset, plain_sets_take_part_with_a_score_of_1)
{
    expect(&f, "ZADD z 5 a 6 b", ":2\r\n");
    expect(&f, "SADD s a c", ":2\r\n");
    expect(&f, "ZUNION 2 z s WEIGHTS 2 3 WITHSCORES",
           "*6\r\n$1\r\nc\r\n$1\r\n3\r\n$1\r\nb\r\n$2\r\n12\r\n$1\r\na\r\n$2\r\n13\r\n");
    expect(&f, "ZINTER 2 s z AGGREGATE MAX WITHSCORES", "*2\r\n$1\r\na\r\n$1\r\n5\r\n");
    expect(&f, "ZDIFF 2 s z WITHSCORES", "*2\r\n$1\r\nc\r\n$1\r\n1\r\n");
    expect(&f, "ZINTERCARD 2 s z LIMIT 5", ":1\r\n");
    expect(&f, "ZUNIONSTORE s 2 s z", ":3\r\n");
    expect(&f, "TYPE s", "+zset\r\n");
    expect(&f, "OBJECT ENCODING s", "$8\r\nlistpack\r\n");
    expect(&f, "SET str x", "+OK\r\n");
    expect(&f, "ZUNION 2 none str junk", WRONG_TYPE);
}

Test(cmd_zset, infinities_that_meet_give_zero)
{
    expect(&f, "ZADD a inf x", ":1\r\n");
    expect(&f, "ZADD b -inf x", ":1\r\n");
    expect(&f, "ZUNION 2 a b WITHSCORES", "*2\r\n$1\r\nx\r\n$1\r\n0\r\n");
    expect(&f, "ZINTER 1 a WEIGHTS 0 WITHSCORES", "*2\r\n$1\r\nx\r\n$1\r\n0\r\n");
}

/* One set less many small ones is done by look-ups, less large ones by visits. */
Test(cmd_zset, a_difference_is_the_same_by_either_way)
{
    fill("a", 300);
    expect(&f, "ZADD tiny 1 m5", ":1\r\n");
    expect(&f, "ZDIFFSTORE rest 6 a tiny tiny tiny tiny tiny", ":299\r\n");
    expect(&f, "ZSCORE rest m5", "$-1\r\n");
    expect(&f, "ZRANGESTORE large a 100 -1", ":200\r\n");
    expect(&f, "ZDIFFSTORE rest 3 a large none", ":100\r\n");
    expect(&f, "OBJECT ENCODING rest", "$8\r\nlistpack\r\n");
    expect(&f, "ZINTERCARD 2 rest large", ":0\r\n");
}

static size_t count_in_head(struct bytes reply)
{
    return strtoul(reply.data + 1, NULL, 10);
}

Test(cmd_zset, random_elements_are_as_many_as_were_asked_for)
{
    fill("z", 300);
    cr_assert_eq(count_in_head(shard_fixture_run_line(&f, "ZRANDMEMBER z 20")), 20);
    cr_assert_eq(count_in_head(shard_fixture_run_line(&f, "ZRANDMEMBER z 200")), 200);
    cr_assert_eq(count_in_head(shard_fixture_run_line(&f, "ZRANDMEMBER z 1000")), 300);
    cr_assert_eq(count_in_head(shard_fixture_run_line(&f, "ZRANDMEMBER z -1000")), 1000);
    cr_assert_eq(count_in_head(shard_fixture_run_line(&f, "ZRANDMEMBER z 20 WITHSCORES")), 40);
    cr_assert_eq(count_in_head(shard_fixture_run_line(&f, "ZRANDMEMBER z -5 WITHSCORES")), 10);
    expect(&f, "ZCARD z", ":300\r\n");
    expect(&f, "ZRANDMEMBER z -9223372036854775807",
           "-ERR out of memory: the value does not fit\r\n");
}

Test(cmd_zset, an_increment_named_like_an_option_of_zadd_is_a_syntax_error)
{
    expect(&f, "ZINCRBY z NX a", "-ERR syntax error\r\n");
    expect(&f, "ZINCRBY z incr a", "-ERR syntax error\r\n");
    expect(&f, "ZINCRBY z x a", "-ERR value is not a valid float\r\n");
    expect(&f, "ZINCRBY z 1 nx", "$1\r\n1\r\n");
}

/* A request that is run without memory for its `at`-th block; the reply has some already. */
static enum err run_short_of_memory(const char *name, uint32_t argc, struct bytes *argv, int at)
{
    static union {
        struct chunk chunk;
        char room[sizeof(struct chunk) + 256];
    } lent;
    struct reply out;
    lent.chunk = (struct chunk){.capacity = 256, .home = CHUNK_LENT};
    reply_init(&out, &lent.chunk, &f.shard->mem);
    struct request rq = {
        .command = shard_fixture_row(&f, name), .argv = argv, .argc = argc, .resp = 2};
    fault_set("mem_try_alloc", at);
    enum err e = rq.command->on_shard(f.shard, &rq, &out);
    fault_set("mem_try_alloc", 0);
    return e;
}

static void all_or_none(const char *name, uint32_t argc, struct bytes *argv, const char *look)
{
    struct buf before = {.mem = &f.shard->mem};
    struct bytes seen = shard_fixture_run_line(&f, look);
    buf_append(&before, seen.data, seen.size);
    int at = 1;
    while (run_short_of_memory(name, argc, argv, at) == ERR_ALLOC) {
        seen = shard_fixture_run_line(&f, look);
        cr_assert(bytes_equal(seen, buf_view(&before)), "%s, block %d: %.*s", name, at,
                  (int)seen.size, seen.data);
        at++;
    }
    cr_assert_gt(at, 1);
    buf_clear(&before);
}

Test(cmd_zset, short_of_memory_all_elements_are_added_or_none)
{
    for (int size = 5; size <= 200; size += 195) {
        struct bytes argv[2 + 2 * 20] = {BYTES_LITERAL("zadd"), BYTES_LITERAL("z")};
        char texts[20][2][64];
        fill("z", size);
        for (unsigned i = 0; i < 20; i++) {
            int score_size = sprintf(texts[i][0], "%u", i * 7);
            int size_of_name =
                sprintf(texts[i][1], i % 2 && size > 128 ? "m%u" : "new%u", size > 128 ? i / 4 : i);
            argv[2 + 2 * i] = bytes_make(texts[i][0], (size_t)score_size);
            argv[3 + 2 * i] = bytes_make(texts[i][1], (size_t)size_of_name);
        }
        all_or_none("zadd", ARRAY_LEN(argv), argv, "ZRANGE z 0 -1 WITHSCORES");
        expect(&f, "DEL z", ":1\r\n");
    }
}

Test(cmd_zset, short_of_memory_all_members_are_added_or_none)
{
    struct bytes argv[] = {BYTES_LITERAL("sadd"), BYTES_LITERAL("s"), BYTES_LITERAL("1"),
                           BYTES_LITERAL("b"),    BYTES_LITERAL("7"), BYTES_LITERAL("c"),
                           BYTES_LITERAL("b"),    BYTES_LITERAL("d")};
    expect(&f, "SADD s 1 2 3", ":3\r\n");
    all_or_none("sadd", ARRAY_LEN(argv), argv, "SCARD s");
    expect(&f, "SCARD s", ":7\r\n");
}
