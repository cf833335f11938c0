/* CLIENT LIST and CLIENT INFO: one line for a connection, and the lines of all threads as one text,
 * oldest connection first or in the order that was asked for. */

#include <stdlib.h>

#include "server/acl.h"
#include "server/clients.h"
#include "server/exec.h"
#include "server/router.h"
#include "server/worker.h"

/* ---- one line ---- */

/* Waits for something other than its own question about the clients. */
static bool is_blocked(const struct session *s)
{
    return s->wait || session_is_held_by_pause(s);
}

static void append_flags(const struct session *s, bool is_unix, struct buf *out)
{
    size_t before = out->size;
    if (s->is_monitor) buf_append_text(out, "O");
    if (s->subscriber.count > 0) buf_append_text(out, "P");
    if (s->tracking.is_on) buf_append_text(out, "t");
    if (s->tracking.redirect.is_broken) buf_append_text(out, "R");
    if (s->tracking.is_bcast) buf_append_text(out, "B");
    if (is_blocked(s)) buf_append_text(out, "b");
    if (s->tx.is_open || s->exec) buf_append_text(out, "x");
    if (s->conn.close_after_reply) buf_append_text(out, "c");
    if (is_unix) buf_append_text(out, "U");
    if (s->is_no_evict) buf_append_text(out, "e");
    if (s->is_no_touch) buf_append_text(out, "T");
    if (out->size == before) buf_append_text(out, "N");
}

static int64_t seconds_since(const struct session *s, uint64_t past_ms)
{
    return (int64_t)(thread_now_ms(&session_worker(s)->thread) - past_ms) / 1000;
}

uint64_t session_memory_bytes(const struct session *s)
{
    return conn_memory_bytes(&s->conn) + s->name.capacity + s->lib_name.capacity +
           s->lib_version.capacity + tx_memory_bytes(&s->tx) + s->subscriber.bytes;
}

/* What it sent that was not run yet, and what waits to be sent to it. Only a request that arrives
 * in pieces has a buffer, which may be larger than what is in it. */
static void append_buffers(const struct session *s, struct buf *out)
{
    const struct conn *c = &s->conn;
    unsigned chunks = 0;
    for (const struct chunk *chunk = c->sending_first; chunk; chunk = chunk->next) chunks++;
    for (const struct chunk *chunk = c->out_first; chunk; chunk = chunk->next) chunks++;
    buf_printf(
        out,
        " qbuf=%zu qbuf-free=%zu argv-mem=%zu multi-mem=%llu rbs=0 rbp=0 obl=0 oll=%u omem=%llu "
        "tot-mem=%llu",
        resp_unread_bytes(&c->reader) + (size_t)c->waiting_bytes + resp_gathered_bytes(&c->reader),
        resp_gather_capacity(&c->reader) - resp_gathered_bytes(&c->reader),
        resp_held_bytes(&c->reader) - resp_gather_capacity(&c->reader),
        (unsigned long long)tx_memory_bytes(&s->tx), chunks, (unsigned long long)c->out_bytes,
        (unsigned long long)session_memory_bytes(s));
}

/* Commands of a transaction that is open or runs; -1: there is none. */
static int64_t queued(const struct session *s)
{
    if (s->exec) return exec_command_count(s->exec);
    return s->tx.is_open ? (int64_t)s->tx.count : -1;
}

static void append_name(struct buf *out, const char *label, const struct buf *name)
{
    buf_append_text(out, label);
    if (name->size) buf_append(out, name->data, name->size);
}

void client_line(struct session *s, struct buf *out)
{
    struct conn *c = &s->conn;
    char peer[ENV_NAME_BYTES_MAX], local[ENV_NAME_BYTES_MAX];
    env_peer_name(c->socket.fd, peer);
    env_local_name(c->socket.fd, local);
    buf_printf(out, "id=%llu addr=%s laddr=%s fd=%d", (unsigned long long)c->id, peer, local,
               c->socket.fd);
    append_name(out, " name=", &s->name);
    buf_printf(out, " age=%lld idle=%lld flags=", (long long)seconds_since(s, c->opened_ms),
               (long long)seconds_since(s, c->last_request_ms));
    append_flags(s, peer[0] == '/', out);
    const uint32_t *counts = s->subscriber.counts;
    buf_printf(out, " db=%u sub=%u psub=%u ssub=%u multi=%lld watch=%u", s->db,
               counts[CHANNEL_PLAIN], counts[CHANNEL_PATTERN], counts[CHANNEL_SHARDED],
               (long long)queued(s), s->tx.watched_count);
    append_buffers(s, out);
    buf_printf(out, " events=%s%s cmd=%s", c->is_receiving ? "r" : "", c->is_sending ? "w" : "",
               s->last_route ? s->last_route->full_name : "NULL");
    append_name(out, " user=", &s->user->name);
    buf_printf(out, " redir=%lld resp=%u", (long long)tracking_redirect(s), s->resp);
    append_name(out, " lib-name=", &s->lib_name);
    append_name(out, " lib-ver=", &s->lib_version);
    buf_append_text(out, "\n");
}

/* ---- all lines ---- */

/* Before each line that a thread collects. */
struct line_head {
    uint64_t id;
    size_t size;
};

struct line {
    uint64_t id;
    struct bytes text;
};

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int compare_lines(const void *a, const void *b)
{
    return compare_ids(&((const struct line *)a)->id, &((const struct line *)b)->id);
}

static bool list_visit(struct clients_part *part, struct session *s)
{
    const struct clients_walk *walk = part->walk;
    struct buf *out = &part->collected;
    const struct client_ids *ids = &walk->ids;
    if (ids->asked &&
        !bsearch(&s->conn.id, ids->sorted, ids->count, sizeof *ids->sorted, compare_ids))
        return false;
    if (!client_filter_fits(walk, s)) return false;
    struct line_head head = {.id = s->conn.id};
    size_t at = out->size;
    buf_append(out, &head, sizeof head);
    client_line(s, out);
    head.size = out->size - at - sizeof head;
    memcpy(out->data + at, &head, sizeof head);
    return true;
}

static size_t lines_read(const struct clients_walk *walk, struct line *lines)
{
    size_t count = 0;
    for (uint16_t i = 0; i < walk->part_count; i++) {
        struct bytes rest = buf_view(&walk->parts[i].collected);
        while (rest.size > 0) {
            struct line_head head;
            memcpy(&head, rest.data, sizeof head);
            lines[count++] = (struct line){head.id, bytes_make(rest.data + sizeof head, head.size)};
            rest = bytes_make(rest.data + sizeof head + head.size,
                              rest.size - sizeof head - head.size);
        }
    }
    return count;
}

/* The index-th line of the reply; NULL: an id that nobody has. */
static const struct line *line_of(const struct clients_walk *walk, const struct line *lines,
                                  size_t line_count, size_t index)
{
    if (!walk->ids.asked) return &lines[index];
    struct line key = {.id = walk->ids.asked[index]};
    return bsearch(&key, lines, line_count, sizeof *lines, compare_lines);
}

static bool text_build(const struct clients_walk *walk, const struct line *lines, size_t line_count,
                       struct buf *text)
{
    size_t count = walk->ids.asked ? walk->ids.count : line_count, total = 0;
    for (size_t i = 0; i < count; i++) {
        const struct line *line = line_of(walk, lines, line_count, i);
        if (line) total += line->text.size;
    }
    if (total == 0) return true;
    if (!buf_try_reserve(text, total)) return false;
    for (size_t i = 0; i < count; i++) {
        const struct line *line = line_of(walk, lines, line_count, i);
        if (line) buf_append(text, line->text.data, line->text.size);
    }
    return true;
}

static void list_answer(const struct clients_walk *walk, struct reply *out)
{
    struct mem *mem = &walk->netloop->mem;
    size_t line_count = clients_matches(walk), lines_bytes = (line_count + 1) * sizeof(struct line);
    struct line *lines = mem_try_alloc(mem, lines_bytes);
    struct buf text = {.mem = mem};
    bool is_built = false;
    if (lines) {
        line_count = lines_read(walk, lines);
        qsort(lines, line_count, sizeof *lines, compare_lines);
        is_built = text_build(walk, lines, line_count, &text) &&
                   reply_try_reserve(out, REPLY_STRING_BYTES(text.size));
    }
    if (is_built)
        reply_verbatim(out, "txt", buf_view(&text));
    else
        reply_err(out, ERR_ALLOC);
    buf_clear(&text);
    mem_free(mem, lines, lines_bytes);
}

const struct clients_question client_list_question = {.visit = list_visit, .answer = list_answer};
