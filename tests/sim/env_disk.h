/* env_disk.h: the simulated disk behind the open files of base/env.h.
 *
 * A disk keeps a trace of all that was done to it. From any prefix of the trace it makes the disks
 * that a crash at that moment could leave: what was synced is there, and each 512-byte sector of
 * each later write may be there or not, in any order; sizes, names and renames likewise, until the
 * sync of their file or directory.
 *
 * All calls go to the disk in use. A fault is planted at the n-th call.
 *
 * Thread     one.
 */
#pragma once

#include "base/env.h"

#define DISK_SECTOR_BYTES 512

struct disk;

struct disk *disk_create(void);
void disk_destroy(struct disk *d);
/* NULL: none. */
void disk_use(struct disk *d);

/* ---- crashes ---- */

enum disk_crash {
    DISK_KILL,     /* the process ends: all that was written stays, and a part of the next write */
    DISK_LOSE_ALL, /* the power fails: nothing that is not synced has reached the disk */
    DISK_KEEP_ALL, /* all of it has */
    DISK_LOSE_WRITES,  /* each write, size and name has or has not */
    DISK_LOSE_SECTORS, /* each sector of each write has or has not */
    DISK_TEAR_LAST,    /* all but some sectors of the last write */
    DISK_MISPLACE,     /* as LOSE_SECTORS; a lost sector holds what stands in another file there */
    DISK_CRASH_COUNT
};

/* From the one to the other are the prefixes; what a crash has left is before the first. */
size_t disk_trace_start(const struct disk *d);
size_t disk_trace_length(const struct disk *d);
/* A new disk, with a trace of its own, after a crash behind `length` things. */
struct disk *disk_crash(const struct disk *d, size_t length, enum disk_crash how, uint64_t seed);

/* ---- faults ---- */

enum disk_fault {
    DISK_NO_FAULT,
    DISK_EIO,         /* the call fails and does nothing */
    DISK_ENOSPC,      /* a write does a part and fails; other calls fail */
    DISK_SHORT,       /* a write is made in two pieces */
    DISK_INTERRUPTED, /* the call is made again */
    DISK_FAULT_COUNT
};

size_t disk_call_count(const struct disk *d);
/* At the call with this number (from 0) and the `count` - 1 calls that can fail likewise behind it.
 */
void disk_plant(struct disk *d, size_t call, size_t count, enum disk_fault fault);
/* Whether the fault was one that the caller had to hear of. */
bool disk_has_failed(const struct disk *d);
/* How often a file was synced although a sync of it had failed. */
unsigned disk_syncs_after_failure(const struct disk *d);

/* Called before each call that the system sees; NULL: nothing is. */
void disk_on_call(struct disk *d, void (*hook)(void));

/* Planted bugs of the system below: these calls say that all is well and do nothing. */
void disk_ignore_directory_syncs(struct disk *d);
void disk_ignore_file_syncs(struct disk *d);

/* ---- requests ---- */

/* Completes one pending request. False if there is none. */
MUST_USE bool disk_complete_one(struct disk *d, uint64_t seed);
unsigned disk_pending(const struct disk *d);

/* ---- contents ---- */

/* NULL if there is no such file; size 0 has any address. */
const char *disk_contents(const struct disk *d, const char *path, size_t *size);
void disk_corrupt(struct disk *d, const char *path, size_t offset, uint8_t mask);
