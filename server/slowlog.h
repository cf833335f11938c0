/* slowlog.h: the slow log: the last commands that took longer than slowlog-log-slower-than.
 *
 * An entry is made where the command has run, from its arguments, and travels with its reply
 * (`struct parcel`, `struct late_reply`) to the net thread of its client, which adds who that is:
 * so whoever has a reply finds its command here. server/slow_client.h
 *
 * Thread     [any] All under one mutex. What is slow is rare, or the log was told to take it all.
 * Ownership  An entry is the log's memory; who made it adds it or drops it.
 * Limits     SLOWLOG_ARGS_MAX arguments, SLOWLOG_ARG_BYTES_MAX bytes of each; slowlog-max-len
 *            entries.
 * Errors     Without memory a command is not logged.
 * Order      Ids grow in the order in which entries are added, over all threads.
 */
#pragma once

#include <pthread.h>

#include "base/command.h"
#include "base/dlist.h"
#include "base/mem.h"

#define SLOWLOG_ARGS_MAX 32
#define SLOWLOG_ARG_BYTES_MAX 128
/* How many that were made later an entry may come behind and still find its place. */
#define SLOWLOG_LATE_MAX 256

/* A command that was slow. */
struct slow_call {
    const struct command *command;
    const struct bytes *argv;
    uint32_t argc;
    uint64_t us;
};

struct slow_entry {
    struct dlist link; /* of the log */
    uint64_t id, us;
    uint64_t place; /* in the order in which they were made, which is that of the commands */
    int64_t unix_s;
    size_t bytes;
    uint32_t argc;
    struct bytes client, name; /* in `who` */
    char *who;
    struct bytes *argv;
    /* ---- on its way ---- */
    struct slow_entry *next;
    uint16_t request_index; /* in its parcel */
    bool is_part;           /* of a split command: the slowest part stands for all */
    bool has_no_client;     /* a script called it */
};

struct slowlog {
    pthread_mutex_t mutex;
    struct mem mem;       /* under the mutex */
    struct dlist entries; /* the last one first */
    uint64_t count, count_max, next_id, next_place;
};

void slowlog_init(struct slowlog *log, uint64_t count_max);
void slowlog_deinit(struct slowlog *log);
/* slowlog-max-len */
void slowlog_set_max(struct slowlog *log, uint64_t count_max);

/* A copy, as far as it is shown. NULL: no memory. */
MUST_USE struct slow_entry *slowlog_make(struct slowlog *log, const struct slow_call *call);
/* Takes the entry over. One that comes late goes in front of what was made after it, whose ids
 * grow. */
void slowlog_add(struct slowlog *log, struct slow_entry *e, struct bytes client, struct bytes name);
void slowlog_drop(struct slowlog *log, struct slow_entry *e);
void slowlog_reset(struct slowlog *log);
uint64_t slowlog_count(struct slowlog *log);
/* The last `count` entries as SLOWLOG GET shows them. */
void slowlog_reply(struct slowlog *log, uint64_t count, struct reply *out);
