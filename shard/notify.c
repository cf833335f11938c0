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
    UNUSED enum err e =
        channels_publish(sh, CHANNEL_PLAIN, buf_view(&channel), message, &receivers);
    buf_clear(&channel);
}

void notify_publish(struct shard *sh, uint32_t class, const char *event, const struct key *k)
{
    UNUSED uint32_t any = class;
    const struct channels *cs = &sh->channels;
    if (cs->names[CHANNEL_PLAIN].count == 0 && cs->names[CHANNEL_PATTERN].count == 0) return;
    uint32_t wanted = sh->config->notify_classes;
    if (wanted & NOTIFY_KEYSPACE) publish(sh, "keyspace", k, k->name, bytes_of(event));
    if (wanted & NOTIFY_KEYEVENT) publish(sh, "keyevent", k, bytes_of(event), k->name);
}

void notify_send(struct shard *sh, enum notify_class class, const char *event, const struct key *k)
{
    if (sh->is_quiet) return;
    if (sh->hooks && sh->hooks->notify) sh->hooks->notify(sh, class, event, k);
}
