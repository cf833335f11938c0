#include "server/slowlog.h"

#include <stdio.h>

#include "base/env.h"
#include "server/redact.h"

/* ---- life ---- */

void slowlog_init(struct slowlog *log, uint64_t count_max)
{
    *log = (struct slowlog){.count_max = count_max};
    pthread_mutex_init(&log->mutex, NULL);
    mem_init(&log->mem, "slowlog");
    dlist_init(&log->entries);
}

static void free_entry(struct slowlog *log, struct slow_entry *e)
{
    mem_free(&log->mem, e->who, e->client.size + e->name.size);
    mem_free(&log->mem, e, e->bytes);
}

/* Down to so many, the oldest first. */
static void trim(struct slowlog *log, uint64_t count)
{
    for (; log->count > count; log->count--) {
        struct dlist *oldest = log->entries.prev;
        dlist_remove(oldest);
        free_entry(log, container_of(oldest, struct slow_entry, link));
    }
}

void slowlog_deinit(struct slowlog *log)
{
    trim(log, 0);
    mem_deinit(&log->mem);
    pthread_mutex_destroy(&log->mutex);
}

void slowlog_set_max(struct slowlog *log, uint64_t count_max)
{
    pthread_mutex_lock(&log->mutex);
    log->count_max = count_max;
    trim(log, count_max);
    pthread_mutex_unlock(&log->mutex);
}

/* ---- making an entry ---- */

#define MORE_BYTES_MAX 48

/* What is shown of an argument: some of its bytes, and a text on the rest. */
struct shown {
    struct bytes head;
    char more[MORE_BYTES_MAX];
    size_t more_bytes;
};

static void show(const struct slow_call *call, uint32_t index, struct shown *out)
{
    out->more_bytes = 0;
    out->head = call->argv[index];
    if (redact_hides(call->command, call->argv, index)) out->head = BYTES_LITERAL(REDACTED);
    if (call->argc > SLOWLOG_ARGS_MAX && index == SLOWLOG_ARGS_MAX - 1) {
        out->head.size = 0;
        out->more_bytes = (size_t)snprintf(out->more, sizeof out->more, "... (%u more arguments)",
                                           call->argc - SLOWLOG_ARGS_MAX + 1);
    } else if (out->head.size > SLOWLOG_ARG_BYTES_MAX) {
        out->more_bytes = (size_t)snprintf(out->more, sizeof out->more, "... (%zu more bytes)",
                                           out->head.size - SLOWLOG_ARG_BYTES_MAX);
        out->head.size = SLOWLOG_ARG_BYTES_MAX;
    }
}

static struct slow_entry *try_alloc(struct slowlog *log, size_t bytes, uint64_t *place)
{
    pthread_mutex_lock(&log->mutex);
    struct slow_entry *e = mem_try_alloc(&log->mem, bytes);
    *place = log->next_place++;
    pthread_mutex_unlock(&log->mutex);
    return e;
}

struct slow_entry *slowlog_make(struct slowlog *log, const struct slow_call *call)
{
    uint32_t argc = MIN(call->argc, (uint32_t)SLOWLOG_ARGS_MAX);
    struct shown shown[SLOWLOG_ARGS_MAX];
    size_t bytes = sizeof(struct slow_entry) + argc * sizeof(struct bytes);
    for (uint32_t i = 0; i < argc; i++) {
        show(call, i, &shown[i]);
        bytes += shown[i].head.size + shown[i].more_bytes;
    }
    uint64_t place;
    struct slow_entry *e = try_alloc(log, bytes, &place);
    if (!e) return NULL;
    *e = (struct slow_entry){.bytes = bytes,
                             .us = call->us,
                             .place = place,
                             .unix_s = env_wall_us() / 1000000,
                             .argc = argc};
    e->argv = (struct bytes *)(void *)(e + 1);
    char *at = (char *)(e->argv + argc);
    for (uint32_t i = 0; i < argc; i++) {
        const struct shown *s = &shown[i];
        e->argv[i] = bytes_make(at, s->head.size + s->more_bytes);
        if (s->head.size) memcpy(at, s->head.data, s->head.size);
        memcpy(at + s->head.size, s->more, s->more_bytes);
        at += e->argv[i].size;
    }
    return e;
}

/* ---- the log ---- */

static void take_who(struct slowlog *log, struct slow_entry *e, struct bytes client,
                     struct bytes name)
{
    size_t size = client.size + name.size;
    e->who = size ? mem_try_alloc(&log->mem, size) : NULL;
    if (!e->who) return;
    memcpy(e->who, client.data, client.size);
    if (name.size) memcpy(e->who + client.size, name.data, name.size);
    e->client = bytes_make(e->who, client.size);
    e->name = bytes_make(e->who + client.size, name.size);
}

/* Net threads bring entries in any order. */
static void insert(struct slowlog *log, struct slow_entry *e)
{
    struct dlist *at = log->entries.next;
    for (unsigned i = 0; i < SLOWLOG_LATE_MAX && at != &log->entries; i++, at = at->next) {
        struct slow_entry *newer = container_of(at, struct slow_entry, link);
        if (newer->place < e->place) break;
        uint64_t id = newer->id;
        newer->id = e->id;
        e->id = id;
    }
    dlist_push_back(at, &e->link);
}

void slowlog_add(struct slowlog *log, struct slow_entry *e, struct bytes client, struct bytes name)
{
    pthread_mutex_lock(&log->mutex);
    take_who(log, e, client, name);
    e->id = log->next_id++;
    insert(log, e);
    log->count++;
    trim(log, log->count_max);
    pthread_mutex_unlock(&log->mutex);
}

void slowlog_drop(struct slowlog *log, struct slow_entry *e)
{
    pthread_mutex_lock(&log->mutex);
    free_entry(log, e);
    pthread_mutex_unlock(&log->mutex);
}

void slowlog_reset(struct slowlog *log)
{
    pthread_mutex_lock(&log->mutex);
    trim(log, 0);
    pthread_mutex_unlock(&log->mutex);
}

uint64_t slowlog_count(struct slowlog *log)
{
    pthread_mutex_lock(&log->mutex);
    uint64_t count = log->count;
    pthread_mutex_unlock(&log->mutex);
    return count;
}

static void reply_entry(const struct slow_entry *e, struct reply *out)
{
    reply_array(out, 6);
    reply_i64(out, (int64_t)e->id);
    reply_i64(out, e->unix_s);
    reply_i64(out, (int64_t)e->us);
    reply_array(out, e->argc);
    for (uint32_t i = 0; i < e->argc; i++) reply_bulk(out, e->argv[i]);
    reply_bulk(out, e->client);
    reply_bulk(out, e->name);
}

void slowlog_reply(struct slowlog *log, uint64_t count, struct reply *out)
{
    pthread_mutex_lock(&log->mutex);
    count = MIN(count, log->count);
    reply_array(out, count);
    struct dlist *link = log->entries.next;
    for (uint64_t i = 0; i < count; i++, link = link->next)
        reply_entry(container_of(link, struct slow_entry, link), out);
    pthread_mutex_unlock(&log->mutex);
}
