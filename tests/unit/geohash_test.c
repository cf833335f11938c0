/* Points, scores, areas. Scores and texts were taken from redis-server. */
#include <criterion/criterion.h>
#include <math.h>

#include "shard/type/geohash.h"
#include "tests/unit/random.h"

static double uniform(struct random *r, double low, double high)
{
    return low + (high - low) * ((double)random_below(r, 1000000001) / 1e9);
}

static struct geo_point any_point(struct random *r)
{
    struct geo_point p = {uniform(r, -180, 180), uniform(r, -GEO_LATITUDE_MAX, GEO_LATITUDE_MAX)};
    uint64_t kind = random_below(r, 8);
    if (kind == 0) p.longitude = uniform(r, 179.9, 180);
    if (kind == 1) p.longitude = uniform(r, -180, -179.9);
    if (kind == 2) p.latitude = GEO_LATITUDE_MAX - uniform(r, 0, 0.01);
    if (kind == 3) p.latitude = uniform(r, 0, 0.01) - GEO_LATITUDE_MAX;
    if (kind == 4) p = (struct geo_point){180, GEO_LATITUDE_MAX};
    return p;
}

Test(geohash, scores_are_those_of_redis)
{
    cr_expect_eq(geohash_encode((struct geo_point){13.361389, 38.115556}), 3479099956230698u);
    cr_expect_eq(geohash_encode((struct geo_point){0, 0}), 3377699720527872u);
    cr_expect_eq(geohash_encode((struct geo_point){-180, -GEO_LATITUDE_MAX}), 0);
    cr_expect_eq(geohash_encode((struct geo_point){180, GEO_LATITUDE_MAX}), 13510798882111488u);
}

Test(geohash, the_middle_of_a_cell_has_the_score_of_the_cell)
{
    struct random r = random_make();
    for (int i = 0; i < 100000; i++) {
        uint64_t hash = random_below(&r, (uint64_t)1 << 52);
        cr_assert_eq(geohash_encode(geohash_decode(hash)), hash);
    }
}

Test(geohash, what_no_point_has_for_a_score_is_moved_to_the_limits)
{
    cr_expect_eq(geohash_of_score(1.5), 1);
    cr_expect_eq(geohash_of_score(-5), (uint64_t)-5);
    cr_expect_eq(geohash_of_score(1e300), 0);
    cr_expect_eq(geohash_of_score(-INFINITY), (uint64_t)1 << 63);
    cr_expect_eq(geohash_of_score(1e19), 10000000000000000000u);
    struct geo_point p = geohash_decode((uint64_t)-5);
    cr_expect(p.longitude == 180 && p.latitude == GEO_LATITUDE_MAX);
}

Test(geohash, texts_are_the_usual_ones)
{
    char text[GEO_TEXT_BYTES];
    geohash_text((struct geo_point){13.36138933897018433, 38.11555639549629859}, text);
    cr_expect_eq(memcmp(text, "sqc8b49rny0", sizeof text), 0);
}

Test(geohash, distances_go_along_great_circles)
{
    double quarter = GEO_EARTH_RADIUS_M * acos(-1) / 2;
    struct geo_point zero = {0, 0}, east = {90, 0}, back = {180, 0};
    cr_expect_float_eq(geo_distance_m(zero, east), quarter, 1e-6);
    cr_expect_float_eq(geo_distance_m(zero, back), 2 * quarter, 1e-6);
    cr_expect_eq(geo_distance_m(east, east), 0);
}

static struct geo_shape any_shape(struct random *r)
{
    double exponent = uniform(r, -1, 7.5);
    struct geo_shape s = {.center = any_point(r), .is_box = random_below(r, 2)};
    s.radius_m = pow(10, exponent);
    s.width_m = pow(10, uniform(r, -1, 7.9));
    s.height_m = pow(10, uniform(r, -1, 7.9));
    return s;
}

/* A point in the middle of a cell, near the center more often than not. */
static struct geo_point near(struct random *r, const struct geo_shape *s)
{
    struct geo_point p = any_point(r);
    double reach = fmax(fmax(s->radius_m, s->width_m), s->height_m) / 111000;
    if (random_below(r, 4) > 0) {
        p.longitude = s->center.longitude + uniform(r, -reach, reach);
        p.latitude = s->center.latitude + uniform(r, -reach, reach);
        if (p.longitude > 180) p.longitude -= 360;
        if (p.longitude < -180) p.longitude += 360;
        if (!geo_point_is_valid(p)) p = any_point(r);
    }
    return p;
}

/* As a sorted set sees it, whose scores are doubles. */
static bool area_has(const struct geo_area *a, uint64_t hash)
{
    double score = (double)hash;
    for (uint32_t i = 0; i < a->count; i++)
        if (score >= (double)a->ranges[i].first && score < (double)a->ranges[i].end) return true;
    return false;
}

Test(geohash, an_area_misses_no_point_of_its_shape)
{
    struct random r = random_make();
    unsigned inside = 0;
    for (int i = 0; i < 20000; i++) {
        struct geo_shape s = any_shape(&r);
        struct geo_area area;
        geo_shape_area(&s, &area);
        cr_assert_leq(area.count, GEO_RANGES_MAX);
        for (uint32_t k = 0; k < area.count; k++) {
            const struct geo_range *a = &area.ranges[k];
            cr_assert_lt(a->first, a->end);
            cr_assert(k < 2 || a->first > area.ranges[k - 1].end);
            cr_assert(k == 0 || a->first >= area.ranges[0].end || a->end <= area.ranges[0].first);
        }
        for (int n = 0; n < 20; n++) {
            uint64_t hash = geohash_of_score((double)geohash_encode(near(&r, &s)));
            double distance;
            if (n == 0) s.center = geohash_decode(hash);
            if (n == 0) geo_shape_area(&s, &area);
            if (!geo_shape_has(&s, geohash_decode(hash), &distance)) continue;
            inside++;
            cr_assert(area_has(&area, hash), "%f,%f is %f m from %f,%f",
                      geohash_decode(hash).longitude, geohash_decode(hash).latitude, distance,
                      s.center.longitude, s.center.latitude);
        }
    }
    cr_assert_gt(inside, 20000);
}

Test(geohash, the_cell_of_the_center_comes_first)
{
    struct random r = random_make();
    for (int i = 0; i < 2000; i++) {
        struct geo_shape s = any_shape(&r);
        struct geo_area area;
        if (s.center.longitude == 180) continue; /* The limit has a cell of its own. */
        geo_shape_area(&s, &area);
        struct geo_range first = area.ranges[0];
        area = (struct geo_area){.ranges = {first}, .count = 1};
        cr_assert(area_has(&area, geohash_encode(s.center)));
    }
}

Test(geohash, a_small_shape_has_a_small_area)
{
    struct geo_shape s = {.center = {13.4, 52.5}, .radius_m = 100};
    struct geo_area area;
    geo_shape_area(&s, &area);
    uint64_t cells = 0;
    for (uint32_t i = 0; i < area.count; i++) cells += area.ranges[i].end - area.ranges[i].first;
    /* Nine cells of some 300 m by 150 m at most, of 0.6 m by 0.3 m each in the end. */
    cr_assert_leq(cells, 9u << 20);
}
