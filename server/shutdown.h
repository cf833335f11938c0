/* shutdown.h: the end of the server, which comes after a last save when save points ask for one;
 * and DEBUG RELOAD and LOADAOF, which go through the same steps but come back.
 *
 *     SHUTDOWN      hold all commands ─▶ save ─▶ stop          failed: let go again, say so
 *     DEBUG RELOAD  hold all commands ─▶ save ─▶ empty ─▶ load ─▶ let go
 *     DEBUG LOADAOF hold all commands ─▶ rest ─▶ logs are written ─▶ empty ─▶ replay ─▶ let go
 *
 * What is acknowledged is in the file: no command runs between the cut and the end.
 *
 * Thread     [main]
 * Errors     A save that fails keeps the server running, unless FORCE says otherwise.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/everywhere.h"

struct main_request;
struct server;

enum shutdown_word {
    SHUTDOWN_NOSAVE = 1,
    SHUTDOWN_SAVE = 2,
    SHUTDOWN_NOW = 4,
    SHUTDOWN_FORCE = 8,
    SHUTDOWN_ABORT = 16
};

enum reload_word { RELOAD_NOSAVE = 1, RELOAD_NOFLUSH = 2, RELOAD_MERGE = 4, RELOAD_LOG = 8 };

enum shutdown_state {
    SHUTDOWN_IDLE,
    SHUTDOWN_HOLDING, /* commands come to rest */
    SHUTDOWN_WAITING, /* for a save that is under way */
    SHUTDOWN_SAVING,
    SHUTDOWN_RESTING, /* what holds keys ends */
    SHUTDOWN_SYNCING, /* all logs are written */
    SHUTDOWN_EMPTYING,
    SHUTDOWN_LOADING
};

struct shutdown {
    enum shutdown_state state;
    bool is_reload;
    unsigned words;
    struct main_request *asker; /* NULL: a signal */
    struct everywhere emptying;
    struct recovery *log;    /* of LOADAOF */
    uint64_t *steps_at_rest; /* by shard */
};

/* Words of enum shutdown_word. `asker` has been deferred, and is answered if it fails. */
void shutdown_begin(struct server *srv, unsigned words, struct main_request *asker);
void reload_begin(struct server *srv, unsigned words, struct main_request *asker);
/* In each step of the main loop. */
void shutdown_step(struct server *srv);
