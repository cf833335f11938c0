/* cgroup.h: how much memory the container of this process may use, and how much it does.
 *
 * Thread     any
 * Limits     cgroup 2 and the memory controller of cgroup 1. Of nested groups the tightest limit
 *            counts; those above a group of cgroup 1 without use_hierarchy do not. memory.high is a
 *            limit, too, for beyond it nothing works any more. The soft limit of cgroup 1 is none,
 *            as it matters only when the machine itself has no memory left.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cgroup_memory {
    uint64_t limit_bytes; /* 0: none */
    bool is_high;         /* beyond it the kernel slows the process down, and does not end it */
    uint64_t used_bytes;  /* of the group with that limit, without file pages that may go at once */
};

/* NULL: /sys/fs/cgroup and /proc/self/cgroup. */
void cgroup_read_memory(const char *root, const char *self, struct cgroup_memory *out);
/* What a percentage of maxmemory is of: the container's limit, or what the machine has. */
uint64_t cgroup_total_memory(void);
