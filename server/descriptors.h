/* descriptors.h: the process's limit of open files, which maxclients must fit into.
 *
 * Thread     [main]
 */
#pragma once

#include "base/check.h"

/* Raises the limit so that `clients` and the server's own files fit. Returns how many clients fit
 * in the end: fewer, if the limit could not be raised that far. */
uint32_t descriptors_reserve(uint32_t clients);
