/* rdb_skip.h: where a value of an RDB file ends, without a look at what it is.
 *
 * So a file can be cut into keys on one thread and its values be read on others.
 *
 * Thread     any; pure functions.
 * Errors     RDB_MALFORMED: no more bytes make a value of it.
 */
#pragma once

#include "persist/rdb.h"

enum rdb_extent { RDB_WHOLE, RDB_PARTIAL, RDB_MALFORMED };

/* Each moves `*in` past what it names, on RDB_WHOLE only. */
enum rdb_extent rdb_skip_string(struct bytes *in);
enum rdb_extent rdb_skip_length(struct bytes *in, uint64_t *length);
enum rdb_extent rdb_skip_bytes(struct bytes *in, uint64_t size);
/* A value, behind its type byte. Types that nobody knows, and values of modules in their first
 * form, are malformed: nobody can say where they end. */
enum rdb_extent rdb_skip_value(uint8_t type, struct bytes *in);
/* The data that a module has left beside the keys, behind its opcode. */
enum rdb_extent rdb_skip_module_aux(struct bytes *in);
