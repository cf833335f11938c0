/* sha256.h: SHA-256: how passwords of users are kept, as Redis's files and commands show them.
 *
 * Thread     any; a pure function.
 * Source     FIPS 180-4.
 */
#pragma once

#include "base/bytes.h"

#define SHA256_BYTES 32

void sha256(struct bytes text, uint8_t out[SHA256_BYTES]);
/* Lower-case digits, 2 * SHA256_BYTES of them, no NUL. */
void sha256_to_hex(const uint8_t digest[SHA256_BYTES], char *out);
/* False: not exactly such digits. */
MUST_USE bool sha256_from_hex(struct bytes hex, uint8_t out[SHA256_BYTES]);
