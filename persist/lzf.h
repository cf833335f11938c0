/* lzf.h: the LZF compression of strings in RDB files and DUMP payloads.
 *
 *     000nnnnn  n + 1 bytes           literals
 *     nnndddddd dddddddd              n + 2 bytes (n: 1 … 6) from d + 1 bytes before
 *     111ddddd  n  dddddddd           n + 9 bytes from there
 *
 * Thread     any
 * Ownership  A packer belongs to the caller: lzf_create, lzf_destroy.
 * Limits     Strings below 4 GiB. A packer takes 256 KiB.
 * Source     The format of Lehmann's liblzf. The packer makes the same choices as that library in
 *            its fast mode, so that what both make of a string is equal.
 */
#pragma once

#include "base/bytes.h"
#include "base/mem.h"

/* What a packer remembers: where each hash of three bytes was seen last. */
struct lzf_packer;

/* NULL when there is no memory. */
MUST_USE struct lzf_packer *lzf_try_create(struct mem *mem);
/* NULL is allowed. */
void lzf_destroy(struct mem *mem, struct lzf_packer *packer);

/* Packs `in` to `out`, which has room for `room` bytes; returns how many it took, 0 if it does not
 * get that small. */
size_t lzf_pack(struct lzf_packer *packer, struct bytes in, char *out, size_t room);

/* How many bytes come out; false if the input is malformed. Reserves and writes nothing. */
MUST_USE bool lzf_unpacked_size(struct bytes in, uint64_t *size);
/* Unpacks what lzf_unpacked_size has measured. */
void lzf_unpack(struct bytes in, char *out);
