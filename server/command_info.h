/* command_info.h: what a row of the command table says of its command, in the words of COMMAND INFO
 * and COMMAND DOCS.
 *
 * Thread     [any] Pure functions of constant data.
 * Source     The replies of COMMAND as the Redis documentation describes them. We differ in COMMAND
 *            DOCS: it has no "arguments".
 */
#pragma once

#include "server/router.h"

/* One entry of COMMAND INFO, with its subcommands. */
void command_info_reply(const struct route *route, struct reply *out);
/* The name and the map of one entry of COMMAND DOCS: two replies. */
void command_docs_reply(const struct route *route, struct reply *out);
/* The flags of a key as COMMAND GETKEYSANDFLAGS shows them: enum key_flags. */
void command_key_flags_reply(uint32_t flags, struct reply *out);

/* All categories: those of the row and those that follow from its flags. */
uint32_t command_acl(const struct command *c);
/* 0: there is no such category. */
uint32_t acl_category_of_name(struct bytes name);
/* The i-th; NULL: there are not so many. */
const char *acl_category_name(unsigned i);

/* First and last key and the step between keys, as far as specifications by index tell; all 0
 * without keys. */
struct command_range {
    int first, last, step;
};
struct command_range command_range_of(const struct command *c);

/* What keys a call of the command has. */
struct command_keys {
    uint32_t *indexes; /* of the arguments */
    uint32_t *flags;   /* enum key_flags of each */
    uint32_t count, capacity;
    struct mem *mem;
    bool has_counted; /* some of them are behind a number that counts them */
};
/* What a call does to a key whose specification has these flags: KEY_VARIABLE_FLAGS depends on the
 * arguments. */
uint32_t command_key_flags(const struct command *c, const struct bytes *argv, uint32_t argc,
                           uint32_t flags);
enum command_keys_result {
    KEYS_FOUND,
    KEYS_NO_COMMAND,
    KEYS_NEVER,
    KEYS_ARITY,
    KEYS_INVALID,
    KEYS_NO_MEMORY
};
/* argv begins with the command's name. command_keys_free afterwards, whatever the result. */
MUST_USE enum command_keys_result command_keys_find(const struct router *r,
                                                    const struct bytes *argv, uint32_t argc,
                                                    struct command_keys *keys);
void command_keys_free(struct command_keys *keys);
