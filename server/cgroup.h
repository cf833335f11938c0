/* cgroup.h: how much memory the container of this process may use, and how much it does.
 *
 * Thread     any
 * Limits     cgroup 2 and the memory controller of cgroup 1. Of nested groups the tightest limit
 *            counts.
 */
#pragma once

#include <stdint.h>

struct cgroup_memory {
    uint64_t limit_bytes; /* 0: none */
    uint64_t used_bytes;  /* of the group with that limit, without file pages that may go at once */
};

/* NULL: /sys/fs/cgroup and /proc/self/cgroup. */
void cgroup_read_memory(const char *root, const char *self, struct cgroup_memory *out);
/* What a percentage of maxmemory is of: the container's limit, or what the machine has. */
uint64_t cgroup_total_memory(void);
