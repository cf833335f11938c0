#include "base/feed.h"

#define FEED_KEEP_BYTES (64 * 1024) /* of a buffer that is empty */

void feed_init(struct feed *f, struct mem *mem, uint16_t sender_id, feed_read_fn *read)
{
    *f = (struct feed){.read = read, .sender_id = sender_id};
    f->filling.mem = f->travelling.mem = mem;
}

void feed_deinit(struct feed *f)
{
    CHECK(!f->is_away);
    buf_clear(&f->filling);
    buf_clear(&f->travelling);
}

static void batch_is_back(struct thread *at, struct call *c)
{
    struct feed *f = container_of(c, struct feed, call);
    f->is_away = false;
    f->travelling.size = 0;
    if (f->travelling.capacity > FEED_KEEP_BYTES) buf_clear(&f->travelling);
    feed_flush(f, at, f->to);
}

static void batch_arrives(struct thread *at, struct call *c)
{
    struct feed *f = container_of(c, struct feed, call);
    struct bytes rest = bytes_make(f->travelling.data + f->done, f->travelling.size - f->done);
    f->done += f->read(at, f->sender_id, rest);
    bool is_through = f->done == f->travelling.size;
    if (is_through) c->run = batch_is_back;
    thread_call(at, is_through ? f->sender->id : at->id, c);
}

void feed_flush(struct feed *f, struct thread *sender, uint16_t to)
{
    if (f->is_away || f->filling.size == 0) return;
    struct buf empty = f->travelling;
    f->travelling = f->filling;
    f->filling = empty;
    f->done = 0;
    f->is_away = true;
    f->sender = sender;
    f->to = to;
    f->call.run = batch_arrives;
    thread_call(sender, to, &f->call);
}
