/* crc32c.h: the checksum of records and headers of the append-only log.
 *
 * Thread     any; pure functions.
 * Source     Castagnoli's polynomial 1edc6f41, reflected, inverted at both ends (RFC 3720). The
 *            instruction of SSE4.2 where the processor has it, a table elsewhere.
 */
#pragma once

#include "base/bytes.h"

/* The CRC of everything that gave `crc` so far (0 at the start) and of `bytes` behind it. */
uint32_t crc32c(uint32_t crc, struct bytes bytes);
/* The same without the instruction. */
uint32_t crc32c_by_table(uint32_t crc, struct bytes bytes);
