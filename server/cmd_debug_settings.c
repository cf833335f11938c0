/* cmd_debug_settings.c: DEBUG SET-SKIP-CHECKSUM-VALIDATION, PAUSE-CRON, MALLCTL, MALLCTL-STR and
 * SEGFAULT: what tests set or provoke in a running server.
 */
#include <signal.h>

#include "base/text.h"
#include "server/broadcast.h"
#include "server/cmd_admin.h"
#include "server/server.h"
#include "server/worker.h"

/* As atoi reads it: what is no number is 0. */
static bool lenient_switch(struct bytes text)
{
    int64_t value = 0;
    return text_to_i64(text, &value) && value != 0;
}

static void set_skip_checksum(struct thread *at, uint64_t argument)
{
    if (thread_is_main(at)) return;
    struct worker *w = at->owner;
    for (unsigned i = 0; i < ARRAY_LEN(w->shard_config); i++)
        w->shard_config[i].skip_checksum = argument != 0;
}

enum err cmd_debug_set_skip_checksum(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc != 3) return cmd_debug_unknown(s, rq, out);
    broadcast(s, set_skip_checksum, lenient_switch(rq->argv[2]));
    return OK;
}

static void pause_cron(struct thread *at, uint64_t argument)
{
    if (thread_is_main(at)) ((struct server *)at->owner)->is_cron_paused = argument != 0;
}

enum err cmd_debug_pause_cron(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc != 3) return cmd_debug_unknown(s, rq, out);
    broadcast(s, pause_cron, lenient_switch(rq->argv[2]));
    return OK;
}

/* A zero byte ends a name, as it does for the allocator. */
static bool name_fits(struct bytes name, char copy[MEM_TUNING_BYTES_MAX])
{
    if (name.size >= MEM_TUNING_BYTES_MAX) return false;
    memcpy(copy, name.data, name.size);
    copy[name.size] = '\0';
    return true;
}

static void reply_no_such_name(struct reply *out)
{
    reply_error(out, "ERR No such file or directory");
}

enum err cmd_debug_mallctl(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc != 3 && rq->argc != 4) return cmd_debug_unknown(s, rq, out);
    char name[MEM_TUNING_BYTES_MAX];
    int64_t value = 0, wanted = 0;
    if (rq->argc == 4 && !text_to_i64(rq->argv[3], &wanted)) return ERR_NOT_INT;
    if (!name_fits(rq->argv[2], name) ||
        !mem_tune_number(name, rq->argc == 4 ? &wanted : NULL, &value))
        reply_no_such_name(out);
    else
        reply_i64(out, value);
    return OK;
}

enum err cmd_debug_mallctl_str(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc != 3 && rq->argc != 4) return cmd_debug_unknown(s, rq, out);
    char name[MEM_TUNING_BYTES_MAX], wanted[MEM_TUNING_BYTES_MAX];
    const char *value = NULL;
    bool has_wanted = rq->argc == 4;
    bool fits = name_fits(rq->argv[2], name) && (!has_wanted || name_fits(rq->argv[3], wanted));
    if (!fits || !mem_tune_text(name, has_wanted ? wanted : NULL, &value))
        reply_no_such_name(out);
    else if (value)
        reply_bulk(out, bytes_of(value));
    else
        reply_ok(out);
    return OK;
}

/* For tests of what is in the report, and of what watches over the process. */
enum err cmd_debug_segfault(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc != 2) return cmd_debug_unknown(s, rq, out);
    raise(SIGSEGV);
    reply_ok(out);
    return OK;
}
