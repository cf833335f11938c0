/* commands.h: random commands over few keys, so that they meet often.
 *
 * Order      From the simulator's seed only.
 */
#pragma once

#include "tests/sim/history.h"

#define COMMANDS_KEYS_MAX 12

struct command_mix {
    unsigned key_count;
    unsigned locked_pct, split_pct, whole_pct; /* the rest names one key */
    unsigned block_pct;                        /* how often a transaction begins */
    struct {
        bool is_open;
        unsigned left, count; /* commands: still to come, queued */
    } blocks[HISTORY_CLIENTS_MAX];
    unsigned rewrite_pct; /* of what has no place in the order */
    bool takes_nothing;   /* no GETSET and GETDEL: refused, they may have been done */
    size_t value_bytes_max;
    uint64_t serial; /* makes every value another */
};

void commands_init(struct command_mix *mix);
/* The names that are used; index < COMMANDS_KEYS_MAX. */
struct bytes commands_key(unsigned index);
/* Adds one to the client's history. */
struct step *commands_make(struct command_mix *mix, struct history *h, unsigned client);
