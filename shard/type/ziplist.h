/* ziplist.h: the compact forms that Redis had before listpacks, read from old RDB files and DUMP
 * payloads. Nothing here is ever written.
 *
 *     ziplist:  ┌─────────────┬──────────────┬───────┬──────────┬─────┬──────┐
 *               │ total bytes │ place of the │ count │ entry    │  …  │ 0xff │   all little endian
 *               │ 4           │ last entry 4 │ 2     │          │     │      │
 *               └─────────────┴──────────────┴───────┴──────────┴─────┴──────┘
 *     entry:    bytes of the entry before: 1, or 0xfe and 4 · head · value
 *       00xxxxxx                           text of up to 63 bytes
 *       01xxxxxx xxxxxxxx                  text of up to 16383 bytes
 *       10______ 4 bytes, big endian       longer text
 *       11000000, 11010000, 11100000       16-, 32-, 64-bit integer
 *       11110000, 11111110                 24-, 8-bit integer
 *       1111xxxx                           0 … 12, plus 1
 *     A count of 65535 says that only a walk can tell.
 *
 *     zipmap:   ┌───────┬────────┬───────┬────────┬────────┬───────┬────────┬─────┬──────┐
 *               │ count │ length │ field │ length │ unused │ value │ unused │  …  │ 0xff │
 *               │ 1     │ 1 or 5 │       │ 1 or 5 │ 1      │       │        │     │      │
 *               └───────┴────────┴───────┴────────┴────────┴───────┴────────┴─────┴──────┘
 *     A length is a byte below 254, or 254 and 4 bytes, little endian. A count of 254 says that
 *     only a walk can tell.
 *
 * Thread     [shard]
 * Errors     NULL if the bytes are not what they should be in every detail, or there is no memory.
 * Source     The ziplist and zipmap of Redis's RDB files, as documented by rdbtools and
 *            redis-replicator, and checked against redis-server.
 */
#pragma once

#include "shard/type/listpack.h"

/* The same elements as a listpack; maybe none. */
MUST_USE struct listpack *ziplist_try_to_listpack(struct mem *mem, struct bytes bytes);
/* Fields and values in turn. */
MUST_USE struct listpack *zipmap_try_to_listpack(struct mem *mem, struct bytes bytes);
