/* Receiving, sending and closing, over socket pairs. */
#include "tests/unit/env_fixture.h"
#include "tests/unit/random.h"

/* ---- receiving ---- */

BOTH(polling_without_sleep_finds_what_arrived)
{
    struct fixture f = make(backend);
    struct env_socket s;
    struct env_event e;
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    expect_silence(&f);
    put(peer, "x");
    env_wait(f.loop, 0);
    cr_assert(env_next(f.loop, &e));
    cr_assert_eq(e.kind, ENV_RECV);
    env_loop_destroy(f.loop);
}

BOTH(end_of_stream_is_told_once)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    put(peer, "last words");
    close(peer);
    expect_text(&f, &s, "last words");
    struct env_event e = expect(&f, ENV_RECV, &s);
    cr_assert_null(e.buffer);
    cr_assert_eq(e.status, OK);
    expect_silence(&f);
    close_and_wait(&f, &s);
    env_loop_destroy(f.loop);
}

BOTH(nothing_arrives_between_stop_and_start_and_nothing_is_lost)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    put(peer, "one");
    expect_text(&f, &s, "one");
    env_recv_stop(f.loop, &s);
    expect_silence(&f);
    put(peer, "two");
    expect_silence(&f);
    env_recv_start(f.loop, &s);
    expect_text(&f, &s, "two");
    close_and_wait(&f, &s);
    env_loop_destroy(f.loop);
}

BOTH(stop_and_start_in_one_turn_changes_nothing)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    expect_silence(&f);
    for (int i = 0; i < 3; i++) {
        env_recv_stop(f.loop, &s);
        env_recv_start(f.loop, &s);
    }
    put(peer, "here");
    expect_text(&f, &s, "here");
    env_recv_stop(f.loop, &s);
    env_recv_start(f.loop, &s);
    env_recv_stop(f.loop, &s);
    expect_silence(&f);
    put(peer, "not now");
    expect_silence(&f);
    env_loop_destroy(f.loop);
}

BOTH(a_hang_up_of_a_stopped_socket_keeps_the_loop_asleep)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    expect_silence(&f);
    env_recv_stop(f.loop, &s);
    expect_silence(&f);
    close(peer);
    expect_silence(&f);
    uint64_t before = env_now_ns();
    env_wait(f.loop, 30000000);
    cr_assert_geq(env_now_ns() - before, 29000000ULL);
    env_recv_start(f.loop, &s);
    cr_assert_null(expect(&f, ENV_RECV, &s).buffer);
    env_loop_destroy(f.loop);
}

BOTH(data_waits_in_the_socket_while_all_buffers_are_held)
{
    struct fixture f = make_sized(backend, 2, 64);
    struct env_socket s[3];
    struct env_buffer *held[2];
    int peers[3];
    for (int i = 0; i < 3; i++) {
        peers[i] = pair(&f, &s[i]);
        env_recv_start(f.loop, &s[i]);
    }
    cr_assert_eq(env_buffers_free(f.loop), 2);
    for (int i = 0; i < 3; i++) put(peers[i], "data");
    for (int i = 0; i < 2; i++) held[i] = next(&f).buffer;
    cr_assert_eq(env_buffers_free(f.loop), 0);
    expect_silence(&f);
    uint64_t before = env_now_ns();
    env_wait(f.loop, 20000000);
    cr_assert_geq(env_now_ns() - before, 19000000ULL, "a starved socket must not spin");

    env_buffer_ref(held[0]);
    env_buffer_unref(held[0]);
    expect_silence(&f);
    env_buffer_unref(held[0]);
    struct env_event e = next(&f);
    cr_assert_eq(e.kind, ENV_RECV);
    cr_assert_eq(e.size, 4);
    env_buffer_unref(e.buffer);
    env_buffer_unref(held[1]);
    for (int i = 0; i < 3; i++) {
        put(peers[i], "more");
        expect_text(&f, &s[i], "more");
    }
    cr_assert_eq(env_buffers_free(f.loop), 2);
    env_loop_destroy(f.loop);
}

BOTH(a_starved_socket_can_be_stopped_and_closed)
{
    struct fixture f = make_sized(backend, 1, 64);
    struct env_socket a, b, c;
    int peer_a = pair(&f, &a), peer_b = pair(&f, &b), peer_c = pair(&f, &c);
    env_recv_start(f.loop, &a);
    put(peer_a, "a");
    struct env_buffer *held = expect(&f, ENV_RECV, &a).buffer;
    env_recv_start(f.loop, &b);
    env_recv_start(f.loop, &c);
    put(peer_b, "b");
    put(peer_c, "c");
    expect_silence(&f);
    env_recv_stop(f.loop, &b);
    close_and_wait(&f, &c);
    env_buffer_unref(held);
    expect_silence(&f);
    env_recv_start(f.loop, &b);
    expect_text(&f, &b, "b");
    env_loop_destroy(f.loop);
}

/* ---- sending ---- */

static size_t read_and_check(int fd, size_t at)
{
    unsigned char got[65536];
    ssize_t n;
    while ((n = read(fd, got, sizeof got)) > 0) {
        for (ssize_t i = 0; i < n; i++, at++) cr_assert_eq(got[i], (unsigned char)(at * 7 >> 3));
    }
    return at;
}

/* `count` pieces of odd sizes through a socket that takes little at a time. */
static void send_pieces(enum env_backend backend, unsigned count, size_t total)
{
    struct fixture f = make(backend);
    struct env_socket s;
    struct iovec pieces[ENV_IOV_MAX];
    unsigned char *data = malloc(total);
    int peer = pair(&f, &s);
    for (size_t i = 0; i < total; i++) data[i] = (unsigned char)(i * 7 >> 3);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t size = i + 1 == count ? total - at : (total / count) + i % 3 - 1;
        pieces[i] = (struct iovec){data + at, size};
        at += size;
    }
    env_recv_start(f.loop, &s); /* both directions at once */
    env_send(f.loop, &s, pieces, count);
    struct env_event e;
    size_t got = 0;
    bool sent = false;
    uint64_t deadline = env_now_ns() + PATIENCE_NS;
    while (got < total || !sent) {
        cr_assert_lt(env_now_ns(), deadline);
        env_wait(f.loop, 1000000);
        while (env_next(f.loop, &e)) {
            cr_assert_eq(e.kind, ENV_SEND);
            cr_assert_eq(e.status, OK);
            cr_assert_eq(e.size, total);
            cr_assert_not(sent);
            sent = true;
        }
        got = read_and_check(peer, got);
    }
    put(peer, "thanks");
    expect_text(&f, &s, "thanks");
    free(data);
    env_loop_destroy(f.loop);
}

BOTH(sends_one_large_piece_completely)
{
    send_pieces(backend, 1, 3000001);
}

BOTH(sends_many_pieces_in_order)
{
    send_pieces(backend, ENV_IOV_MAX, 2000003);
}

BOTH(a_send_that_was_cut_short_goes_on)
{
    fault_set("env_send_short", 1);
    send_pieces(backend, 1, 100001);
    fault_set("env_send_short", 1);
    send_pieces(backend, 7, 100001);
    fault_set("env_send_short", 2);
    send_pieces(backend, 2, 1000);
}

BOTH(a_send_comes_back_after_a_later_wait)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    struct iovec piece = text_piece("abc");
    struct env_event e;
    env_wait(f.loop, 0);
    env_send(f.loop, &s, &piece, 1);
    env_flush(f.loop);
    cr_assert_not(env_next(f.loop, &e));
    expect_at_peer(peer, "abc");
    expect(&f, ENV_SEND, &s);
    env_loop_destroy(f.loop);
}

BOTH(sending_to_a_peer_that_left_is_an_error_and_no_signal)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    close(peer);
    struct iovec pieces[2] = {text_piece("abc"), text_piece("def")};
    env_send(f.loop, &s, pieces, 2);
    struct env_event e = expect(&f, ENV_SEND, &s);
    cr_assert_eq(e.status, ERR_CLOSED);
    cr_assert_eq(e.size, 0);
    close_and_wait(&f, &s);
    env_loop_destroy(f.loop);
}

BOTH(a_blocked_send_fails_when_the_peer_leaves)
{
    struct fixture f = make(backend);
    struct env_socket s;
    char *data = calloc(1, 4000000);
    int peer = pair(&f, &s);
    struct iovec piece = {data, 4000000};
    env_send(f.loop, &s, &piece, 1);
    expect_silence(&f);
    close(peer);
    struct env_event e = expect(&f, ENV_SEND, &s);
    cr_assert_eq(e.status, ERR_CLOSED);
    cr_assert_lt(e.size, 4000000);
    close_and_wait(&f, &s);
    free(data);
    env_loop_destroy(f.loop);
}

/* ---- closing ---- */

BOTH(closing_ends_a_blocked_send_and_a_receive_without_other_events)
{
    struct fixture f = make(backend);
    struct env_socket s;
    char *data = calloc(1, 4000000), byte;
    int peer = pair(&f, &s);
    struct iovec piece = {data, 4000000};
    env_recv_start(f.loop, &s);
    env_send(f.loop, &s, &piece, 1);
    expect_silence(&f);
    put(peer, "too late");
    env_close(f.loop, &s);
    env_close(f.loop, &s);
    env_recv_start(f.loop, &s);
    env_recv_stop(f.loop, &s);
    expect(&f, ENV_CLOSED, &s);
    expect_silence(&f);
    while (read(peer, data, 65536) > 0) continue;
    cr_assert_eq(read(peer, &byte, 1), 0, "the descriptor is really closed");
    cr_assert_eq(env_buffers_free(f.loop), 8);
    free(data);
    env_loop_destroy(f.loop);
}

BOTH(closing_before_anything_was_submitted_works)
{
    struct fixture f = make(backend);
    struct env_socket s;
    struct iovec piece = text_piece("abc");
    int peer = pair(&f, &s);
    close_and_wait(&f, &s);
    close(peer);
    peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    env_send(f.loop, &s, &piece, 1);
    env_recv_stop(f.loop, &s);
    close_and_wait(&f, &s);
    expect_silence(&f);
    close(peer);
    env_loop_destroy(f.loop);
}

BOTH(a_new_socket_with_the_same_descriptor_hears_nothing_of_the_old)
{
    struct fixture f = make(backend);
    struct env_socket old, new;
    for (int i = 0; i < 20; i++) {
        int peer = pair(&f, &old), fd = old.fd;
        env_recv_start(f.loop, &old);
        expect_silence(&f);
        put(peer, "for the old one");
        close_and_wait(&f, &old);
        close(peer);
        peer = pair(&f, &new);
        cr_assert_eq(new.fd, fd);
        env_recv_start(f.loop, &new);
        expect_silence(&f);
        put(peer, "new");
        expect_text(&f, &new, "new");
        close_and_wait(&f, &new);
        close(peer);
    }
    env_loop_destroy(f.loop);
}

BOTH(events_of_the_same_batch_do_not_reach_a_socket_closed_in_it)
{
    struct fixture f = make_sized(backend, 3, 64);
    struct env_socket s[2];
    struct env_event e;
    for (int round = 0; round < 10; round++) {
        int peers[2] = {pair(&f, &s[0]), pair(&f, &s[1])};
        for (int i = 0; i < 2; i++) env_recv_start(f.loop, &s[i]);
        expect_silence(&f);
        for (int i = 0; i < 2; i++) put(peers[i], "x");
        env_wait(f.loop, SECOND_NS);
        cr_assert(env_next(f.loop, &e));
        cr_assert_not_null(e.buffer);
        env_buffer_unref(e.buffer);
        struct env_socket *first = e.socket, *other = first == &s[0] ? &s[1] : &s[0];
        close_and_wait(&f, other);
        close_and_wait(&f, first);
        for (int i = 0; i < 2; i++) close(peers[i]);
    }
    /* No buffer got lost: all of them can be held at once. */
    int peer = pair(&f, &s[0]);
    char data[3 * 64] = {0};
    env_recv_start(f.loop, &s[0]);
    cr_assert_eq(write(peer, data, sizeof data), (ssize_t)sizeof data);
    for (int i = 0; i < 3; i++) cr_assert_eq(expect(&f, ENV_RECV, &s[0]).size, 64);
    cr_assert_eq(env_buffers_free(f.loop), 0);
    env_loop_destroy(f.loop);
}

BOTH(destroying_a_loop_closes_all_its_sockets)
{
    struct fixture f = make(backend);
    struct env_socket s[5];
    int peers[5];
    char byte;
    for (int i = 0; i < 5; i++) {
        peers[i] = pair(&f, &s[i]);
        env_recv_start(f.loop, &s[i]);
    }
    env_wait(f.loop, 0);
    env_loop_destroy(f.loop);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(s[i].fd, -1);
        cr_assert_eq(read(peers[i], &byte, 1), 0);
    }
}

/* ---- all of it at once ---- */

#define STREAMS 6

struct stream {
    struct env_socket s;
    int peer;
    bool receiving, sending;
    uint8_t written, received, sent, read; /* positions, modulo 256: what each byte's value is */
    unsigned char out[700];
    struct iovec pieces[3];
};

static void stream_open(struct fixture *f, struct stream *t)
{
    memset(t, 0, sizeof *t);
    t->written = t->received = t->sent = t->read = 250; /* so that they wrap early */
    t->peer = pair(f, &t->s);
}

static void stream_write(struct stream *t, struct random *r)
{
    unsigned char data[300];
    size_t size = 1 + random_below(r, sizeof data);
    for (size_t i = 0; i < size; i++) data[i] = (unsigned char)(t->written + i);
    ssize_t n = write(t->peer, data, size);
    if (n > 0) t->written = (uint8_t)(t->written + n);
}

static void stream_read(struct stream *t)
{
    unsigned char data[500];
    ssize_t n = read(t->peer, data, sizeof data);
    for (ssize_t i = 0; i < n; i++) cr_assert_eq(data[i], t->read++);
}

static void stream_send(struct fixture *f, struct stream *t, struct random *r)
{
    if (t->sending) return;
    unsigned count = 1 + (unsigned)random_below(r, 3);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t size = 1 + random_below(r, 200);
        t->pieces[i] = (struct iovec){t->out + at, size};
        at += size;
    }
    for (size_t i = 0; i < at; i++) t->out[i] = t->sent++;
    t->sending = true;
    env_send(f->loop, &t->s, t->pieces, count);
}

static void stream_on_event(const struct env_event *e, struct env_buffer **held, unsigned *count)
{
    struct stream *t = container_of(e->socket, struct stream, s);
    if (e->kind == ENV_SEND) {
        cr_assert_eq(e->status, OK);
        cr_assert(t->sending);
        t->sending = false;
        return;
    }
    cr_assert_eq(e->kind, ENV_RECV);
    cr_assert_not_null(e->buffer);
    for (size_t i = 0; i < e->size; i++) cr_assert_eq((uint8_t)e->data[i], t->received++);
    if (*count < 4)
        held[(*count)++] = e->buffer;
    else
        env_buffer_unref(e->buffer);
}

static void stream_close(struct fixture *f, struct stream *t, struct env_buffer **held,
                         unsigned *count)
{
    struct env_event e;
    env_close(f->loop, &t->s);
    while ((e = next(f)).kind != ENV_CLOSED) {
        cr_assert_neq(e.socket, &t->s);
        stream_on_event(&e, held, count);
    }
    cr_assert_eq(e.socket, &t->s);
    close(t->peer);
    stream_open(f, t);
}

static void stream_act(struct fixture *f, struct stream *t, struct random *r)
{
    switch (random_below(r, 6)) {
    case 0:
        if (t->receiving)
            env_recv_stop(f->loop, &t->s);
        else
            env_recv_start(f->loop, &t->s);
        t->receiving = !t->receiving;
        break;
    case 1:
    case 2:
        stream_write(t, r);
        break;
    case 3:
        stream_read(t);
        break;
    default:
        stream_send(f, t, r);
        break;
    }
}

BOTH(random_traffic_keeps_its_order_and_gives_all_buffers_back)
{
    struct random r = random_make();
    struct fixture f = make_sized(backend, 4, 128);
    struct stream streams[STREAMS];
    struct env_buffer *held[4];
    struct env_event e;
    unsigned held_count = 0;
    for (int i = 0; i < STREAMS; i++) stream_open(&f, &streams[i]);
    for (int step = 0; step < 20000; step++) {
        struct stream *t = &streams[random_below(&r, STREAMS)];
        if (random_below(&r, 100) == 0) fault_set("env_send_short", 1);
        stream_act(&f, t, &r);
        if (held_count > 0 && random_below(&r, 3) == 0) env_buffer_unref(held[--held_count]);
        if (random_below(&r, 200) == 0) stream_close(&f, t, held, &held_count);
        if (random_below(&r, 3) == 0) env_wait(f.loop, 0);
        while (env_next(f.loop, &e)) stream_on_event(&e, held, &held_count);
        cr_assert_eq(env_buffers_free(f.loop), 4 - held_count);
    }
    env_loop_destroy(f.loop);
}
