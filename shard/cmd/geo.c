/* geo.c: the commands on geo sets, which are sorted sets whose scores are points (geohash.h).
 *
 * A search visits the ranges of scores that cover its area, so it costs O(log n) for each of at
 * most nine ranges, plus what lies in them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "shard/cmd/families.h"
#include "shard/cmd/zset_args.h"
#include "shard/cmd/zset_commands.h"
#include "shard/notify.h"
#include "shard/type/geohash.h"

#define SCORES_SHORT 32

/* ---- arguments ---- */

static bool arg_unit_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                              double *metres)
{
    static const struct {
        const char *word;
        double metres;
    } units[] = {{"m", 1}, {"km", 1000}, {"ft", 0.3048}, {"mi", 1609.34}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (!arg_is(rq, index, units[i].word)) continue;
        *metres = units[i].metres;
        return true;
    }
    reply_error(out, "ERR unsupported unit provided. please use M, KM, FT, MI");
    return false;
}

static bool arg_point_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                               struct geo_point *p)
{
    if (!text_to_double(rq->argv[index], &p->longitude) ||
        !text_to_double(rq->argv[index + 1], &p->latitude)) {
        reply_err(out, ERR_NOT_FLOAT);
        return false;
    }
    if (geo_point_is_valid(*p)) return true;
    reply_error(out, "ERR invalid longitude,latitude pair %f,%f", p->longitude, p->latitude);
    return false;
}

static bool arg_length_or_reply(const struct request *rq, uint32_t index, const char *name,
                                struct reply *out, double *value)
{
    if (text_to_double(rq->argv[index], value)) return true;
    reply_error(out, "ERR need numeric %s", name);
    return false;
}

/* ---- replies ---- */

static void reply_distance(struct reply *out, double distance)
{
    char text[TEXT_DOUBLE_BYTES_MAX];
    int size = snprintf(text, sizeof text, "%.4f", distance);
    reply_bulk(out, bytes_make(text, (size_t)size));
}

static void reply_coordinate(struct reply *out, double degrees)
{
    char text[TEXT_LONG_DOUBLE_BYTES_MAX];
    size_t size = text_from_long_double(text, (long double)degrees);
    if (out->resp == 2) {
        reply_bulk(out, bytes_make(text, size));
        return;
    }
    reply_raw(out, ",", 1);
    reply_raw(out, text, size);
    reply_raw(out, "\r\n", 2);
}

static void reply_point(struct reply *out, struct geo_point p)
{
    reply_array(out, 2);
    reply_coordinate(out, p.longitude);
    reply_coordinate(out, p.latitude);
}

/* ---- members ---- */

static bool find_point(const struct zset *z, struct bytes member, struct geo_point *p)
{
    struct zset_place place;
    if (!z->root || !zset_find(z, member, &place)) return false;
    *p = geohash_decode(geohash_of_score(place.score));
    return true;
}

static bool read_add_option(const struct request *rq, uint32_t index, struct zset_add_options *o)
{
    if (arg_is(rq, index, "nx")) {
        o->if_absent = true;
    } else if (arg_is(rq, index, "xx")) {
        o->if_present = true;
    } else if (arg_is(rq, index, "ch")) {
        o->count_changed = true;
    } else {
        return false;
    }
    return true;
}

/* All points are read before anything is changed. */
static enum err add_points(struct shard *sh, const struct request *rq, struct zset_addition *a,
                           double *scores, struct reply *out)
{
    for (uint32_t i = 0; i < a->count; i++) {
        struct geo_point p;
        if (!arg_point_or_reply(rq, a->first_member - 2 + 3 * i, out, &p)) return OK;
        scores[i] = (double)geohash_encode(p);
    }
    enum err e = zset_add(sh, rq, a, scores);
    if (e == OK) zset_reply_addition(a, out);
    return e;
}

static enum err cmd_geoadd(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zset_add_options o = {0};
    uint32_t first = 2;
    while (first < rq->argc && read_add_option(rq, first, &o)) first++;
    if ((rq->argc - first) % 3 != 0 || (o.if_absent && o.if_present)) return ERR_SYNTAX;
    struct zset_addition a = {
        .options = &o, .first_member = first + 2, .step = 3, .count = (rq->argc - first) / 3};
    double room[SCORES_SHORT], *scores = room;
    size_t scores_bytes = a.count * sizeof *scores;
    if (a.count > SCORES_SHORT) scores = mem_try_alloc(&sh->mem, scores_bytes);
    if (!scores) return ERR_ALLOC;
    enum err e = add_points(sh, rq, &a, scores, out);
    if (scores != room) mem_free(&sh->mem, scores, scores_bytes);
    return e;
}

static enum err cmd_geodist(struct shard *sh, struct request *rq, struct reply *out)
{
    double metres = 1;
    if (rq->argc > 5) return ERR_SYNTAX;
    if (rq->argc == 5 && !arg_unit_or_reply(rq, 4, out, &metres)) return OK;
    struct zset z;
    struct geo_point a, b;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e != OK) return e;
    if (find_point(&z, rq->argv[2], &a) && find_point(&z, rq->argv[3], &b)) {
        reply_distance(out, geo_distance_m(a, b) / metres);
    } else {
        reply_null(out);
    }
    return OK;
}

static enum err cmd_geohash(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zset z;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e != OK) return e;
    reply_array(out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) {
        struct geo_point p;
        char text[GEO_TEXT_BYTES];
        if (!find_point(&z, rq->argv[i], &p)) {
            reply_null(out);
            continue;
        }
        geohash_text(p, text);
        reply_bulk(out, bytes_make(text, sizeof text));
    }
    return OK;
}

static enum err cmd_geopos(struct shard *sh, struct request *rq, struct reply *out)
{
    struct zset z;
    enum err e = zset_find_key(sh, rq, 1, &z);
    if (e != OK) return e;
    reply_array(out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) {
        struct geo_point p;
        if (find_point(&z, rq->argv[i], &p)) {
            reply_point(out, p);
        } else {
            reply_null_array(out);
        }
    }
    return OK;
}

/* ---- searches as the arguments tell them ---- */

enum search_form { FORM_RADIUS, FORM_RADIUS_MEMBER, FORM_SEARCH, FORM_SEARCH_STORE };
enum search_order { ORDER_NONE, ORDER_NEAR_FIRST, ORDER_FAR_FIRST };

struct search {
    enum search_form form;
    bool is_read_only; /* …_RO */
    struct geo_shape shape;
    double metres; /* of the unit */
    enum { CENTER_NONE, CENTER_MEMBER, CENTER_POINT } center_by;
    enum { SHAPE_NONE, SHAPE_CIRCLE, SHAPE_BOX } shape_by;
    bool is_empty; /* its center is a member of a set that does not exist */
    bool with_distance, with_hash, with_point;
    bool stores_distance;
    uint32_t store; /* index of the key to store at; 0: none */
    enum search_order order;
    uint64_t limit; /* 0: none */
    bool any;
};

static bool is_radius(const struct search *s)
{
    return s->form == FORM_RADIUS || s->form == FORM_RADIUS_MEMBER;
}

static bool read_member_or_reply(const struct request *rq, uint32_t index, const struct zset *z,
                                 struct reply *out, struct search *s)
{
    s->is_empty = !z->root;
    if (!z->root || find_point(z, rq->argv[index], &s->shape.center)) return true;
    reply_error(out, "ERR could not decode requested zset member");
    return false;
}

static bool read_radius_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                                 struct search *s)
{
    double radius;
    if (!arg_length_or_reply(rq, index, "radius", out, &radius)) return false;
    if (radius < 0) {
        reply_error(out, "ERR radius cannot be negative");
        return false;
    }
    if (!arg_unit_or_reply(rq, index + 1, out, &s->metres)) return false;
    s->shape.radius_m = radius * s->metres;
    return true;
}

static bool read_box_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                              struct search *s)
{
    double width, height;
    if (!arg_length_or_reply(rq, index, "width", out, &width) ||
        !arg_length_or_reply(rq, index + 1, "height", out, &height)) {
        return false;
    }
    if (width < 0 || height < 0) {
        reply_error(out, "ERR height or width cannot be negative");
        return false;
    }
    if (!arg_unit_or_reply(rq, index + 2, out, &s->metres)) return false;
    s->shape.is_box = true;
    s->shape.width_m = width * s->metres;
    s->shape.height_m = height * s->metres;
    return true;
}

static bool read_count_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                                struct search *s)
{
    int64_t count;
    if (!text_to_i64(rq->argv[index], &count)) {
        reply_err(out, ERR_NOT_INT);
        return false;
    }
    if (count <= 0) {
        reply_error(out, "ERR COUNT must be > 0");
        return false;
    }
    s->limit = (uint64_t)count;
    return true;
}

/* Options that are one word. */
static bool read_word(const struct request *rq, uint32_t index, struct search *s)
{
    const struct {
        const char *word;
        bool *flag;
    } words[] = {
        {"withdist", &s->with_distance},
        {"withhash", &s->with_hash},
        {"withcoord", &s->with_point},
        {"any", &s->any},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!arg_is(rq, index, words[i].word)) continue;
        *words[i].flag = true;
        return true;
    }
    if (arg_is(rq, index, "asc")) {
        s->order = ORDER_NEAR_FIRST;
    } else if (arg_is(rq, index, "desc")) {
        s->order = ORDER_FAR_FIRST;
    } else if (s->form == FORM_SEARCH_STORE && arg_is(rq, index, "storedist")) {
        s->stores_distance = true;
    } else {
        return false;
    }
    return true;
}

/* FROMMEMBER or FROMLONLAT, BYRADIUS or BYBOX; of the same word twice the last one counts. */
static bool read_place_or_reply(const struct request *rq, uint32_t *i, const struct zset *z,
                                struct reply *out, struct search *s)
{
    uint32_t at = *i + 1, values = rq->argc - at;
    if (s->center_by != CENTER_POINT && values >= 1 && arg_is(rq, *i, "frommember")) {
        s->center_by = CENTER_MEMBER;
        *i += 1;
        return read_member_or_reply(rq, at, z, out, s);
    }
    if (s->center_by != CENTER_MEMBER && values >= 2 && arg_is(rq, *i, "fromlonlat")) {
        s->center_by = CENTER_POINT;
        *i += 2;
        return arg_point_or_reply(rq, at, out, &s->shape.center);
    }
    if (s->shape_by != SHAPE_BOX && values >= 2 && arg_is(rq, *i, "byradius")) {
        s->shape_by = SHAPE_CIRCLE;
        *i += 2;
        return read_radius_or_reply(rq, at, out, s);
    }
    if (s->shape_by != SHAPE_CIRCLE && values >= 3 && arg_is(rq, *i, "bybox")) {
        s->shape_by = SHAPE_BOX;
        *i += 3;
        return read_box_or_reply(rq, at, out, s);
    }
    reply_err(out, ERR_SYNTAX);
    return false;
}

/* One option at argv[*i], which is left at its last word. */
static bool read_option_or_reply(const struct request *rq, uint32_t *i, const struct zset *z,
                                 struct reply *out, struct search *s)
{
    bool has_value = *i + 1 < rq->argc;
    if (read_word(rq, *i, s)) return true;
    if (has_value && arg_is(rq, *i, "count")) {
        *i += 1;
        return read_count_or_reply(rq, *i, out, s);
    }
    bool stores_distance = arg_is(rq, *i, "storedist");
    if (has_value && is_radius(s) && !s->is_read_only &&
        (stores_distance || arg_is(rq, *i, "store"))) {
        s->stores_distance = stores_distance;
        s->store = *i += 1;
        return true;
    }
    if (!is_radius(s)) return read_place_or_reply(rq, i, z, out, s);
    reply_err(out, ERR_SYNTAX);
    return false;
}

static bool check_or_reply(const struct request *rq, struct reply *out, const struct search *s)
{
    struct bytes name = rq->argv[0];
    int name_size = (int)name.size;
    if (s->store && (s->with_distance || s->with_hash || s->with_point)) {
        reply_error(out, "ERR %s is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                    is_radius(s) ? "STORE option in GEORADIUS" : "GEOSEARCHSTORE");
    } else if (!is_radius(s) && s->center_by == CENTER_NONE) {
        reply_error(out, "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for %.*s",
                    name_size, name.data);
    } else if (!is_radius(s) && s->shape_by == SHAPE_NONE) {
        reply_error(out, "ERR exactly one of BYRADIUS and BYBOX can be specified for %.*s",
                    name_size, name.data);
    } else if (s->any && s->limit == 0) {
        reply_error(out, "ERR the ANY argument requires COUNT argument");
    } else {
        return true;
    }
    return false;
}

/* A circle around a member of nothing is empty, and its radius is not looked at. */
static bool read_circle_or_reply(const struct request *rq, const struct zset *z, struct reply *out,
                                 struct search *s)
{
    if (s->form == FORM_RADIUS_MEMBER) {
        if (!read_member_or_reply(rq, 2, z, out, s)) return false;
        return s->is_empty || read_radius_or_reply(rq, 3, out, s);
    }
    return arg_point_or_reply(rq, 2, out, &s->shape.center) && read_radius_or_reply(rq, 4, out, s);
}

static bool read_search_or_reply(const struct request *rq, const struct zset *z, struct reply *out,
                                 struct search *s)
{
    static const uint32_t first_option[] = {6, 5, 2, 3};
    s->metres = 1;
    if (is_radius(s) && !read_circle_or_reply(rq, z, out, s)) return false;
    if (s->form == FORM_SEARCH_STORE) s->store = 1;
    for (uint32_t i = first_option[s->form]; i < rq->argc; i++) {
        if (!read_option_or_reply(rq, &i, z, out, s)) return false;
    }
    if (!check_or_reply(rq, out, s)) return false;
    if (s->limit && s->order == ORDER_NONE && !s->any) s->order = ORDER_NEAR_FIRST;
    return true;
}

/* ---- finding ---- */

struct hit {
    double distance_m, score;
    struct geo_point point;
    size_t name_at, name_size; /* in the names */
};

struct hits {
    struct buf found; /* struct hit */
    struct buf names;
};

static uint64_t hit_count(const struct hits *h)
{
    return h->found.size / sizeof(struct hit);
}

static struct hit *hit_list(const struct hits *h)
{
    return (struct hit *)(void *)h->found.data;
}

static struct bytes hit_name(const struct hits *h, const struct hit *hit)
{
    return bytes_make(h->names.data + hit->name_at, hit->name_size);
}

static bool add_hit(struct hits *h, const struct hit *hit, struct bytes member)
{
    if (!buf_try_reserve(&h->found, sizeof *hit) || !buf_try_reserve(&h->names, member.size)) {
        return false;
    }
    buf_append(&h->found, hit, sizeof *hit);
    buf_append(&h->names, member.data, member.size);
    return true;
}

/* False when there is no memory. */
static bool find_in_range(const struct zset *z, const struct search *s,
                          const struct geo_range *range, struct hits *h)
{
    struct zset_score_range scores = {
        .min = (double)range->first, .max = (double)range->end, .max_is_open = true};
    struct zset_slice slice = zset_select_scores(z, &scores);
    struct zset_iterator it;
    struct bytes member;
    struct hit hit;
    if (slice.count == 0) return true;
    zset_iterator_init(&it, z, slice, false);
    while (zset_iterator_next(&it, &member, &hit.score)) {
        if (s->any && hit_count(h) == s->limit) break;
        hit.point = geohash_decode(geohash_of_score(hit.score));
        if (!geo_shape_has(&s->shape, hit.point, &hit.distance_m)) continue;
        hit.name_at = h->names.size;
        hit.name_size = member.size;
        if (!add_hit(h, &hit, member)) return false;
    }
    return true;
}

static int nearer_first(const void *a, const void *b)
{
    double x = ((const struct hit *)a)->distance_m, y = ((const struct hit *)b)->distance_m;
    return (x > y) - (x < y);
}

static int farther_first(const void *a, const void *b)
{
    return nearer_first(b, a);
}

static bool find_hits(const struct zset *z, const struct search *s, struct hits *h)
{
    struct geo_area area;
    if (!z->root || s->is_empty) return true;
    geo_shape_area(&s->shape, &area);
    for (uint32_t i = 0; i < area.count; i++) {
        if (!find_in_range(z, s, &area.ranges[i], h)) return false;
    }
    uint64_t count = hit_count(h);
    if (s->order != ORDER_NONE && count > 1) {
        qsort(hit_list(h), count, sizeof(struct hit),
              s->order == ORDER_NEAR_FIRST ? nearer_first : farther_first);
    }
    if (s->limit && s->limit < count) h->found.size = s->limit * sizeof(struct hit);
    return true;
}

/* ---- telling and storing ---- */

static void reply_hits(const struct search *s, const struct hits *h, struct reply *out)
{
    uint64_t parts = 1U + s->with_distance + s->with_hash + s->with_point;
    reply_array(out, hit_count(h));
    for (uint64_t i = 0; i < hit_count(h); i++) {
        const struct hit *hit = &hit_list(h)[i];
        if (parts > 1) reply_array(out, parts);
        reply_bulk(out, hit_name(h, hit));
        if (s->with_distance) reply_distance(out, hit->distance_m / s->metres);
        if (s->with_hash) reply_i64(out, (int64_t)geohash_of_score(hit->score));
        if (s->with_point) reply_point(out, hit->point);
    }
}

static bool make_result(struct shard *sh, const struct search *s, const struct hits *h,
                        struct zset *result)
{
    for (uint64_t i = 0; i < hit_count(h); i++) {
        const struct hit *hit = &hit_list(h)[i];
        struct bytes name = hit_name(h, hit);
        double score = s->stores_distance ? hit->distance_m / s->metres : hit->score;
        if (!result->root && !zset_try_create(&sh->mem, sh->config, name, result)) return false;
        if (zset_try_insert(&sh->mem, sh->config, result, name, score)) continue;
        zset_free(&sh->mem, result);
        return false;
    }
    return true;
}

static enum err store_hits(struct shard *sh, const struct request *rq, const struct search *s,
                           const struct hits *h, struct reply *out)
{
    struct key to = request_key(sh, rq, s->store);
    struct zset result = {0};
    if (!make_result(sh, s, h, &result)) return ERR_ALLOC;
    if (!result.root) {
        if (keyspace_delete(sh, &to)) notify(sh, NOTIFY_GENERIC, "del", &to);
    } else {
        enum err e =
            keyspace_put_object(sh, &to, TYPE_ZSET, result.encoding, result.root, DEADLINE_NONE);
        if (e != OK) return e;
        notify(sh, NOTIFY_ZSET, is_radius(s) ? "georadiusstore" : "geosearchstore", &to);
    }
    reply_i64(out, (int64_t)hit_count(h));
    return OK;
}

static enum err run_search(struct shard *sh, struct request *rq, struct reply *out,
                           struct search *s)
{
    struct zset z;
    enum err e = zset_find_key(sh, rq, s->form == FORM_SEARCH_STORE ? 2 : 1, &z);
    if (e != OK || !read_search_or_reply(rq, &z, out, s)) return e;
    struct hits h = {.found = {.mem = &sh->mem}, .names = {.mem = &sh->mem}};
    if (!find_hits(&z, s, &h)) {
        e = ERR_ALLOC;
    } else if (s->store) {
        e = store_hits(sh, rq, s, &h, out);
    } else {
        reply_hits(s, &h, out);
    }
    buf_clear(&h.found);
    buf_clear(&h.names);
    return e;
}

static enum err cmd_georadius(struct shard *sh, struct request *rq, struct reply *out)
{
    return run_search(sh, rq, out, &(struct search){.form = FORM_RADIUS});
}

static enum err cmd_georadius_ro(struct shard *sh, struct request *rq, struct reply *out)
{
    return run_search(sh, rq, out, &(struct search){.form = FORM_RADIUS, .is_read_only = true});
}

static enum err cmd_georadiusbymember(struct shard *sh, struct request *rq, struct reply *out)
{
    return run_search(sh, rq, out, &(struct search){.form = FORM_RADIUS_MEMBER});
}

static enum err cmd_georadiusbymember_ro(struct shard *sh, struct request *rq, struct reply *out)
{
    struct search s = {.form = FORM_RADIUS_MEMBER, .is_read_only = true};
    return run_search(sh, rq, out, &s);
}

static enum err cmd_geosearch(struct shard *sh, struct request *rq, struct reply *out)
{
    return run_search(sh, rq, out, &(struct search){.form = FORM_SEARCH});
}

static enum err cmd_geosearchstore(struct shard *sh, struct request *rq, struct reply *out)
{
    return run_search(sh, rq, out, &(struct search){.form = FORM_SEARCH_STORE});
}

/* ---- the keys of GEORADIUS and GEORADIUSBYMEMBER ---- */

/* The specifications name the first STORE and the first STOREDIST; of several the last one counts,
 * which is found by walking through the options. */
static bool radius_each_key(const struct command *command, const struct bytes *argv, uint32_t argc,
                            command_key_fn *fn, void *context)
{
    uint32_t named[KEY_SPECS_MAX] = {1}, last = 0;
    fn(context, 1, &command->keys[0]);
    for (uint32_t i = (uint32_t)command->keys[1].begin; i + 1 < argc; i++) {
        bool by_distance = bytes_equal_nocase(argv[i], "storedist");
        if (bytes_equal_nocase(argv[i], "count")) i++;
        if (!by_distance && !bytes_equal_nocase(argv[i], "store")) continue;
        last = ++i;
        uint32_t *first = &named[by_distance ? 2 : 1];
        if (*first) continue;
        *first = i;
        fn(context, i, &command->keys[by_distance ? 2 : 1]);
    }
    if (last && last != named[1] && last != named[2]) fn(context, last, &command->keys[1]);
    return true;
}

/* clang-format off */
#define KEYS_RADIUS(from) {{.flags = KEY_RO | KEY_ACCESS, .begin = 1, .last = 0, .step = 1}, \
    {.flags = KEY_OW | KEY_UPDATE, .begin = (from), .keyword = "STORE", .last = 0, .step = 1}, {.flags = KEY_OW | KEY_UPDATE, .begin = (from), .keyword = "STOREDIST", .last = 0, .step = 1}}
#define COMPLEXITY_AREA "O(log N + M) for M of N members in the cells around the area, and O(M log M) to put them in order"
static const struct command commands[] = {
    {.name = "geoadd", .on_shard = cmd_geoadd, .arity = -5, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM, .acl = ACL_GEO, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "3.2.0", .group = "geo", .complexity = "O(log N) for each point, N being those of the set",
     .summary = "Adds places to a geo set, or moves them."},
    {.name = "geodist", .on_shard = cmd_geodist, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_GEO, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "3.2.0", .group = "geo", .complexity = "O(1)",
     .summary = "Returns how far two places are from each other."},
    {.name = "geohash", .on_shard = cmd_geohash, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_GEO, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "3.2.0", .group = "geo", .complexity = "O(1) for each member",
     .summary = "Returns places as geohash texts."},
    {.name = "geopos", .on_shard = cmd_geopos, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_GEO, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "3.2.0", .group = "geo", .complexity = "O(1) for each member",
     .summary = "Returns places as longitude and latitude."},
    {.name = "geosearch", .on_shard = cmd_geosearch, .arity = -7, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_GEO, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "6.2.0", .group = "geo", .complexity = COMPLEXITY_AREA,
     .summary = "Finds the places in a circle or a box."},
    {.name = "geosearchstore", .on_shard = cmd_geosearchstore, .arity = -8, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_GEO,
     .keys = {{.flags = KEY_OW | KEY_UPDATE, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .last = 0, .step = 1}},
     .since = "6.2.0", .group = "geo", .complexity = COMPLEXITY_AREA,
     .summary = "Finds the places in a circle or a box and stores them under a key."},
    {.name = "georadius", .on_shard = cmd_georadius, .arity = -6, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_MOVABLE_KEYS, .acl = ACL_GEO, .keys = KEYS_RADIUS(6), .each_key = radius_each_key,
     .since = "3.2.0", .deprecated_since = "6.2.0", .replaced_by = "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument", .group = "geo", .complexity = COMPLEXITY_AREA,
     .summary = "Finds, or stores, the places in a circle; GEOSEARCH does more."},
    {.name = "georadius_ro", .on_shard = cmd_georadius_ro, .arity = -6, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_GEO, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "3.2.10", .deprecated_since = "6.2.0", .replaced_by = "`GEOSEARCH` with the `BYRADIUS` argument", .group = "geo", .complexity = COMPLEXITY_AREA,
     .summary = "Finds the places in a circle and never stores; GEOSEARCH does more."},
    {.name = "georadiusbymember", .on_shard = cmd_georadiusbymember, .arity = -5, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_MOVABLE_KEYS, .acl = ACL_GEO, .keys = KEYS_RADIUS(5), .each_key = radius_each_key,
     .since = "3.2.0", .deprecated_since = "6.2.0", .replaced_by = "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments", .group = "geo", .complexity = COMPLEXITY_AREA,
     .summary = "Finds, or stores, the places in a circle around a member."},
    {.name = "georadiusbymember_ro", .on_shard = cmd_georadiusbymember_ro, .arity = -5, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_GEO, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "3.2.10", .deprecated_since = "6.2.0", .replaced_by = "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments", .group = "geo", .complexity = COMPLEXITY_AREA,
     .summary = "Finds the places in a circle around a member and never stores."},
};
/* clang-format on */
const struct command_family geo_family = {"geo", commands, ARRAY_LEN(commands)};
