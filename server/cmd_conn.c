/* The connection family: PING, ECHO, AUTH, HELLO, SELECT, QUIT, RESET. CLIENT has a file of its
 * own.
 */

#include "base/log.h"
#include "base/text.h"
#include "server/families.h"
#include "server/server.h"
#include "server/session_acl.h"
#include "server/worker.h"

static enum err cmd_ping(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc > 2) {
        reply_error(out, "ERR wrong number of arguments for 'ping' command");
        return OK;
    }
    if (s && session_is_in_subscribe_mode(s)) {
        reply_array(out, 2);
        reply_bulk_text(out, "pong");
        reply_bulk(out, rq->argc == 2 ? rq->argv[1] : BYTES_LITERAL(""));
        return OK;
    }
    if (rq->argc == 2)
        reply_bulk(out, rq->argv[1]);
    else
        reply_status(out, "PONG");
    return OK;
}

static enum err cmd_echo(UNUSED struct session *s, struct request *rq, struct reply *out)
{
    reply_bulk(out, rq->argv[1]);
    return OK;
}

/* ---- who ---- */

static enum err cmd_auth(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc > 3) return ERR_SYNTAX;
    struct bytes user = rq->argc == 3 ? rq->argv[1] : BYTES_LITERAL(ACL_DEFAULT_USER);
    if (rq->argc == 2 && !session_acl_default_has_password(s)) {
        reply_error(
            out, "ERR AUTH <password> called without any password configured for the default user. "
                 "Are you sure your configuration is correct?");
        return OK;
    }
    if (!session_acl_login(s, rq->argv[0], user, rq->argv[rq->argc - 1])) return ERR_WRONG_PASS;
    reply_ok(out);
    return OK;
}

bool session_name_is_valid(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] < '!' || name.data[i] > '~') return false;
    return true;
}

bool session_name_is_short(struct bytes name, struct reply *out)
{
    if (name.size <= SESSION_NAME_BYTES_MAX) return true;
    reply_error(out, "ERR names of clients and their libraries cannot be longer than %d bytes",
                SESSION_NAME_BYTES_MAX);
    return false;
}

static void reply_hello(struct session *s, struct reply *out)
{
    reply_map(out, 7);
    reply_bulk_text(out, "server");
    reply_bulk_text(out, "redis");
    reply_bulk_text(out, "version");
    reply_bulk_text(out, SERVER_REDIS_VERSION);
    reply_bulk_text(out, "proto");
    reply_i64(out, s->resp);
    reply_bulk_text(out, "id");
    reply_i64(out, (int64_t)s->conn.id);
    reply_bulk_text(out, "mode");
    reply_bulk_text(out, "standalone");
    reply_bulk_text(out, "role");
    reply_bulk_text(out, "master");
    reply_bulk_text(out, "modules");
    reply_array(out, 0);
}

/* Options take effect in their order, so wrong credentials win over what is wrong behind them.
 * False: the error has been written. */
static bool hello_options_read(struct session *s, const struct request *rq, struct reply *out)
{
    for (uint32_t i = 2; i < rq->argc; i++) {
        uint32_t left = rq->argc - 1 - i;
        if (bytes_equal_nocase(rq->argv[i], "auth") && left >= 2) {
            if (!session_acl_login(s, rq->argv[0], rq->argv[i + 1], rq->argv[i + 2])) {
                reply_err(out, ERR_WRONG_PASS);
                return false;
            }
            i += 2;
        } else if (bytes_equal_nocase(rq->argv[i], "setname") && left >= 1) {
            struct bytes name = rq->argv[++i];
            if (!session_name_is_valid(name)) {
                reply_error(
                    out, "ERR Client names cannot contain spaces, newlines or special characters.");
                return false;
            }
            if (!session_name_is_short(name, out)) return false;
            s->name.size = 0;
            buf_append(&s->name, name.data, name.size);
        } else {
            reply_error(out, "ERR Syntax error in HELLO option '%.*s'",
                        (int)MIN(rq->argv[i].size, (size_t)INT32_MAX), rq->argv[i].data);
            return false;
        }
    }
    return true;
}

static enum err cmd_hello(struct session *s, struct request *rq, struct reply *out)
{
    int64_t version = s->resp;
    if (rq->argc > 1 && !text_to_i64(rq->argv[1], &version)) {
        reply_error(out, "ERR Protocol version is not an integer or out of range");
        return OK;
    }
    if (version < 2 || version > 3) {
        reply_error(out, "NOPROTO unsupported protocol version");
        return OK;
    }
    if (!hello_options_read(s, rq, out)) return OK;
    if (s->must_login) {
        reply_error(out, "NOAUTH HELLO must be called with the client already authenticated, "
                         "otherwise the HELLO <proto> AUTH "
                         "<user> <pass> option can be used to authenticate the client and select "
                         "the RESP protocol version at "
                         "the same time");
        return OK;
    }
    s->resp = out->resp = (uint8_t)version;
    reply_hello(s, out);
    return OK;
}

/* ---- state ---- */

static enum err cmd_select(struct session *s, struct request *rq, struct reply *out)
{
    int64_t db;
    if (!text_to_i64(rq->argv[1], &db)) return ERR_NOT_INT;
    if (db < INT32_MIN || db > INT32_MAX) {
        reply_error(out, "ERR value is out of range, value must between %d and %d", INT32_MIN,
                    INT32_MAX);
        return OK;
    }
    if (db < 0 || db >= session_worker(s)->server->database_count) return ERR_DB_INDEX;
    s->db = (uint32_t)db;
    reply_ok(out);
    return OK;
}

static enum err cmd_quit(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    reply_ok(out);
    conn_close_after_reply(&s->conn);
    return OK;
}

static enum err cmd_reset(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    session_reset(s);
    monitor_stop(s);
    tracking_stop(s);
    out->resp = 2;
    reply_status(out, "RESET");
    (void)!pubsub_reset(s, out);
    return OK;
}

/* clang-format off */
static const char *const tips_ping[] = {"request_policy:all_shards", "response_policy:all_succeeded", NULL};
static const struct command commands[] = {
    {.name = "ping", .on_net = cmd_ping, .arity = -1, .plan = PLAN_NET, .flags = CMD_FAST | CMD_SESSIONLESS, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "connection", .complexity = "O(1)", .summary = "Answers PONG, or the argument.", .tips = tips_ping},
    {.name = "echo", .on_net = cmd_echo, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE | CMD_FAST | CMD_SESSIONLESS, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "connection", .complexity = "O(1)", .summary = "Answers its argument."},
    {.name = "auth", .on_net = cmd_auth, .arity = -2, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_SENSITIVE, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "connection", .complexity = "O(1)", .summary = "Proves who the client is."},
    {.name = "hello", .on_net = cmd_hello, .arity = -1, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_SENSITIVE, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "6.0.0", .group = "connection", .complexity = "O(1)", .summary = "Agrees on the protocol version, with credentials and a name if given."},
    {.name = "select", .on_net = cmd_select, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE | CMD_FAST, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "connection", .complexity = "O(1)", .summary = "Chooses the database of the connection."},
    {.name = "quit", .on_net = cmd_quit, .arity = -1, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_NOT_QUEUED, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "connection", .complexity = "O(1)", .summary = "Closes the connection after its replies."},
    {.name = "reset", .on_net = cmd_reset, .arity = 1, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY | CMD_NOT_QUEUED, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "6.2.0", .group = "connection", .complexity = "O(1)", .summary = "Puts the connection back to how it began."},
};
/* clang-format on */
const struct command_family connection_family = {"connection", commands, ARRAY_LEN(commands)};
