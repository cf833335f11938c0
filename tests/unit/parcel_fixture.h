/* parcel_fixture.h: parcels for one shard, made and run by hand, and the late replies that it
 * sends.
 *
 * Ownership  Arguments are copied into blocks of their own, which go with parcel_fixture_free.
 */
#pragma once

#include "base/late.h"
#include "tests/unit/shard_fixture.h"

struct parcel_fixture {
    struct shard_fixture f;
    struct parcel *parcel;
    struct request *parked; /* whose arguments are kept until the end */
    size_t parked_count;
};

struct parcel_fixture parcel_fixture_make(void);
void parcel_fixture_free(struct parcel_fixture *p);

/* An empty parcel for further requests. Those of the one before are over. */
void parcel_fixture_begin(struct parcel_fixture *p);
/* One more request, in a run of its own; the row's first key, if it has one at 1, gets its hash. */
struct request *parcel_fixture_add(struct parcel_fixture *p, const struct command *row,
                                   uint32_t argc, const struct bytes *argv);
/* The same from a line, with a row of the shard's families. */
struct request *parcel_fixture_add_line(struct parcel_fixture *p, const char *line);
/* Runs it, and then sends the late replies; its own replies stay in it. */
void parcel_fixture_run(struct parcel_fixture *p);
/* The reply of a request, copied to the fixture's buffer. */
struct bytes parcel_fixture_reply(struct parcel_fixture *p, uint32_t index);

/* Who takes late replies; the reply is freed after the call. */
typedef void late_fn(const struct late_reply *late, struct bytes reply);
void parcel_fixture_on_late(late_fn *fn);
