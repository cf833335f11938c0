#include "server/cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

#define LINE_BYTES_MAX 4096
/* cgroup 1 says "none" by a number near 2^63. */
#define LIMIT_NONE (UINT64_C(1) << 60)

/* The files of the two versions. */
struct version {
    const char *folder; /* below the root */
    const char *limit, *high, *used, *file_cache;
    const char *controller; /* in /proc/self/cgroup; of version 2: none */
};
static const struct version versions[] = {
    {"", "memory.max", "memory.high", "memory.current", "inactive_file ", ""},
    {"/memory", "memory.limit_in_bytes", NULL, "memory.usage_in_bytes", "total_inactive_file ",
     "memory"},
};

/* False: no such file. "max" is 0. */
static bool read_number(const char *folder, const char *name, uint64_t *out)
{
    char path[3 * PATH_MAX], text[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    bool known = f && fgets(text, sizeof text, f);
    if (f) fclose(f);
    if (known) *out = strtoull(text, NULL, 10);
    return known;
}

static uint64_t read_statistic(const char *folder, const char *label)
{
    char path[3 * PATH_MAX], line[256];
    uint64_t value = 0;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, label, strlen(label)) != 0) continue;
        value = strtoull(line + strlen(label), NULL, 10);
        break;
    }
    if (f) fclose(f);
    return value;
}

/* Whether it is one of "cpu,memory"; of version 2 nothing is named. */
static bool has_controller(const char *list, size_t size, const char *name)
{
    size_t name_size = strlen(name);
    if (name_size == 0) return size == 0;
    for (const char *at = list; at < list + size; at += strcspn(at, ",:") + 1)
        if (strcspn(at, ",:") == name_size && strncmp(at, name, name_size) == 0) return true;
    return false;
}

/* The path of a line "4:cpu,memory:/path" with that controller; NULL: it has not. */
static const char *path_in(const char *line, const char *controller)
{
    const char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    if (!second) return NULL;
    bool is_it = has_controller(first + 1, (size_t)(second - first - 1), controller);
    return is_it ? second + 1 : NULL;
}

/* The path of our group, without a slash at the end; empty if nothing is known. */
static void find_group(const char *self, const char *controller, char path[PATH_MAX])
{
    char line[LINE_BYTES_MAX];
    FILE *f = fopen(self, "re");
    path[0] = '\0';
    while (f && path[0] == '\0' && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        const char *found = path_in(line, controller);
        if (found) snprintf(path, PATH_MAX, "%s", found);
    }
    if (f) fclose(f);
    size_t size = strlen(path);
    while (size > 0 && path[size - 1] == '/') path[--size] = '\0';
}

/* The smaller of the two limits of a group; 0: none. */
static uint64_t read_limit(const struct version *v, const char *folder, bool *is_high)
{
    uint64_t limit = 0, high = 0;
    *is_high = false;
    if (!read_number(folder, v->limit, &limit) || limit >= LIMIT_NONE) limit = 0;
    if (!v->high || !read_number(folder, v->high, &high) || high == 0) return limit;
    if (limit && limit <= high) return limit;
    *is_high = true;
    return high;
}

static void look_at(const struct version *v, const char *folder, struct cgroup_memory *out)
{
    uint64_t used = 0;
    bool is_high;
    uint64_t limit = read_limit(v, folder, &is_high);
    if (limit == 0 || (out->limit_bytes && limit >= out->limit_bytes)) return;
    (void)read_number(folder, v->used, &used);
    uint64_t cache = read_statistic(folder, v->file_cache);
    *out = (struct cgroup_memory){limit, is_high, used > cache ? used - cache : 0};
}

/* Limits of the groups above it do not concern a group of version 1 that says so. */
static bool is_root_of_its_own(const char *folder)
{
    uint64_t has_hierarchy = 1;
    return read_number(folder, "memory.use_hierarchy", &has_hierarchy) && has_hierarchy == 0;
}

void cgroup_read_memory(const char *root, const char *self, struct cgroup_memory *out)
{
    *out = (struct cgroup_memory){0};
    if (!root) root = "/sys/fs/cgroup";
    if (!self) self = "/proc/self/cgroup";
    for (unsigned i = 0; i < ARRAY_LEN(versions); i++) {
        char group[PATH_MAX], folder[2 * PATH_MAX];
        find_group(self, versions[i].controller, group);
        /* From our group up to the root, which inside a container is the container's. */
        for (;;) {
            snprintf(folder, sizeof folder, "%s%s%s", root, versions[i].folder, group);
            look_at(&versions[i], folder, out);
            char *slash = strrchr(group, '/');
            if (!slash) break;
            *slash = '\0';
            snprintf(folder, sizeof folder, "%s%s%s", root, versions[i].folder, group);
            if (is_root_of_its_own(folder)) break;
        }
    }
}

uint64_t cgroup_total_memory(void)
{
    struct cgroup_memory m;
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    cgroup_read_memory(NULL, NULL, &m);
    return m.limit_bytes && m.limit_bytes < machine ? m.limit_bytes : machine;
}
