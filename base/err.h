/* err.h: every way in which a command or a service of ours can fail, and the text that a client
 * gets for it.
 *
 * Thread     any.
 * Errors     OK is 0. Texts are Redis's, byte for byte, without the leading '-'. A text whose
 *            wording needs a value of the request is written by the handler with reply_error()
 *            instead.
 */
#pragma once

#include "base/check.h"

/* clang-format off */
#define ERR_LIST(X)                                                                                          \
    X(OK,                  "")                                                                               \
    X(ERR_NO_KEY,          "ERR no such key")                                                                \
    X(ERR_WRONG_TYPE,      "WRONGTYPE Operation against a key holding the wrong kind of value")              \
    X(ERR_SYNTAX,          "ERR syntax error")                                                               \
    X(ERR_NOT_INT,         "ERR value is not an integer or out of range")                                    \
    X(ERR_NOT_FLOAT,       "ERR value is not a valid float")                                                 \
    X(ERR_OVERFLOW,        "ERR increment or decrement would overflow")                                      \
    X(ERR_NAN,             "ERR increment would produce NaN or Infinity")                                    \
    X(ERR_OUT_OF_RANGE,    "ERR value is out of range, must be positive")                                    \
    X(ERR_INDEX_RANGE,     "ERR index out of range")                                                         \
    X(ERR_OFFSET_RANGE,    "ERR offset is out of range")                                                     \
    X(ERR_STRING_TOO_LONG, "ERR string exceeds maximum allowed size (proto-max-bulk-len)")                   \
    X(ERR_INVALID_CURSOR,  "ERR invalid cursor")                                                             \
    X(ERR_DB_INDEX,        "ERR DB index is out of range")                                                   \
    X(ERR_INVALID_DB,      "ERR invalid DB index")                                                           \
    X(ERR_SAME_OBJECT,     "ERR source and destination objects are the same")                                \
    X(ERR_NO_MEM,          "OOM command not allowed when used memory > 'maxmemory'.")                        \
    X(ERR_EXEC_NO_MEM,     "EXECABORT Transaction discarded because of: OOM command not allowed when used "  \
                           "memory > 'maxmemory'.")                                                          \
    X(ERR_ALLOC,           "ERR out of memory: the value does not fit")                                      \
    X(ERR_REPLY_LOST,      "ERR out of memory for the reply: the command has run")                           \
    X(ERR_NO_AUTH,         "NOAUTH Authentication required.")                                                \
    X(ERR_WRONG_PASS,      "WRONGPASS invalid username-password pair or user is disabled.")                  \
    X(ERR_MAX_CLIENTS,     "ERR max number of clients reached")                                              \
    X(ERR_IO,              "ERR input/output error")                                                         \
    X(ERR_LOADING,         "LOADING Redis is loading the dataset in memory")                                 \
    X(ERR_MISCONF,         "MISCONF Redis is configured to save RDB snapshots, but it's currently unable "   \
                           "to persist to disk. Commands that may modify the data set are disabled, "        \
                           "because this instance is configured to report errors during writes if RDB "      \
                           "snapshotting fails (stop-writes-on-bgsave-error option). Please check the "      \
                           "Redis logs for details about the RDB error.")                                    \
    X(ERR_CLOSED,          "ERR connection closed")                                                          \
    X(ERR_BUSY_KEY,        "BUSYKEY Target key name already exists.")                                        \
    X(ERR_NOT_SUPPORTED,   "ERR not supported")                                                              \
    X(ERR_MONITOR,         "ERR Replica can't interact with the keyspace")                                   \
    X(ERR_TIMEOUT_NOT_INT, "ERR timeout is not an integer or out of range")                                  \
    X(ERR_TIMEOUT_NOT_FLOAT, "ERR timeout is not a float or out of range")                                   \
    X(ERR_TIMEOUT_NEGATIVE,"ERR timeout is negative")
/* clang-format on */

enum err {
#define X(name, text) name,
    ERR_LIST(X)
#undef X
        ERR_COUNT
};

/* The RESP text without '-' and line end: "ERR syntax error". */
const char *err_text(enum err e);
