#include "shard/notify.h"

void notify_send(struct shard *sh, enum notify_class class, const char *event, const struct key *k)
{
    if (sh->hooks && sh->hooks->notify) sh->hooks->notify(sh, class, event, k);
}
