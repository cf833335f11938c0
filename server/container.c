#include "server/container.h"

#include <stdio.h>

#include "base/log.h"
#include "server/cgroup.h"
#include "server/server.h"

/* It takes some files, so it looks each so many turns, or each turn while that share is in use: a
 * fast writer needs a fraction of a second for the rest. */
#define TURNS 10
#define OFTEN_SHARE 0.5
#define WARN_SHARE 0.9
#define CALM_SHARE 0.8
#define MIB_BITS 20

static unsigned long long mib(uint64_t bytes)
{
    return bytes >> MIB_BITS;
}

static void log_limits(const struct config *c, const struct cgroup_memory *m)
{
    uint64_t limit_bytes = m->limit_bytes;
    char limit[64] = "no limit of a container", cap[64] = "not set";
    int n = 0;
    if (limit_bytes)
        snprintf(limit, sizeof limit, "the container's limit is %llu MB", mib(limit_bytes));
    if (c->maxmemory_bytes) n = snprintf(cap, sizeof cap, "%llu MB", mib(c->maxmemory_bytes));
    if (c->maxmemory_percent)
        snprintf(cap + n, sizeof cap - (size_t)n, " (%d %%)", c->maxmemory_percent);
    log_notice("Memory: %s; maxmemory %s", limit, cap);
    if (limit_bytes && (c->maxmemory_bytes == 0 || c->maxmemory_bytes > limit_bytes / 10 * 9))
        log_warning("maxmemory is %s the container's limit: the kernel may %s this process",
                    c->maxmemory_bytes ? "close to" : "not set below",
                    m->is_high ? "slow down" : "end");
}

static void note(struct container *at, const struct cgroup_memory *m)
{
    counter_set(&at->limit_bytes, m->limit_bytes);
    counter_set(&at->used_bytes, m->used_bytes);
}

void container_begin(struct server *srv)
{
    struct cgroup_memory m;
    cgroup_read_memory(NULL, NULL, &m);
    note(&srv->container, &m);
    log_limits(srv->config, &m);
}

/* The same percentage of what is there now, as CONFIG SET would have it. */
static bool follow(struct server *srv)
{
    char percent[16];
    const struct bytes argv[] = {
        BYTES_LITERAL("maxmemory"),
        bytes_make(percent, (size_t)snprintf(percent, sizeof percent, "%d%%",
                                             srv->config->maxmemory_percent))};
    struct buf error = {.mem = &srv->mem};
    struct config *changed = mem_alloc(&srv->mem, sizeof *changed);
    bool done = config_set(srv->config, argv, ARRAY_LEN(argv), true, changed, &error) == OK;
    if (done && !server_apply_config(srv, changed, CONFIG_AREA_MEMORY, &error)) {
        config_deinit(changed);
        done = false;
    }
    if (done)
        server_publish_config(srv, changed);
    else
        mem_free(&srv->mem, changed, sizeof *changed);
    buf_clear(&error);
    return done;
}

/* True: the change is dealt with. */
static bool has_changed_to(struct server *srv, const struct cgroup_memory *m)
{
    if (srv->config->maxmemory_percent) {
        if (srv->change) return false; /* one after the other */
        if (!follow(srv)) return false;
    }
    log_limits(srv->config, m);
    return true;
}

/* Before the kernel ends the process, the log says so, once, until there is room again. */
static void warn_when_near(struct container *at, const struct cgroup_memory *m)
{
    double share = (double)m->used_bytes / (double)m->limit_bytes;
    if (share > WARN_SHARE && !at->is_near)
        log_warning("The container uses %llu of %llu MB of memory. At its limit the kernel %s "
                    "this process: set maxmemory, or lower it",
                    mib(m->used_bytes), mib(m->limit_bytes), m->is_high ? "slows down" : "ends");
    if (share > WARN_SHARE) at->is_near = true;
    if (share < CALM_SHARE) at->is_near = false;
}

void container_update(struct server *srv)
{
    struct container *at = &srv->container;
    struct cgroup_memory m;
    bool often = (double)counter_read(&at->used_bytes) >
                 (double)counter_read(&at->limit_bytes) * OFTEN_SHARE;
    if (++at->turn % TURNS != 0 && !often) return;
    cgroup_read_memory(NULL, NULL, &m);
    if (m.limit_bytes != counter_read(&at->limit_bytes) && !has_changed_to(srv, &m))
        m.limit_bytes = counter_read(&at->limit_bytes);
    note(at, &m);
    if (m.limit_bytes) warn_when_near(at, &m);
}
