/* Which row a name means, and which shard a key lives on. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "server/config.h"
#include "server/router.h"
#include "tests/unit/random.h"

#define SEED 0x5eed

static struct mem mem;
static struct router router;
static char why[2 * ENV_NAME_BYTES_MAX];

static bool try_start(uint16_t shard_count, const char *const *renames, uint32_t rename_count)
{
    static struct config config;
    mem_init(&mem, "test");
    config.rename_commands.items = (char **)(uintptr_t)renames;
    config.rename_commands.count = rename_count;
    return router_init(&router, &mem, &config, shard_count, SEED, why);
}

static void start(uint16_t shard_count)
{
    cr_assert(try_start(shard_count, NULL, 0));
}

static void finish(void)
{
    router_deinit(&router);
    mem_deinit(&mem);
}

static const struct route *find2(const char *first, const char *second, const struct route **parent)
{
    struct bytes argv[] = {bytes_of(first), bytes_of(second ? second : "")};
    const struct route *any;
    return router_find(&router, argv, second ? 2 : 1, parent ? parent : &any);
}

static const struct route *find(const char *name)
{
    return find2(name, NULL, NULL);
}

/* ---- names ---- */

Test(router, every_row_is_found_by_its_name_in_any_case)
{
    start(4);
    cr_assert_gt(router.top_count, 20);
    for (uint32_t i = 0; i < router.top_count; i++) {
        const struct route *route = &router.routes[i];
        char upper[64];
        size_t size = strlen(route->name);
        for (size_t k = 0; k <= size; k++) upper[k] = (char)toupper(route->name[k]);
        cr_assert_eq(find(route->name), route, "%s", route->name);
        cr_assert_eq(find(upper), route, "%s", upper);
        upper[0] = (char)tolower(upper[0]);
        cr_assert_eq(router_find_name(&router, bytes_of(upper)), route);
        cr_assert_eq(router_find_row(&router, route->command->name), route);
    }
    finish();
}

Test(router, ids_are_dense_and_every_name_is_there_once)
{
    start(1);
    for (uint32_t i = 0; i < router.route_count; i++) {
        cr_assert_eq(router.routes[i].id, i);
        for (uint32_t k = 0; k < i; k++)
            cr_assert_str_neq(router.routes[i].full_name, router.routes[k].full_name);
    }
    finish();
}

Test(router, what_is_no_command_is_not_found)
{
    start(1);
    static const char *const names[] = {"",     "g",    "ge",  "gett",
                                        "get ", " get", "gêt", "nosuchcommand"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        const struct route *parent = (const struct route *)1;
        cr_assert_null(find2(names[i], "x", &parent), "'%s'", names[i]);
        cr_assert_null(parent);
    }
    cr_assert_null(router_find_name(&router, BYTES_LITERAL("get\0")));
    finish();
}

/* Case is folded by one bit, which also turns '@' into '`': letters only may be folded. */
Test(router, only_letters_have_a_case)
{
    start(1);
    for (unsigned c = 1; c < 256; c++) {
        char name[] = {(char)c, 'E', 't', '\0'};
        cr_assert_eq(find(name) != NULL, c == 'g' || c == 'G' || c == 's' || c == 'S', "%s", name);
    }
    finish();
}

static const struct route *a_container(void)
{
    for (uint32_t i = 0; i < router.top_count; i++)
        if (router.routes[i].child_count > 1) return &router.routes[i];
    cr_assert_fail("no command has subcommands");
    return NULL;
}

Test(router, subcommands_are_found_through_their_container)
{
    start(1);
    const struct route *container = a_container();
    for (uint32_t i = 0; i < container->child_count; i++) {
        const struct route *child = &container->children[i], *parent;
        cr_assert_eq(find2(container->name, child->name, &parent), child);
        cr_assert_null(parent);
        cr_assert_eq(child->parent, container);
        cr_assert_eq(router_find_name(&router, bytes_of(child->full_name)), child);
        cr_assert_not(strncmp(child->full_name, container->name, strlen(container->name)));
    }
    finish();
}

Test(router, an_unknown_subcommand_names_its_container)
{
    start(1);
    const struct route *container = a_container(), *parent;
    cr_assert_null(find2(container->name, "nosuch", &parent));
    cr_assert_eq(parent, container);
    cr_assert_eq(find2(container->name, NULL, &parent), container);
    char name[64];
    snprintf(name, sizeof name, "%s|nosuch", container->name);
    cr_assert_null(router_find_name(&router, bytes_of(name)));
    cr_assert_null(router_find_name(&router, BYTES_LITERAL("nosuch|get")));
    cr_assert_null(router_find_name(&router, BYTES_LITERAL("get|get")));
    finish();
}

Test(router, arity_counts_the_name)
{
    start(1);
    const struct route *get = find("get"), *del = find("del");
    cr_assert(route_arity_fits(get, 2));
    cr_assert_not(route_arity_fits(get, 1) || route_arity_fits(get, 3));
    cr_assert(route_arity_fits(del, 2) && route_arity_fits(del, 100));
    cr_assert_not(route_arity_fits(del, 1));
    finish();
}

Test(router, single_key_routes_are_those_of_one_shard_with_one_key)
{
    start(4);
    cr_assert(find("get")->is_single_key);
    cr_assert(find("set")->is_single_key);
    cr_assert_not(find("del")->is_single_key);
    cr_assert_not(find("mset")->is_single_key);
    cr_assert_not(find("rename")->is_single_key);
    cr_assert_not(find("ping")->is_single_key);
    cr_assert_not(find("dbsize")->is_single_key);
    cr_assert(find("del")->has_first_key);
    finish();
}

/* ---- rename-command ---- */

Test(router, a_renamed_command_is_known_by_its_new_name_alone)
{
    const char *const renames[] = {"get", "fetch", "SET", "Put"};
    cr_assert(try_start(1, renames, 2));
    cr_assert_null(find("get"));
    cr_assert_str_eq(find("FETCH")->command->name, "get");
    cr_assert_str_eq(find("put")->command->name, "set");
    cr_assert_eq(router_find_row(&router, "get"), find("fetch"));
    finish();
}

Test(router, a_command_renamed_to_nothing_is_gone)
{
    const char *const renames[] = {"flushall", ""};
    cr_assert(try_start(1, renames, 1));
    cr_assert_null(find("flushall"));
    cr_assert(router_find_row(&router, "flushall")->is_disabled);
    finish();
}

Test(router, two_commands_may_swap_their_names)
{
    const char *const renames[] = {"get", "set", "set", "get"};
    cr_assert(try_start(1, renames, 2));
    cr_assert_str_eq(find("get")->command->name, "set");
    cr_assert_str_eq(find("set")->command->name, "get");
    finish();
}

/* CONFIG SET replaces the configuration and frees the old one. */
Test(router, new_names_outlive_the_configuration_that_they_came_from)
{
    char name[] = "fetch";
    const char *const renames[] = {"get", name};
    cr_assert(try_start(1, renames, 1));
    memset(name, 'x', sizeof name - 1);
    cr_assert_not_null(find("fetch"));
    finish();
}

Test(router, renaming_what_is_not_there_is_refused)
{
    const char *const renames[] = {"nosuch", "other"};
    cr_assert_not(try_start(1, renames, 1));
    cr_assert_not_null(strstr(why, "nosuch"));
    finish();
}

Test(router, a_new_name_that_another_command_has_is_refused)
{
    const char *const renames[] = {"get", "set"};
    cr_assert_not(try_start(1, renames, 1));
    cr_assert_not_null(strstr(why, "set"));
    finish();
}

/* ---- shards ---- */

static uint16_t shard_of(const char *key)
{
    uint64_t hash;
    return router_shard(&router, bytes_of(key), &hash);
}

Test(router, a_hash_tag_decides_the_shard)
{
    start(64);
    char a[64], b[64];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(a, sizeof a, "{user:%u}:name", i);
        snprintf(b, sizeof b, "orders{user:%u}", i);
        cr_assert_eq(shard_of(a), shard_of(b));
        snprintf(b, sizeof b, "user:%u", i);
        cr_assert_eq(shard_of(a), shard_of(b));
    }
    finish();
}

Test(router, keys_with_one_tag_have_hashes_of_their_own)
{
    start(64);
    uint64_t first, second, plain;
    router_shard(&router, BYTES_LITERAL("{t}1"), &first);
    router_shard(&router, BYTES_LITERAL("{t}2"), &second);
    router_shard(&router, BYTES_LITERAL("t"), &plain);
    cr_assert(first != second && first != plain);
    cr_assert_eq(first, bytes_hash(BYTES_LITERAL("{t}1"), SEED));
    finish();
}

Test(router, keys_spread_evenly_over_shards)
{
    static const uint16_t shard_counts[] = {1, 2, 3, 5, 8, 16, 48, 64, 100};
    enum { KEYS = 200000 };
    for (unsigned n = 0; n < ARRAY_LEN(shard_counts); n++) {
        uint16_t shard_count = shard_counts[n];
        start(shard_count);
        unsigned counts[100] = {0};
        for (unsigned i = 0; i < KEYS; i++) {
            char key[32];
            snprintf(key, sizeof key, "key:%u", i);
            uint16_t shard = shard_of(key);
            cr_assert_lt(shard, shard_count);
            counts[shard]++;
        }
        unsigned expected = KEYS / shard_count;
        for (unsigned i = 0; i < shard_count; i++)
            cr_assert(counts[i] > expected * 9 / 10 - 50 && counts[i] < expected * 11 / 10 + 50,
                      "shard %u of %u has %u keys", i, shard_count, counts[i]);
        finish();
    }
}

Test(router, the_highest_number_of_shards_is_reached)
{
    start(ROUTER_SHARDS_MAX);
    unsigned seen = 0;
    bool is_seen[ROUTER_SHARDS_MAX] = {false};
    for (unsigned i = 0; i < 50000; i++) {
        char key[32];
        snprintf(key, sizeof key, "%u", i);
        uint16_t shard = shard_of(key);
        cr_assert_lt(shard, ROUTER_SHARDS_MAX);
        seen += !is_seen[shard];
        is_seen[shard] = true;
    }
    cr_assert_eq(seen, ROUTER_SHARDS_MAX);
    finish();
}
