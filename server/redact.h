/* redact.h: what of a command's arguments must not be shown to anybody: passwords.
 *
 * Thread     [any]
 */
#pragma once

#include "base/command.h"

#define REDACTED "(redacted)"

/* Whether argument `index` is a secret: all of AUTH and what ACL SETUSER says of a user; the values
 * of sensitive directives; elsewhere the two words behind AUTH. */
bool redact_hides(const struct command *c, const struct bytes *argv, uint32_t index);
