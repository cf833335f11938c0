#include "server/redact.h"

#include "server/config_value.h"

static bool is_secret_value(const struct bytes *argv, uint32_t index)
{
    if (index < 3 || index % 2 == 0) return false; /* CONFIG SET name value … */
    const struct config_param *p = config_find(argv[index - 1]);
    return p && p->flags & CONFIG_SENSITIVE;
}

bool redact_hides(const struct command *c, const struct bytes *argv, uint32_t index)
{
    if (index == 0) return false;
    if (strcmp(c->name, "setuser") == 0) return index >= 2;
    if (!(c->flags & CMD_SENSITIVE)) return false;
    if (strcmp(c->name, "auth") == 0) return true;
    if (c->on_main) return is_secret_value(argv, index);
    for (uint32_t back = 1; back <= 2 && back < index; back++)
        if (bytes_equal_nocase(argv[index - back], "auth")) return true;
    return false;
}
