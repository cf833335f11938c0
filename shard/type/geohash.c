#include "shard/type/geohash.h"

#include <math.h>

#define PI 3.14159265358979323846
#define CELLS ((double)(1 << GEO_STEPS_MAX))
#define RADIANS_PER_DEGREE (PI / 180.0)
/* Of an integer that a score holds as it is. */
#define SCORE_EXACT_BITS 53
/* What is added to each side of an area, so that rounding loses no point: about a decimetre. */
#define SLACK_DEGREES 1e-6

/* ---- points and scores ---- */

bool geo_point_is_valid(struct geo_point p)
{
    return p.longitude >= -GEO_LONGITUDE_MAX && p.longitude <= GEO_LONGITUDE_MAX &&
           p.latitude >= -GEO_LATITUDE_MAX && p.latitude <= GEO_LATITUDE_MAX;
}

/* Bit i goes to bit 2 i. */
static uint64_t spread(uint32_t value)
{
    uint64_t x = value;
    x = (x | x << 16) & 0x0000ffff0000ffffULL;
    x = (x | x << 8) & 0x00ff00ff00ff00ffULL;
    x = (x | x << 4) & 0x0f0f0f0f0f0f0f0fULL;
    x = (x | x << 2) & 0x3333333333333333ULL;
    return (x | x << 1) & 0x5555555555555555ULL;
}

/* The opposite, of the even bits. */
static uint32_t gather(uint64_t x)
{
    x &= 0x5555555555555555ULL;
    x = (x | x >> 1) & 0x3333333333333333ULL;
    x = (x | x >> 2) & 0x0f0f0f0f0f0f0f0fULL;
    x = (x | x >> 4) & 0x00ff00ff00ff00ffULL;
    x = (x | x >> 8) & 0x0000ffff0000ffffULL;
    return (uint32_t)(x | x >> 16);
}

static uint64_t encode_within(struct geo_point p, double latitude_max)
{
    double y = (p.latitude + latitude_max) / (2 * latitude_max);
    double x = (p.longitude + GEO_LONGITUDE_MAX) / (2 * GEO_LONGITUDE_MAX);
    return spread((uint32_t)(y * CELLS)) | spread((uint32_t)(x * CELLS)) << 1;
}

uint64_t geohash_encode(struct geo_point p)
{
    return encode_within(p, GEO_LATITUDE_MAX);
}

/* The middle of a cell of [-max, max], in the order of operations that gives Redis's last digit. */
static double cell_middle(uint32_t cell, double max)
{
    double low = -max + (cell * 1.0 / CELLS) * (2 * max);
    double high = -max + ((cell + 1.0) / CELLS) * (2 * max);
    return fmin(fmax((low + high) / 2, -max), max);
}

struct geo_point geohash_decode(uint64_t hash)
{
    return (struct geo_point){.longitude = cell_middle(gather(hash >> 1), GEO_LONGITUDE_MAX),
                              .latitude = cell_middle(gather(hash), GEO_LATITUDE_MAX)};
}

/* As x86-64 converts: negative numbers wrap, what does not fit becomes the sign bit of the half in
 * which it was converted. */
uint64_t geohash_of_score(double score)
{
    const double half = 9223372036854775808.0;
    const uint64_t sign = (uint64_t)1 << 63;
    if (score < half) return score >= -half ? (uint64_t)(int64_t)score : sign;
    score -= half;
    return score < half ? (uint64_t)(int64_t)score ^ sign : 0;
}

void geohash_text(struct geo_point p, char text[GEO_TEXT_BYTES])
{
    static const char digits[] = "0123456789bcdefghjkmnpqrstuvwxyz";
    uint64_t hash = encode_within(p, 90);
    for (int i = 0; i < GEO_TEXT_BYTES - 1; i++) text[i] = digits[hash >> (47 - 5 * i) & 31];
    text[GEO_TEXT_BYTES - 1] = '0';
}

/* ---- distances ---- */

/* The haversine formula. */
double geo_distance_m(struct geo_point a, struct geo_point b)
{
    double latitude_a = a.latitude * RADIANS_PER_DEGREE,
           latitude_b = b.latitude * RADIANS_PER_DEGREE;
    double longitude_a = a.longitude * RADIANS_PER_DEGREE,
           longitude_b = b.longitude * RADIANS_PER_DEGREE;
    double u = sin((latitude_b - latitude_a) / 2), v = sin((longitude_b - longitude_a) / 2);
    double h = u * u + cos(latitude_a) * cos(latitude_b) * v * v;
    return 2.0 * GEO_EARTH_RADIUS_M * asin(sqrt(fmin(h, 1)));
}

bool geo_shape_has(const struct geo_shape *shape, struct geo_point p, double *distance_m)
{
    if (shape->is_box) {
        struct geo_point below = {shape->center.longitude, p.latitude};
        double north_m = GEO_EARTH_RADIUS_M * fabs(p.latitude * RADIANS_PER_DEGREE -
                                                   shape->center.latitude * RADIANS_PER_DEGREE);
        if (north_m > shape->height_m / 2) return false;
        if (geo_distance_m(p, below) > shape->width_m / 2) return false;
    }
    *distance_m = geo_distance_m(shape->center, p);
    return shape->is_box || *distance_m <= shape->radius_m;
}

/* ---- areas ---- */

/* How far the shape reaches from its center, in degrees. */
struct reach {
    double north, east;
};

static struct reach circle_reach(const struct geo_shape *s)
{
    double angle = fmin(s->radius_m / GEO_EARTH_RADIUS_M, PI);
    double latitude = fabs(s->center.latitude) * RADIANS_PER_DEGREE;
    struct reach r = {.north = angle / RADIANS_PER_DEGREE, .east = 180};
    if (latitude + angle < PI / 2) {
        r.east = asin(fmin(sin(angle) / cos(latitude), 1)) / RADIANS_PER_DEGREE;
    }
    return r;
}

/* The width counts most degrees where the box is nearest to a pole. */
static struct reach box_reach(const struct geo_shape *s)
{
    double up = fmin(s->height_m / 2 / GEO_EARTH_RADIUS_M, PI);
    double aside = s->width_m / 4 / GEO_EARTH_RADIUS_M;
    double latitude = fabs(s->center.latitude) * RADIANS_PER_DEGREE + up;
    latitude = fmin(latitude, GEO_LATITUDE_MAX * RADIANS_PER_DEGREE);
    struct reach r = {.north = up / RADIANS_PER_DEGREE, .east = 180};
    if (aside < PI / 2 && sin(aside) < cos(latitude)) {
        r.east = 2 * asin(sin(aside) / cos(latitude)) / RADIANS_PER_DEGREE;
    }
    return r;
}

/* The cell, one of `cells`, in which a coordinate of [-max, max] lies; beyond that it goes on. */
static int64_t cell_of(double degrees, double max, double cells)
{
    return (int64_t)floor((degrees + max) / (2 * max) * cells);
}

static void area_add(struct geo_area *area, struct geo_range range)
{
    uint32_t at = area->count++;
    while (at > 0 && area->ranges[at - 1].first > range.first) {
        area->ranges[at] = area->ranges[at - 1];
        at--;
    }
    area->ranges[at] = range;
}

static void area_put_first(struct geo_area *area, struct geo_range range)
{
    memmove(area->ranges + 1, area->ranges, area->count * sizeof range);
    area->ranges[0] = range;
    area->count++;
}

/* Ranges that meet or overlap become one. */
static void area_join(struct geo_area *area)
{
    uint32_t kept = 0;
    if (area->count == 0) return;
    for (uint32_t i = 1; i < area->count; i++) {
        if (area->ranges[kept].end >= area->ranges[i].first) {
            area->ranges[kept].end = MAX(area->ranges[kept].end, area->ranges[i].end);
        } else {
            area->ranges[++kept] = area->ranges[i];
        }
    }
    area->count = kept + 1;
}

/* The finest step at which no side of the area touches more than three cells, and the limit. */
static unsigned step_for(const struct reach *r)
{
    unsigned step = GEO_STEPS_MAX;
    while (step > 0 && (r->east > 2 * GEO_LONGITUDE_MAX / (double)(1 << step) ||
                        r->north > 2 * GEO_LATITUDE_MAX / (double)(1 << step))) {
        step--;
    }
    return step;
}

/* Columns or rows: the cells that a side of the area touches, and whether the upper limit itself is
 * among them, which has a cell of its own behind the last one. */
struct side {
    int64_t first, last;
    bool has_limit;
};

static struct side side_of(double center, double reach, double max, int64_t cells)
{
    return (struct side){.first = cell_of(center - reach, max, (double)cells),
                         .last = cell_of(center + reach, max, (double)cells),
                         .has_limit = center + reach >= max};
}

static struct geo_range range_of_cell(unsigned step, int64_t x, int64_t y)
{
    unsigned shift = 2 * (GEO_STEPS_MAX - step);
    uint64_t hash = spread((uint32_t)y) | spread((uint32_t)x) << 1;
    uint64_t first = hash << shift, end = (hash + 1) << shift;
    /* A score of 54 bits, which the meridian 180 has, is rounded to an even number. */
    if (first >> SCORE_EXACT_BITS) {
        first &= ~(uint64_t)1;
        end += end & 1;
    }
    return (struct geo_range){first, end};
}

void geo_shape_area(const struct geo_shape *shape, struct geo_area *area)
{
    struct reach r = shape->is_box ? box_reach(shape) : circle_reach(shape);
    r.north += SLACK_DEGREES;
    r.east = fmin(r.east + SLACK_DEGREES, 180);
    unsigned step = step_for(&r);
    int64_t cells = (int64_t)1 << step;
    struct side rows = side_of(shape->center.latitude, r.north, GEO_LATITUDE_MAX, cells);
    struct side columns = side_of(shape->center.longitude, r.east, GEO_LONGITUDE_MAX, cells);
    columns.has_limit |= columns.first < 0; /* the same meridian, from the other side */
    columns.last = MIN(columns.last, columns.first + cells - 1);
    rows.first = MAX(rows.first, 0);
    rows.last = rows.has_limit ? cells : MIN(rows.last, cells - 1);
    int64_t center_x = cell_of(shape->center.longitude, GEO_LONGITUDE_MAX, (double)cells);
    int64_t center_y = cell_of(shape->center.latitude, GEO_LATITUDE_MAX, (double)cells);
    /* The cells at the limits may overlap with their neighbours before they are joined. */
    bool puts_center_first = center_x < cells && center_y < cells;
    area->count = 0;
    for (int64_t y = rows.first; y <= rows.last; y++) {
        for (int64_t x = columns.first; x <= columns.last; x++) {
            bool is_center = (x & (cells - 1)) == center_x && y == center_y;
            if (!is_center) area_add(area, range_of_cell(step, x & (cells - 1), y));
        }
        if (columns.has_limit) area_add(area, range_of_cell(step, cells, y));
    }
    area_join(area);
    if (puts_center_first) area_put_first(area, range_of_cell(step, center_x, center_y));
}
