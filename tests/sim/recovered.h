/* recovered.h: whether what a server holds after a crash is something that it may hold.
 *
 * The recorded order says which values each key had one after the other. What is found must be one
 * of them for each key, and the choice must be one that
 *     leaves no command half done: of the keys that it changed all are as it left them or later, or
 *     all are as they were before it;
 *     has what was copied only together with what it was copied from;
 *     has everything that somebody was told of.
 * The highest choice that keeps the first two is looked for. They allow the higher of two choices,
 * key by key, so there is one, and if it lacks something that was acknowledged every other does.
 *
 * A command that nobody was told of may be missing while later ones are there: it held locks, and
 * what waited for them was announced in the log. So such commands are left out of the order, one
 * after the other, when the choice fails because of them.
 *
 * Thread     one.
 */
#pragma once

#include "tests/sim/commands.h"

struct recovered {
    char *values[COMMANDS_KEYS_MAX]; /* malloc'ed; NULL: there is no such key */
    size_t value_bytes[COMMANDS_KEYS_MAX];
};

#define RECOVERED_WHY_BYTES 256

/* RECOVERED_UNDECIDED: too many commands were under way to try all that may be missing. */
enum recovered_result { RECOVERED_RIGHT, RECOVERED_WRONG, RECOVERED_UNDECIDED };

/* Wrong: with a line in `why`, and more on the standard output. `has_reads`: what somebody was told
 * by a read is there as well. */
MUST_USE enum recovered_result
recovered_check(const struct history *h, const struct recovered *found, bool has_reads, char *why);
/* Takes the keys out of the reply to an MGET of all of them. */
void recovered_parse(struct recovered *r, struct bytes reply);
bool recovered_equal(const struct recovered *a, const struct recovered *b);
void recovered_clear(struct recovered *r);
