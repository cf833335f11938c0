/* library_load.h: code becomes libraries that everybody can call.
 *
 * Thread     that of the Lua state: a net thread, or the main thread while it loads a file.
 * Errors     Texts for the client, in `error`; then nothing has changed.
 */
#pragma once

#include "server/library.h"

struct lua_vm;

/* FUNCTION LOAD. `*library` is counted for the caller. */
MUST_USE bool functions_load(struct functions *f, struct lua_vm *vm, struct bytes code,
                             bool may_replace, struct library **library, struct buf *error);
/* FUNCTION RESTORE: all libraries of the payload, or none. */
MUST_USE bool functions_restore(struct functions *f, struct lua_vm *vm, struct bytes payload,
                                enum functions_policy policy, struct buf *error);

/* Libraries that shall be published together. */
struct library_batch {
    struct functions *functions;
    struct lua_vm *vm;
    struct buf libraries; /* struct library * */
};
/* One more. False: `error`. */
MUST_USE bool library_batch_add(struct library_batch *b, struct bytes code, struct buf *error);
MUST_USE bool library_batch_publish(struct library_batch *b, enum functions_policy policy,
                                    struct buf *error);
void library_batch_deinit(struct library_batch *b);
