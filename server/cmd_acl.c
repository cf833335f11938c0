/* The ACL commands. What changes users runs on the main thread, which asks every connection what
 * that means for it before it answers. */

#include "base/log.h"
#include "base/text.h"
#include "persist/file.h"
#include "server/acl_file.h"
#include "server/acl_rules.h"
#include "server/command_info.h"
#include "server/families.h"
#include "server/server.h"
#include "server/session_acl.h"
#include "server/worker.h"

#define GENPASS_BITS_MAX 4096
#define LOG_COUNT_DEFAULT 10
#define NO_FILE_TEXT                                                                               \
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users " \
    "via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis "      \
    "configuration file set) in order to store users in the Redis configuration."

static const struct acl_set *users_of(struct session *s)
{
    struct worker *w = session_worker(s);
    acl_refresh(&w->server->acl, &w->users, &w->users_version);
    return w->users;
}

static void reply_wrong_arity(const struct request *rq, struct reply *out)
{
    reply_error(out,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try ACL HELP.",
                (int)MIN(rq->argv[1].size, (size_t)128), rq->argv[1].data);
}

/* ---- who ---- */

static enum err cmd_acl_whoami(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    reply_bulk(out, buf_view(&s->user->name));
    return OK;
}

static enum err cmd_acl_users(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    const struct acl_set *set = users_of(s);
    reply_array(out, set->count);
    for (uint32_t i = 0; i < set->count; i++) reply_bulk(out, buf_view(&set->users[i]->name));
    return OK;
}

static enum err cmd_acl_list(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    const struct acl_set *set = users_of(s);
    struct buf text = {.mem = &s->conn.netloop->mem};
    bool fits = acl_write_text(set, &text) && reply_try_reserve(out, text.size + set->count * 32);
    if (fits) reply_array(out, set->count);
    for (size_t i = 0, start = 0; fits && i < set->count; i++) {
        struct buf line = {.mem = text.mem};
        fits = acl_describe(set->users[i], &line);
        CHECK(fits && start + line.size < text.size);
        reply_bulk(out, bytes_make(text.data + start, line.size));
        start += line.size + 1;
        buf_clear(&line);
    }
    buf_clear(&text);
    return fits ? OK : ERR_ALLOC;
}

/* ---- GETUSER ---- */

static void reply_flags(const struct acl_user *u, struct reply *out)
{
    const struct {
        bool has;
        const char *name;
    } flags[] = {{u->flags & ACL_USER_ON, "on"},
                 {!(u->flags & ACL_USER_ON), "off"},
                 {u->flags & ACL_USER_NOPASS, "nopass"},
                 {u->flags & ACL_USER_SKIP_SANITIZE, "skip-sanitize-payload"},
                 {u->flags & ACL_USER_SANITIZE, "sanitize-payload"}};
    unsigned count = 0;
    for (unsigned i = 0; i < ARRAY_LEN(flags); i++) count += flags[i].has;
    reply_bulk_text(out, "flags");
    reply_set(out, count);
    for (unsigned i = 0; i < ARRAY_LEN(flags); i++)
        if (flags[i].has) reply_bulk_text(out, flags[i].name);
}

/* `text` is what the whole user needed: it has room for each part. */
static void reply_selector(const struct acl_selector *s, struct buf *text, struct reply *out)
{
    text->size = 0;
    CHECK(acl_describe_commands(s, text));
    reply_bulk_text(out, "commands");
    reply_bulk(out, buf_view(text));
    text->size = 0;
    CHECK(acl_describe_keys(s, text));
    reply_bulk_text(out, "keys");
    reply_bulk(out, buf_view(text));
    text->size = 0;
    CHECK(acl_describe_channels(s, false, text));
    reply_bulk_text(out, "channels");
    reply_bulk(out, buf_view(text));
}

/* Room for all of it, here and in `text`, so that nothing fails half way. */
static bool reserve_user(const struct acl_user *u, struct buf *text, struct reply *out)
{
    uint32_t count;
    (void)acl_selectors(u, &count);
    return acl_describe(u, text) &&
           reply_try_reserve(out, text->size + 32 * acl_password_count(u) + 256 * (count + 1));
}

static enum err cmd_acl_getuser(struct session *s, struct request *rq, struct reply *out)
{
    struct buf text = {.mem = &s->conn.netloop->mem};
    const struct acl_user *u = acl_set_find(users_of(s), rq->argv[2]);
    uint32_t count;
    if (!u) {
        reply_null(out);
        return OK;
    }
    if (!reserve_user(u, &text, out)) {
        buf_clear(&text);
        return ERR_ALLOC;
    }
    reply_map(out, 6);
    reply_flags(u, out);
    reply_bulk_text(out, "passwords");
    reply_array(out, acl_password_count(u));
    for (uint32_t i = 0; i < acl_password_count(u); i++) {
        char hex[2 * SHA256_BYTES];
        sha256_to_hex((const uint8_t *)u->passwords.data + i * SHA256_BYTES, hex);
        reply_bulk(out, bytes_make(hex, sizeof hex));
    }
    const struct acl_selector *selectors = acl_selectors(u, &count);
    reply_selector(&selectors[0], &text, out);
    reply_bulk_text(out, "selectors");
    reply_array(out, count - 1);
    for (uint32_t i = 1; i < count; i++) {
        reply_map(out, 3);
        reply_selector(&selectors[i], &text, out);
    }
    buf_clear(&text);
    return OK;
}

/* ---- SETUSER, DELUSER: on the main thread ---- */

static struct main_request *request_of(struct request *rq)
{
    return container_of(rq, struct main_request, request);
}

static void reply_text(struct reply *out, struct buf *error)
{
    reply_error(out, "%.*s", (int)error->size, error->data);
    buf_clear(error);
}

/* Joins selectors; on failure the error has been written. */
static bool change_user(struct server *srv, struct request *rq, struct reply *out)
{
    struct buf storage = {.mem = &srv->mem}, error = {.mem = &srv->mem};
    uint32_t count = rq->argc - 3, open = 0;
    if (!acl_name_is_valid(rq->argv[2])) {
        reply_error(out, ACL_NAME_TEXT);
        return false;
    }
    size_t bytes = (count + 1) * sizeof(struct bytes);
    struct bytes *rules = mem_try_alloc(&srv->mem, bytes);
    int64_t made = rules ? acl_join_selectors(rq->argv + 3, count, &storage, rules, &open) : -2;
    bool ok = made >= 0 && acl_change_user(&srv->acl, rq->argv[2], rules, (uint32_t)made, &error);
    if (made == -2)
        reply_err(out, ERR_ALLOC);
    else if (made == -1)
        reply_error(out, "ERR Unmatched parenthesis in acl selector starting at '%.*s'.",
                    (int)MIN(rq->argv[3 + open].size, (size_t)ACL_QUOTED_BYTES_MAX),
                    rq->argv[3 + open].data);
    else if (!ok)
        reply_text(out, &error);
    mem_free(&srv->mem, rules, bytes);
    buf_clear(&storage);
    buf_clear(&error);
    return ok;
}

static enum err cmd_acl_setuser(struct server *srv, struct request *rq, struct reply *out)
{
    if (!change_user(srv, rq, out)) return OK;
    reply_ok(out);
    acl_sweep(srv, request_of(rq));
    return OK;
}

static enum err cmd_acl_deluser(struct server *srv, struct request *rq, struct reply *out)
{
    struct buf error = {.mem = &srv->mem};
    uint32_t deleted;
    if (!acl_delete_users(&srv->acl, rq->argv + 2, rq->argc - 2, &deleted, &error)) {
        reply_text(out, &error);
        return OK;
    }
    reply_i64(out, deleted);
    acl_sweep(srv, request_of(rq));
    return OK;
}

/* ---- LOAD, SAVE ---- */

static enum err cmd_acl_load(struct server *srv, UNUSED struct request *rq, struct reply *out)
{
    struct buf error = {.mem = &srv->mem};
    if (srv->config->aclfile[0] == '\0') {
        reply_error(out, NO_FILE_TEXT);
        return OK;
    }
    if (!acl_read_file(&srv->acl, srv->config->aclfile, &error)) {
        reply_error(out, "ERR %.*s", (int)error.size, error.data);
        buf_clear(&error);
        return OK;
    }
    reply_ok(out);
    acl_sweep(srv, request_of(rq));
    return OK;
}

static enum err cmd_acl_save(struct server *srv, UNUSED struct request *rq, struct reply *out)
{
    if (srv->config->aclfile[0] == '\0') {
        reply_error(out, NO_FILE_TEXT);
        return OK;
    }
    char why[FILE_WHY_BYTES] = "out of memory";
    struct buf text = {.mem = &srv->mem};
    struct acl_set *set = acl_take(&srv->acl);
    bool ok = acl_write_text(set, &text) &&
              file_replace(srv->config->aclfile, buf_view(&text), why) == OK;
    acl_set_unref(&srv->acl, set);
    buf_clear(&text);
    if (ok) {
        reply_ok(out);
        return OK;
    }
    log_warning("ACL SAVE failed: %s", why);
    reply_error(out, "ERR There was an error trying to save the ACLs. Please check the server logs "
                     "for more information");
    return OK;
}

/* ---- CAT ---- */

static bool is_in(const struct route *route, uint32_t category)
{
    return (command_acl(route->command) & category) != 0;
}

static void reply_commands(const struct router *r, uint32_t category, struct reply *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->route_count; i++) count += is_in(&r->routes[i], category);
    reply_array(out, count);
    for (uint32_t i = 0; i < r->route_count; i++)
        if (is_in(&r->routes[i], category)) reply_bulk_text(out, r->routes[i].full_name);
}

static enum err cmd_acl_cat(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc > 3) {
        reply_wrong_arity(rq, out);
        return OK;
    }
    if (rq->argc == 3) {
        uint32_t category = acl_category_of_name(rq->argv[2]);
        if (category)
            reply_commands(&session_worker(s)->server->router, category, out);
        else
            reply_error(out, "ERR Unknown category '%.*s'", (int)MIN(rq->argv[2].size, (size_t)128),
                        rq->argv[2].data);
        return OK;
    }
    unsigned count = 0;
    while (acl_category_name(count)) count++;
    reply_array(out, count);
    for (unsigned i = 0; i < count; i++) reply_bulk_text(out, acl_category_name(i));
    return OK;
}

/* ---- GENPASS ---- */

static enum err cmd_acl_genpass(UNUSED struct session *s, struct request *rq, struct reply *out)
{
    int64_t bits = 256;
    if (rq->argc > 3) {
        reply_wrong_arity(rq, out);
        return OK;
    }
    if (rq->argc == 3 && !text_to_i64(rq->argv[2], &bits)) return ERR_NOT_INT;
    if (bits <= 0 || bits > GENPASS_BITS_MAX) {
        reply_error(out,
                    "ERR ACL GENPASS argument must be the number of bits for the output password, "
                    "a positive number up to %d",
                    GENPASS_BITS_MAX);
        return OK;
    }
    unsigned char random[GENPASS_BITS_MAX / 4];
    char digits[GENPASS_BITS_MAX / 4];
    size_t count = (size_t)(bits + 3) / 4;
    env_random(random, count);
    for (size_t i = 0; i < count; i++) digits[i] = "0123456789abcdef"[random[i] & 15];
    reply_bulk(out, bytes_make(digits, count));
    return OK;
}

/* ---- LOG ---- */

static enum err cmd_acl_log(struct session *s, struct request *rq, struct reply *out)
{
    struct acl *a = &session_worker(s)->server->acl;
    int64_t count = LOG_COUNT_DEFAULT;
    if (rq->argc > 3) {
        reply_wrong_arity(rq, out);
        return OK;
    }
    if (rq->argc == 3 && bytes_equal_nocase(rq->argv[2], "reset")) {
        acl_log_clear(a);
        reply_ok(out);
        return OK;
    }
    if (rq->argc == 3 && !text_to_i64(rq->argv[2], &count)) return ERR_NOT_INT;
    acl_log_reply(a, count < 0 ? 0 : (uint64_t)count, session_worker(s)->thread.wall_ms, out);
    return OK;
}

/* ---- DRYRUN ---- */

static void reply_denial(const struct acl_call *call, enum acl_denial denial, uint32_t index,
                         struct mem *mem, struct reply *out)
{
    struct buf text = {.mem = mem};
    struct bytes object = index ? call->argv[index] : bytes_of(call->route->full_name);
    int size = (int)MIN(object.size, (size_t)ACL_QUOTED_BYTES_MAX);
    if (denial == ACL_DENIED_COMMAND)
        buf_printf(&text, "This user has no permissions to run the '%.*s' command", size,
                   object.data);
    else
        buf_printf(&text, "This user has no permissions to access the '%.*s' %s", size, object.data,
                   denial == ACL_DENIED_KEY ? "key" : "channel");
    reply_bulk(out, buf_view(&text));
    buf_clear(&text);
}

static enum err cmd_acl_dryrun(struct session *s, struct request *rq, struct reply *out)
{
    const struct acl_user *u = acl_set_find(users_of(s), rq->argv[2]);
    struct acl_call call = {.argv = rq->argv + 3, .argc = rq->argc - 3};
    const struct route *parent;
    uint32_t index;
    if (!u) {
        reply_error(out, "ERR User '%.*s' not found",
                    (int)MIN(rq->argv[2].size, (size_t)ACL_QUOTED_BYTES_MAX), rq->argv[2].data);
        return OK;
    }
    call.route = router_find(&session_worker(s)->server->router, call.argv, call.argc, &parent);
    if (!call.route && parent && route_answers_unknown(parent)) call.route = parent;
    if (!call.route) {
        reply_error(out, "ERR Command '%.*s' not found",
                    (int)MIN(rq->argv[3].size, (size_t)ACL_QUOTED_BYTES_MAX), rq->argv[3].data);
        return OK;
    }
    if (!route_arity_fits(call.route, call.argc)) {
        reply_error(out, "ERR wrong number of arguments for '%s' command", call.route->full_name);
        return OK;
    }
    enum acl_denial denial = acl_check(u, &call, &index);
    if (denial == ACL_ALLOWED)
        reply_ok(out);
    else
        reply_denial(&call, denial, index, &s->conn.netloop->mem, out);
    return OK;
}

/* clang-format off */
static const char *const acl_help[] = {
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    The categories of commands, or the commands of one.",
    "DELUSER <username> [<username> ...]",
    "    Delete users, and close their connections.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Whether the user may run that, without running it.",
    "GETUSER <username>",
    "    What is known of a user.",
    "GENPASS [<bits>]",
    "    A random password of 256 bits, or of so many.",
    "LIST",
    "    The users as lines of a configuration file.",
    "LOAD",
    "    Read the users from the ACL file again.",
    "LOG [<count> | RESET]",
    "    What was refused lately; or forget it.",
    "SAVE",
    "    Write the users to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Make or change a user by rules.",
    "USERS",
    "    The names of all users.",
    "WHOAMI",
    "    The user of this connection.",
    "HELP",
    "    Print this text.",
    NULL,
};

#define OPEN_FLAGS (CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE)
#define ADMIN_FLAGS (OPEN_FLAGS | CMD_ADMIN)
static const struct command acl_subcommands[] = {
    {.name = "cat", .on_net = cmd_acl_cat, .arity = -2, .plan = PLAN_NET, .flags = OPEN_FLAGS, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(N): N commands", .summary = "Lists categories, or the commands of one."},
    {.name = "deluser", .on_main = cmd_acl_deluser, .arity = -3, .plan = PLAN_MAIN, .flags = ADMIN_FLAGS | CMD_SENSITIVE, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(N): N users and connections", .summary = "Deletes users, and closes their connections."},
    {.name = "dryrun", .on_net = cmd_acl_dryrun, .arity = -4, .plan = PLAN_NET, .flags = ADMIN_FLAGS, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "server", .complexity = "O(1)", .summary = "Tells whether a user may run a command, without running it."},
    {.name = "genpass", .on_net = cmd_acl_genpass, .arity = -2, .plan = PLAN_NET, .flags = OPEN_FLAGS, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(1)", .summary = "Makes a random password."},
    {.name = "getuser", .on_net = cmd_acl_getuser, .arity = 3, .plan = PLAN_NET, .flags = ADMIN_FLAGS | CMD_SENSITIVE, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(N): N rules of the user", .summary = "Tells what is known of a user."},
    {.name = "help", .on_net = command_help_on_net, .help = acl_help, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(1)", .summary = "Lists the subcommands."},
    {.name = "list", .on_net = cmd_acl_list, .arity = 2, .plan = PLAN_NET, .flags = ADMIN_FLAGS, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(N): N users", .summary = "Shows the users as lines of a configuration."},
    {.name = "load", .on_main = cmd_acl_load, .arity = 2, .plan = PLAN_MAIN, .flags = ADMIN_FLAGS, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(N): N users and connections", .summary = "Reads the users from the ACL file."},
    {.name = "log", .on_net = cmd_acl_log, .arity = -2, .plan = PLAN_NET, .flags = ADMIN_FLAGS, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(N): N entries shown", .summary = "Shows what was refused lately."},
    {.name = "save", .on_main = cmd_acl_save, .arity = 2, .plan = PLAN_MAIN, .flags = ADMIN_FLAGS, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(N): N users", .summary = "Writes the users to the ACL file."},
    {.name = "setuser", .on_main = cmd_acl_setuser, .arity = -3, .plan = PLAN_MAIN, .flags = ADMIN_FLAGS | CMD_SENSITIVE, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(N): N rules and connections", .summary = "Makes or changes a user."},
    {.name = "users", .on_net = cmd_acl_users, .arity = 2, .plan = PLAN_NET, .flags = ADMIN_FLAGS, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(N): N users", .summary = "Lists the names of all users."},
    {.name = "whoami", .on_net = cmd_acl_whoami, .arity = 2, .plan = PLAN_NET, .flags = OPEN_FLAGS, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "server", .complexity = "O(1)", .summary = "Tells the user of the connection."},
    {.name = NULL},
};
static const struct command commands[] = {
    {.name = "acl", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE, .subcommands = acl_subcommands,
     .since = "6.0.0", .group = "server", .complexity = "Depends on subcommand.", .summary = "Commands about users and what they may do."},
};
/* clang-format on */
const struct command_family acl_family = {"acl", commands, ARRAY_LEN(commands)};
