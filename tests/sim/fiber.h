/* fiber.h: several stacks on one OS thread, so that a loop that waits can be left and entered
 * again.
 *
 * Thread     one; the whole simulator runs on it.
 * Ownership  A fiber is freed by fiber_destroy, after its function has returned.
 * Source     ucontext, with the annotations that AddressSanitizer needs to follow the stacks.
 */
#pragma once

#include "base/check.h"

struct fiber;

/* It starts at its first fiber_resume. */
struct fiber *fiber_create(void (*run)(void *argument), void *argument);
void fiber_destroy(struct fiber *f);
/* Runs it until it yields or returns. Not from inside a fiber. */
void fiber_resume(struct fiber *f);
/* Back to whoever resumed the present fiber. */
void fiber_yield(void);
/* NULL outside. */
struct fiber *fiber_here(void);
bool fiber_is_over(const struct fiber *f);
