#include "tests/sim/recovered.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/model.h"

#define KEYS COMMANDS_KEYS_MAX
#define LEFT_OUT_MAX 8
#define TRIES_MAX 6000
#define SUSPECTS_MAX 1024 /* commands in the order */
#define TOLD_STEPS 30

/* What one step of the order did. */
struct change {
    uint32_t changed, named;            /* keys, one bit each */
    uint16_t before[KEYS], after[KEYS]; /* the version of each key */
    bool is_left_out;
    bool is_blamed; /* it lowered the choice */
};

struct version {
    char *value; /* NULL: no such key */
    size_t size;
    bool is_found; /* it is the one that was found */
};

struct check {
    const struct history *history;
    struct change *changes;
    struct version *versions[KEYS]; /* the first: nothing */
    uint16_t counts[KEYS];
    uint16_t chosen[KEYS];
    const struct recovered *found;
    bool has_reads;
    uint32_t wrong;  /* keys for which there was no choice */
    size_t rejected; /* the step because of which */
    unsigned tries;
    char *why;
};

static bool has(uint32_t keys, unsigned key)
{
    return keys >> key & 1;
}

/* ---- the values, one after the other ---- */

static void add_version(struct check *c, unsigned key, const struct model_entry *e)
{
    const struct recovered *found = c->found;
    if (c->counts[key] % 64 == 0) {
        c->versions[key] =
            realloc(c->versions[key], (c->counts[key] + 64U) * sizeof(struct version));
        CHECK(c->versions[key]);
    }
    struct version *v = &c->versions[key][c->counts[key]++];
    *v = (struct version){0};
    if (e) {
        v->size = e->value_bytes;
        v->value = malloc(v->size + 1);
        CHECK(v->value);
        if (v->size > 0) memcpy(v->value, e->value, v->size);
    }
    const char *value = found->values[key];
    v->is_found = !value == !e && (!e || bytes_equal(bytes_make(v->value, v->size),
                                                     bytes_make(value, found->value_bytes[key])));
}

static bool is_last(const struct check *c, unsigned key, const struct model_entry *e)
{
    const struct version *v = &c->versions[key][c->counts[key] - 1];
    if (!e || !v->value) return !e && !v->value;
    return bytes_equal(bytes_make(v->value, v->size), bytes_make(e->value, e->value_bytes));
}

static uint32_t keys_of(const struct step *s)
{
    uint32_t keys = 0;
    for (unsigned i = 1; i < s->argc; i++)
        for (unsigned k = 0; k < KEYS; k++)
            if (bytes_equal(s->argv[i], commands_key(k))) keys |= 1U << k;
    for (unsigned i = s->block; i > 0; i--) keys |= keys_of(s - i);
    bool is_whole = s->argc == 1 && s->block == 0;
    return is_whole ? (1U << KEYS) - 1 : keys;
}

static void note_step(struct check *c, struct model *m, size_t index)
{
    const struct step *s = c->history->order[index];
    struct change *change = &c->changes[index];
    change->changed = change->named = 0;
    for (unsigned k = 0; k < KEYS; k++) change->before[k] = (uint16_t)(c->counts[k] - 1);
    if (!change->is_left_out) {
        change->named = keys_of(s);
        (void)model_run(m, s);
    }
    for (unsigned k = 0; k < KEYS; k++) {
        const struct model_entry *e = model_find(m, commands_key(k));
        if (is_last(c, k, e)) continue;
        add_version(c, k, e);
        change->changed |= 1U << k;
    }
    for (unsigned k = 0; k < KEYS; k++) change->after[k] = (uint16_t)(c->counts[k] - 1);
}

static void make_versions(struct check *c)
{
    struct model m = {.reply = NULL};
    for (unsigned k = 0; k < KEYS; k++) add_version(c, k, NULL);
    for (size_t i = 0; i < c->history->order_count; i++) note_step(c, &m, i);
    model_clear(&m);
}

static void drop_versions(struct check *c)
{
    for (unsigned k = 0; k < KEYS; k++) {
        for (unsigned i = 0; i < c->counts[k]; i++) free(c->versions[k][i].value);
        free(c->versions[k]);
        c->versions[k] = NULL;
        c->counts[k] = 0;
    }
}

/* ---- the choice ---- */

/* The highest version below `limit` that is what was found. */
static bool lower(struct check *c, unsigned key, unsigned limit)
{
    for (unsigned v = limit; v > 0; v--) {
        if (!c->versions[key][v - 1].is_found) continue;
        c->chosen[key] = (uint16_t)(v - 1);
        return true;
    }
    return false;
}

/* A copy whose source was found, or was not changed by it. */
static bool lacks_its_source(const struct check *c, size_t index)
{
    const struct change *change = &c->changes[index];
    if (!bytes_equal_nocase(c->history->order[index]->argv[0], "copy")) return false;
    for (unsigned k = 0; k < KEYS; k++)
        if (has(change->named, k) && !has(change->changed, k) && c->chosen[k] < change->before[k])
            return true;
    return false;
}

static bool reject(struct check *c, size_t index, const char *what)
{
    c->wrong = c->changes[index].named;
    c->rejected = index;
    const struct step *s = c->history->order[index];
    snprintf(c->why, RECOVERED_WHY_BYTES, "after the crash: command %zu (%.*s) %s", index,
             (int)MIN(s->argv[0].size, (size_t)20), s->argv[0].data, what);
    return false;
}

/* One look at a step; *moved: the choice was lowered. */
static bool look(struct check *c, size_t index, bool *moved)
{
    const struct change *change = &c->changes[index];
    unsigned in = 0, all = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        all += has(change->changed, k);
        in += has(change->changed, k) && c->chosen[k] >= change->after[k];
    }
    if (in == 0 || (in == all && !lacks_its_source(c, index))) return true;
    *moved = c->changes[index].is_blamed = true;
    for (unsigned k = 0; k < KEYS; k++)
        if (has(change->changed, k) && c->chosen[k] >= change->after[k] &&
            !lower(c, k, change->after[k]))
            return reject(c, index, "is there in part");
    return true;
}

static bool choose(struct check *c)
{
    for (unsigned k = 0; k < KEYS; k++) {
        if (lower(c, k, c->counts[k])) continue;
        c->wrong = 1U << k;
        c->rejected = c->history->order_count;
        snprintf(c->why, RECOVERED_WHY_BYTES, "after the crash: %s holds what it never held",
                 commands_key(k).data);
        return false;
    }
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = c->history->order_count; i > 0; i--)
            if (!look(c, i - 1, &moved)) return false;
    }
    return true;
}

static bool has_acknowledged(struct check *c)
{
    for (size_t i = 0; i < c->history->order_count; i++) {
        const struct change *change = &c->changes[i];
        if (!c->history->order[i]->reply) continue;
        for (unsigned k = 0; k < KEYS; k++) {
            if (c->chosen[k] >= change->after[k]) continue;
            if (has(change->changed, k)) return reject(c, i, "was acknowledged, and is not there");
            if (c->has_reads && has(change->named, k))
                return reject(c, i, "was answered with what is not there");
        }
    }
    return true;
}

/* For people: the steps before and behind the one that is wrong, with the values that they made,
 * and which values may be the ones that were found. */
static void tell_step(const struct check *c, size_t index)
{
    const struct step *s = c->history->order[index];
    const struct change *change = &c->changes[index];
    printf("  %zu %s", index, s->reply ? "" : "(no reply)");
    for (unsigned k = 0; k < KEYS; k++)
        if (has(change->changed, k)) printf(" [%s: %u]", commands_key(k).data, change->after[k]);
    printf(" ");
    for (unsigned n = s->block; n > 0; n--) print_step(s - n);
    print_step(s);
}

static void tell(const struct check *c)
{
    const struct recovered *found = c->found;
    size_t first = c->rejected > TOLD_STEPS ? c->rejected - TOLD_STEPS : 0;
    size_t end = MIN(c->rejected + TOLD_STEPS, c->history->order_count);
    for (size_t i = first; i < end; i++) tell_step(c, i);
    for (unsigned k = 0; k < KEYS; k++) {
        if (c->counts[k] == 1) continue;
        printf("  %s: %d values, found", commands_key(k).data, c->counts[k] - 1);
        for (unsigned v = 0; v < c->counts[k]; v++)
            if (c->versions[k][v].is_found) printf(" %u", v);
        print_bytes(": ", bytes_make(found->values[k] ? found->values[k] : "(none)",
                                     found->values[k] ? found->value_bytes[k] : 6));
    }
}

static bool is_allowed(struct check *c)
{
    c->tries++;
    for (size_t i = 0; i < c->history->order_count; i++) c->changes[i].is_blamed = false;
    drop_versions(c);
    make_versions(c);
    return choose(c) && has_acknowledged(c);
}

/* Whether leaving this one out may help: first what is there in part, then what concerns the keys
 * that are wrong. */
static bool is_suspect(const struct check *c, size_t index, const uint64_t *blamed, bool by_keys)
{
    const struct step *s = c->history->order[index];
    if (s->reply || index >= SUSPECTS_MAX || c->changes[index].is_left_out) return false;
    bool is_blamed = blamed[index / 64] >> index % 64 & 1;
    return by_keys ? !is_blamed && (keys_of(s) & c->wrong) != 0 : is_blamed;
}

static bool is_allowed_without(struct check *c, unsigned depth);

static bool is_allowed_without_one_more(struct check *c, unsigned depth, const uint64_t *blamed,
                                        bool by_keys)
{
    uint32_t wrong = c->wrong;
    for (size_t i = c->history->order_count; i > 0 && c->tries < TRIES_MAX; i--) {
        c->wrong = wrong;
        if (!is_suspect(c, i - 1, blamed, by_keys)) continue;
        c->changes[i - 1].is_left_out = true;
        if (is_allowed_without(c, depth - 1)) return true;
        c->changes[i - 1].is_left_out = false;
    }
    c->wrong = wrong;
    return false;
}

static bool is_allowed_without(struct check *c, unsigned depth)
{
    if (is_allowed(c)) return true;
    if (depth == 0) return false;
    uint64_t blamed[SUSPECTS_MAX / 64] = {0};
    for (size_t i = 0; i < MIN(c->history->order_count, (size_t)SUSPECTS_MAX); i++)
        if (c->changes[i].is_blamed) blamed[i / 64] |= UINT64_C(1) << i % 64;
    return is_allowed_without_one_more(c, depth, blamed, false) ||
           is_allowed_without_one_more(c, depth, blamed, true);
}

enum recovered_result recovered_check(const struct history *h, const struct recovered *found,
                                      bool has_reads, char *why)
{
    struct check c = {.history = h, .found = found, .has_reads = has_reads, .why = why};
    c.changes = calloc(h->order_count + 1, sizeof *c.changes);
    CHECK(c.changes);
    bool ok = false, is_undecided = false;
    for (unsigned depth = 0; !ok && !is_undecided && depth <= LEFT_OUT_MAX; depth++) {
        c.tries = 0;
        ok = is_allowed_without(&c, depth);
        is_undecided = !ok && c.tries >= TRIES_MAX;
    }
    if (!ok && !is_undecided) {
        (void)is_allowed(&c);
        tell(&c);
    }
    drop_versions(&c);
    free(c.changes);
    return ok ? RECOVERED_RIGHT : is_undecided ? RECOVERED_UNDECIDED : RECOVERED_WRONG;
}

/* ---- what was found ---- */

void recovered_parse(struct recovered *r, struct bytes reply)
{
    const char *at = memchr(reply.data, '\n', reply.size);
    CHECK(at && reply.data[0] == '*');
    at++;
    *r = (struct recovered){.value_bytes = {0}};
    for (unsigned k = 0; k < KEYS; k++) {
        long long size = strtoll(at + 1, NULL, 10);
        CHECK(*at == '$');
        at = strchr(at, '\n') + 1;
        if (size < 0) continue;
        r->values[k] = malloc((size_t)size + 1);
        CHECK(r->values[k]);
        memcpy(r->values[k], at, (size_t)size);
        r->value_bytes[k] = (size_t)size;
        at += size + 2;
    }
}

bool recovered_equal(const struct recovered *a, const struct recovered *b)
{
    for (unsigned k = 0; k < KEYS; k++) {
        if (!a->values[k] != !b->values[k]) return false;
        if (a->values[k] && !bytes_equal(bytes_make(a->values[k], a->value_bytes[k]),
                                         bytes_make(b->values[k], b->value_bytes[k])))
            return false;
    }
    return true;
}

void recovered_clear(struct recovered *r)
{
    for (unsigned k = 0; k < KEYS; k++) free(r->values[k]);
    *r = (struct recovered){.value_bytes = {0}};
}
