/* stream_args.h: what the files of the stream commands share: ids among the arguments, finding
 * streams and groups, replies of entries.
 *
 * Thread     [shard]
 * Errors     A function named …_or_reply has written the error when it returns false.
 */
#pragma once

#include "shard/cmd/args.h"
#include "shard/type/stream_group.h"

/* What a command found. */
struct stream_target {
    struct key key;
    struct entry *e;  /* NULL: no key */
    struct stream *s; /* NULL: no key */
};

/* The stream at argv[index], as readers or as writers look for it; no key is OK. ERR_WRONG_TYPE. */
MUST_USE enum err stream_target_read(struct shard *sh, const struct request *rq, uint32_t index,
                                     struct stream_target *out);
MUST_USE enum err stream_target_write(struct shard *sh, const struct request *rq, uint32_t index,
                                      struct stream_target *out);

/* The group that argv[2] names. */
MUST_USE bool stream_find_group_or_reply(const struct request *rq, const struct stream_target *t,
                                         struct stream_group **out_group, struct reply *out);
/* The group that argv[3] names, of the key at argv[2]: XGROUP, XINFO. */
MUST_USE bool stream_find_subcommand_group_or_reply(const struct request *rq,
                                                    const struct stream *s,
                                                    struct stream_group **out_group,
                                                    struct reply *out);
/* -unknown subcommand or wrong number of arguments for '<argv[1]>'. Try <container> HELP. */
void stream_reply_wrong_subcommand(const struct request *rq, const char *container,
                                   struct reply *out);

/* An id without '-' or '+'; what is left out is 0. */
MUST_USE bool arg_stream_id_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                                     struct stream_id *id);
/* The ends of an interval: '-', '+', ids, and '(' before those that are left out. */
MUST_USE bool arg_stream_start_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                                        struct stream_id *id);
MUST_USE bool arg_stream_end_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                                      struct stream_id *id);
/* All of argv[first …] are ids: what commands make sure of before they change anything. */
MUST_USE bool args_stream_ids_or_reply(const struct request *rq, uint32_t first, struct reply *out);
/* Whether the argument is that one character; as in Redis a zero byte ends it. */
bool arg_is_char(const struct request *rq, uint32_t index, char c);

/* Milliseconds since then, not negative. */
static inline int64_t stream_age_ms(const struct shard *sh, int64_t since_ms)
{
    return MAX(sh->wall_ms - since_ms, 0);
}

void reply_stream_id(struct reply *out, struct stream_id id);
/* [id, [field, value …]]. Uses the entry up. */
void reply_stream_entry(struct reply *out, struct stream_entry *e);

/* For the journal: what became of an entry that is pending, or was; how far the group is. */
void stream_journal_pending(struct shard *sh, const struct key *k, const struct stream_group *g,
                            struct stream_id id, const struct stream_pending *p);
void stream_journal_acknowledged(struct shard *sh, const struct key *k,
                                 const struct stream_group *g, struct stream_id id);
void stream_journal_position(struct shard *sh, const struct key *k, const struct stream_group *g);

/* The consumer, made if there is none, which has asked for something now. ERR_ALLOC. */
MUST_USE enum err stream_consumer_obtain(struct shard *sh, const struct key *k,
                                         struct stream_group *g, struct bytes name,
                                         struct stream_consumer **out);
