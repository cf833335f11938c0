/* The commands on whole keys and whole databases: replies byte for byte as redis-server 7.0.15
 * gives them. */
#include <criterion/criterion.h>

#include "shard/cmd/families.h"
#include "tests/unit/shard_fixture.h"

#define NOT_INT "-ERR value is not an integer or out of range\r\n"
#define NOT_INT32 "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n"
#define SYNTAX "-ERR syntax error\r\n"
#define NO_KEY "-ERR no such key\r\n"
#define DB_RANGE "-ERR DB index is out of range\r\n"
#define SAME_OBJECT "-ERR source and destination objects are the same\r\n"

static struct shard_fixture f;

static void start(void)
{
    f = shard_fixture_make();
}

static void stop(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_generic, .init = start, .fini = stop);

/* ---- counting ---- */

Test(cmd_generic, a_key_named_twice_is_deleted_once_and_exists_twice)
{
    expect(&f, "MSET a 1 b 2 c 3", "+OK\r\n");
    expect(&f, "EXISTS a a none", ":2\r\n");
    expect(&f, "TOUCH a a none", ":2\r\n");
    expect(&f, "DEL a a none", ":1\r\n");
    expect(&f, "UNLINK b a c", ":2\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
}

Test(cmd_generic, type_names_the_type)
{
    expect(&f, "TYPE k", "+none\r\n");
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "TYPE k", "+string\r\n");
}

Test(cmd_generic, looking_at_a_key_counts_but_only_touch_is_an_access)
{
    expect(&f, "SET k v EX 1000", "+OK\r\n");
    shard_fixture_pass_ms(&f, 10 * 1000);
    expect(&f, "EXISTS k", ":1\r\n");
    expect(&f, "TYPE k", "+string\r\n");
    expect(&f, "TTL k", ":990\r\n");
    expect(&f, "TYPE none", "+none\r\n");
    cr_assert_eq(counter_read(&f.shard->counters.keyspace_hits), 3);
    cr_assert_eq(counter_read(&f.shard->counters.keyspace_misses), 1);
    expect(&f, "OBJECT IDLETIME k", ":10\r\n");
    expect(&f, "TOUCH k", ":1\r\n");
    expect(&f, "OBJECT IDLETIME k", ":0\r\n");
    shard_fixture_pass_ms(&f, 10 * 1000);
    expect(&f, "EXPIRE k 1000 XX", ":1\r\n");
    expect(&f, "OBJECT IDLETIME k", ":0\r\n");
    cr_assert_eq(counter_read(&f.shard->counters.keyspace_hits), 7, "OBJECT looks, too");
    expect(&f, "OBJECT ENCODING none", "$-1\r\n");
    cr_assert_eq(counter_read(&f.shard->counters.keyspace_misses), 2);
}

/* ---- RENAME, MOVE, COPY ---- */

Test(cmd_generic, rename_takes_the_deadline_along_and_replaces_the_target)
{
    expect(&f, "RENAME none none", NO_KEY);
    expect(&f, "RENAMENX none k", NO_KEY);
    expect(&f, "SET k v EX 100", "+OK\r\n");
    expect(&f, "SET k2 w", "+OK\r\n");
    expect(&f, "RENAME k k", "+OK\r\n");
    expect(&f, "RENAMENX k k", ":0\r\n");
    expect(&f, "RENAMENX k k2", ":0\r\n");
    expect(&f, "RENAME k k2", "+OK\r\n");
    expect(&f, "MGET k k2", "*2\r\n$-1\r\n$1\r\nv\r\n");
    expect(&f, "TTL k2", ":100\r\n");
    expect(&f, "RENAMENX k2 k", ":1\r\n");
    expect(&f, "DBSIZE", ":1\r\n");
}

Test(cmd_generic, an_expired_key_is_no_target_and_no_source)
{
    expect(&f, "SET a 1 PX 5", "+OK\r\n");
    expect(&f, "SET b 2", "+OK\r\n");
    shard_fixture_pass_ms(&f, 6);
    expect(&f, "RENAMENX b a", ":1\r\n");
    expect(&f, "TTL a", ":-1\r\n");
    expect(&f, "SET c 1 PX 5", "+OK\r\n");
    shard_fixture_pass_ms(&f, 6);
    expect(&f, "RENAME c d", NO_KEY);
    expect(&f, "COPY c d", ":0\r\n");
    expect(&f, "MOVE c 1", ":0\r\n");
}

Test(cmd_generic, move_does_not_replace)
{
    expect(&f, "SET k v EX 100", "+OK\r\n");
    expect(&f, "MOVE k 0", SAME_OBJECT);
    expect(&f, "MOVE none 0", SAME_OBJECT);
    expect(&f, "MOVE none 1", ":0\r\n");
    expect(&f, "MOVE none 16", DB_RANGE);
    expect(&f, "MOVE none -1", DB_RANGE);
    expect(&f, "MOVE none abc", NOT_INT);
    expect(&f, "MOVE none 99999999999", NOT_INT32);
    expect(&f, "MOVE k 3", ":1\r\n");
    expect(&f, "SET k w", "+OK\r\n");
    expect(&f, "MOVE k 3", ":0\r\n");
    f.db = 3;
    expect(&f, "GET k", "$1\r\nv\r\n");
    expect(&f, "TTL k", ":100\r\n");
}

Test(cmd_generic, copy_leaves_the_source_and_keeps_deadline_and_encoding)
{
    expect(&f, "COPY none k", ":0\r\n");
    expect(&f, "SET k 12 EX 100", "+OK\r\n");
    expect(&f, "COPY k k2", ":1\r\n");
    expect(&f, "TTL k2", ":100\r\n");
    expect(&f, "APPEND k 3", ":3\r\n");
    expect(&f, "COPY k k2", ":0\r\n");
    expect(&f, "GET k2", "$2\r\n12\r\n");
    expect(&f, "COPY k k2 REPLACE", ":1\r\n");
    expect(&f, "GET k2", "$3\r\n123\r\n");
    expect(&f, "OBJECT ENCODING k2", "$3\r\nraw\r\n");
    expect(&f, "COPY k k DB 1 DB 2", ":1\r\n");
    expect(&f, "APPEND k 4", ":4\r\n");
    f.db = 2;
    expect(&f, "GET k", "$3\r\n123\r\n");
    expect(&f, "COPY k k DB 0 REPLACE", ":1\r\n");
    expect(&f, "DBSIZE", ":1\r\n");
}

Test(cmd_generic, options_of_copy_are_checked_from_left_to_right)
{
    expect(&f, "COPY k k2 FOO", SYNTAX);
    expect(&f, "COPY k k2 DB", SYNTAX);
    expect(&f, "COPY k k2 DB 1 FOO", SYNTAX);
    expect(&f, "COPY k k2 DB 99 FOO", DB_RANGE);
    expect(&f, "COPY k k2 DB -1", DB_RANGE);
    expect(&f, "COPY k k2 DB abc", NOT_INT);
    expect(&f, "COPY k k2 DB 99999999999", NOT_INT32);
    expect(&f, "COPY k k", SAME_OBJECT);
    expect(&f, "COPY k k DB 0", SAME_OBJECT);
    expect(&f, "COPY k k REPLACE REPLACE", SAME_OBJECT);
}

/* ---- OBJECT ---- */

Test(cmd_generic, object_names_the_encoding)
{
    expect(&f, "MSET i 12 e abc t 01234567890123456789012345678901234567890123", "+OK\r\n");
    expect(&f, "SET r 012345678901234567890123456789012345678901234", "+OK\r\n");
    expect(&f, "OBJECT ENCODING i", "$3\r\nint\r\n");
    expect(&f, "OBJECT ENCODING e", "$6\r\nembstr\r\n");
    expect(&f, "OBJECT ENCODING t", "$6\r\nembstr\r\n");
    expect(&f, "object encoding r", "$3\r\nraw\r\n");
    expect(&f, "OBJECT ENCODING none", "$-1\r\n");
    f.resp = 3;
    expect(&f, "OBJECT ENCODING none", "_\r\n");
}

Test(cmd_generic, object_says_of_small_integers_that_they_are_shared)
{
    expect(&f, "MSET a 0 b 9999 c 10000 d -1 e x", "+OK\r\n");
    expect(&f, "OBJECT REFCOUNT a", ":2147483647\r\n");
    expect(&f, "OBJECT REFCOUNT b", ":2147483647\r\n");
    expect(&f, "OBJECT REFCOUNT c", ":1\r\n");
    expect(&f, "OBJECT REFCOUNT d", ":1\r\n");
    expect(&f, "OBJECT REFCOUNT e", ":1\r\n");
}

Test(cmd_generic, object_tells_idle_time_or_frequency_by_the_policy)
{
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "OBJECT FREQ none", "$-1\r\n");
    expect(&f, "OBJECT FREQ k",
           "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please "
           "note that when switching between policies at runtime LRU and LFU data will take some "
           "time to adjust.\r\n");
    f.config->evict_policy = EVICT_LFU;
    expect(&f, "SET l v", "+OK\r\n");
    expect(&f, "OBJECT FREQ l", ":5\r\n");
    shard_fixture_pass_ms(&f, 2 * 60 * 1000);
    expect(&f, "OBJECT FREQ l", ":3\r\n");
    expect(&f, "OBJECT IDLETIME none", "$-1\r\n");
    expect(&f, "OBJECT IDLETIME l",
           "-ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
           "switching between policies at runtime LRU and LFU data will take some time to "
           "adjust.\r\n");
}

Test(cmd_generic, a_write_to_a_value_is_one_access)
{
    static const char *const uses[][2] = {
        {"HSET k f v", "HSET k f w"},
        {"HSET k f v", "HSET k g v"},
        {"HSET k f v g v", "HDEL k f"},
        {"HSET k f 1", "HINCRBY k f 1"},
        {"HSET k f v", "HEXPIRE k 9 FIELDS 1 f"},
        {"SADD k a b", "SADD k c"},
        {"SADD k a b", "SREM k a"},
        {"SADD k a b", "SPOP k"},
        {"SADD k a b", "SMOVE k {k} a"},
        {"ZADD k 1 a", "ZADD k 2 a"},
        {"ZADD k 1 a", "ZINCRBY k 1 b"},
        {"ZADD k 1 a 2 b", "ZREM k a"},
        {"ZADD k 1 a 2 b", "ZPOPMIN k"},
        {"ZADD k 1 a 2 b", "ZREMRANGEBYRANK k 0 0"},
        {"RPUSH k a", "RPUSH k b"},
        {"RPUSH k a b", "LPOP k"},
        {"RPUSH k a b", "LPOP k 0"},
        {"RPUSH k a b", "LSET k 0 c"},
        {"RPUSH k a b", "LINSERT k BEFORE b c"},
        {"RPUSH k a b", "LREM k 1 a"},
        {"RPUSH k a b", "LTRIM k 0 0"},
        {"RPUSH k a b", "LMOVE k {k} LEFT LEFT"},
        {"RPUSH k a b", "LMPOP 1 k LEFT"},
        {"RPUSH k a b", "BLPOP k 0"},
        {"XADD k 1-1 f v", "XADD k 2-1 f v"},
        {"XADD k 1-1 f v", "XDEL k 1-1"},
        {"SET k v", "APPEND k w"},
        {"SET k 1", "INCR k"},
        {"SET k v", "SETBIT k 1 1"},
    };
    static const struct command_family *const families[] = {
        &hash_family, &hash_expire_family, &set_family,    &zset_family,
        &list_family, &bits_family,        &stream_family, &list_blocking_family,
    };
    for (size_t i = 0; i < ARRAY_LEN(families); i++) shard_fixture_add_family(&f, families[i]);
    f.config->evict_policy = EVICT_LFU;
    f.config->lfu_log_factor = 0; /* each access counts */
    for (unsigned i = 0; i < ARRAY_LEN(uses); i++) {
        expect(&f, "FLUSHALL", "+OK\r\n");
        (void)shard_fixture_run_line(&f, uses[i][0]);
        expect(&f, "OBJECT FREQ k", ":5\r\n");
        cr_expect_neq(shard_fixture_run_line(&f, uses[i][1]).data[0], '-', "%s", uses[i][1]);
        struct bytes reply = shard_fixture_run_line(&f, "OBJECT FREQ k");
        cr_expect(bytes_equal(reply, BYTES_LITERAL(":6\r\n")), "%s: %.*s", uses[i][1],
                  (int)reply.size, reply.data);
    }
}

Test(cmd_generic, object_help_is_fifteen_lines)
{
    struct bytes reply = shard_fixture_run_line(&f, "OBJECT HELP");
    cr_assert_eq(memcmp(reply.data, "*15\r\n+OBJECT <subcommand> [<arg>", 30), 0);
    expect(&f, "OBJECT ENCODING",
           "-ERR wrong number of arguments for 'object|encoding' command\r\n");
}

Test(cmd_generic, debug_object_tells_the_length_of_the_serialised_value)
{
    struct bytes argv[] = {bytes_of("debug"), bytes_of("object"), bytes_of("k")};
    static const struct command row = {.name = "object", .on_shard = cmd_debug_object, .arity = 3};
    struct request rq = {.command = &row, .argv = argv, .argc = 3, .resp = 2};
    struct reply out;
    reply_init(&out, NULL, &f.shard->mem);
    cr_assert_eq(cmd_debug_object(f.shard, &rq, &out), ERR_NO_KEY);

    expect(&f, "SET k hello", "+OK\r\n");
    cr_assert_eq(cmd_debug_object(f.shard, &rq, &out), OK);
    struct chunk *c = reply_take(&out);
    char text[512] = {0};
    memcpy(text, c->data, MIN(c->size, sizeof text - 1));
    cr_assert_eq(strncmp(text, "+Value at:0x", 12), 0, "%s", text);
    cr_assert_not_null(strstr(text, " refcount:1 encoding:embstr serializedlength:6 lru:"));
    cr_assert_not_null(strstr(text, " lru_seconds_idle:0\r\n"));
    chunk_free_chain(&f.shard->mem, c);
}

/* ---- whole databases ---- */

Test(cmd_generic, flushing_one_database_leaves_the_others)
{
    expect(&f, "SET k v", "+OK\r\n");
    f.db = 5;
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "FLUSHDB FOO", SYNTAX);
    expect(&f, "FLUSHDB SYNC ASYNC", SYNTAX);
    expect(&f, "FLUSHDB async", "+OK\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
    f.db = 0;
    expect(&f, "DBSIZE", ":1\r\n");
    expect(&f, "FLUSHALL FOO", SYNTAX);
    expect(&f, "DBSIZE", ":1\r\n");
    expect(&f, "FLUSHALL SYNC", "+OK\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "FLUSHALL", "+OK\r\n");
    expect(&f, "GET k", "$-1\r\n");
}

Test(cmd_generic, swapdb_exchanges_two_databases)
{
    expect(&f, "SWAPDB abc def", "-ERR invalid first DB index\r\n");
    expect(&f, "SWAPDB 99999999999 0", "-ERR invalid first DB index\r\n");
    expect(&f, "SWAPDB 99 abc", "-ERR invalid second DB index\r\n");
    expect(&f, "SWAPDB 0 16", DB_RANGE);
    expect(&f, "SWAPDB -1 0", DB_RANGE);
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "SWAPDB 0 0", "+OK\r\n");
    expect(&f, "SWAPDB 0 7", "+OK\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
    f.db = 7;
    expect(&f, "GET k", "$1\r\nv\r\n");
    expect(&f, "SWAPDB 7 0", "+OK\r\n");
    expect(&f, "GET k", "$-1\r\n");
}

/* ---- the tables ---- */

static void check_row(const struct command *row)
{
    cr_assert(row->arity != 0 && row->since && row->group && row->complexity && row->summary, "%s",
              row->name);
    for (const char *p = row->name; *p; p++) cr_assert(*p >= 'a' && *p <= 'z', "%s", row->name);
    cr_assert(row->on_shard != NULL || row->subcommands != NULL, "%s", row->name);
    bool is_split = row->plan == PLAN_FAN_OUT || row->plan == PLAN_ALL_SHARDS ||
                    (row->plan == PLAN_LOCKED && row->merge == MERGE_OK);
    bool is_merged = row->merge != MERGE_NONE && row->merge != MERGE_CURSOR;
    cr_assert_eq(is_merged, is_split, "%s", row->name);
    cr_assert(!(row->flags & CMD_WRITE) || !(row->flags & CMD_READ), "%s", row->name);
    for (const struct key_spec *k = row->keys; k < row->keys + KEY_SPECS_MAX && k->flags; k++) {
        cr_assert(k->begin >= 1 && k->step >= 1, "%s", row->name);
        int last = k->last < 0 ? 0 : k->begin + k->last;
        cr_assert(last < abs(row->arity) || row->arity < 0, "%s", row->name);
    }
}

Test(cmd_generic, every_row_is_complete_and_its_name_its_own)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < f.family_count; i++) {
        for (uint32_t j = 0; j < f.families[i]->count; j++, rows++) {
            const struct command *row = &f.families[i]->commands[j];
            check_row(row);
            cr_assert_eq(shard_fixture_row(&f, row->name), row, "%s is there twice", row->name);
            for (const struct command *s = row->subcommands; s && s->name; s++) check_row(s);
        }
    }
    cr_assert_geq(rows, 48);
}
