/* server_fixture.h: a whole server stepped by hand: no threads, no sockets, and a clock that the
 * test sets. Its connections are made up: what they send is handed to them, what they are sent is
 * taken from them.
 *
 * Thread     the test's; all threads of the server believe that it is theirs.
 * Ownership  Free with server_fixture_free. A reply is valid until the next call.
 * Limits     Nothing that needs a listener or the end of a socket.
 */
#pragma once

#include "server/server.h"
#include "server/worker.h"

#define SERVER_FIXTURE_START_MS 1700000000000 /* the wall clock of a new fixture */

struct server_fixture {
    struct server *server;
    struct env_buffer input; /* that all requests arrive in; never given back */
    struct buf sent;         /* to the connection that was asked last */
    struct server_fixture_line *lines;
};

/* One thread, or more that carry both roles. */
struct server_fixture server_fixture_make(uint32_t threads);
void server_fixture_free(struct server_fixture *f);
/* The same with an append-only log (appendfsync everysec) in directory/appendonlydir, which holds
 * none yet. */
struct server_fixture server_fixture_make_logging(uint32_t threads, const char *directory);

/* A connection on that net thread. */
struct session *server_fixture_connect(struct server_fixture *f, uint16_t net_id);
/* Hands it a line, without running anything. */
void server_fixture_send(struct server_fixture *f, struct session *s, const char *line);
/* Runs all threads until nothing happens any more. */
void server_fixture_settle(struct server_fixture *f);
/* One step of one thread alone; true if it did anything. */
bool server_fixture_step(struct server_fixture *f, uint16_t worker);
/* What was sent to the connection since the last call. */
struct bytes server_fixture_take(struct server_fixture *f, struct session *s);
/* Lets the clocks go on, and runs. */
void server_fixture_pass_ms(struct server_fixture *f, uint64_t ms);

/* Sends a line and settles; the reply is exactly that, else the test fails and shows both. */
void server_fixture_expect(struct server_fixture *f, struct session *s, const char *line,
                           struct bytes reply, int where);
#define expect(f, s, line, text)                                                                   \
    server_fixture_expect((f), (s), (line), BYTES_LITERAL(text), __LINE__)
/* The same for what comes without a new request. */
void server_fixture_expect_sent(struct server_fixture *f, struct session *s, struct bytes reply,
                                int where);
#define expect_sent(f, s, text) server_fixture_expect_sent((f), (s), BYTES_LITERAL(text), __LINE__)
