#include "tests/sim/commands.h"

#include <stdio.h>

#include "tests/sim/env_sim.h"

#define VALUE_BYTES_MAX 20000

static const char *const key_names[COMMANDS_KEYS_MAX] = {
    "a", "b", "c", "d", "{a}1", "{b}1", "counter", "x:1", "x:2", "key-with-a-longer-name",
    "e", "f"};

/* A command under construction. */
struct draft {
    struct bytes argv[STEP_ARGS_MAX];
    unsigned argc;
    char text[STEP_ARGS_MAX][48];
    char large[VALUE_BYTES_MAX];
};

void commands_init(struct command_mix *mix)
{
    *mix = (struct command_mix){.key_count = 2 + (unsigned)sim_below(COMMANDS_KEYS_MAX - 1),
                                .locked_pct = (unsigned)sim_below(40),
                                .split_pct = (unsigned)sim_below(50),
                                .whole_pct = sim_chance(30) ? 5 : 0,
                                .block_pct = sim_chance(70) ? (unsigned)sim_below(25) : 0,
                                .value_bytes_max = sim_chance(20) ? VALUE_BYTES_MAX : 200};
}

struct bytes commands_key(unsigned index)
{
    return bytes_of(key_names[index]);
}

static void add(struct draft *d, const char *text)
{
    d->argv[d->argc++] = bytes_of(text);
}

static void add_key(struct draft *d, const struct command_mix *mix)
{
    add(d, key_names[sim_below(mix->key_count)]);
}

/* Often a number, so that INCR works; now and then a large one, at most one of them a command. */
static void add_value(struct draft *d, struct command_mix *mix)
{
    char *text = d->text[d->argc];
    size_t size = (size_t)snprintf(text, sizeof d->text[0], sim_chance(40) ? "%llu" : "v%llu",
                                   (unsigned long long)++mix->serial);
    if (!sim_chance(15) || d->large[0] != '\0') {
        d->argv[d->argc++] = bytes_make(text, size);
        return;
    }
    size_t large = size + sim_below(mix->value_bytes_max - size);
    memset(d->large, (int)('a' + sim_below(26)), large);
    memcpy(d->large, text, size);
    d->argv[d->argc++] = bytes_make(d->large, large);
}

static void make_one_key(struct draft *d, struct command_mix *mix)
{
    static const struct {
        const char *name;
        unsigned values;
    } table[] = {{"get", 0},   {"get", 0},    {"set", 1},    {"set", 1},
                 {"setnx", 1}, {"getset", 1}, {"getdel", 0}, {"append", 1},
                 {"incr", 0},  {"strlen", 0}, {"del", 0}};
    size_t row = sim_below(ARRAY_LEN(table));
    if (mix->takes_nothing && strncmp(table[row].name, "getd", 4) == 0) row = 0;
    if (mix->takes_nothing && strcmp(table[row].name, "getset") == 0) row = 0;
    add(d, table[row].name);
    add_key(d, mix);
    if (table[row].values) add_value(d, mix);
    if (strcmp(table[row].name, "set") == 0 && sim_chance(30)) add(d, sim_chance(50) ? "nx" : "xx");
}

static void make_split(struct draft *d, struct command_mix *mix)
{
    static const char *const names[] = {"mget", "mget", "mset", "mset", "del", "unlink", "exists"};
    const char *name = names[sim_below(ARRAY_LEN(names))];
    add(d, name);
    for (uint64_t n = 1 + sim_below(6); n > 0; n--) {
        add_key(d, mix);
        if (strcmp(name, "mset") == 0) add_value(d, mix);
    }
}

static void make_locked(struct draft *d, struct command_mix *mix)
{
    static const char *const names[] = {"rename", "renamenx", "copy", "copy", "msetnx"};
    const char *name = names[sim_below(ARRAY_LEN(names))];
    add(d, name);
    if (strcmp(name, "msetnx") == 0) {
        for (uint64_t n = 1 + sim_below(4); n > 0; n--) {
            add_key(d, mix);
            add_value(d, mix);
        }
        return;
    }
    add_key(d, mix);
    add_key(d, mix);
    if (strcmp(name, "copy") == 0 && sim_chance(50)) add(d, "replace");
}

static void make_any(struct draft *d, struct command_mix *mix)
{
    if (sim_chance(mix->whole_pct))
        add(d, sim_chance(30) ? "flushall" : "dbsize");
    else if (sim_chance(mix->locked_pct))
        make_locked(d, mix);
    else if (sim_chance(mix->split_pct))
        make_split(d, mix);
    else
        make_one_key(d, mix);
}

/* What has no place in the serial order. */
static struct step *add_local(struct history *h, unsigned client, const struct draft *d)
{
    struct step *s = history_add(h, client, d->argv, d->argc);
    s->is_ordered = false;
    return s;
}

/* The next one of an open transaction; its place in the order is that of its EXEC. */
static struct step *make_queued(struct command_mix *mix, struct history *h, unsigned client)
{
    struct draft d = {.argc = 0};
    d.large[0] = '\0';
    if (mix->blocks[client].left-- > 0) {
        make_any(&d, mix);
        mix->blocks[client].count++;
        return add_local(h, client, &d);
    }
    mix->blocks[client].is_open = false;
    add(&d, "exec");
    struct step *s = history_add(h, client, d.argv, d.argc);
    s->block = mix->blocks[client].count;
    return s;
}

struct step *commands_make(struct command_mix *mix, struct history *h, unsigned client)
{
    struct draft d = {.argc = 0};
    d.large[0] = '\0';
    if (mix->blocks[client].is_open) return make_queued(mix, h, client);
    if (sim_chance(4)) {
        add(&d, sim_chance(mix->rewrite_pct) ? "bgrewriteaof" : "ping");
        return add_local(h, client, &d);
    }
    if (sim_chance(mix->block_pct)) {
        add(&d, "multi");
        mix->blocks[client].is_open = true;
        mix->blocks[client].left = 1 + (unsigned)sim_below(6);
        mix->blocks[client].count = 0;
        return add_local(h, client, &d);
    }
    make_any(&d, mix);
    return history_add(h, client, d.argv, d.argc);
}
