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
    const char *limit, *used, *file_cache;
};
static const struct version versions[] = {
    {"", "memory.max", "memory.current", "inactive_file "},
    {"/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
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

/* The path of our group, without a slash at the end: of a line "0::/path" or "4:memory:/path". */
static bool find_group(const char *self, const char *label, char path[PATH_MAX])
{
    char line[LINE_BYTES_MAX];
    bool found = false;
    FILE *f = fopen(self, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *at = strstr(line, label);
        if (!at || (label[0] == '0' && at != line)) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(path, PATH_MAX, "%.*s", PATH_MAX - 1, at + strlen(label));
        found = true;
    }
    if (f) fclose(f);
    if (!found) path[0] = '\0';
    size_t size = strlen(path);
    while (size > 0 && path[size - 1] == '/') path[--size] = '\0';
    return found;
}

static void look_at(const struct version *v, const char *folder, struct cgroup_memory *out)
{
    uint64_t limit = 0, used = 0;
    if (!read_number(folder, v->limit, &limit) || limit == 0 || limit >= LIMIT_NONE) return;
    if (out->limit_bytes && limit >= out->limit_bytes) return;
    (void)read_number(folder, v->used, &used);
    uint64_t cache = read_statistic(folder, v->file_cache);
    *out = (struct cgroup_memory){limit, used > cache ? used - cache : 0};
}

void cgroup_read_memory(const char *root, const char *self, struct cgroup_memory *out)
{
    *out = (struct cgroup_memory){0};
    if (!root) root = "/sys/fs/cgroup";
    if (!self) self = "/proc/self/cgroup";
    for (unsigned i = 0; i < ARRAY_LEN(versions); i++) {
        char group[PATH_MAX], folder[2 * PATH_MAX];
        (void)find_group(self, i == 0 ? "0::" : ":memory:", group);
        /* From our group up to the root, which inside a container is the container's. */
        for (;;) {
            snprintf(folder, sizeof folder, "%s%s%s", root, versions[i].folder, group);
            look_at(&versions[i], folder, out);
            char *slash = strrchr(group, '/');
            if (!slash) break;
            *slash = '\0';
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
