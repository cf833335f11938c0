/* driver.h: what a fuzz target offers, and how it is run.
 *
 *     clang with a sanitizer   libFuzzer; now and then it starts anew from an input of the target's
 *                              own making, so that no corpus is needed
 *     any other build          SHOAL_RUNS inputs of the target's own making, from SHOAL_SEED on; or
 *                              the files that are named as arguments, one after the other
 *
 * Thread     one.
 * Errors     A finding ends the process.
 */
#pragma once

#include "base/bytes.h"
#include "base/mem.h"
#include "tests/unit/random.h"

/* The target. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* An input that is valid, or nearly so, into the empty `out`. */
void fuzz_make_input(struct buf *out, struct random *r);
