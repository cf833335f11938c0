/* geohash.h: points on the earth as 52-bit integers that sort by area, which are the scores of a
 * geo set; distances, and the ranges of scores in which an area lies.
 *
 *     bit 51 50 49 48 …  1  0     longitude -180 … 180 and latitude ±85.05112878 are each halved
 *          x  y  x  y …  x  y     26 times; the answers (x: east half, y: north half) alternate
 *
 * The top 2 n bits name a cell of step n: the whole world at 0, about 0.6 m at 26. The points of a
 * cell are one range of scores.
 *
 * Thread     any; pure functions.
 * Limits     The latitudes are those of the Web Mercator projection. The earth is a sphere of
 *            GEO_EARTH_RADIUS_M.
 * Source     G. Niemeyer's geohash; the limits, the radius and the steps are those of Redis's
 *            documentation, and scores were compared with redis-server's.
 */
#pragma once

#include "base/bytes.h"

#define GEO_LONGITUDE_MAX 180.0
#define GEO_LATITUDE_MAX 85.05112878
#define GEO_EARTH_RADIUS_M 6372797.560856
#define GEO_STEPS_MAX 26
#define GEO_TEXT_BYTES 11

struct geo_point {
    double longitude, latitude; /* degrees */
};

/* False outside the limits. */
bool geo_point_is_valid(struct geo_point p);
/* The score of a valid point. Exactly at the upper limits it has a bit more than 52. */
uint64_t geohash_encode(struct geo_point p);
/* The middle of the cell; what lies beyond the limits is moved to them. */
struct geo_point geohash_decode(uint64_t hash);
/* The integer that a score is taken for; also of one that no point has. */
uint64_t geohash_of_score(double score);
/* The usual text, whose last character is always '0'. */
void geohash_text(struct geo_point p, char text[GEO_TEXT_BYTES]);

/* Metres along a great circle. */
double geo_distance_m(struct geo_point a, struct geo_point b);

/* A circle, or a box whose width is measured along the latitude of the point in question. */
struct geo_shape {
    struct geo_point center;
    bool is_box;
    double radius_m;
    double width_m, height_m;
};

/* Whether the point lies in it, and how far from its center. */
bool geo_shape_has(const struct geo_shape *shape, struct geo_point p, double *distance_m);

/* Ranges of scores [first, end) that hold every point of the shape, and others. */
#define GEO_RANGES_MAX 16 /* 3 by 3 cells, or one more each way at the limits */
struct geo_range {
    uint64_t first, end;
};
struct geo_area {
    struct geo_range ranges[GEO_RANGES_MAX];
    uint32_t count;
};
/* The cell of the center, then the others, ascending; without overlaps. */
void geo_shape_area(const struct geo_shape *shape, struct geo_area *area);
