#include "shard/notify.h"

#include <stdio.h>

#define PREFIX_BYTES_MAX 32 /* "__keyspace@4294967295__:" */

/* Publishes on "__<what>@<db>__:<about>". An event that finds no memory is lost: subscribers cannot
 * be told, and the command that caused it has been done. */
static void publish(struct shard *sh, const char *what, const struct key *k, struct bytes about,
                    struct bytes message)
{
    char prefix[PREFIX_BYTES_MAX];
    int size = snprintf(prefix, sizeof prefix, "__%s@%u__:", what, k->db);
    struct buf channel = {.mem = &sh->mem};
    uint64_t receivers;
    if (!buf_try_reserve(&channel, (size_t)size + about.size)) return;
    buf_append(&channel, prefix, (size_t)size);
    buf_append(&channel, about.data, about.size);
    (void)!channels_publish(sh, CHANNEL_PLAIN, buf_view(&channel), message, &receivers);
    buf_clear(&channel);
}

static void publish_event(struct shard *sh, const char *event, const struct key *k)
{
    uint32_t wanted = sh->config->notify_classes;
    if (wanted & NOTIFY_KEYSPACE) publish(sh, "keyspace", k, k->name, bytes_of(event));
    if (wanted & NOTIFY_KEYEVENT) publish(sh, "keyevent", k, bytes_of(event), k->name);
}

/* ---- guests ---- */

/* An event of a key that lives elsewhere; the name is behind it. */
struct guest_event {
    uint64_t hash, name_bytes;
    const char *event; /* a literal, the same on all threads */
    uint32_t db;
};

/* The event at the start of `data`, and its bytes in all. */
static size_t guest_event_read(struct bytes data, struct guest_event *g, struct key *k)
{
    memcpy(g, data.data, sizeof *g);
    struct bytes name = bytes_make(data.data + sizeof *g, g->name_bytes);
    *k = (struct key){.name = name, .hash = g->hash, .db = g->db};
    return sizeof *g + g->name_bytes;
}

static void guest_event_note(struct shard *sh, const char *event, const struct key *k)
{
    struct buf *b = &sh->guest_events;
    struct guest_event g = {
        .hash = k->hash, .name_bytes = k->name.size, .event = event, .db = k->db};
    if (!buf_try_reserve(b, sizeof g + k->name.size)) return;
    buf_append(b, &g, sizeof g);
    buf_append(b, k->name.data, k->name.size);
}

enum err notify_take_guest(struct shard *sh, const struct key *k, struct buf *out)
{
    struct buf *b = &sh->guest_events;
    size_t kept = 0, size = b->size;
    enum err e = size == 0 || buf_try_reserve(out, size) ? OK : ERR_ALLOC;
    for (size_t at = 0, bytes; at < size; at += bytes) {
        struct guest_event g;
        struct key of;
        bytes = guest_event_read(bytes_make(b->data + at, size - at), &g, &of);
        if (of.db == k->db && bytes_equal(of.name, k->name)) {
            if (e == OK) buf_append(out, b->data + at, bytes);
            continue;
        }
        memmove(b->data + kept, b->data + at, bytes);
        kept += bytes;
    }
    b->size = kept;
    return e;
}

void notify_publish_taken(struct shard *sh, struct bytes taken)
{
    for (size_t at = 0; at < taken.size;) {
        struct guest_event g;
        struct key k;
        at += guest_event_read(bytes_make(taken.data + at, taken.size - at), &g, &k);
        if (shard_owns_key(sh, &k)) publish_event(sh, g.event, &k);
    }
}

/* ---- the door ---- */

void notify_publish(struct shard *sh, uint32_t class, const char *event, const struct key *k)
{
    const struct channels *cs = &sh->channels;
    if (cs->names[CHANNEL_PLAIN].count == 0 && cs->names[CHANNEL_PATTERN].count == 0) return;
    if (sh->shard_count <= 1 || shard_owns_key(sh, k))
        publish_event(sh, event, k);
    else if (class != NOTIFY_EXPIRED) /* the key itself expires on its own shard */
        guest_event_note(sh, event, k);
}

void notify_send(struct shard *sh, enum notify_class class, const char *event, const struct key *k)
{
    if (sh->is_quiet) return;
    if (sh->hooks && sh->hooks->notify) sh->hooks->notify(sh, class, event, k);
}
