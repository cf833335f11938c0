#include "base/command.h"

#include <stdlib.h>

#include "base/text.h"

/* Where the search of a specification starts; -1 if it is not there. */
static int64_t spec_begin(const struct key_spec *spec, const struct bytes *argv, uint32_t argc)
{
    if (!spec->keyword) return spec->begin;
    bool backwards = spec->begin < 0;
    int64_t step = backwards ? -1 : 1;
    for (int64_t i = backwards ? (int64_t)argc + spec->begin : spec->begin; i > 0 && i < argc;
         i += step)
        if (bytes_equal_nocase(argv[i], spec->keyword)) return i + 1;
    return -1;
}

/* First, last and step of the keys of one specification; false if the arguments do not fit it. */
static bool spec_range(const struct key_spec *spec, const struct bytes *argv, uint32_t argc,
                       int64_t range[3])
{
    int64_t begin = spec_begin(spec, argv, argc);
    if (begin < 0 || begin >= argc) return false;
    if (spec->first > 0) {
        int64_t count;
        int64_t at = begin + spec->count_index;
        if (at >= argc || !text_to_i64(argv[at], &count)) return false;
        range[0] = begin + spec->first;
        if (count < 0 || count > (int64_t)argc - range[0]) return false;
        range[1] = range[0] + count - 1;
        range[2] = spec->step ? spec->step : 1;
        return true;
    }
    range[0] = begin;
    range[2] = spec->step ? spec->step : 1;
    if (spec->last >= 0)
        range[1] = begin + spec->last;
    else if (spec->limit <= 1)
        range[1] = (int64_t)argc + spec->last;
    else
        range[1] = begin + ((int64_t)argc - begin) / spec->limit + spec->last;
    return range[1] < (int64_t)argc || spec->last < 0;
}

bool command_each_key(const struct command *command, const struct bytes *argv, uint32_t argc,
                      command_key_fn *fn, void *context)
{
    if (command->each_key) return command->each_key(command, argv, argc, fn, context);
    for (uint32_t i = 0; i < KEY_SPECS_MAX && command->keys[i].flags != 0; i++) {
        const struct key_spec *spec = &command->keys[i];
        if (spec->flags & KEY_NOT_KEY) continue;
        int64_t range[3];
        if (!spec_range(spec, argv, argc, range)) {
            if (spec->keyword) continue; /* an option that was not given */
            return false;
        }
        for (int64_t at = range[0]; at <= range[1] && at < argc; at += range[2])
            fn(context, (uint32_t)at, spec);
    }
    return true;
}

bool command_has_keys(const struct command *command)
{
    for (uint32_t i = 0; i < KEY_SPECS_MAX && command->keys[i].flags != 0; i++)
        if (!(command->keys[i].flags & KEY_NOT_KEY)) return true;
    return false;
}

static enum err reply_help(const struct command *command, struct reply *out)
{
    uint64_t count = 0;
    while (command->help[count]) count++;
    reply_array(out, count);
    for (uint64_t i = 0; i < count; i++) reply_status(out, command->help[i]);
    return OK;
}

enum err command_help_on_shard(UNUSED struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_help(rq->command, out);
}

enum err command_help_on_net(UNUSED struct session *s, struct request *rq, struct reply *out)
{
    return reply_help(rq->command, out);
}
