#include "server/replay_command.h"

#include <stdalign.h>
#include <stdio.h>

#include "server/router.h"
#include "shard/shard.h"

#define REPLY_ROOM 512 /* what most commands answer; the rest is allocated */

struct packed {
    struct replay_command command; /* argv is set when it is unpacked */
    size_t size;                   /* of all of it */
};

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

bool replay_command_try_pack(struct buf *packs, const struct replay_command *c)
{
    struct packed p = {.command = *c, .size = sizeof p + c->argc * sizeof(struct bytes)};
    for (uint32_t i = 0; i < c->argc; i++) p.size += c->argv[i].size;
    p.size = padded(p.size);
    char *start = buf_try_reserve(packs, p.size);
    if (!start) return false;
    memcpy(start, &p, sizeof p);
    size_t at = sizeof p + c->argc * sizeof(struct bytes);
    for (uint32_t i = 0; i < c->argc; i++) {
        memcpy(start + sizeof p + i * sizeof(struct bytes), &c->argv[i], sizeof c->argv[i]);
        if (c->argv[i].size) memcpy(start + at, c->argv[i].data, c->argv[i].size);
        at += c->argv[i].size;
    }
    packs->size += p.size;
    return true;
}

struct replay_command replay_command_unpack(struct bytes *packs)
{
    struct packed p;
    memcpy(&p, packs->data, sizeof p);
    struct bytes *argv = (struct bytes *)(uintptr_t)(packs->data + sizeof p);
    const char *at = (const char *)(argv + p.command.argc);
    for (uint32_t i = 0; i < p.command.argc; i++) {
        argv[i].data = at;
        at += argv[i].size;
    }
    p.command.argv = argv;
    *packs = bytes_make(packs->data + p.size, packs->size - p.size);
    return p.command;
}

/* ---- running ---- */

/* The text of an error reply, without the sign and what follows the line. */
static void copy_error(const struct chunk *c, char *error)
{
    while (c->size == 0) c = c->next;
    const char *end = memchr(c->data, '\r', c->size);
    size_t size = end ? (size_t)(end - c->data) : c->size;
    snprintf(error, REPLAY_ERROR_BYTES, "%.*s", (int)MIN(size - 1, (size_t)200), c->data + 1);
}

static bool run_effect(struct shard *sh, const struct replay_command *c, char *error)
{
    alignas(8) char room[sizeof(struct chunk) + REPLY_ROOM];
    struct chunk *lent = (struct chunk *)(void *)room;
    *lent = (struct chunk){.capacity = REPLY_ROOM, .home = CHUNK_LENT};
    struct reply out;
    reply_init(&out, lent, &sh->mem);
    struct request rq = {.command = c->route->command,
                         .argv = c->argv,
                         .argc = c->argc,
                         .hash = c->hash,
                         .hashed_index = c->hashed_index & HASHED_INDEX_MAX,
                         .db = (uint16_t)c->db,
                         .resp = 2,
                         .flags = REQUEST_IN_EXEC,
                         .command_id = c->route->id};
    check_context_here()->command = c->route->full_name;
    enum err e = rq.command->on_shard(sh, &rq, &out);
    bool ok = e == OK && out.error_count == 0;
    struct chunk *chain = reply_take(&out);
    if (e != OK)
        snprintf(error, REPLAY_ERROR_BYTES, "%s", err_text(e));
    else if (!ok)
        copy_error(chain, error);
    chunk_free_chain(&sh->mem, chain);
    return ok || (c->may_fail && e != ERR_ALLOC);
}

bool replay_command_run(struct shard *sh, const struct replay_command *c, char *error)
{
    switch (c->kind) {
    case REPLAY_EFFECT:
        return run_effect(sh, c, error);
    case REPLAY_FLUSH:
        slice_flush(sh, c->slice, c->db);
        return true;
    case REPLAY_FLUSH_ALL:
        for (uint32_t db = 0; db < sh->keys.database_count; db++) slice_flush(sh, c->slice, db);
        return true;
    case REPLAY_SWAP:
        if (slice_swap(sh, c->slice, c->db, c->other_db) == OK) return true;
        snprintf(error, REPLAY_ERROR_BYTES, "%s", err_text(ERR_ALLOC));
        return false;
    }
    return false;
}
