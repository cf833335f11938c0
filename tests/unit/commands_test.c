/* The whole command table, as the router lists it: every row complete, and fit for its plan. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdlib.h>

#include "base/mem.h"
#include "server/config.h"
#include "server/router.h"

static struct mem mem;
static struct config config;
static struct router router;

static void start(void)
{
    char why[2 * ENV_NAME_BYTES_MAX];
    mem_init(&mem, "commands_test");
    config_defaults(&config, &mem);
    cr_assert(router_init(&router, &mem, &config, 4, 1, why), "%s", why);
}

static void stop(void)
{
    router_deinit(&router);
    config_deinit(&config);
    mem_deinit(&mem);
}

TestSuite(commands, .init = start, .fini = stop);

#define each_route(route)                                                                          \
    for (const struct route *route = router.routes; route < router.routes + router.route_count;    \
         route++)

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

Test(commands, every_name_is_there_once)
{
    char **names = calloc(router.route_count, sizeof *names);
    for (uint32_t i = 0; i < router.route_count; i++) names[i] = router.routes[i].full_name;
    qsort(names, router.route_count, sizeof *names, compare_names);
    for (uint32_t i = 1; i < router.route_count; i++)
        cr_expect(strcmp(names[i - 1], names[i]) != 0, "%s is there twice", names[i]);
    free(names);
}

Test(commands, every_name_is_lower_case_and_finds_its_row)
{
    each_route(route)
    {
        for (const char *p = route->command->name; *p; p++)
            cr_expect(islower((unsigned char)*p) || isdigit((unsigned char)*p) || strchr("-_", *p),
                      "%s has a %c", route->full_name, *p);
        cr_expect_eq(router_find_name(&router, bytes_of(route->full_name)), route, "%s",
                     route->full_name);
    }
}

Test(commands, every_row_can_be_called_with_at_least_its_name)
{
    each_route(route)
    {
        int least = route->parent ? 2 : 1;
        cr_expect(abs(route->command->arity) >= least, "%s has arity %d", route->full_name,
                  route->command->arity);
    }
}

/* "7.0.0" */
static bool is_version(const char *text)
{
    unsigned dots = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '.' && p > text && p[1] && p[1] != '.')
            dots++;
        else if (!isdigit((unsigned char)*p))
            return false;
    }
    return dots == 2;
}

static bool is_group(const char *text)
{
    static const char *const groups[] = {
        "bitmap",     "cluster", "connection", "generic",    "geo",         "hash", "hyperloglog",
        "list",       "pubsub",  "scripting",  "sentinel",   "server",      "set",  "stream",
        "sorted-set", "string",  "module",     "sorted_set", "transactions"};
    for (unsigned i = 0; i < ARRAY_LEN(groups); i++)
        if (strcmp(text, groups[i]) == 0) return true;
    return false;
}

Test(commands, every_row_says_what_it_is)
{
    each_route(route)
    {
        const struct command *c = route->command;
        cr_assert(c->since && c->group && c->complexity && c->summary, "%s", route->full_name);
        cr_expect(is_version(c->since), "%s: since %s", route->full_name, c->since);
        cr_expect(is_group(c->group), "%s: group %s", route->full_name, c->group);
        size_t size = strlen(c->summary);
        cr_expect(size >= 10 && size <= 90, "%s: %s", route->full_name, c->summary);
        cr_expect(c->complexity[0] != '\0' && strlen(c->complexity) <= 120, "%s: %s",
                  route->full_name, c->complexity);
        for (const char *const *tip = c->tips; tip && *tip; tip++)
            cr_expect(**tip != '\0', "%s: an empty tip", route->full_name);
    }
}

/* The one handler of the plan; a container of subcommands may do without. */
static bool handlers_fit(const struct command *c)
{
    bool shard = c->on_shard != NULL, net = c->on_net != NULL, on_main = c->on_main != NULL;
    if (c->subcommands && !shard && !net && !on_main) return true;
    switch ((enum plan)c->plan) {
    case PLAN_NET:
        return net && !shard && !on_main;
    case PLAN_MAIN:
        return on_main && !shard && !net;
    case PLAN_ONE_SHARD:
    case PLAN_FAN_OUT:
    case PLAN_ALL_SHARDS:
    case PLAN_LOCKED:
        return shard && !net && !on_main;
    case PLAN_SCRIPT:
        return !shard && !net && !on_main;
    }
    return false;
}

Test(commands, every_row_has_exactly_the_handler_that_its_plan_needs)
{
    each_route(route) cr_expect(handlers_fit(route->command), "%s: plan %d", route->full_name,
                                route->command->plan);
}

Test(commands, parts_are_merged_where_there_are_parts)
{
    each_route(route)
    {
        const struct command *c = route->command;
        bool is_split =
            c->plan == PLAN_FAN_OUT || c->plan == PLAN_ALL_SHARDS ||
            (c->plan == PLAN_LOCKED && (c->merge == MERGE_FOUND || c->merge == MERGE_OK));
        bool is_merged = c->merge != MERGE_NONE && c->merge != MERGE_CURSOR;
        cr_expect_eq(is_split, is_merged, "%s", route->full_name);
        cr_expect(c->merge != MERGE_CURSOR || c->plan == PLAN_ONE_SHARD, "%s", route->full_name);
    }
}

Test(commands, what_is_split_by_key_or_locks_keys_has_keys)
{
    each_route(route)
    {
        const struct command *c = route->command;
        bool needs_keys = c->plan == PLAN_FAN_OUT || c->plan == PLAN_LOCKED;
        bool sends_them_itself = c->plan == PLAN_NET && c->flags & CMD_NOT_QUEUED; /* WATCH */
        bool may_have_keys =
            needs_keys || c->plan == PLAN_ONE_SHARD || c->plan == PLAN_SCRIPT || sends_them_itself;
        cr_expect(!needs_keys || command_has_keys(c), "%s has no keys", route->full_name);
        cr_expect(may_have_keys || !command_has_keys(c), "%s has keys", route->full_name);
    }
}

static void check_spec(const struct route *route, const struct key_spec *spec)
{
    unsigned access = spec->flags & (KEY_RO | KEY_RW | KEY_OW | KEY_RM | KEY_NOT_KEY);
    cr_expect(access && (access & (access - 1)) == 0, "%s: not one kind of access",
              route->full_name);
    if (spec->is_unknown) { /* the row must know better */
        cr_expect(route->command->each_key != NULL, "%s: nobody knows the keys", route->full_name);
        return;
    }
    cr_expect(spec->begin >= (route->parent ? 2 : 1) || (spec->keyword && spec->begin < 0),
              "%s: keys begin at %d", route->full_name, spec->begin);
    cr_expect(spec->step >= 1, "%s: step %d", route->full_name, spec->step);
    int least = abs(route->command->arity);
    bool is_optional =
        route->command->arity < 0 || spec->keyword || spec->first > 0 || spec->last < 0;
    cr_expect(is_optional || spec->begin + spec->last < least, "%s: a key beyond the arguments",
              route->full_name);
}

Test(commands, keys_stand_where_arguments_can_be)
{
    each_route(route)
    {
        const struct command *c = route->command;
        bool has_ended = false;
        for (unsigned i = 0; i < KEY_SPECS_MAX; i++) {
            cr_expect(!has_ended || !c->keys[i].flags, "%s: a gap", route->full_name);
            has_ended |= !c->keys[i].flags;
            if (c->keys[i].flags) check_spec(route, &c->keys[i]);
        }
    }
}

/* PFCOUNT is read only for clients, but keeps its result in the value. */
static bool changes_keys(const struct command *c)
{
    if (strcmp(c->name, "pfcount") == 0) return false;
    for (unsigned i = 0; i < KEY_SPECS_MAX && c->keys[i].flags; i++)
        if (c->keys[i].flags & (KEY_RW | KEY_OW | KEY_RM)) return true;
    return false;
}

Test(commands, flags_agree_with_each_other_and_with_the_keys)
{
    each_route(route)
    {
        const struct command *c = route->command;
        bool writes = c->flags & CMD_WRITE, reads = c->flags & CMD_READ;
        cr_expect(!(writes && reads), "%s writes and is read only", route->full_name);
        cr_expect(!reads || !changes_keys(c), "%s is read only and changes keys", route->full_name);
        cr_expect(!(c->flags & CMD_DENY_OOM) || writes, "%s needs memory and does not write",
                  route->full_name);
        cr_expect(!(c->flags & CMD_BARRIER) || c->plan == PLAN_NET, "%s: a barrier elsewhere",
                  route->full_name);
    }
}

Test(commands, subcommands_have_none_of_their_own)
{
    each_route(route)
    {
        if (!route->parent) continue;
        cr_expect_null(route->command->subcommands, "%s", route->full_name);
        cr_expect_str_eq(route->command->group, route->parent->command->group, "%s",
                         route->full_name);
    }
}
