/* crc64.h: the CRC-64 that closes RDB files and DUMP payloads.
 *
 * Thread     any; a pure function.
 * Source     Jones' polynomial ad93d23594c935a9, reflected, starting at 0; eight bytes a step
 *            (Kounavis and Berry's slicing-by-8).
 */
#pragma once

#include "base/bytes.h"

/* The CRC of everything that gave `crc` so far (0 at the start) and of `bytes` behind it. */
uint64_t crc64(uint64_t crc, struct bytes bytes);
