/* Geo sets. Replies are compared with redis-server's by tests/compat; here is what it cannot see:
 * an area search against a look at everything, events, and what is found across the 180th meridian.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "shard/cmd/families.h"
#include "shard/notify.h"
#include "shard/type/geohash.h"
#include "tests/unit/random.h"
#include "tests/unit/shard_fixture.h"

static struct shard_fixture f;
static char events[512];

static void on_event(struct shard *sh, uint32_t class, const char *event, const struct key *k)
{
    cr_assert(sh && class);
    size_t size = strlen(events);
    snprintf(events + size, sizeof events - size, "%s %.*s;", event, (int)k->name.size,
             k->name.data);
}

static const struct shard_hooks hooks = {.notify = on_event};

static void setup(void)
{
    f = shard_fixture_make();
    f.config->set_max_listpack_entries = f.config->zset_max_listpack_entries = 128;
    f.config->set_max_listpack_value_bytes = f.config->zset_max_listpack_value_bytes = 64;
    shard_fixture_add_family(&f, &zset_family);
    shard_fixture_add_family(&f, &geo_family);
}

static void teardown(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_geo, .init = setup, .fini = teardown);

Test(cmd_geo, places_have_positions_distances_and_texts)
{
    expect(&f, "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2\r\n");
    expect(&f, "GEODIST g Palermo Catania km", "$8\r\n166.2742\r\n");
    expect(&f, "GEOHASH g Palermo none", "*2\r\n$11\r\nsqc8b49rny0\r\n$-1\r\n");
    expect(&f, "GEOPOS g Palermo none",
           "*2\r\n*2\r\n$20\r\n13.36138933897018433\r\n$20\r\n38.11555639549629859\r\n*-1\r\n");
    f.resp = 3;
    expect(&f, "GEOPOS g Palermo",
           "*1\r\n*2\r\n,13.36138933897018433\r\n,38.11555639549629859\r\n");
    expect(&f, "GEODIST g Palermo none", "_\r\n");
}

Test(cmd_geo, a_bad_position_anywhere_changes_nothing)
{
    expect(&f, "GEOADD g 1 1 a 181 1 b",
           "-ERR invalid longitude,latitude pair 181.000000,1.000000\r\n");
    expect(&f, "EXISTS g", ":0\r\n");
}

Test(cmd_geo, places_are_found_across_the_180th_meridian_and_at_the_limits)
{
    expect(&f, "GEOADD g 179.99 0 a -179.99 0 b 180 0.01 c -180 -0.02 d 0 0 far", ":5\r\n");
    expect(&f, "GEOSEARCH g FROMLONLAT 179.995 0 BYRADIUS 50 km ASC COUNT 9",
           "*4\r\n$1\r\na\r\n$1\r\nc\r\n$1\r\nb\r\n$1\r\nd\r\n");
    expect(&f, "GEOSEARCH g FROMLONLAT -179.995 0 BYBOX 10 10 km ASC",
           "*4\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\na\r\n$1\r\nd\r\n");
    /* Scores of 54 bits, where an odd one becomes its neighbour. */
    expect(&f, "GEOADD edge 180 0 e 180 85.05112878 ne 180 -85.05112878 se 180 0.0000041 odd",
           ":4\r\n");
    expect(&f, "GEOSEARCH edge FROMMEMBER odd BYRADIUS 0.01 m", "*2\r\n$1\r\ne\r\n$3\r\nodd\r\n");
    expect(&f, "GEOSEARCH edge FROMMEMBER ne BYRADIUS 0.01 m", "*1\r\n$2\r\nne\r\n");
    expect(&f, "GEOSEARCH edge FROMMEMBER se BYBOX 0.01 0.01 m", "*1\r\n$2\r\nse\r\n");
}

Test(cmd_geo, of_several_keys_to_store_at_the_last_one_counts)
{
    expect(&f, "GEOADD g 1 1 a", ":1\r\n");
    expect(&f, "GEORADIUS g 1 1 1 km STORE x STOREDIST y STORE z", ":1\r\n");
    expect(&f, "EXISTS x y", ":0\r\n");
    expect(&f, "ZSCORE z a", "$16\r\n3377822707026402\r\n");
    expect(&f, "GEORADIUSBYMEMBER g a 1 m STORE x STOREDIST x", ":1\r\n");
    expect(&f, "ZSCORE x a", "$1\r\n0\r\n");
}

static void key_index(void *context, uint32_t index, const struct key_spec *spec)
{
    cr_assert(spec->flags);
    char *text = context;
    size_t size = strlen(text);
    snprintf(text + size, 64 - size, "%u ", index);
}

static void expect_keys(const char *line, const char *indexes)
{
    struct buf storage = {.mem = &f.shard->mem};
    struct bytes argv[24];
    char found[64] = "";
    int argc = text_split_words(bytes_of(line), &storage, argv, 24);
    char name[32] = "";
    memcpy(name, argv[0].data, argv[0].size);
    cr_assert(
        command_each_key(shard_fixture_row(&f, name), argv, (uint32_t)argc, key_index, found));
    cr_expect_str_eq(found, indexes, "%s: %s", line, found);
    buf_clear(&storage);
}

Test(cmd_geo, the_keys_to_store_at_are_found_among_the_options)
{
    expect_keys("georadius g 1 1 1 km", "1 ");
    expect_keys("georadius g 1 1 1 km store x", "1 7 ");
    expect_keys("georadius g 1 1 1 km STORE store", "1 7 ");
    expect_keys("georadius g 1 1 1 km STORE a STORE b", "1 7 9 ");
    expect_keys("georadius g 1 1 1 km COUNT 1 STOREDIST a STORE b STOREDIST c", "1 9 11 13 ");
    expect_keys("georadius g 1 1 1 km STORE", "1 ");
    expect_keys("georadiusbymember g store 1 km STORE x", "1 6 ");
}

Test(cmd_geo, events_say_what_was_stored_and_what_went)
{
    f.config->notify_classes = NOTIFY_ALL;
    f.shard->hooks = &hooks;
    shard_fixture_run_line(&f, "GEOADD g 1 1 a");
    shard_fixture_run_line(&f, "GEOADD g 1 1 a");
    shard_fixture_run_line(&f, "GEORADIUS g 1 1 1 km STORE d");
    shard_fixture_run_line(&f, "GEORADIUS g 5 1 1 m STORE d");
    shard_fixture_run_line(&f, "GEORADIUS g 5 1 1 m STORE d");
    shard_fixture_run_line(&f, "GEOSEARCHSTORE d g FROMLONLAT 1 1 BYRADIUS 1 km");
    cr_assert_str_eq(events, "zadd g;georadiusstore d;del d;geosearchstore d;", "%s", events);
}

/* ---- against a look at everything ---- */

#define PLACES 400

struct place {
    struct geo_point point;
    bool expected;
};

static double uniform(struct random *r, double low, double high)
{
    return low + (high - low) * ((double)random_below(r, 1000000001) / 1e9);
}

static void add_place(struct random *r, struct place *places, unsigned n, const struct geo_shape *s)
{
    char line[128];
    struct geo_point p = {uniform(r, -180, 180), uniform(r, -85.05, 85.05)};
    if (n % 2) p = (struct geo_point){s->center.longitude + uniform(r, -1, 1), p.latitude};
    if (p.longitude > 180 || p.longitude < -180) p.longitude = 180;
    snprintf(line, sizeof line, "GEOADD g %.17g %.17g %u", p.longitude, p.latitude, n);
    shard_fixture_run_line(&f, line);
    places[n].point = geohash_decode(geohash_encode(p));
}

Test(cmd_geo, a_search_finds_what_a_look_at_everything_finds)
{
    struct random r = random_make();
    static struct place places[PLACES];
    struct geo_shape s = {.center = {uniform(&r, -180, 180), 0}};
    for (unsigned n = 0; n < PLACES; n++) add_place(&r, places, n, &s);
    for (int round = 0; round < 500; round++) {
        char line[256];
        unsigned count = 0;
        double distance;
        s = (struct geo_shape){.center = places[random_below(&r, PLACES)].point,
                               .is_box = round % 2,
                               .radius_m = (double)random_below(&r, 25000) * 1000,
                               .width_m = (double)random_below(&r, 40000) * 1000,
                               .height_m = (double)random_below(&r, 20000) * 1000};
        for (unsigned n = 0; n < PLACES; n++) {
            places[n].expected = geo_shape_has(&s, places[n].point, &distance);
            count += places[n].expected;
        }
        int size = snprintf(line, sizeof line, "GEOSEARCH g FROMLONLAT %.17g %.17g ",
                            s.center.longitude, s.center.latitude);
        if (s.is_box)
            snprintf(line + size, sizeof line - (size_t)size, "BYBOX %.17g %.17g m", s.width_m,
                     s.height_m);
        else
            snprintf(line + size, sizeof line - (size_t)size, "BYRADIUS %.17g m", s.radius_m);
        struct bytes reply = shard_fixture_run_line(&f, line);
        cr_assert_eq((unsigned)strtoul(reply.data + 1, NULL, 10), count, "%s", line);
    }
}
