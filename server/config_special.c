/* config_special.c: the directives that are more than one word or number: lists, points, limits,
 * letters. */
#include "server/config_value.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "server/cgroup.h"
#include "shard/notify.h"

#define BAD_DIRECTIVE "Bad directive or wrong number of arguments"
#define WRONG_COUNT "wrong number of arguments"
#define OOM_VALUE_MAX 2000
#define LIMIT_WORDS 4

/* Some directives take numbers with leading zeros. */
static bool to_i64_with_zeros(struct bytes text, int64_t *out)
{
    while (text.size > 1 && text.data[0] == '0') text.data++, text.size--;
    return text_to_i64(text, out);
}

/* Stored absolute, so that it means the same after a change of directory. */
static bool set_dir(struct config *c, const struct config_param *p, const struct config_words *in,
                    struct buf *why)
{
    char path[PATH_MAX], inside[PATH_MAX + 2], resolved[PATH_MAX];
    if (in->count != 1) return config_fail(why, WRONG_COUNT);
    struct bytes word = in->words[0];
    if (word.size >= sizeof(path)) return config_fail(why, "File name too long");
    if (word.size == 0 || config_has_nul(word))
        return config_fail(why, "No such file or directory");
    memcpy(path, word.data, word.size);
    path[word.size] = '\0';
    if (!realpath(path, resolved)) return config_fail(why, "No such file or directory");
    snprintf(inside, sizeof(inside), "%s/.", path);
    if (!realpath(inside, resolved)) return config_fail(why, "Not a directory");
    config_replace_text(c, p, bytes_of(resolved));
    return true;
}

const struct config_special config_special_dir = {
    .set = set_dir, .print = config_print_text, .lines = config_lines_text, .is_text = true};

static bool set_replicaof(struct config *c, const struct config_param *p,
                          const struct config_words *in, struct buf *why)
{
    int64_t port;
    if (in->count != 2) return config_fail(why, WRONG_COUNT);
    struct bytes host = in->words[0];
    if (bytes_equal_nocase(host, "no") && bytes_equal_nocase(in->words[1], "one")) {
        config_replace_text(c, p, BYTES_LITERAL(""));
        return true;
    }
    if (!text_to_i64(in->words[1], &port) || port < 0 || port > 65535)
        return config_fail(why, "Invalid master port");
    if (!config_is_plain(host)) return config_fail(why, "Invalid master host");
    struct buf both = {.mem = c->mem};
    buf_append(&both, host.data, host.size);
    buf_printf(&both, " %d", (int)port);
    config_replace_text(c, p, buf_view(&both));
    buf_clear(&both);
    return true;
}

/* The host and the port are words of their own. */
static void lines_replicaof(const struct config *c, const struct config_param *p, struct buf *out)
{
    if (*c->replicaof) buf_printf(out, "%s %s\n", p->name, c->replicaof);
}

const struct config_special config_special_replicaof = {
    .set = set_replicaof, .print = config_print_text, .lines = lines_replicaof, .is_text = true};

/* ---- lists ---- */

static bool set_bind(struct config *c, const struct config_param *p, const struct config_words *in,
                     struct buf *why)
{
    if (in->count > CONFIG_BIND_MAX) return config_fail(why, "Too many bind addresses specified.");
    for (uint32_t i = 0; i < in->count; i++) {
        if (!config_is_plain(in->words[i]))
            return config_fail(why, "Failed to bind to specified addresses.");
    }
    struct config_list *list = config_list_of(c, p);
    config_list_clear(c->mem, list);
    for (uint32_t i = 0; i < in->count; i++) config_list_add(c->mem, list, in->words[i]);
    return true;
}

static void print_bind(const struct config *c, UNUSED const struct config_param *p, struct buf *out)
{
    for (uint32_t i = 0; i < c->bind.count; i++)
        buf_printf(out, "%s%s", i ? " " : "", c->bind.items[i]);
}

const struct config_special config_special_bind = {
    .set = set_bind, .print = print_bind, .is_list = true};

static bool set_rename(struct config *c, const struct config_param *p,
                       const struct config_words *in, struct buf *why)
{
    if (in->count != 2) return config_fail(why, BAD_DIRECTIVE);
    if (config_has_nul(in->words[0]) || config_has_nul(in->words[1]))
        return config_fail(why, "argument must not contain a NUL byte");
    config_list_add(c->mem, config_list_of(c, p), in->words[0]);
    config_list_add(c->mem, config_list_of(c, p), in->words[1]);
    return true;
}

static void lines_rename(const struct config *c, const struct config_param *p, struct buf *out)
{
    const struct config_list *list = &c->rename_commands;
    for (uint32_t i = 0; i + 1 < list->count; i += 2) {
        buf_printf(out, "%s ", p->name);
        config_quote_if_needed(out, bytes_of(list->items[i]));
        buf_append_text(out, " ");
        config_quote_if_needed(out, bytes_of(list->items[i + 1]));
        buf_append_text(out, "\n");
    }
}

const struct config_special config_special_rename = {
    .set = set_rename, .lines = lines_rename, .is_list = true};

static void add_joined(struct config *c, struct config_list *list, const struct config_words *in)
{
    struct buf joined = {.mem = c->mem};
    for (uint32_t i = 0; i < in->count; i++) {
        if (i) buf_append_text(&joined, " ");
        config_quote_if_needed(&joined, in->words[i]);
    }
    config_list_add(c->mem, list, buf_view(&joined));
    buf_clear(&joined);
}

static bool same_first_word(const char *item, struct mem *mem, struct bytes name)
{
    struct buf quoted = {.mem = mem};
    config_quote_if_needed(&quoted, name);
    bool same = strncmp(item, quoted.data, quoted.size) == 0 &&
                (item[quoted.size] == ' ' || item[quoted.size] == '\0');
    buf_clear(&quoted);
    return same;
}

static bool set_user(struct config *c, const struct config_param *p, const struct config_words *in,
                     struct buf *why)
{
    struct config_list *list = config_list_of(c, p);
    if (in->count == 0) return config_fail(why, BAD_DIRECTIVE);
    for (uint32_t i = 0; i < list->count; i++) {
        if (!same_first_word(list->items[i], c->mem, in->words[0])) continue;
        buf_append_text(why, "Error in user declaration '");
        buf_append(why, in->words[0].data, in->words[0].size);
        return config_fail(
            why, "': Duplicate user found. A user can only be defined once in config files");
    }
    add_joined(c, list, in);
    return true;
}

static bool set_module(struct config *c, const struct config_param *p,
                       const struct config_words *in, struct buf *why)
{
    if (in->count == 0) return config_fail(why, BAD_DIRECTIVE);
    add_joined(c, config_list_of(c, p), in);
    return true;
}

static void lines_list(const struct config *c, const struct config_param *p, struct buf *out)
{
    const struct config_list *list = config_field_of(c, p);
    for (uint32_t i = 0; i < list->count; i++) buf_printf(out, "%s %s\n", p->name, list->items[i]);
}

const struct config_special config_special_users = {
    .set = set_user, .lines = lines_list, .is_list = true};
const struct config_special config_special_modules = {
    .set = set_module, .lines = lines_list, .is_list = true};

/* Directives of old versions that redis-server reads and forgets. */
static bool set_ignored(UNUSED struct config *c, UNUSED const struct config_param *p,
                        const struct config_words *in, UNUSED struct buf *why)
{
    return in->count > 0 ? true : config_fail(why, BAD_DIRECTIVE);
}

static void lines_none(UNUSED const struct config *c, UNUSED const struct config_param *p,
                       UNUSED struct buf *out)
{
}

const struct config_special config_special_ignored = {.set = set_ignored, .lines = lines_none};
/* The reader of files handles it; in a text that has no files around it there is nothing to
 * include. */
const struct config_special config_special_include = {.lines = lines_none};

/* ---- save ---- */

static bool set_save(struct config *c, UNUSED const struct config_param *p,
                     const struct config_words *in, struct buf *why)
{
    static const char bad[] = "Invalid save parameters";
    uint32_t base = in->more ? c->save_count : 0;
    struct config_save_point points[CONFIG_SAVE_POINTS_MAX];
    if (in->count % 2 != 0 || base + in->count / 2 > CONFIG_SAVE_POINTS_MAX)
        return config_fail(why, bad);
    for (uint32_t i = 0; i < in->count; i += 2) {
        struct config_save_point *point = &points[i / 2];
        if (!to_i64_with_zeros(in->words[i], &point->seconds) || point->seconds < 1)
            return config_fail(why, bad);
        if (!to_i64_with_zeros(in->words[i + 1], &point->changes) || point->changes < 0)
            return config_fail(why, bad);
    }
    /* `save ""` takes back all points, also those of earlier lines. */
    if (in->count == 0) base = 0;
    for (uint32_t i = 0; i < in->count / 2; i++) c->save[base + i] = points[i];
    c->save_count = base + in->count / 2;
    return true;
}

static void print_save(const struct config *c, UNUSED const struct config_param *p, struct buf *out)
{
    for (uint32_t i = 0; i < c->save_count; i++) {
        buf_printf(out, "%s%lld %lld", i ? " " : "", (long long)c->save[i].seconds,
                   (long long)c->save[i].changes);
    }
}

static void lines_save(const struct config *c, const struct config_param *p, struct buf *out)
{
    if (c->save_count == 0) buf_printf(out, "%s \"\"\n", p->name);
    for (uint32_t i = 0; i < c->save_count; i++) {
        buf_printf(out, "%s %lld %lld\n", p->name, (long long)c->save[i].seconds,
                   (long long)c->save[i].changes);
    }
}

const struct config_special config_special_save = {
    .set = set_save, .print = print_save, .lines = lines_save};

/* ---- client-output-buffer-limit ---- */

static int client_class(struct bytes word)
{
    if (bytes_equal_nocase(word, "normal")) return CONFIG_CLIENT_NORMAL;
    if (bytes_equal_nocase(word, "slave") || bytes_equal_nocase(word, "replica"))
        return CONFIG_CLIENT_REPLICA;
    if (bytes_equal_nocase(word, "pubsub")) return CONFIG_CLIENT_PUBSUB;
    return -1;
}

static bool set_output_limit(struct config *c, UNUSED const struct config_param *p,
                             const struct config_words *in, struct buf *why)
{
    struct config_output_limit limits[CONFIG_CLIENT_CLASSES];
    memcpy(limits, c->client_output_limit, sizeof(limits));
    if (in->count % LIMIT_WORDS != 0)
        return config_fail(why, "Wrong number of arguments in buffer limit configuration.");
    for (uint32_t i = 0; i < in->count; i += LIMIT_WORDS) {
        int class = client_class(in->words[i]);
        if (class < 0)
            return config_fail(why,
                               "Invalid client class specified in buffer limit configuration.");
        struct config_output_limit *limit = &limits[class];
        bool good = text_to_memory(in->words[i + 1], &limit->hard_bytes) &&
                    text_to_memory(in->words[i + 2], &limit->soft_bytes) &&
                    to_i64_with_zeros(in->words[i + 3], &limit->soft_s) && limit->soft_s >= 0;
        if (!good)
            return config_fail(
                why, "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
    }
    memcpy(c->client_output_limit, limits, sizeof(limits));
    return true;
}

static void print_output_limit(const struct config *c, UNUSED const struct config_param *p,
                               struct buf *out)
{
    static const char *const names[] = {"normal", "slave", "pubsub"};
    for (int i = 0; i < CONFIG_CLIENT_CLASSES; i++) {
        const struct config_output_limit *limit = &c->client_output_limit[i];
        buf_printf(out, "%s%s %llu %llu %lld", i ? " " : "", names[i],
                   (unsigned long long)limit->hard_bytes, (unsigned long long)limit->soft_bytes,
                   (long long)limit->soft_s);
    }
}

static void lines_output_limit(const struct config *c, const struct config_param *p,
                               struct buf *out)
{
    static const char *const names[] = {"normal", "replica", "pubsub"};
    for (int i = 0; i < CONFIG_CLIENT_CLASSES; i++) {
        const struct config_output_limit *limit = &c->client_output_limit[i];
        buf_printf(out, "%s %s ", p->name, names[i]);
        config_print_memory(out, limit->hard_bytes);
        buf_append_text(out, " ");
        config_print_memory(out, limit->soft_bytes);
        buf_printf(out, " %lld\n", (long long)limit->soft_s);
    }
}

const struct config_special config_special_output_limit = {
    .set = set_output_limit, .print = print_output_limit, .lines = lines_output_limit};

/* ---- notify-keyspace-events ---- */

/* In the order in which they are shown. */
static const struct {
    char letter;
    uint32_t bits;
} notify_letters[] = {
    {'g', NOTIFY_GENERIC},  {'$', NOTIFY_STRING},   {'l', NOTIFY_LIST},     {'s', NOTIFY_SET},
    {'h', NOTIFY_HASH},     {'z', NOTIFY_ZSET},     {'x', NOTIFY_EXPIRED},  {'e', NOTIFY_EVICTED},
    {'t', NOTIFY_STREAM},   {'d', NOTIFY_MODULE},   {'n', NOTIFY_NEW},      {'A', NOTIFY_ALL},
    {'K', NOTIFY_KEYSPACE}, {'E', NOTIFY_KEYEVENT}, {'m', NOTIFY_KEY_MISS},
};

static bool set_notify(struct config *c, UNUSED const struct config_param *p,
                       const struct config_words *in, struct buf *why)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < in->words[0].size; i++) {
        uint32_t found = 0;
        for (size_t l = 0; l < ARRAY_LEN(notify_letters); l++) {
            if (notify_letters[l].letter == in->words[0].data[i]) found = notify_letters[l].bits;
        }
        if (!found)
            return config_fail(why, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        bits |= found;
    }
    c->notify_keyspace_events = bits;
    return true;
}

static void print_notify(const struct config *c, UNUSED const struct config_param *p,
                         struct buf *out)
{
    uint32_t bits = c->notify_keyspace_events;
    bool all = (bits & NOTIFY_ALL) == NOTIFY_ALL;
    for (size_t l = 0; l < ARRAY_LEN(notify_letters); l++) {
        uint32_t letter = notify_letters[l].bits;
        /* "A" stands for its letters, and hides n as in Redis. */
        if (letter == NOTIFY_ALL ? !all : all && (letter & (NOTIFY_ALL | NOTIFY_NEW))) continue;
        if (bits & letter) buf_append(out, &notify_letters[l].letter, 1);
    }
}

static void lines_notify(const struct config *c, const struct config_param *p, struct buf *out)
{
    buf_printf(out, "%s \"", p->name);
    size_t start = out->size;
    print_notify(c, p, out);
    bool hidden = (c->notify_keyspace_events & NOTIFY_NEW) &&
                  !memchr(out->data + start, 'n', out->size - start);
    buf_append_text(out, hidden ? "n\"\n" : "\"\n");
}

const struct config_special config_special_notify = {
    .set = set_notify, .print = print_notify, .lines = lines_notify};

/* ---- the rest ---- */

static bool set_oom_values(struct config *c, UNUSED const struct config_param *p,
                           const struct config_words *in, struct buf *why)
{
    int32_t values[ARRAY_LEN(c->oom_score_adj_values)];
    if (in->count != ARRAY_LEN(values)) return config_fail(why, WRONG_COUNT);
    for (uint32_t i = 0; i < in->count; i++) {
        int64_t value;
        if (!to_i64_with_zeros(in->words[i], &value) || value < -OOM_VALUE_MAX ||
            value > OOM_VALUE_MAX) {
            return config_fail(
                why, "Invalid oom-score-adj-values, elements must be between -2000 and 2000.");
        }
        values[i] = (int32_t)value;
    }
    memcpy(c->oom_score_adj_values, values, sizeof(values));
    return true;
}

static void print_oom_values(const struct config *c, UNUSED const struct config_param *p,
                             struct buf *out)
{
    buf_printf(out, "%d %d %d", c->oom_score_adj_values[0], c->oom_score_adj_values[1],
               c->oom_score_adj_values[2]);
}

const struct config_special config_special_oom_values = {.set = set_oom_values,
                                                         .print = print_oom_values};

static bool set_percentiles(struct config *c, UNUSED const struct config_param *p,
                            const struct config_words *in, struct buf *why)
{
    static const char bad[] = "Invalid latency-tracking-info-percentiles parameters";
    double values[CONFIG_PERCENTILES_MAX];
    if (in->count > CONFIG_PERCENTILES_MAX) return config_fail(why, bad);
    for (uint32_t i = 0; i < in->count; i++) {
        if (!text_to_double(in->words[i], &values[i])) return config_fail(why, bad);
        if (values[i] < 0 || values[i] > 100) {
            return config_fail(
                why, "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]");
        }
    }
    for (uint32_t i = 0; i < in->count; i++) c->latency_percentiles[i] = values[i];
    c->latency_percentile_count = in->count;
    return true;
}

/* Six digits, without trailing zeros. */
static void print_percentiles(const struct config *c, UNUSED const struct config_param *p,
                              struct buf *out)
{
    for (uint32_t i = 0; i < c->latency_percentile_count; i++) {
        buf_printf(out, "%s%f", i ? " " : "", c->latency_percentiles[i]);
        while (out->data[out->size - 1] == '0') out->size--;
        if (out->data[out->size - 1] == '.') out->size--;
    }
}

const struct config_special config_special_percentiles = {.set = set_percentiles,
                                                          .print = print_percentiles};

/* Any number is accepted, as in Redis, and brought into the range that is possible. */
static bool set_hz(struct config *c, const struct config_param *p, const struct config_words *in,
                   struct buf *why)
{
    if (!config_set_int(c, p, in->words[0], why)) return false;
    c->hz = MIN(MAX(c->hz, 1), CONFIG_HZ_MAX);
    return true;
}

/* Bytes, or a percentage of what the container may use, which stays one in the file: the same file
 * may serve containers of several sizes. */
static bool set_maxmemory(struct config *c, UNUSED const struct config_param *p,
                          const struct config_words *in, struct buf *why)
{
    struct bytes word = in->words[0];
    uint64_t bytes;
    int64_t percent = 0;
    if (in->count != 1) return config_fail(why, WRONG_COUNT);
    if (word.size > 0 && word.data[word.size - 1] == '%') {
        if (!text_to_i64(bytes_make(word.data, word.size - 1), &percent) || percent < 0)
            return config_fail(why, "argument must be a memory or percent value");
        if (percent > 100)
            return config_fail(why, "percentage argument must be less or equal to 100");
        bytes = (uint64_t)((double)cgroup_total_memory() * (double)percent / 100);
    } else if (!text_to_memory(word, &bytes)) {
        return config_fail(why, "argument must be a memory value");
    }
    c->maxmemory_bytes = bytes;
    c->maxmemory_percent = (int32_t)percent;
    return true;
}

static void print_maxmemory(const struct config *c, UNUSED const struct config_param *p,
                            struct buf *out)
{
    buf_printf(out, "%llu", (unsigned long long)c->maxmemory_bytes);
}

static void lines_maxmemory(const struct config *c, const struct config_param *p, struct buf *out)
{
    buf_printf(out, "%s ", p->name);
    if (c->maxmemory_percent)
        buf_printf(out, "%d%%", c->maxmemory_percent);
    else
        config_print_memory(out, c->maxmemory_bytes);
    buf_append_text(out, "\n");
}

const struct config_special config_special_maxmemory = {
    .set = set_maxmemory, .print = print_maxmemory, .lines = lines_maxmemory};

const struct config_special config_special_hz = {.set = set_hz};

#define BACKLOG_BYTES_MIN (16 * 1024)

/* Less is accepted, as in Redis, and becomes that. */
static bool set_backlog(struct config *c, const struct config_param *p,
                        const struct config_words *in, struct buf *why)
{
    if (!config_set_memory(c, p, in->words[0], why)) return false;
    c->repl_backlog_bytes = MAX(c->repl_backlog_bytes, (uint64_t)BACKLOG_BYTES_MIN);
    return true;
}

const struct config_special config_special_backlog = {.set = set_backlog};
