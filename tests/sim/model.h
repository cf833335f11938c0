/* model.h: a single-threaded keyspace of strings, as simple as it can be: the reference that needs
 * no redis-server.
 *
 * Limits     MODEL_KEYS_MAX keys; the commands that history generators use.
 */
#pragma once

#include "tests/sim/history.h"

#define MODEL_KEYS_MAX 32

struct model_entry {
    char *key, *value; /* key NULL: free */
    size_t key_bytes, value_bytes;
};

struct model {
    struct model_entry entries[MODEL_KEYS_MAX];
    char *reply; /* of the last command */
    size_t reply_bytes, reply_capacity;
};

void model_clear(struct model *m);
/* NULL: it does not exist. */
const struct model_entry *model_find(const struct model *m, struct bytes key);
/* The reply, valid until the next call. */
struct bytes model_run(struct model *m, const struct step *s);
