/* net_fixture.h: one net thread over a simulated world, and shards that are played by the test.
 *
 *     client ──▶ env_sim ──▶ netloop ──parcels──▶ two shards, run when the test says so
 *
 * Clients send inline commands; every shard answers "+word" with the second word, so a reply names
 * its request:
 *
 *     s0 w | s1 w        one shard
 *     both w             split over both: "+w+w"
 *     here w             answered by the net thread
 *     mute on|off        replies are thrown away; no reply itself
 *     big w n            "$n" with n times w's first letter, from shard 0
 *     park w             shard 0 parks it: its reply comes with net_fixture_unpark
 *     fail w             shard 0 answers "-ERR w"
 *     wait w             deferred: net_fixture_answer answers it; nothing else runs before
 *     quit | kill        closes after the replies | at once
 *
 * Thread     the test's; it stands for the net thread and for the shards' threads.
 */
#pragma once

#include "net/netloop.h"
#include "tests/sim/env_sim.h"

#define NET_FIXTURE_SHARDS 2
#define NET_FIXTURE_PARKED_MAX 64

struct net_fixture {
    struct netloop nl;
    struct mesh mesh;
    struct thread threads[1 + NET_FIXTURE_SHARDS]; /* net, shards */
    struct net_config config;
    struct mem shard_mem[NET_FIXTURE_SHARDS];
    struct merge merges[NET_FIXTURE_SHARDS];
    bool is_stopped[NET_FIXTURE_SHARDS]; /* does not run its parcels */
    bool is_network_stopped;             /* nothing moves between clients and the server */
    struct env_loop *listening_loop;
    struct env_socket listener;
    uint16_t port;
    struct late_reply *parked[NET_FIXTURE_PARKED_MAX];
    unsigned parked_count;
    uint32_t waiting_conn, waiting_generation, waiting_slot; /* of `wait` */
    unsigned opened, closed, failures, in_place;
    uint64_t positions[64]; /* of published turns */
    unsigned turn_count;
    struct buf failed_text;
};

/* `own_shard`: the shard that shares the net thread, or -1. */
void net_fixture_start(struct net_fixture *f, uint64_t seed, int32_t own_shard);
/* Closes everything; CHECKs in deinit see what was left behind. */
void net_fixture_finish(struct net_fixture *f);

struct sim_client *net_fixture_connect(struct net_fixture *f);
/* The connection of the latest client. */
struct conn *net_fixture_conn(struct net_fixture *f, uint32_t index);
void net_fixture_send(struct sim_client *c, const char *text);

/* One step of the net thread, with what the network and the shards do meanwhile. True if anything
 * happened. */
bool net_fixture_step(struct net_fixture *f);
/* Steps until nothing happens. */
void net_fixture_settle(struct net_fixture *f);
void net_fixture_run_shard(struct net_fixture *f, uint16_t shard);
/* The first of the parked requests is answered. */
void net_fixture_unpark(struct net_fixture *f, unsigned index);
/* Answers the connection that waits; "+text". */
void net_fixture_answer(struct net_fixture *f, const char *text);

/* All that the client has received since the last call is exactly that. */
void net_fixture_expect(struct sim_client *c, const char *text, int where);
#define expect_received(client, text) net_fixture_expect((client), (text), __LINE__)
