/* lazyfree.h: values with many elements and whole databases, freed in slices in the background.
 *
 * Thread     [shard]
 * Ownership  What is pushed belongs to the list.
 * Limits     A slice takes about SHARD_SLICE_US at most. The list takes 32 bytes for each value.
 * Order      First in, first out.
 */
#pragma once

#include "shard/shard.h"

/* A value with more elements than this goes to the list. */
#define LAZYFREE_EFFORT_MIN 64

struct free_list *free_list_create(struct mem *mem);
/* Frees all that is left, now. */
void free_list_destroy(struct free_list *list);

/* Frees the entry: at once if its value is small, else in slices. Counts in sh->counters. */
void free_list_entry(struct shard *sh, struct entry *e);
/* The same for a root that is nobody's any more. */
void free_list_root(struct shard *sh, enum type type, enum encoding encoding, void *root);
/* The same for all entries of a table; `d` is empty afterwards. */
void free_list_dict(struct shard *sh, struct dict *d);
/* One slice; true if there is more. */
bool free_list_step(struct shard *sh);
/* CONFIG RESETSTAT: counts from zero what has been freed. */
void free_list_reset_count(struct shard *sh);
/* Values and keys that wait to be freed. */
uint64_t free_list_pending(const struct free_list *list);
