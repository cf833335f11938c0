/* The configuration: files, arguments, CONFIG GET, SET and REWRITE. Texts of errors are those of
 * redis-server 7.0.15. */
#include "server/config.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "persist/file.h"
#include "tests/unit/random.h"

/* ---- helpers ---- */

struct fixture {
    struct mem mem;
    struct config config;
    struct buf text; /* the last error, value or file */
    char dir[64];    /* made on demand */
};

static void open_defaults(struct fixture *f)
{
    *f = (struct fixture){0};
    mem_init(&f->mem, "config_test");
    f->text.mem = &f->mem;
    config_defaults(&f->config, &f->mem);
}

/* Every allocation must be back: mem_deinit checks it. */
static void finish(struct fixture *f)
{
    config_deinit(&f->config);
    buf_clear(&f->text);
    mem_deinit(&f->mem);
}

static const char *terminated(struct buf *b)
{
    buf_append(b, "", 1);
    return b->data;
}

static enum err read_text(struct fixture *f, const char *text)
{
    f->text.size = 0;
    return config_read_text(&f->config, bytes_of(text), "test.conf", &f->text);
}

static void expect_read(struct fixture *f, const char *text)
{
    cr_assert_eq(read_text(f, text), OK, "%s", terminated(&f->text));
}

static void expect_refused(UNUSED struct fixture *f, const char *line, const char *reason)
{
    struct fixture fresh;
    char expected[1024];
    open_defaults(&fresh);
    cr_assert_neq(read_text(&fresh, line), OK, "accepted: %s", line);
    snprintf(expected, sizeof(expected),
             "\n*** FATAL CONFIG FILE ERROR (Shoal) ***\nReading test.conf, at line 1\n"
             ">>> '%s'\n%s\n",
             line, reason);
    cr_assert_str_eq(terminated(&fresh.text), expected);
    finish(&fresh);
}

static void take_value(void *context, const char *name, struct bytes value)
{
    struct buf *out = context;
    buf_printf(out, "%s=", name);
    buf_append(out, value.data, value.size);
    buf_append_text(out, ";");
}

static const char *get(struct fixture *f, const char *pattern)
{
    struct bytes patterns[] = {bytes_of(pattern)};
    f->text.size = 0;
    config_get(&f->config, patterns, 1, take_value, &f->text);
    return terminated(&f->text);
}

static void expect_value(struct fixture *f, const char *name, const char *value)
{
    char expected[512];
    snprintf(expected, sizeof(expected), "%s=%s;", name, value);
    cr_assert_str_eq(get(f, name), expected);
}

static enum err set_pairs(struct fixture *f, const char *const *words, uint32_t count)
{
    struct bytes argv[16];
    struct config changed;
    for (uint32_t i = 0; i < count; i++) argv[i] = bytes_of(words[i]);
    f->text.size = 0;
    enum err e = config_set(&f->config, argv, count, false, &changed, &f->text);
    if (e != OK) return e;
    config_deinit(&f->config);
    f->config = changed;
    return OK;
}

static void expect_set(struct fixture *f, const char *name, const char *value, const char *shown)
{
    const char *words[] = {name, value};
    cr_assert_eq(set_pairs(f, words, 2), OK, "%s", terminated(&f->text));
    expect_value(f, name, shown);
}

static void expect_set_refused(struct fixture *f, const char *name, const char *value,
                               const char *reason)
{
    const char *words[] = {name, value};
    char expected[1024];
    snprintf(expected, sizeof(expected),
             "ERR CONFIG SET failed (possibly related to argument '%s') - %s", name, reason);
    cr_assert_neq(set_pairs(f, words, 2), OK, "accepted: %s %s", name, value);
    cr_assert_str_eq(terminated(&f->text), expected);
}

static const char *path_in(struct fixture *f, char *out, size_t size, const char *name)
{
    if (!f->dir[0]) {
        snprintf(f->dir, sizeof(f->dir), "/tmp/shoal-config-XXXXXX");
        cr_assert_not_null(mkdtemp(f->dir));
    }
    snprintf(out, size, "%s/%s", f->dir, name);
    return out;
}

static void write_file(const char *path, const char *text)
{
    char why[ENV_NAME_BYTES_MAX * 2];
    cr_assert_eq(file_replace(path, bytes_of(text), why), OK, "%s", why);
}

/* Loads into f->config, which must not be alive. */
static enum err load(struct fixture *f, const char *const *args, int count)
{
    char *argv[16] = {(char *)(uintptr_t) "shoal-server"};
    for (int i = 0; i < count; i++) argv[i + 1] = (char *)(uintptr_t)args[i];
    f->text.size = 0;
    return config_load(count + 1, argv, &f->mem, &f->config, &f->text);
}

static void expect_load(struct fixture *f, const char *const *args, int count)
{
    config_deinit(&f->config);
    cr_assert_eq(load(f, args, count), OK, "%s", terminated(&f->text));
}

#define LOAD(f, ...)                                                                               \
    expect_load(f, (const char *const[]){__VA_ARGS__},                                             \
                (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

/* ---- the table ---- */

Test(config, rows_are_sane_and_names_are_unique)
{
    for (uint32_t i = 0; i < config_param_count; i++) {
        const struct config_param *p = &config_params[i];
        cr_assert_eq(config_find(bytes_of(p->name)), p, "%s", p->name);
        if (p->alias) cr_assert_eq(config_find(bytes_of(p->alias)), p, "%s", p->alias);
        bool has_words = p->kind == CONFIG_ENUM || p->kind == CONFIG_BITS;
        cr_assert_eq(p->words != NULL, has_words, "%s", p->name);
        if (p->kind == CONFIG_SPECIAL) cr_assert_not_null(p->special, "%s", p->name);
        cr_assert(p->initial || (p->flags & CONFIG_FILE_ONLY), "%s", p->name);
        cr_assert_leq(p->offset + p->bytes, sizeof(struct config), "%s", p->name);
    }
}

Test(config, ranges_fit_into_their_fields)
{
    for (uint32_t i = 0; i < config_param_count; i++) {
        const struct config_param *p = &config_params[i];
        if (p->kind == CONFIG_MEMORY) cr_assert_eq(p->bytes, 8, "%s", p->name);
        if (p->kind != CONFIG_INT || p->bytes == 8) continue;
        int64_t top = p->bytes == 2 ? UINT16_MAX : p->min < 0 ? INT32_MAX : (int64_t)UINT32_MAX;
        cr_assert(p->bytes == 2 || p->bytes == 4, "%s", p->name);
        cr_assert_leq(p->max, top, "%s", p->name);
        cr_assert(p->bytes == 4 || p->min >= 0, "%s", p->name);
    }
}

Test(config, no_two_rows_share_a_field)
{
    for (uint32_t i = 0; i < config_param_count; i++) {
        const struct config_param *a = &config_params[i];
        for (uint32_t k = 0; k < i; k++) {
            const struct config_param *b = &config_params[k];
            bool storeless = a->offset == offsetof(struct config, mem);
            bool apart = a->offset >= b->offset + b->bytes || b->offset >= a->offset + a->bytes;
            cr_assert(storeless || apart, "%s and %s", a->name, b->name);
        }
    }
}

Test(config, defaults_are_those_of_redis)
{
    struct fixture f;
    open_defaults(&f);
    cr_assert_eq(f.config.port, 6379);
    cr_assert_eq(f.config.timeout_s, 0);
    cr_assert_eq(f.config.maxclients, 10000);
    cr_assert_eq(f.config.proto_bulk_bytes_max, 512 * 1024 * 1024);
    cr_assert_eq(f.config.list_max_listpack_size, -2);
    cr_assert_eq(f.config.threads, CONFIG_THREADS_AUTO);
    cr_assert(f.config.protected_mode);
    expect_value(&f, "bind", "* -::*");
    expect_value(&f, "save", "3600 1 300 100 60 10000");
    expect_value(&f, "latency-tracking-info-percentiles", "50 99 99.9");
    expect_value(&f, "client-output-buffer-limit",
                 "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60");
    expect_value(&f, "maxmemory-policy", "noeviction");
    finish(&f);
}

/* ---- reading ---- */

Test(config, comments_blank_lines_quotes_and_case_are_read)
{
    struct fixture f;
    open_defaults(&f);
    expect_read(
        &f, "# comment\r\n\r\n  \tPORT\t 7000  \r\n\"timeout\" '5'\nrequirepass \"a\\x41\\n b\"\n"
            "   # another\nlogfile ''");
    cr_assert_eq(f.config.port, 7000);
    cr_assert_eq(f.config.timeout_s, 5);
    cr_assert_str_eq(f.config.requirepass, "aA\n b");
    cr_assert_str_eq(f.config.logfile, "");
    finish(&f);
}

Test(config, memory_sizes_have_units)
{
    struct fixture f;
    open_defaults(&f);
    expect_read(&f, "maxmemory 4gb\nrepl-backlog-size 2M\nhash-max-listpack-value 1KB");
    cr_assert_eq(f.config.maxmemory_bytes, UINT64_C(4) << 30);
    cr_assert_eq(f.config.repl_backlog_bytes, 2000000);
    cr_assert_eq(f.config.hash_max_listpack_value_bytes, 1024);
    finish(&f);
}

Test(config, save_lines_add_up_until_an_empty_one)
{
    struct fixture f;
    open_defaults(&f);
    expect_read(&f, "save 60 1000\nsave 10 5 20 6");
    expect_value(&f, "save", "60 1000 10 5 20 6");
    expect_read(&f, "save \"\"\nsave 7 7");
    expect_value(&f, "save", "7 7");
    expect_read(&f, "save \"\"");
    expect_value(&f, "save", "");
    finish(&f);
}

Test(config, later_lines_win_and_limits_of_other_classes_stay)
{
    struct fixture f;
    open_defaults(&f);
    expect_read(&f, "timeout 1\ntimeout 2\nclient-output-buffer-limit normal 1mb 2 3\n"
                    "client-output-buffer-limit replica 4 5 6\nbind 127.0.0.1\nbind 10.0.0.1 -::1");
    cr_assert_eq(f.config.timeout_s, 2);
    cr_assert_eq(f.config.client_output_limit[CONFIG_CLIENT_NORMAL].hard_bytes, 1024 * 1024);
    cr_assert_eq(f.config.client_output_limit[CONFIG_CLIENT_REPLICA].soft_s, 6);
    cr_assert_eq(f.config.client_output_limit[CONFIG_CLIENT_PUBSUB].soft_s, 60);
    cr_assert_eq(f.config.bind.count, 2);
    cr_assert_str_eq(f.config.bind.items[1], "-::1");
    finish(&f);
}

Test(config, lists_of_file_only_directives_are_kept)
{
    struct fixture f;
    open_defaults(&f);
    expect_read(&f, "rename-command GET \"\"\nrename-command set \"x y\"\nuser alice on >p ~*\n"
                    "loadmodule /a.so \"b c\"\nlist-max-ziplist-entries 5");
    cr_assert_eq(f.config.rename_commands.count, 4);
    cr_assert_str_eq(f.config.rename_commands.items[0], "GET");
    cr_assert_str_eq(f.config.rename_commands.items[1], "");
    cr_assert_str_eq(f.config.rename_commands.items[3], "x y");
    cr_assert_str_eq(f.config.users.items[0], "alice on >p ~*");
    cr_assert_str_eq(f.config.modules.items[0], "/a.so \"b c\"");
    cr_assert_str_eq(get(&f, "user"), "");
    cr_assert_str_eq(get(&f, "rename-command"), "");
    finish(&f);
}

Test(config, aliases_set_the_same_field)
{
    struct fixture f;
    open_defaults(&f);
    expect_read(&f, "slave-priority 7\nio-threads 3\nhash-max-ziplist-entries 9");
    expect_value(&f, "replica-priority", "7");
    cr_assert_eq(f.config.threads, 3);
    expect_value(&f, "threads", "3");
    expect_value(&f, "hash-max-listpack-entries", "9");
    finish(&f);
}

Test(config, bad_lines_get_the_reasons_of_redis)
{
    struct fixture f;
    open_defaults(&f);
    const char *bad = "Bad directive or wrong number of arguments";
    expect_refused(&f, "porte 1", bad);
    expect_refused(&f, "port 1 2", "wrong number of arguments");
    expect_refused(&f, "port", "wrong number of arguments");
    expect_refused(&f, "port abc", "argument couldn't be parsed into an integer");
    expect_refused(&f, "port 99999", "argument must be between 0 and 65535 inclusive");
    expect_refused(&f, "maxmemory 1zb", "argument must be a memory value");
    expect_refused(&f, "daemonize maybe", "argument must be 'yes' or 'no'");
    expect_refused(&f, "appendfsync foo",
                   "argument(s) must be one of the following: everysec, always, no");
    expect_refused(&f, "maxmemory-policy \"noeviction", "Unbalanced quotes in configuration line");
    expect_refused(&f, "port \"1\"x", "Unbalanced quotes in configuration line");
    expect_refused(&f, "unixsocketperm 999", "argument couldn't be parsed as an octal number");
    expect_refused(&f, "unixsocketperm 7777", "argument must be between 0 and 777 inclusive");
    expect_refused(&f, "save 10", "Invalid save parameters");
    expect_refused(&f, "rename-command get get2 3", bad);
    expect_refused(&f, "loadmodule", bad);
    expect_refused(&f, "replicaof a", "wrong number of arguments");
    expect_refused(&f, "replicaof a b", "Invalid master port");
    expect_refused(&f, "bind 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
                   "Too many bind addresses specified.");
    expect_refused(&f, "dir /nosuchdir", "No such file or directory");
    expect_refused(&f, "dir /etc/passwd", "Not a directory");
    expect_refused(&f, "shutdown-on-sigint save nosave",
                   "shutdown options SAVE and NOSAVE can't be used simultaneously");
    expect_refused(&f, "maxmemory-policy allkeys-fifo",
                   "argument(s) must be one of the following: volatile-lru, volatile-lfu, "
                   "volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, "
                   "allkeys-s3fifo, noeviction");
    expect_refused(&f, "threads 0", "argument must be between 1 and 256 inclusive");
    expect_refused(&f, "include x.conf", "Files cannot be included here");
    finish(&f);
}

Test(config, an_error_names_the_line_but_no_password)
{
    struct fixture f;
    open_defaults(&f);
    cr_assert_neq(read_text(&f, "timeout 1\n\n requirepass my secret\n"), OK);
    terminated(&f.text);
    cr_assert_not_null(strstr(f.text.data, "at line 3\n>>> 'requirepass (hidden)'\nwrong number"));
    cr_assert_null(strstr(f.text.data, "secret"));
    finish(&f);
}

Test(config, texts_with_nul_bytes_are_refused_unless_they_are_passwords)
{
    struct fixture f;
    struct config changed;
    open_defaults(&f);
    struct bytes pair[] = {bytes_of("pidfile"), bytes_make("a\0b", 3)};
    cr_assert_neq(config_set(&f.config, pair, 2, false, &changed, &f.text), OK);
    pair[0] = bytes_of("dbfilename");
    cr_assert_neq(config_set(&f.config, pair, 2, false, &changed, &f.text), OK);
    pair[0] = bytes_of("requirepass");
    f.text.size = 0;
    cr_assert_eq(config_set(&f.config, pair, 2, false, &changed, &f.text), OK);
    struct config copy;
    config_copy(&changed, &copy);
    cr_assert(bytes_equal(config_text_view(copy.requirepass), pair[1]));
    config_deinit(&copy);
    config_deinit(&changed);
    cr_assert_neq(config_read_text(&f.config, bytes_make("port 1\0x", 8), "t", &f.text), OK);
    finish(&f);
}

/* ---- files and arguments ---- */

Test(config, arguments_override_the_file)
{
    struct fixture f;
    char path[128];
    open_defaults(&f);
    write_file(path_in(&f, path, sizeof(path), "a.conf"), "port 7000\ntimeout 5\nsave 1 1\n");
    LOAD(&f, path, "--timeout", "6", "--save", "7", "7");
    cr_assert_eq(f.config.port, 7000);
    cr_assert_eq(f.config.timeout_s, 6);
    expect_value(&f, "save", "1 1 7 7");
    cr_assert_str_eq(f.config.file_path, path);
    finish(&f);
}

Test(config, arguments_are_read_as_redis_server_does)
{
    struct fixture f;
    open_defaults(&f);
    LOAD(&f, "--save", "");
    expect_value(&f, "save", "");
    LOAD(&f, "--save");
    expect_value(&f, "save", "");
    LOAD(&f, "--save", "--port", "7000");
    expect_value(&f, "save", "");
    cr_assert_eq(f.config.port, 7000);
    LOAD(&f, "--save", "60", "1000", "--save", "10 5");
    expect_value(&f, "save", "60 1000 10 5");
    LOAD(&f, "--port 7001", "--timeout", "5");
    cr_assert_eq(f.config.port, 7001);
    cr_assert_eq(f.config.timeout_s, 5);
    LOAD(&f, "--requirepass", "--odd \"pass\\word\n", "--bind", "127.0.0.1", "-::1");
    cr_assert_str_eq(f.config.requirepass, "--odd \"pass\\word\n");
    expect_value(&f, "bind", "127.0.0.1 -::1");
    LOAD(&f, "--BIND", "127.0.0.1 -::1");
    cr_assert_eq(f.config.bind.count, 2);
    finish(&f);
}

Test(config, a_bad_argument_stops_the_load)
{
    struct fixture f;
    open_defaults(&f);
    config_deinit(&f.config);
    cr_assert_neq(load(&f, (const char *const[]){"--timeout", "--port", "5"}, 3), OK);
    cr_assert_str_eq(terminated(&f.text),
                     "\n*** FATAL CONFIG FILE ERROR (Shoal) ***\nReading the command line\n"
                     ">>> 'timeout \"--port\" \"5\"'\nwrong number of arguments\n");
    cr_assert_neq(load(&f, (const char *const[]){"/nosuch/file.conf"}, 1), OK);
    cr_assert_not_null(strstr(terminated(&f.text), "/nosuch/file.conf: No such file or directory"));
    cr_assert_neq(load(&f, (const char *const[]){"--net-threads", "2"}, 2), OK);
    cr_assert_not_null(strstr(terminated(&f.text), "must be given together"));
    config_defaults(&f.config, &f.mem);
    finish(&f);
}

Test(config, files_are_included_by_name_and_by_glob)
{
    struct fixture f;
    char main_path[128], path[128], text[512];
    open_defaults(&f);
    write_file(path_in(&f, path, sizeof(path), "part1.conf"), "timeout 11\nhz 20\n");
    write_file(path_in(&f, path, sizeof(path), "part2.conf"), "timeout 12\n");
    snprintf(text, sizeof(text), "timeout 1\ninclude %s/part*.conf\ninclude %s/none*.conf\nhz 30\n",
             f.dir, f.dir);
    write_file(path_in(&f, main_path, sizeof(main_path), "main.conf"), text);
    LOAD(&f, main_path);
    cr_assert_eq(f.config.timeout_s, 12);
    cr_assert_eq(f.config.hz, 30);
    finish(&f);
}

Test(config, an_error_in_an_included_file_names_both_files)
{
    struct fixture f;
    char main_path[128], path[128], text[512], expected[1024];
    open_defaults(&f);
    write_file(path_in(&f, path, sizeof(path), "part.conf"), "\nport abc\n");
    snprintf(text, sizeof(text), "\n\ninclude %s\n", path);
    write_file(path_in(&f, main_path, sizeof(main_path), "main.conf"), text);
    config_deinit(&f.config);
    cr_assert_neq(load(&f, (const char *const[]){main_path}, 1), OK);
    snprintf(expected, sizeof(expected),
             "\n*** FATAL CONFIG FILE ERROR (Shoal) ***\nReading the configuration file '%s', at "
             "line 2\nincluded from '%s', at line 3\n>>> 'port abc'\n"
             "argument couldn't be parsed into an integer\n",
             path, main_path);
    cr_assert_str_eq(terminated(&f.text), expected);
    snprintf(text, sizeof(text), "include %s\n", main_path);
    write_file(main_path, text);
    cr_assert_neq(load(&f, (const char *const[]){main_path}, 1), OK);
    cr_assert_not_null(strstr(terminated(&f.text), "nested too deeply"));
    config_defaults(&f.config, &f.mem);
    finish(&f);
}

/* ---- CONFIG GET ---- */

Test(config, get_shows_each_name_once_and_repeats_the_case_asked_for)
{
    struct fixture f;
    open_defaults(&f);
    struct bytes patterns[] = {bytes_of("PORT"), bytes_of("p?rt"), bytes_of("port"),
                               bytes_of("SLAVEOF"), bytes_of("nosuch")};
    config_get(&f.config, patterns, ARRAY_LEN(patterns), take_value, &f.text);
    cr_assert_str_eq(terminated(&f.text), "PORT=6379;SLAVEOF=;");
    cr_assert_str_eq(get(&f, "*replica-priority"), "replica-priority=100;");
    cr_assert_str_eq(get(&f, "[r-s]*e*-priority"), "replica-priority=100;slave-priority=100;");
    finish(&f);
}

Test(config, get_hides_what_is_hidden_from_globs_only)
{
    struct fixture f;
    open_defaults(&f);
    cr_assert_null(strstr(get(&f, "*"), "key-load-delay"));
    expect_value(&f, "key-load-delay", "0");
    finish(&f);
}

Test(config, values_are_shown_in_the_canonical_form)
{
    struct fixture f;
    open_defaults(&f);
    expect_set(&f, "maxmemory", "1KB", "1024");
    expect_set(&f, "maxmemory", "18446744073709551615", "18446744073709551615");
    expect_set(&f, "maxmemory-clients", "5%", "5%");
    expect_set(&f, "maxmemory-clients", "0%", "0");
    expect_set(&f, "maxmemory-clients", "1mb", "1048576");
    expect_set(&f, "notify-keyspace-events", "KEA", "AKE");
    expect_set(&f, "notify-keyspace-events", "mKEg$lshzxet", "g$lshzxetKEm");
    expect_set(&f, "notify-keyspace-events", "nx", "xn");
    expect_set(&f, "notify-keyspace-events", "nA", "A");
    expect_set(&f, "shutdown-on-sigint", "force NOSAVE", "nosave force");
    expect_set(&f, "shutdown-on-sigint", "default", "default");
    expect_set(&f, "oom-score-adj", "relative", "yes");
    expect_set(&f, "oom-score-adj-values", "-2000 0 2000", "-2000 0 2000");
    expect_set(&f, "latency-tracking-info-percentiles", "100.0 33.333333333 0", "100 33.333333 0");
    expect_set(&f, "latency-tracking-info-percentiles", "", "");
    expect_set(&f, "hz", "0", "1");
    expect_set(&f, "hz", "501", "500");
    expect_set(&f, "loglevel", "WARNING", "warning");
    expect_set(&f, "appendonly", "YES", "yes");
    expect_set(&f, "list-max-listpack-size", "-5", "-5");
    expect_set(&f, "slowlog-log-slower-than", "-1", "-1");
    expect_set(&f, "client-output-buffer-limit", "SLAVE 1mb 2kb 60",
               "normal 0 0 0 slave 1048576 2048 60 pubsub 33554432 8388608 60");
    finish(&f);
}

/* ---- CONFIG SET ---- */

Test(config, set_refuses_with_the_texts_of_redis)
{
    struct fixture f;
    open_defaults(&f);
    expect_set_refused(&f, "timeout", "x", "argument couldn't be parsed into an integer");
    expect_set_refused(&f, "timeout", "01", "argument couldn't be parsed into an integer");
    expect_set_refused(&f, "timeout", "-1", "argument must be between 0 and 2147483647 inclusive");
    expect_set_refused(&f, "maxclients", "0",
                       "argument must be between 1 and 4294967295 inclusive");
    expect_set_refused(&f, "slave-priority", "x", "argument couldn't be parsed into an integer");
    expect_set_refused(&f, "daemonize", "yes", "can't set immutable config");
    expect_set_refused(&f, "dir", "/tmp", "can't set protected config");
    expect_set_refused(&f, "proto-max-bulk-len", "1",
                       "argument must be between 1048576 and 9223372036854775807 inclusive");
    expect_set_refused(&f, "proto-max-bulk-len", "9223372036854775808",
                       "argument must be between 1048576 and 9223372036854775807 inclusive");
    expect_set_refused(&f, "maxmemory-clients", "101%",
                       "percentage argument must be less or equal to 100");
    expect_set_refused(&f, "maxmemory-clients", "-5%",
                       "argument must be a memory or percent value");
    expect_set_refused(&f, "save", "60  5", "Invalid save parameters");
    expect_set_refused(&f, "notify-keyspace-events", "KQ",
                       "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    expect_set_refused(&f, "client-output-buffer-limit", "normal 0 0",
                       "Wrong number of arguments in buffer limit configuration.");
    expect_set_refused(&f, "client-output-buffer-limit", "master 1 1 1",
                       "Invalid client class specified in buffer limit configuration.");
    expect_set_refused(
        &f, "client-output-buffer-limit", "normal 1 1 -1",
        "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
    expect_set_refused(
        &f, "latency-tracking-info-percentiles", "101",
        "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]");
    expect_set_refused(&f, "proc-title-template", "{bad}",
                       "template format is invalid or contains unknown variables");
    expect_set_refused(&f, "cluster-announce-hostname", "a_b",
                       "Hostnames may only contain alphanumeric characters, hyphens or dots");
    finish(&f);
}

Test(config, set_of_several_pairs_is_all_or_nothing)
{
    struct fixture f;
    open_defaults(&f);
    const char *good[] = {"timeout", "7", "MAXCLIENTS", "9"};
    cr_assert_eq(set_pairs(&f, good, 4), OK);
    cr_assert_eq(f.config.timeout_s, 7);
    cr_assert_eq(f.config.maxclients, 9);

    const char *late[] = {"timeout", "8", "requirepass", "x", "maxclients", "x"};
    cr_assert_neq(set_pairs(&f, late, 6), OK);
    cr_assert_eq(f.config.timeout_s, 7);
    cr_assert_str_eq(f.config.requirepass, "");
    finish(&f);
}

Test(config, set_looks_at_all_names_before_any_value)
{
    struct fixture f;
    open_defaults(&f);
    const char *unknown[] = {"port", "x", "fo\r\no", "1"};
    cr_assert_neq(set_pairs(&f, unknown, 4), OK);
    cr_assert_str_eq(terminated(&f.text),
                     "ERR Unknown option or number of arguments for CONFIG SET - 'fo  o'");
    const char *twice[] = {"timeout", "1", "TIMEOUT", "x"};
    cr_assert_neq(set_pairs(&f, twice, 4), OK);
    cr_assert_str_eq(terminated(&f.text), "ERR CONFIG SET failed (possibly related to argument "
                                          "'timeout') - duplicate parameter");
    const char *fixed[] = {"timeout", "x", "databases", "2"};
    cr_assert_neq(set_pairs(&f, fixed, 4), OK);
    cr_assert_str_eq(terminated(&f.text), "ERR CONFIG SET failed (possibly related to argument "
                                          "'databases') - can't set immutable config");
    const char *two_names[] = {"slave-priority", "1", "replica-priority", "2"};
    cr_assert_eq(set_pairs(&f, two_names, 4), OK);
    cr_assert_eq(f.config.replica_priority, 2);
    const char *in_file_only[] = {"user", "x"};
    cr_assert_neq(set_pairs(&f, in_file_only, 2), OK);
    finish(&f);
}

Test(config, protected_directives_obey_enable_protected_configs)
{
    struct fixture f;
    struct config changed;
    open_defaults(&f);
    struct bytes pair[] = {bytes_of("dbfilename"), bytes_of("x.rdb")};
    expect_read(&f, "enable-protected-configs local");
    cr_assert_neq(config_set(&f.config, pair, 2, false, &changed, &f.text), OK);
    cr_assert_eq(config_set(&f.config, pair, 2, true, &changed, &f.text), OK);
    cr_assert_str_eq(changed.dbfilename, "x.rdb");
    config_deinit(&changed);
    finish(&f);
}

Test(config, a_copy_shares_nothing)
{
    struct fixture f;
    struct config copy;
    open_defaults(&f);
    expect_read(&f, "requirepass x\nbind 127.0.0.1\nuser a on\nrename-command get g");
    config_copy(&f.config, &copy);
    cr_assert_eq(config_diff(&f.config, &copy), 0);
    cr_assert_neq(f.config.requirepass, copy.requirepass);
    cr_assert_neq(f.config.bind.items[0], copy.bind.items[0]);
    config_deinit(&f.config);
    cr_assert_str_eq(copy.bind.items[0], "127.0.0.1");
    f.config = copy;
    finish(&f);
}

Test(config, differences_name_what_must_be_looked_at)
{
    struct fixture f;
    struct config old;
    open_defaults(&f);
    config_copy(&f.config, &old);
    expect_set(&f, "port", "7000", "7000");
    cr_assert_eq(config_diff(&old, &f.config), CONFIG_AREA_LISTEN);
    expect_set(&f, "loglevel", "debug", "debug");
    cr_assert_eq(config_diff(&old, &f.config), CONFIG_AREA_LISTEN | CONFIG_AREA_LOG);
    cr_assert(config_differs(&old, &f.config, "port"));
    cr_assert_not(config_differs(&old, &f.config, "bind"));
    config_deinit(&old);
    finish(&f);
}

/* ---- CONFIG REWRITE ---- */

static const char *rewritten(struct fixture *f, const char *old)
{
    f->text.size = 0;
    config_rewrite_text(&f->config, bytes_of(old), &f->text);
    terminated(&f->text);
    /* The working directory is always written, and differs from run to run. */
    char *dir = strstr(f->text.data, "dir \"");
    char *end = dir ? strchr(dir, '\n') : NULL;
    if (end) memmove(dir, end + 1, strlen(end + 1) + 1);
    return f->text.data;
}

Test(config, rewrite_keeps_comments_and_order_and_changes_lines_in_place)
{
    struct fixture f;
    const char *old = "# head\nport 1\n\n# c\nsave 10 5\nsave 20 6\n  timeout   5\ntimeout 6\n"
                      "slave-priority 7\nmaxmemory 1073741824\nlist-max-ziplist-entries 5\n"
                      "include x.conf\n# tail";
    open_defaults(&f);
    expect_read(&f, "port 1\nsave 10 5\nsave 20 6\ntimeout 6\nslave-priority 7\nmaxmemory 1gb");
    expect_set(&f, "timeout", "0", "0");
    expect_set(&f, "save", "1 2 3 4 5 6", "1 2 3 4 5 6");
    expect_set(&f, "requirepass", "a \"b", "a \"b");
    cr_assert_str_eq(rewritten(&f, old),
                     "# head\nport 1\n\n# c\nsave 1 2\nsave 3 4\nsave 5 6\ntimeout 0\n"
                     "replica-priority 7\nmaxmemory 1gb\nlist-max-ziplist-entries 5\n"
                     "include x.conf\n# tail\n\n# Generated by CONFIG REWRITE\n"
                     "requirepass \"a \\\"b\"\n");
    finish(&f);
}

Test(config, rewrite_of_a_rewritten_file_changes_nothing)
{
    struct fixture f;
    struct buf first;
    open_defaults(&f);
    expect_read(&f, "bind 127.0.0.1\nnotify-keyspace-events An\nrename-command get \"x y\"\n"
                    "user alice on >p\nmaxmemory-clients 7%\nsave \"\"\n"
                    "latency-tracking-info-percentiles \"\"\nreplicaof h 1\nunixsocketperm 700");
    rewritten(&f, "timeout 3\n");
    first = (struct buf){.mem = &f.mem};
    buf_append_text(&first, f.text.data);
    terminated(&first);
    cr_assert_str_eq(rewritten(&f, first.data), first.data);

    struct fixture again;
    open_defaults(&again);
    expect_read(&again, first.data);
    cr_assert_eq(config_diff(&f.config, &again.config), 0);
    cr_assert_str_eq(again.config.users.items[0], "alice on >p");
    cr_assert_str_eq(again.config.rename_commands.items[1], "x y");
    finish(&again);
    buf_clear(&first);
    finish(&f);
}

Test(config, rewrite_replaces_the_file_that_was_loaded)
{
    struct fixture f;
    char path[128], why[ENV_NAME_BYTES_MAX * 2];
    open_defaults(&f);
    cr_assert_neq(config_rewrite(&f.config, &f.text), OK);
    cr_assert_str_eq(terminated(&f.text), "ERR The server is running without a config file");
    write_file(path_in(&f, path, sizeof(path), "a.conf"), "# mine\ntimeout 5\n");
    LOAD(&f, path, "--hz", "20");
    expect_set(&f, "timeout", "9", "9");
    cr_assert_eq(config_rewrite(&f.config, &f.text), OK);
    f.text.size = 0;
    cr_assert_eq(env_read_file(path, &f.text, why), OK);
    const char *start = "# mine\ntimeout 9\n\n# Generated by CONFIG REWRITE\ndir \"";
    cr_assert_eq(strncmp(terminated(&f.text), start, strlen(start)), 0, "%s", f.text.data);
    cr_assert_not_null(strstr(f.text.data, "\nhz 20\n"));
    finish(&f);
}

/* Whatever values a configuration has, the file written from it reads back as the same. */
Test(config, random_values_survive_set_rewrite_and_read)
{
    static const char *const values[] = {"0",
                                         "1",
                                         "5",
                                         "100",
                                         "5%",
                                         "1gb",
                                         "yes",
                                         "no",
                                         "KEA",
                                         "60 1000",
                                         "",
                                         "a b",
                                         "noeviction",
                                         "local",
                                         "always",
                                         "x\"y\n",
                                         "1 2 3",
                                         "50 99.5",
                                         "nosave now",
                                         "auto",
                                         "normal 1mb 2 3",
                                         "127.0.0.1 -::1",
                                         "debug",
                                         "750",
                                         "epoll",
                                         "-3",
                                         "allkeys-lru"};
    struct random random = random_make();
    struct fixture f;
    unsigned accepted = 0;
    open_defaults(&f);
    for (int round = 0; round < 3000; round++) {
        const struct config_param *p = &config_params[random_below(&random, config_param_count)];
        if (p->flags & (CONFIG_FILE_ONLY | CONFIG_IMMUTABLE | CONFIG_PROTECTED)) continue;
        const char *words[] = {p->name, values[random_below(&random, ARRAY_LEN(values))]};
        accepted += set_pairs(&f, words, 2) == OK;
        if (round % 50 != 0) continue;
        struct fixture again;
        open_defaults(&again);
        rewritten(&f, "save 1 1\n# c\nport 5\nclient-output-buffer-limit normal 1 1 1\nport 6\n");
        expect_read(&again, f.text.data);
        cr_assert_eq(config_diff(&f.config, &again.config), 0, "%s", f.text.data);
        finish(&again);
    }
    cr_assert_gt(accepted, 200);
    finish(&f);
}

/* ---- warnings ---- */

static void take_line(void *context, const char *line)
{
    buf_printf(context, "%s\n", line);
}

Test(config, nothing_is_warned_of_when_nothing_was_set)
{
    struct fixture f;
    open_defaults(&f);
    config_warnings(&f.config, take_line, &f.text);
    cr_assert_eq(f.text.size, 0);
    finish(&f);
}

Test(config, directives_without_effect_are_named_on_one_line)
{
    struct fixture f;
    open_defaults(&f);
    expect_read(&f, "port 7000\nsyslog-ident x\nslave-priority 5");
    config_warnings(&f.config, take_line, &f.text);
    cr_assert_str_eq(terminated(&f.text), "Known directives that have no effect in this version: "
                                          "syslog-ident, replica-priority\n");
    finish(&f);
}

/* While a feature is missing, asking for it must not look like having it. */
Test(config, what_would_betray_a_user_has_a_line_of_its_own)
{
    static const char *const lines[] = {"appendonly yes", "save 60 1",    "maxmemory 1gb",
                                        "aclfile /a",     "user a on",    "tls-port 6380",
                                        "replicaof h 1",  "loadmodule a", "cluster-enabled yes"};
    static const char *const harmless[] = {"appendonly no", "save \"\"", "maxmemory 0",
                                           "tls-port 0", "replicaof no one"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct fixture f;
        open_defaults(&f);
        expect_read(&f, lines[i]);
        const char *space = strchr(lines[i], ' ');
        struct bytes name = bytes_make(lines[i], (size_t)(space - lines[i]));
        bool missing = config_find(name)->flags & CONFIG_NO_EFFECT;
        config_warnings(&f.config, take_line, &f.text);
        cr_assert_eq(strstr(terminated(&f.text), " is set, but this version ") != NULL, missing,
                     "%s", lines[i]);
        finish(&f);
    }
    for (size_t i = 0; i < ARRAY_LEN(harmless); i++) {
        struct fixture f;
        open_defaults(&f);
        expect_read(&f, harmless[i]);
        config_warnings(&f.config, take_line, &f.text);
        cr_assert_null(strstr(terminated(&f.text), " is set, but this version "));
        finish(&f);
    }
}
