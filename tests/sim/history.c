#include "tests/sim/history.h"

#include <stdio.h>
#include <stdlib.h>

#define PRINT_BYTES_MAX 160

static void *copy_of(const void *data, size_t size)
{
    char *p = malloc(size + 1);
    CHECK(p);
    if (size > 0) memcpy(p, data, size);
    p[size] = '\0';
    return p;
}

static void encode(struct step *s, const struct bytes *argv, unsigned argc)
{
    size_t size = 32;
    for (unsigned i = 0; i < argc; i++) size += argv[i].size + 32;
    s->request = malloc(size);
    CHECK(s->request && argc <= STEP_ARGS_MAX);
    char *at = s->request + snprintf(s->request, 32, "*%u\r\n", argc);
    for (unsigned i = 0; i < argc; i++) {
        at += snprintf(at, 32, "$%zu\r\n", argv[i].size);
        if (argv[i].size > 0) memcpy(at, argv[i].data, argv[i].size);
        s->argv[i] = bytes_make(at, argv[i].size);
        at += argv[i].size;
        *at++ = '\r';
        *at++ = '\n';
    }
    s->argc = argc;
    s->request_bytes = (size_t)(at - s->request);
}

struct step *history_add(struct history *h, unsigned client, const struct bytes *argv,
                         unsigned argc)
{
    struct client_history *c = &h->clients[client];
    if (c->step_count == c->step_capacity) {
        c->step_capacity = 2 * c->step_capacity + 64;
        c->steps = realloc(c->steps, c->step_capacity * sizeof *c->steps);
        CHECK(c->steps);
    }
    struct step *s = &c->steps[c->step_count++];
    *s = (struct step){.is_ordered = true};
    encode(s, argv, argc);
    return s;
}

void history_set_reply(struct step *s, struct bytes reply)
{
    CHECK(!s->reply);
    s->reply = copy_of(reply.data, reply.size);
    s->reply_bytes = reply.size;
}

void history_append_order(struct history *h, struct step *s)
{
    if (h->order_count % 256 == 0) {
        h->order = realloc(h->order, (h->order_count + 256) * sizeof(struct step *));
        CHECK(h->order);
    }
    h->order[h->order_count++] = s;
}

void history_clear(struct history *h)
{
    for (unsigned c = 0; c < HISTORY_CLIENTS_MAX; c++) {
        for (size_t i = 0; i < h->clients[c].step_count; i++) {
            free(h->clients[c].steps[i].request);
            free(h->clients[c].steps[i].reply);
        }
        free(h->clients[c].steps);
    }
    free(h->order);
    *h = (struct history){0};
}

/* ---- replies ---- */

static size_t line_bytes(struct bytes data)
{
    const char *end = data.size > 0 ? memchr(data.data, '\n', data.size) : NULL;
    return end ? (size_t)(end - data.data) + 1 : 0;
}

/* Iterative: `left` counts the replies that are still to come. */
bool is_refusal(struct bytes reply)
{
    static const char *const starts[] = {
        "-ERR out of memory:", "-ERR Protocol error: out of memory", "-EXECABORT"};
    for (unsigned i = 0; i < ARRAY_LEN(starts); i++) {
        size_t size = strlen(starts[i]);
        if (reply.size > size && memcmp(reply.data, starts[i], size) == 0) return true;
    }
    return false;
}

size_t resp_reply_bytes(struct bytes data)
{
    size_t at = 0;
    for (uint64_t left = 1; left > 0; left--) {
        size_t line = line_bytes(bytes_make(data.data + at, data.size - at));
        if (line == 0) return 0;
        char kind = data.data[at];
        long long count = strtoll(data.data + at + 1, NULL, 10);
        at += line;
        if (kind == '$' && count >= 0) {
            if (data.size - at < (size_t)count + 2) return 0;
            at += (size_t)count + 2;
        }
        if (kind == '*' && count > 0) left += (uint64_t)count;
    }
    return at;
}

/* ---- for people ---- */

void print_bytes(const char *label, struct bytes data)
{
    printf("%s", label);
    for (size_t i = 0; i < data.size && i < PRINT_BYTES_MAX; i++) {
        unsigned char c = (unsigned char)data.data[i];
        if (c == '\r')
            printf("\\r");
        else if (c == '\n')
            printf("\\n");
        else if (c >= 0x20 && c < 0x7f)
            putchar(c);
        else
            printf("\\x%02x", c);
    }
    printf("%s (%zu bytes)\n", data.size > PRINT_BYTES_MAX ? "…" : "", data.size);
}

void print_step(const struct step *s)
{
    for (unsigned i = 0; i < s->argc; i++) {
        int size = (int)MIN(s->argv[i].size, (size_t)24);
        printf("%.*s%s ", size, s->argv[i].data, s->argv[i].size > 24 ? "…" : "");
    }
    printf("\n");
}
