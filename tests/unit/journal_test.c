/* What the journal appends, replayed by the ordinary handlers on an empty shard, gives the same
 * keys: for random commands of all groups, with everything else that changes keys. */
#include "shard/journal.h"

#include "base/block.h"
#include "shard/dump.h"
#include "tests/unit/journal_commands.h"
#include "tests/unit/journal_fixture.h"
#include "tests/unit/random.h"

#define STEPS 8000
#define KEYS_PER_TYPE 3
#define BLOCK_REQUESTS 3

/* ---- random commands ---- */

static struct random seed;
static struct buf text; /* of the arguments of one command */

struct words {
    struct bytes argv[WORDS_MAX];
    uint32_t argc;
};

static uint64_t below(uint64_t n)
{
    return random_below(&seed, n);
}

static void add_value(void)
{
    switch (below(6)) {
    case 0:
        buf_printf(&text, "%d", (int)below(2000) - 1000);
        break;
    case 1:
        for (unsigned i = 0; i < 90; i++) buf_printf(&text, "%c", (char)('a' + i % 26));
        break;
    case 2:
        buf_append(&text, "\r\n\0\xff", 4);
        break;
    case 3:
        break;
    default:
        buf_printf(&text, "v%u", (unsigned)below(30));
    }
}

/* Of a key that is there; else of nothing. */
static void add_dump(void)
{
    const struct entry *e = keyspace_random(shard(), 0);
    if (!e)
        buf_append_text(&text, "nothing");
    else
        cr_assert(dump_try_append(e, false, &text));
}

static void add_key(char type)
{
    static const char types[] = "slzhtxbgp";
    if (type == 'k' || below(100) == 0) type = types[below(sizeof types - 1)];
    buf_printf(&text, "%c%u", type, (unsigned)below(KEYS_PER_TYPE));
}

static void add_time(char type)
{
    int64_t now = shard()->now_ms;
    switch (type) {
    case 'E':
        buf_printf(&text, "%u", 1 + (unsigned)below(5));
        break;
    case 'P':
        buf_printf(&text, "%u", 1 + (unsigned)below(5000));
        break;
    case 'S':
        buf_printf(&text, "%lld", (long long)(now / 1000 + (int64_t)below(6) - 1));
        break;
    default:
        buf_printf(&text, "%lld", (long long)(now - 500 + (int64_t)below(5000)));
    }
}

/* Of an entry of some stream that is there; false: there is none. */
static bool find_id(struct stream_id *id)
{
    struct key k = {.db = 0};
    char name[2] = {'x', (char)('0' + below(KEYS_PER_TYPE))};
    struct stream_iterator it;
    struct stream_entry entry;
    k.name = bytes_make(name, sizeof name);
    k.hash = bytes_hash(k.name, shard()->keys.seed);
    const struct entry *e = keyspace_peek(shard(), &k);
    if (!e || entry_type(e) != TYPE_STREAM) return false;
    stream_iterator_init(&it, stream_of(e), STREAM_ID_MIN, STREAM_ID_MAX, below(2));
    bool is_there = false;
    for (uint64_t skip = below(5); stream_iterator_next(&it, &entry); skip--) {
        *id = entry.id;
        is_there = true;
        if (skip == 0) break;
    }
    return is_there;
}

static void add_id(void)
{
    struct stream_id id = {below(9), below(3)};
    if (below(4)) (void)find_id(&id);
    buf_printf(&text, "%llu-%llu", (unsigned long long)id.ms, (unsigned long long)id.seq);
}

static void add_place(char type)
{
    if (strchr("slzhtxbgpk", type)) {
        add_key(type);
    } else if (strchr("EPSA", type)) {
        add_time(type);
    } else if (type == 'f') {
        buf_printf(&text, "f%u", (unsigned)below(6));
    } else if (type == 'v') {
        add_value();
    } else if (type == 'i') {
        buf_printf(&text, "%d", (int)below(30) - 5);
    } else if (type == 'n') {
        buf_printf(&text, "%u", 1 + (unsigned)below(4));
    } else if (type == 'd') {
        buf_printf(&text, "%d.%u", (int)below(9) - 4, (unsigned)below(100));
    } else if (type == 'I') {
        add_id();
    } else if (type == 'D') {
        add_dump();
    } else if (type == 'G' || type == 'C') {
        buf_printf(&text, "%c%u", type, (unsigned)below(2));
    } else if (type == 'W') {
        buf_append_text(&text, "0");
    } else {
        cr_assert_fail("%c", type);
    }
}

static void fill_in(const char *line, struct words *w)
{
    size_t starts[WORDS_MAX + 1];
    text.size = 0;
    w->argc = 0;
    while (*line) {
        starts[w->argc++] = text.size;
        for (; *line && *line != ' '; line++) {
            if (*line == '%')
                add_place(*++line);
            else
                buf_append(&text, line, 1);
        }
        line += *line == ' ';
    }
    starts[w->argc] = text.size;
    for (uint32_t i = 0; i < w->argc; i++)
        w->argv[i] = bytes_make(text.data + starts[i], starts[i + 1] - starts[i]);
}

/* ---- a holding ---- */

static void hold(void)
{
    struct bytes argv[6] = {BYTES_LITERAL("lock"), BYTES_LITERAL("\0\0\0\0\0\0\0\0")};
    for (unsigned i = 0; i < 2; i++) {
        text.size = 0;
        add_key('k');
        snprintf(held.names[i], sizeof held.names[i], "%.*s", (int)text.size, text.data);
        argv[2 + 2 * i] = bytes_of(held.names[i]);
        argv[3 + 2 * i] = BYTES_LITERAL("-\0\0");
    }
    turn_begin();
    const struct request *rq = turn_add(argv, ARRAY_LEN(argv), 0);
    held.is_asked = true;
    held.conn_index = conn_index;
    turn_run();
    if (!(rq->flags & REQUEST_PARKED)) take_token(parcel_fixture_reply(&p, 0));
}

static void let_go(void)
{
    const struct bytes argv[] = {BYTES_LITERAL("unlock"), held.token};
    turn_begin();
    turn_mark((uint16_t)below(2), 2);
    turn_add(argv, ARRAY_LEN(argv), 0)->flags |= REQUEST_COMMIT;
    turn_run();
    held.is_there = false;
}

struct asking {
    const struct request *rq;
    unsigned held, others;
};

static void ask_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct asking *a = context;
    bool is_held = false;
    for (unsigned i = 0; i < 2; i++)
        is_held |= bytes_equal(a->rq->argv[index], bytes_of(held.names[i]));
    a->held += is_held;
    a->others += !is_held;
}

/* Of the holder, if it could be. */
static void give_to_holder(struct request *rq)
{
    struct asking a = {.rq = rq};
    if (!held.is_there) return;
    command_each_key(rq->command, rq->argv, rq->argc, ask_key, &a);
    if (a.held > 0 && a.others == 0 && below(2)) rq->flags = REQUEST_COMMIT | REQUEST_IN_EXEC;
}

/* ---- the steps of a random run ---- */

#define ROWS_MAX 400
static const struct command *seen[ROWS_MAX]; /* rows that have had effects */
static unsigned seen_count;

static void see(const struct command *row)
{
    for (unsigned i = 0; i < seen_count; i++)
        if (seen[i] == row) return;
    cr_assert_lt(seen_count, ROWS_MAX);
    seen[seen_count++] = row;
}

/* What takes keys away comes less often. */
static const char *choose_command(void)
{
    static const char *const drains[] = {"DEL",    "UNLINK",  "RENAME", "MOVE",
                                         "EXPIRE", "PEXPIRE", "GETDEL", "LTRIM",
                                         "COPY",   "MSET",    "SORT",   "SPOP %t 1"};
    const char *line = commands[below(ARRAY_LEN(commands))];
    for (size_t i = 0; i < ARRAY_LEN(drains); i++)
        if (strncmp(line, drains[i], strlen(drains[i])) == 0 && below(4))
            return commands[below(ARRAY_LEN(commands))];
    return line;
}

static struct request *add_random(void)
{
    struct words w;
    fill_in(choose_command(), &w);
    uint32_t db = below(12) ? 0 : (uint32_t)below(DATABASES);
    struct request *rq = turn_add(w.argv, w.argc, db);
    /* What moves asks its coordinator when the target is held: there is none here. */
    bool may_wait = kinds & WAITERS && (!(kinds & HOLDINGS) || rq->command->keys[0].last != 0);
    if (rq->command->flags & CMD_BLOCKING && may_wait && below(3)) rq->flags |= REQUEST_MAY_WAIT;
    if (rq->command->plan == PLAN_FAN_OUT && below(2)) rq->flags |= REQUEST_PART;
    give_to_holder(rq);
    return rq;
}

/* A marked parcel has a part of a split command; others may be there, too. */
static void run_some(void)
{
    turn_begin();
    if (below(8) == 0) turn_mark((uint16_t)below(3), 3);
    uint64_t before = shard()->journal.effect_count;
    unsigned count = below(3) ? 1 : 1 + (unsigned)below(6);
    const struct request *rq = NULL;
    for (unsigned i = 0; i < count; i++) rq = add_random();
    turn_run();
    if (count == 1 && shard()->journal.effect_count > before) see(rq->command);
}

static struct block *blocks[3 * STEPS];
static unsigned block_count;

/* EXEC: its requests live on until the end, for it may be parked. */
static void run_block(void)
{
    static struct parcel_fixture holder;
    struct block *b = calloc(1, sizeof *b);
    b->requests = calloc(BLOCK_REQUESTS, sizeof *b->requests);
    b->count = BLOCK_REQUESTS;
    (void)holder;
    turn_begin();
    for (unsigned i = 0; i < BLOCK_REQUESTS; i++) {
        struct words w;
        fill_in(commands[below(ARRAY_LEN(commands))], &w);
        b->requests[i] = *turn_add(w.argv, w.argc, 0);
        b->requests[i].flags = REQUEST_IN_EXEC;
    }
    p.parcel->request_count = p.parcel->run_count = 0; /* the arguments are the block's now */
    blocks[block_count++] = b;
    const struct bytes argv[] = {BYTES_LITERAL("blockall"), bytes_make(&b, sizeof b)};
    if (below(3) == 0) turn_mark(1, 2);
    turn_add(argv, ARRAY_LEN(argv), 0);
    turn_run();
}

static void free_blocks(void)
{
    for (unsigned i = 0; i < block_count; i++) {
        struct block *b = blocks[i];
        for (uint32_t r = 0; r < b->count; r++) {
            for (uint32_t k = 0; k < b->requests[r].argc; k++)
                free((void *)(uintptr_t)b->requests[r].argv[k].data);
            free(b->requests[r].argv);
        }
        free(b->requests);
        free(b);
    }
    block_count = 0;
}

static void evict_one(void)
{
    struct entry *e = keyspace_random(shard(), 0);
    if (!e) return;
    uint64_t hash = bytes_hash(entry_key(e), shard()->keys.seed);
    if (keyspace_is_in_use(shard(), e, hash)) return;
    keyspace_drop_evicted(shard(), 0, hash, e);
    if (below(2)) journal_flush(shard());
}

static void pass_time(void)
{
    shard_fixture_pass_ms(&p.f, (int64_t)below(400));
    if (below(4) == 0) {
        shard()->expire_next_ns = 0;
        (void)shard_background(shard());
    }
}

static void whole_databases(void)
{
    static const char *const lines[] = {"SWAPDB 0 1", "SWAPDB 1 2", "FLUSHDB", "FLUSHALL",
                                        "SWAPDB 0 0"};
    turn_begin();
    if (below(2)) turn_mark(0, 2);
    struct request *rq = turn_add_line(lines[below(8) ? 4 : below(12) ? below(2) : below(4)]);
    rq->db = (uint16_t)below(DATABASES);
    rq->flags |= REQUEST_PART;
    uint64_t before = shard()->journal.effect_count;
    const struct command *row = rq->command;
    turn_run();
    if (shard()->journal.effect_count > before) see(row);
}

static void one_step(void)
{
    uint64_t what = below(100);
    if (what < 75)
        run_some();
    else if (what < 80 && kinds & WHOLE)
        run_block();
    else if (what < 90)
        pass_time();
    else if (what < 92)
        evict_one();
    else if (what < 93 && kinds & WHOLE)
        whole_databases();
    else if (!held.is_there && !held.is_asked && kinds & HOLDINGS)
        hold();
    else if (held.is_there && what < 97)
        let_go();
}

/* Everybody who waits gets something. */
static void serve_all(void)
{
    for (unsigned i = 0; i < 1000 && !waits_are_empty(&shard()->waits); i++) {
        for (unsigned db = 0; db < DATABASES; db++) {
            for (unsigned k = 0; k < 9 * KEYS_PER_TYPE; k++) {
                char line[64];
                turn_begin();
                snprintf(line, sizeof line, "%s %c%u 1 a 2 b", i % 2 ? "LPUSH" : "ZADD",
                         "slzhtxbgp"[k % 9], k / 9);
                turn_add_line(line)->db = (uint16_t)db;
                turn_run();
                snprintf(line, sizeof line, "DEL %c%u", "slzhtxbgp"[k % 9], k / 9);
                turn_begin();
                turn_add_line(line)->db = (uint16_t)db;
                turn_run();
            }
        }
    }
    cr_assert(waits_are_empty(&shard()->waits));
}

static void random_run(unsigned wanted)
{
    start();
    kinds = wanted;
    seed = random_make();
    text = (struct buf){.mem = &log_mem};
    shard()->journal.must_fall_back = kinds & FALL_BACK;
    for (unsigned i = 0; i < STEPS; i++) {
        one_step();
        if (i % 64 == 0) locks_validate(shard());
    }
    if (held.is_there) let_go();
    fprintf(stderr, "%llu effects in %llu records, %u kinds of commands\n",
            (unsigned long long)shard()->journal.effect_count,
            (unsigned long long)shard()->journal.last_lsn, seen_count);
    replay_and_compare();
    serve_all();
    buf_clear(&text);
    free_blocks();
    finish();
}

Test(journal, its_effects_replayed_give_the_same_keys)
{
    random_run(HOLDINGS | WHOLE);
}

Test(journal, so_they_do_when_waiters_are_served)
{
    random_run(WAITERS | WHOLE);
}

Test(journal, so_they_do_when_keys_are_held_for_waiters)
{
    random_run(HOLDINGS | WAITERS | WHOLE);
}

Test(journal, so_they_do_when_all_are_what_keys_have_become)
{
    random_run(HOLDINGS | WHOLE | FALL_BACK);
}

/* A new command is either among the commands of journal_commands.h or no effect of a client. */
static bool is_known_elsewhere(const struct command *row)
{
    return strcmp(row->group, "internal") == 0;
}

static bool was_seen(const struct command *row)
{
    for (unsigned i = 0; i < seen_count; i++)
        if (seen[i] == row) return true;
    return false;
}

static unsigned count_unseen(const struct command *rows, uint32_t count)
{
    unsigned unseen = 0;
    for (uint32_t i = 0; i < count && rows[i].name; i++) {
        const struct command *row = &rows[i];
        if (row->subcommands) unseen += count_unseen(row->subcommands, UINT32_MAX);
        bool writes = row->flags & (CMD_WRITE | CMD_EFFECT) && row->on_shard;
        if (!writes || is_known_elsewhere(row) || was_seen(row)) continue;
        fprintf(stderr, "never had an effect: %s\n", row->name);
        unseen++;
    }
    return unseen;
}

Test(journal, every_command_that_writes_takes_part)
{
    start();
    seed = random_make();
    kinds = WHOLE;
    text = (struct buf){.mem = &log_mem};
    for (unsigned i = 0; i < 3 * STEPS; i++) one_step();
    for (size_t i = 0; i < ARRAY_LEN(rare); i++) {
        uint64_t before = shard()->journal.effect_count;
        run_line(rare[i]);
        if (shard()->journal.effect_count > before) see(p.parcel->requests[0].command);
    }
    unsigned unseen = 0;
    for (uint32_t i = 0; i < p.f.family_count; i++)
        unseen += count_unseen(p.f.families[i]->commands, p.f.families[i]->count);
    cr_assert_eq(unseen, 0);
    replay_and_compare();
    buf_clear(&text);
    free_blocks();
    finish();
}

/* ---- single cases ---- */

static char told[4096]; /* of all records: "<txid> <payload> " */

static void tell_record(const struct aof_reader *r)
{
    size_t at = strlen(told);
    at +=
        (size_t)snprintf(told + at, sizeof told - at, "%llu:", (unsigned long long)r->record.txid);
    struct bytes rest = r->payload;
    while (rest.size > 0) {
        uint32_t argc;
        struct bytes *argv = take_command(&rest, &argc);
        for (uint32_t i = 0; i < argc; i++)
            at += (size_t)snprintf(told + at, sizeof told - at, "%.*s ", (int)argv[i].size,
                                   argv[i].data);
        free(argv);
        at += (size_t)snprintf(told + at, sizeof told - at, "; ");
    }
}

static void expect_log(const char *wanted)
{
    told[0] = '\0';
    each_record(tell_record);
    cr_assert_str_eq(told, wanted);
}

Test(journal, a_command_that_changes_nothing_or_fails_has_no_effect)
{
    start();
    run_line("SET s 1");
    run_line("SET s 2 NX");
    run_line("LPUSH s a");
    run_line("GET s");
    run_line("DEL nothing");
    run_line("SADD t a");
    run_line("SADD t a");
    run_line("SREM t b");
    close_log();
    expect_log("0:SET s 1 ; 0:SADD t a ; ");
    finish();
}

Test(journal, what_depends_on_time_or_chance_is_told_as_it_came_out)
{
    start();
    run_line("SET s 1 EX 10");
    run_line("INCRBYFLOAT s 0.5");
    run_line("EXPIRE s 20");
    run_line("GETEX s PERSIST");
    run_line("SADD t a");
    run_line("SPOP t");
    run_line("XADD x * f v");
    run_line("RPUSH l a b");
    run_line("LMOVE l m LEFT RIGHT");
    run_line("BLPOP nothing l 0");
    close_log();
    expect_log("0:SET s 1 PXAT 1700000010000 ; 0:SET s 1.5 KEEPTTL ; 0:PEXPIREAT s 1700000020000 ; "
               "0:PERSIST s ; 0:SADD t a ; 0:SREM t a ; 0:XADD x 1700000000000-0 f v ; "
               "0:RPUSH l a b ; 0:RPUSH m a ; LPOP l ; 0:LPOP l ; ");
    finish();
}

Test(journal, what_expires_goes_before_what_comes_instead)
{
    start();
    run_line("SET s 1 PX 10");
    shard_fixture_pass_ms(&p.f, 100);
    run_line("INCR s");
    run_line("HSET h f 1 g 1");
    run_line("HPEXPIRE h 10 FIELDS 1 f");
    shard_fixture_pass_ms(&p.f, 100);
    run_line("HINCRBY h f 1");
    close_log();
    expect_log("0:SET s 1 PXAT 1700000000010 ; 0:DEL s ; INCR s ; 0:HSET h f 1 g 1 ; "
               "0:HPEXPIREAT h 1700000000110 FIELDS 1 f ; 0:HDEL h f ; HINCRBY h f 1 ; ");
    finish();
}

/* So many that commands about single fields leave those which have expired where they are. */
#define MANY_FIELDS 300

Test(journal, fields_that_have_expired_and_are_still_there_are_as_good_as_gone)
{
    static char names[MANY_FIELDS][8];
    struct bytes set[2 + 2 * MANY_FIELDS] = {BYTES_LITERAL("HSET"), BYTES_LITERAL("h")};
    struct bytes expire[5 + MANY_FIELDS] = {BYTES_LITERAL("HPEXPIRE"), BYTES_LITERAL("h"),
                                            BYTES_LITERAL("10"), BYTES_LITERAL("FIELDS"),
                                            BYTES_LITERAL("300")};
    for (unsigned i = 0; i < MANY_FIELDS; i++) {
        snprintf(names[i], sizeof names[i], "f%u", i);
        set[2 + 2 * i] = expire[5 + i] = bytes_of(names[i]);
        set[3 + 2 * i] = BYTES_LITERAL("5");
    }
    start();
    turn_begin();
    turn_add(set, ARRAY_LEN(set), 0);
    turn_add(expire, ARRAY_LEN(expire), 0);
    turn_run();
    run_line("HSET h here 1 g 1");
    run_line("HPEXPIRE h 90000 FIELDS 1 here");
    shard_fixture_pass_ms(&p.f, 100);
    run_line("HPERSIST h FIELDS 3 f0 here f1");
    run_line("HINCRBY h f2 1");
    run_line("HINCRBYFLOAT h f3 1.5");
    run_line("HSETNX h f4 x");
    run_line("HSET h f5 x f6 y");
    run_line("HDEL h f7 g");
    run_line("HPEXPIRE h 50000 FIELDS 2 f8 f4");
    replay_and_compare();
    finish();
}

static void hold_line(const char *line)
{
    turn_begin();
    turn_add_line(line);
    turn_run();
    take_token(parcel_fixture_reply(&p, 0));
}

static void run_held(const char *line)
{
    turn_begin();
    turn_add_line(line)->flags |= REQUEST_COMMIT | REQUEST_IN_EXEC;
    turn_run();
}

static void unlock(uint16_t part, uint16_t part_count)
{
    const struct bytes argv[] = {BYTES_LITERAL("unlock"), held.token};
    turn_begin();
    turn_mark(part, part_count);
    turn_add(argv, ARRAY_LEN(argv), 0)->flags |= REQUEST_COMMIT;
    turn_run();
}

#define LOCK_S "lock \"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\" s \"-\\x00\\x00\""

/* Positions are those of the turns, from 11 on. */
Test(journal, a_holding_is_one_record_of_its_last_turn)
{
    start();
    hold_line(LOCK_S);
    run_held("SET s 1");
    run_line("SET other 1");
    run_held("INCR s");
    run_line("APPEND s parked");
    unlock(1, 2);
    close_log();
    expect_log("0:SET other 1 ; 16:SET s 1 ; INCR s ; APPEND s parked ; ");
    finish();
}

Test(journal, a_part_that_must_wait_is_announced_in_its_turn)
{
    struct journal_part part;
    start();
    hold_line(LOCK_S);
    run_held("SET s 1");
    turn_begin();
    turn_mark(0, 2);
    turn_add_line("MSET s 2 t 2")->flags |= REQUEST_PART;
    turn_add_line("MSET other 2")->flags |= REQUEST_PART;
    turn_run();
    cr_assert_not(journal_is_flushed(shard()));
    unlock(0, 1);
    cr_assert(journal_is_flushed(shard()));
    cr_assert(journal_take_part(shard(), 1, &part));
    cr_assert_eq(part.lsn, 1);
    cr_assert_not(journal_take_part(shard(), 9, &part));
    close_log();
    expect_log("13:SHOAL.LATER 1 MSET s 2 ; SHOAL.LATER 1 MSET t 2 ; SET other 2 ; "
               "0:SET s 1 ; SET s 2 ; SET t 2 ; SHOAL.DONE 1 ; ");
    finish();
}

Test(journal, a_part_without_effects_has_a_record)
{
    start();
    turn_begin();
    turn_mark(2, 3);
    turn_add_line("DEL nothing")->flags |= REQUEST_PART;
    turn_run();
    close_log();
    expect_log("11:");
    finish();
}

/* Of two shards: the first name that lives on that one. */
static const char *name_on(uint16_t id)
{
    static char name[16];
    for (unsigned i = 0;; i++) {
        snprintf(name, sizeof name, "n%u", i);
        uint64_t hash = bytes_hash(bytes_of(name), shard()->keys.seed);
        if (bytes_shard(bytes_of(name), hash, shard()->keys.seed, 2) == id) return name;
    }
}

Test(journal, what_happens_to_guests_is_no_effect_here)
{
    char line[64];
    start();
    shard()->shard_count = 2;
    hold_line(LOCK_S);
    snprintf(line, sizeof line, "APPEND %s guest", name_on(1));
    run_held(line);
    snprintf(line, sizeof line, "APPEND %s own", name_on(0));
    run_held(line);
    snprintf(line, sizeof line, "DEL %s", name_on(1));
    run_held(line);
    unlock(0, 1);
    close_log();
    snprintf(line, sizeof line, "0:APPEND %s own ; ", name_on(0));
    expect_log(line);
    shard()->shard_count = 1;
    finish();
}
