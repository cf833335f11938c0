/* micro_resp.c: commands per second that the reader takes out of pipelines.
 *
 * usage: micro_resp [millions of commands]     default: 20
 *
 * Keys of 16 bytes, values of 32, in pieces of a receive buffer. "whole" ends every piece with a
 * whole command; "straddling" cuts the same bytes wherever a piece ends, so that one command of
 * each piece is gathered. */
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/mem.h"
#include "base/resp.h"

#define PIECE_BYTES (16 * 1024)
#define COMMANDS 4096

static const struct resp_limits limits = {
    .bulk_bytes_max = 512 << 20, .args_max = RESP_ARGS_MAX, .authenticated = true};

/* The size of the next piece. */
static size_t cut(const char *at, size_t left, bool is_whole)
{
    size_t size = MIN(left, (size_t)PIECE_BYTES);
    if (!is_whole || size == left) return size;
    while (at[size] != '*' || at[size - 1] != '\n') size--;
    return size;
}

static double run(struct bytes pipeline, uint64_t count, bool is_whole)
{
    struct mem mem;
    struct resp_reader r;
    mem_init(&mem, "bench");
    resp_reader_init(&r, &mem);
    uint64_t seen = 0, bytes = 0, start = env_now_ns();
    while (seen < count) {
        for (size_t at = 0; at < pipeline.size;) {
            size_t size = cut(pipeline.data + at, pipeline.size - at, is_whole);
            resp_feed(&r, pipeline.data + at, size);
            while (resp_next(&r, &limits) == RESP_REQUEST) {
                seen++;
                bytes += r.argv[r.argc - 1].size;
            }
            at += size;
        }
    }
    double rate = (double)seen * 1e3 / (double)(env_now_ns() - start);
    CHECK(seen % COMMANDS == 0 && bytes > 0);
    resp_reader_deinit(&r);
    mem_deinit(&mem);
    return rate;
}

static void run_form(const char *name, const char *format, uint64_t count)
{
    struct mem mem;
    mem_init(&mem, "bench");
    struct buf pipeline = {.mem = &mem};
    for (unsigned i = 0; i < COMMANDS; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        buf_printf(&pipeline, format, i);
#pragma GCC diagnostic pop
    }
    for (int is_whole = 1; is_whole >= 0; is_whole--)
        printf("parser      %-3s %-10s %7.1f M commands/s\n", name,
               is_whole ? "whole" : "straddling", run(buf_view(&pipeline), count, is_whole));
    buf_clear(&pipeline);
    mem_deinit(&mem);
}

int main(int argc, char **argv)
{
    uint64_t count = (uint64_t)((argc > 1 ? atof(argv[1]) : 20) * 1e6);
    run_form("GET", "*2\r\n$3\r\nGET\r\n$16\r\nkey:%012u\r\n", count);
    run_form("SET",
             "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012u\r\n$32\r\na value of thirty-two bytes, say!\r\n",
             count);
    return 0;
}
