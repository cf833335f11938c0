/* oom_score.h: how eagerly the kernel ends this process when memory runs out: oom-score-adj.
 *
 * Thread     [main]
 * Errors     False: the system does not allow it, which has been logged.
 */
#pragma once

#include <stdbool.h>

#include "base/check.h"

struct config;

struct oom_score {
    bool is_changed; /* by us, from … */
    int before;
};

/* Makes it what the configuration says; `no`: what it was before it was changed. */
MUST_USE bool oom_score_apply(struct oom_score *s, const struct config *c);
