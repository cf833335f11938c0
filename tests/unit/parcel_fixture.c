#include "tests/unit/parcel_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define LINE_WORDS_MAX 64

static late_fn *on_late;

void parcel_fixture_on_late(late_fn *fn)
{
    on_late = fn;
}

static void take_late(struct shard *sh, struct late_reply *late)
{
    struct buf all = {.mem = &sh->mem};
    for (const struct chunk *c = late->chain; c; c = c->next) buf_append(&all, c->data, c->size);
    cr_assert_not_null(on_late, "a late reply that nobody expected");
    on_late(late, buf_view(&all));
    buf_clear(&all);
    shard_free_late(sh, late);
}

static const struct shard_hooks hooks = {.send_late = take_late};

struct parcel_fixture parcel_fixture_make(void)
{
    struct parcel_fixture p = {.f = shard_fixture_make()};
    p.f.shard->hooks = &hooks;
    p.parcel = aligned_alloc(CACHE_LINE, sizeof *p.parcel);
    cr_assert_not_null(p.parcel);
    memset(p.parcel, 0, sizeof *p.parcel);
    parcel_reset(p.parcel, 0, 0);
    return p;
}

static void arguments_free(const struct request *rq)
{
    for (uint32_t k = 0; k < rq->argc; k++) free((void *)(uintptr_t)rq->argv[k].data);
    free(rq->argv);
}

/* Arguments of a parked part are read where they are: a coordinator keeps them. */
static void arguments_drop(struct parcel_fixture *p, const struct request *rq)
{
    if (!(rq->flags & REQUEST_PARKED)) {
        arguments_free(rq);
        return;
    }
    p->parked = realloc(p->parked, (p->parked_count + 1) * sizeof *p->parked);
    cr_assert_not_null(p->parked);
    p->parked[p->parked_count++] = *rq;
}

static void parcel_clear(struct parcel_fixture *p)
{
    struct parcel *pc = p->parcel;
    for (uint32_t i = 0; i < pc->request_count; i++) arguments_drop(p, &pc->requests[i]);
    if (pc->out.first) chunk_free_chain(&p->f.shard->mem, pc->out.first->next);
    pc->out.first = NULL;
}

void parcel_fixture_begin(struct parcel_fixture *p)
{
    parcel_clear(p);
    parcel_reset(p->parcel, 0, 0);
}

void parcel_fixture_free(struct parcel_fixture *p)
{
    parcel_fixture_begin(p);
    free(p->parcel);
    shard_fixture_free(&p->f);
    for (size_t i = 0; i < p->parked_count; i++) arguments_free(&p->parked[i]);
    free(p->parked);
}

struct request *parcel_fixture_add(struct parcel_fixture *p, const struct command *row,
                                   uint32_t argc, const struct bytes *argv)
{
    struct parcel *pc = p->parcel;
    cr_assert_lt(pc->request_count, PARCEL_REQUESTS_MAX);
    struct bytes *copy = malloc(argc * sizeof *copy);
    cr_assert_not_null(copy);
    for (uint32_t i = 0; i < argc; i++) {
        char *data = malloc(MAX(argv[i].size, 1u));
        cr_assert_not_null(data);
        memcpy(data, argv[i].data, argv[i].size);
        copy[i] = bytes_make(data, argv[i].size);
    }
    uint16_t index = pc->request_count++;
    struct request *rq = &pc->requests[index];
    *rq = (struct request){.command = row, .argv = copy, .argc = argc, .resp = p->f.resp};
    if (row->keys[0].flags && row->keys[0].begin == 1 && argc > 1) {
        rq->hash = bytes_hash(copy[1], p->f.shard->keys.seed);
        rq->hashed_index = 1;
    }
    pc->runs[pc->run_count++] =
        (struct run){.conn_index = 100u + index, .slot = 7, .first = index, .count = 1};
    return rq;
}

struct request *parcel_fixture_add_line(struct parcel_fixture *p, const char *line)
{
    struct bytes words[LINE_WORDS_MAX];
    struct buf storage = {.mem = &p->f.shard->mem};
    int count = text_split_words(bytes_of(line), &storage, words, LINE_WORDS_MAX);
    cr_assert(count > 0 && count <= LINE_WORDS_MAX);
    char name[64] = "";
    memcpy(name, words[0].data, MIN(words[0].size, sizeof name / 2 - 1));
    const struct command *row = shard_fixture_row(&p->f, name);
    if (row && row->subcommands && count > 1) {
        strcat(name, "|");
        strncat(name, words[1].data, MIN(words[1].size, sizeof name / 2 - 1));
        row = shard_fixture_row(&p->f, name);
    }
    cr_assert_not_null(row, "%s", line);
    struct request *rq = parcel_fixture_add(p, row, (uint32_t)count, words);
    buf_clear(&storage);
    return rq;
}

void parcel_fixture_run(struct parcel_fixture *p)
{
    shard_run_parcel(p->f.shard, p->parcel);
    shard_send_late(p->f.shard);
}

struct bytes parcel_fixture_reply(struct parcel_fixture *p, uint32_t index)
{
    const struct parcel *pc = p->parcel;
    uint64_t start = parcel_reply_start(pc, index), end = pc->requests[index].reply_end, base = 0;
    cr_assert_leq(start, end);
    struct buf *out = &p->f.reply;
    out->size = 0;
    for (const struct chunk *c = pc->out.first; c; base += c->size, c = c->next) {
        uint64_t from = MAX(start, base), to = MIN(end, base + c->size);
        if (from < to) buf_append(out, c->data + (from - base), to - from);
    }
    cr_assert_eq(out->size, end - start, "the chunks hold what the requests claim");
    return buf_view(out);
}
