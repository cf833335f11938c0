#include "server/oom_score.h"

#include <stdio.h>

#include "base/bytes.h"
#include "base/log.h"
#include "server/config.h"

#define SCORE_MAX 1000
#define SCORE_FILE "/proc/self/oom_score_adj"

static bool score_read(int *score)
{
    FILE *f = fopen(SCORE_FILE, "re");
    if (!f) return false;
    bool ok = fscanf(f, "%d", score) == 1;
    fclose(f);
    return ok;
}

static bool score_write(int score)
{
    FILE *f = fopen(SCORE_FILE, "we");
    if (!f) return false;
    bool ok = fprintf(f, "%d", score) > 0;
    ok = fclose(f) == 0 && ok;
    return ok;
}

bool oom_score_apply(struct oom_score *s, const struct config *c)
{
    bool is_wanted = c->oom_score_adj != CONFIG_OOM_ADJ_NO;
    if (!is_wanted && !s->is_changed) return true;
    bool ok = s->is_changed || score_read(&s->before);
    int score = s->before;
    if (c->oom_score_adj == CONFIG_OOM_ADJ_ABSOLUTE) score = c->oom_score_adj_values[0];
    if (c->oom_score_adj == CONFIG_OOM_ADJ_RELATIVE) score += c->oom_score_adj_values[0];
    score = MAX(-SCORE_MAX, MIN(score, SCORE_MAX));
    ok = ok && score_write(score);
    if (ok)
        s->is_changed = is_wanted;
    else
        log_warning("The out-of-memory score cannot become %d", score);
    return ok;
}
