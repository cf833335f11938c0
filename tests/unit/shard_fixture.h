/* shard_fixture.h: one shard stepped by hand: no threads, no sockets, and a clock that the test
 * sets.
 *
 * Thread     the test's; the shard believes that it is its own.
 * Ownership  Free with shard_fixture_free. A reply is valid until the next command.
 */
#pragma once

#include "base/command.h"
#include "shard/shard.h"

#define SHARD_FIXTURE_FAMILIES_MAX 24
#define SHARD_FIXTURE_NETS 2                 /* net threads that the shard believes in */
#define SHARD_FIXTURE_START_MS 1700000000000 /* the clock of a new fixture */

struct shard_fixture {
    struct shard *shard;
    struct shard_config *config;
    uint32_t db;   /* that commands run in */
    uint8_t resp;  /* 2 or 3 */
    uint8_t flags; /* enum request_flags of the requests */
    const struct command_family *families[SHARD_FIXTURE_FAMILIES_MAX];
    uint32_t family_count;
    struct buf reply; /* of the last command */
};

/* A shard alone, with the families of strings and of keys. */
struct shard_fixture shard_fixture_make(void);
/* The same as one of several shards. */
struct shard_fixture shard_fixture_make_one_of(uint16_t id, uint16_t shard_count);
void shard_fixture_free(struct shard_fixture *f);
void shard_fixture_add_family(struct shard_fixture *f, const struct command_family *family);

/* Lets the clock go on. */
void shard_fixture_pass_ms(struct shard_fixture *f, int64_t ms);

/* A row by name, "get" or "object|encoding"; NULL if no family has it. */
const struct command *shard_fixture_row(const struct shard_fixture *f, const char *name);

/* Runs a command as the dispatcher would: finds the row, checks the count of the arguments, runs
 * it, and writes the text of an err. */
struct bytes shard_fixture_run(struct shard_fixture *f, uint32_t argc, const struct bytes *argv);
/* The same from a line, with redis-cli's quoting: SET k "a b\x00". */
struct bytes shard_fixture_run_line(struct shard_fixture *f, const char *line);

/* The reply is exactly that; else the test fails and shows both. */
void shard_fixture_expect(struct shard_fixture *f, const char *line, struct bytes reply, int where);
#define expect(f, line, text) shard_fixture_expect((f), (line), BYTES_LITERAL(text), __LINE__)
