/* sha1.h: SHA-1, for names and digests that Redis's protocol defines by it. Not for secrets.
 *
 * Thread     any; a pure function.
 * Source     FIPS 180-4.
 */
#pragma once

#include "base/bytes.h"

#define SHA1_BYTES 20

void sha1(struct bytes text, uint8_t out[SHA1_BYTES]);
/* Lower-case digits, 2 * SHA1_BYTES of them, no NUL. */
void sha1_to_hex(const uint8_t digest[SHA1_BYTES], char *out);
