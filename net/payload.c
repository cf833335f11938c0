#include "net/payload.h"

struct payload *payload_try_create(struct mem *mem, uint32_t argc)
{
    struct payload *p = mem_try_alloc(mem, sizeof *p);
    if (!p) return NULL;
    *p = (struct payload){.refs = 1, .argc = argc, .mem = mem};
    if (argc == 0) return p;
    p->argv = mem_try_alloc(mem, argc * sizeof *p->argv);
    if (p->argv) return p;
    mem_free(mem, p, sizeof *p);
    return NULL;
}

void payload_release(struct payload *p)
{
    if (p->argv) mem_free(p->mem, p->argv, p->argc * sizeof *p->argv);
    if (p->buffer) input_unref(p->buffer);
    buf_clear(&p->bytes);
    mem_free(p->mem, p, sizeof *p);
}

/* A copied piece: env knows nothing of it, which `loop == NULL` says. */
struct input_copy {
    struct env_buffer buffer;
    struct mem *mem;
    size_t size;
    char data[];
};

struct env_buffer *input_try_copy(struct mem *mem, const char *data, size_t size)
{
    struct input_copy *copy = mem_try_alloc(mem, sizeof *copy + size);
    if (!copy) return NULL;
    copy->buffer = (struct env_buffer){.data = copy->data, .refs = 1};
    copy->mem = mem;
    copy->size = size;
    memcpy(copy->data, data, size);
    return &copy->buffer;
}

void input_release(struct env_buffer *b)
{
    if (b->loop) {
        env_buffer_release(b);
        return;
    }
    struct input_copy *copy = container_of(b, struct input_copy, buffer);
    mem_free(copy->mem, copy, sizeof *copy + copy->size);
}
