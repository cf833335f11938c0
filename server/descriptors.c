#include "server/descriptors.h"

#include <sys/resource.h>

/* Listeners, rings, files, and room for libraries. */
#define DESCRIPTORS_OF_SERVER 64

uint32_t descriptors_reserve(uint32_t clients)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)clients + DESCRIPTORS_OF_SERVER;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return clients;
    struct rlimit raised = {.rlim_cur = wanted, .rlim_max = MAX(limit.rlim_max, wanted)};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return clients;
    limit.rlim_cur = MIN(limit.rlim_max, wanted);
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted) return clients;
    return limit.rlim_cur > DESCRIPTORS_OF_SERVER
               ? (uint32_t)(limit.rlim_cur - DESCRIPTORS_OF_SERVER)
               : 1;
}
