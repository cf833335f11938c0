/* history.h: what the clients of one simulated run asked and were answered, and the serial order
 * that the server recorded.
 *
 * Ownership  A history owns its steps; argv of a step points into its request.
 * Limits     STEP_ARGS_MAX arguments a command.
 */
#pragma once

#include "base/bytes.h"

#define STEP_ARGS_MAX 16
#define HISTORY_CLIENTS_MAX 8

/* One command of one client. */
struct step {
    char *request; /* RESP */
    size_t request_bytes;
    unsigned argc;
    struct bytes argv[STEP_ARGS_MAX];
    char *reply; /* NULL: it did not arrive */
    size_t reply_bytes;
    bool is_ordered; /* it has a place in the serial order */
    unsigned block;  /* of an EXEC: so many steps before it are what it runs */
    bool is_refused; /* for want of memory: it has done nothing */
};

struct client_history {
    struct step *steps;
    size_t step_count, step_capacity;
};

struct history {
    struct client_history clients[HISTORY_CLIENTS_MAX];
    unsigned client_count;
    struct step **order;
    size_t order_count;
};

/* Appends a command; the step is valid until the next one. */
struct step *history_add(struct history *h, unsigned client, const struct bytes *argv,
                         unsigned argc);
void history_set_reply(struct step *s, struct bytes reply);
void history_append_order(struct history *h, struct step *s);
void history_clear(struct history *h);

/* Whether the reply says that there was no memory, or that a block is not run because of that. */
bool is_refusal(struct bytes reply);
/* The size of the first whole RESP2 reply in `data`; 0 when it is not whole. */
size_t resp_reply_bytes(struct bytes data);
/* One line with everything that is not printable escaped, cut to a screen's width. */
void print_bytes(const char *label, struct bytes data);
void print_step(const struct step *s);
