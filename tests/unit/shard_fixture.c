#include "tests/unit/shard_fixture.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "shard/cmd/families.h"

#define LINE_WORDS_MAX 256
#define TEXT_SHOWN_BYTES_MAX 2000
#define HASH_SEED 0x5eed
#define DATABASES 16

/* ---- lifecycle ---- */

struct shard_fixture shard_fixture_make(void)
{
    return shard_fixture_make_one_of(0, 1);
}

struct shard_fixture shard_fixture_make_one_of(uint16_t id, uint16_t shard_count)
{
    struct shard_fixture f = {.resp = 2};
    f.shard =
        aligned_alloc(CACHE_LINE, (sizeof *f.shard + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    f.config = malloc(sizeof *f.config);
    cr_assert(f.shard && f.config);
    *f.config = (struct shard_config){
        .proto_max_bulk_bytes = 512 * 1024 * 1024,
        .hz = 10,
        .active_expire = true,
        .expire_effort = 1,
        .lfu_log_factor = 10,
        .lfu_decay_minutes = 1,
        .list_max_listpack_size = -2,
        .hash_max_listpack_entries = 512,
        .hash_max_listpack_value_bytes = 64,
    };
    struct shard_options options = {
        .id = id,
        .shard_count = shard_count,
        .database_count = DATABASES,
        .command_count = 1,
        .hash_seed = HASH_SEED,
        .random_seed = 1,
        .config = f.config,
        .net_count = SHARD_FIXTURE_NETS,
    };
    memset(f.shard, 0, sizeof *f.shard);
    shard_init(f.shard, &options);
    shard_here = f.shard;
    shard_set_now(f.shard, 1000 * 1000 * 1000, SHARD_FIXTURE_START_MS);

    f.reply.mem = &f.shard->mem;
    const struct command_family *own[] = {
        &string_family, &lcs_family, &generic_family, &expire_family, &scan_family, &server_family,
    };
    for (size_t i = 0; i < ARRAY_LEN(own); i++) shard_fixture_add_family(&f, own[i]);
    return f;
}

void shard_fixture_free(struct shard_fixture *f)
{
    keyspace_validate(f->shard);
    buf_clear(&f->reply);
    shard_deinit(f->shard);
    shard_here = NULL;
    free(f->shard);
    free(f->config);
    *f = (struct shard_fixture){0};
}

void shard_fixture_add_family(struct shard_fixture *f, const struct command_family *family)
{
    cr_assert_lt(f->family_count, SHARD_FIXTURE_FAMILIES_MAX);
    f->families[f->family_count++] = family;
}

void shard_fixture_pass_ms(struct shard_fixture *f, int64_t ms)
{
    shard_set_now(f->shard, f->shard->now_ns + (uint64_t)ms * 1000 * 1000, f->shard->now_ms + ms);
}

/* ---- running ---- */

static const struct command *find_row(const struct shard_fixture *f, struct bytes name)
{
    for (uint32_t i = 0; i < f->family_count; i++) {
        const struct command_family *family = f->families[i];
        for (uint32_t j = 0; j < family->count; j++) {
            if (bytes_equal_nocase(name, family->commands[j].name)) return &family->commands[j];
        }
    }
    return NULL;
}

static const struct command *find_subrow(const struct command *container, struct bytes name)
{
    for (const struct command *row = container->subcommands; row && row->name; row++) {
        if (bytes_equal_nocase(name, row->name)) return row;
    }
    return NULL;
}

const struct command *shard_fixture_row(const struct shard_fixture *f, const char *name)
{
    const char *bar = strchr(name, '|');
    if (bar == NULL) return find_row(f, bytes_of(name));
    const struct command *container = find_row(f, bytes_make(name, (size_t)(bar - name)));
    return container ? find_subrow(container, bytes_of(bar + 1)) : NULL;
}

static bool arity_is_right(const struct command *row, uint32_t argc)
{
    return row->arity >= 0 ? argc == (uint32_t)row->arity : argc >= (uint32_t)-row->arity;
}

static void reply_unknown_subcommand(const struct command *row, struct bytes word,
                                     struct reply *out)
{
    char name[32];
    size_t i = 0;
    for (; row->name[i] && i + 1 < sizeof name; i++) name[i] = (char)toupper(row->name[i]);
    name[i] = 0;
    reply_error(out, "ERR unknown subcommand '%.*s'. Try %s HELP.", (int)MIN(word.size, 128),
                word.data, name);
}

/* The row that runs, or NULL after the dispatcher's error has been written. */
static const struct command *choose_row(const struct shard_fixture *f, const struct request *rq,
                                        struct reply *out)
{
    const struct command *row = find_row(f, rq->argv[0]), *sub = NULL;
    cr_assert_not_null(row, "no family of the fixture has the command '%.*s'",
                       (int)rq->argv[0].size, rq->argv[0].data);
    if (row->subcommands && rq->argc > 1) {
        sub = find_subrow(row, rq->argv[1]);
        if (sub == NULL) {
            reply_unknown_subcommand(row, rq->argv[1], out);
            return NULL;
        }
    }
    if (arity_is_right(sub ? sub : row, rq->argc)) return sub ? sub : row;
    reply_error(out, "ERR wrong number of arguments for '%s%s%s' command", row->name,
                sub ? "|" : "", sub ? sub->name : "");
    return NULL;
}

static void take_reply(struct shard_fixture *f, struct reply *out)
{
    f->reply.size = 0;
    struct chunk *first = reply_take(out);
    for (struct chunk *c = first; c; c = c->next) buf_append(&f->reply, c->data, c->size);
    chunk_free_chain(&f->shard->mem, first);
}

/* Each argument lies in a block of its own, so that a sanitizer sees who reads past one. */
static struct bytes *copy_arguments(uint32_t argc, const struct bytes *argv)
{
    struct bytes *copy = malloc(argc * sizeof *copy);
    cr_assert_not_null(copy);
    for (uint32_t i = 0; i < argc; i++) {
        char *data = malloc(MAX(argv[i].size, 1));
        cr_assert_not_null(data);
        if (argv[i].size) memcpy(data, argv[i].data, argv[i].size);
        copy[i] = (struct bytes){data, argv[i].size};
    }
    return copy;
}

static void free_arguments(uint32_t argc, struct bytes *argv)
{
    for (uint32_t i = 0; i < argc; i++) free((void *)(uintptr_t)argv[i].data);
    free(argv);
}

struct bytes shard_fixture_run(struct shard_fixture *f, uint32_t argc, const struct bytes *argv)
{
    struct reply out;
    reply_init(&out, NULL, &f->shard->mem);
    out.resp = f->resp;
    struct request rq = {
        .argv = copy_arguments(argc, argv),
        .argc = argc,
        .db = (uint16_t)f->db,
        .resp = f->resp,
        .flags = f->flags,
    };
    rq.command = choose_row(f, &rq, &out);
    if (rq.command) {
        const struct key_spec *keys = &rq.command->keys[0];
        if (keys->flags) {
            rq.hash = bytes_hash(rq.argv[keys->begin], f->shard->keys.seed);
            rq.hashed_index = (uint32_t)keys->begin & HASHED_INDEX_MAX;
        }
        enum err e = ERR_NO_MEM;
        if (f->shard->snapshot.is_walking) snapshot_guard_request(f->shard, &rq);
        if (shard_admits(f->shard, &rq)) e = rq.command->on_shard(f->shard, &rq, &out);
        if (e != OK) cr_assert_eq(reply_size(&out), 0, "a handler that fails may not have written");
        if (e != OK || out.is_lost) shard_reply_failure(&rq, &out, e);
    }
    take_reply(f, &out);
    free_arguments(argc, rq.argv);
    return buf_view(&f->reply);
}

struct bytes shard_fixture_run_line(struct shard_fixture *f, const char *line)
{
    struct bytes words[LINE_WORDS_MAX];
    struct buf storage = {.mem = &f->shard->mem};
    int count = text_split_words(bytes_of(line), &storage, words, LINE_WORDS_MAX);
    cr_assert(count > 0 && count <= LINE_WORDS_MAX, "not a command: %s", line);
    struct bytes reply = shard_fixture_run(f, (uint32_t)count, words);
    buf_clear(&storage);
    return reply;
}

/* ---- expectations ---- */

/* Printable, in C's escapes, cut if long. */
static const char *printable(struct bytes text, char *out)
{
    char *p = out;
    for (size_t i = 0; i < text.size && i < TEXT_SHOWN_BYTES_MAX; i++) {
        char c = text.data[i];
        if (c == '\r' || c == '\n') {
            p += sprintf(p, "\\%c", c == '\r' ? 'r' : 'n');
        } else if (c >= ' ' && c <= '~') {
            *p++ = c;
        } else {
            p += sprintf(p, "\\x%02x", (unsigned char)c);
        }
    }
    *p = 0;
    return out;
}

void shard_fixture_expect(struct shard_fixture *f, const char *line, struct bytes reply, int where)
{
    char got[TEXT_SHOWN_BYTES_MAX * 4 + 1], wanted[TEXT_SHOWN_BYTES_MAX * 4 + 1];
    struct bytes actual = shard_fixture_run_line(f, line);
    cr_assert(bytes_equal(actual, reply), "line %d: %s\n     got: %s\n  wanted: %s", where, line,
              printable(actual, got), printable(reply, wanted));
}
