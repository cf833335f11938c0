#include "tests/sim/env_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_BYTES_MAX 128
#define PENDING_MAX 64

enum step_kind { STEP_WRITE, STEP_RESIZE, STEP_SYNC, STEP_LINK, STEP_UNLINK, STEP_SYNC_NAMES };

/* One thing that was done. A sync makes durable what was done before `until`. */
struct step {
    enum step_kind kind;
    unsigned inode;
    uint64_t offset;   /* of a write; the new size */
    size_t size, data; /* of a write: in `bytes` of the disk */
    size_t until;
    char name[NAME_BYTES_MAX], old_name[NAME_BYTES_MAX]; /* STEP_LINK: a rename has both */
};

struct inode {
    char *data;
    size_t size, capacity;
    bool sync_failed;
};

struct name {
    char path[NAME_BYTES_MAX];
    unsigned inode;
};

struct disk {
    struct inode *inodes;
    unsigned inode_count;
    struct name *names;
    unsigned name_count;
    struct step *steps;
    size_t step_count, step_capacity;
    size_t start; /* of the trace: before it stands what an earlier crash has left */
    char *bytes;
    size_t byte_count, byte_capacity;

    size_t call_count, fault_call, fault_count;
    enum disk_fault fault;
    void (*hook)(void);
    bool has_failed, ignores_directory_syncs, ignores_file_syncs;
    unsigned syncs_after_failure;
    struct env_file_request *pending[PENDING_MAX];
    unsigned pending_count;
};

/* env.h has no parameter for it, as there is only one real world. */
static struct disk *disk;

/* ---- small helpers ---- */

static void *grow(void *p, size_t size)
{
    void *grown = realloc(p, size);
    CHECK(grown);
    return grown;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool chance(uint64_t *state)
{
    return next_random(state) >> 63;
}

struct disk *disk_create(void)
{
    struct disk *d = calloc(1, sizeof *d);
    CHECK(d);
    return d;
}

void disk_destroy(struct disk *d)
{
    if (disk == d) disk = NULL;
    for (unsigned i = 0; i < d->inode_count; i++) free(d->inodes[i].data);
    free(d->inodes);
    free(d->names);
    free(d->steps);
    free(d->bytes);
    free(d);
}

void disk_use(struct disk *d)
{
    disk = d;
}

static struct name *find_name(const struct disk *d, const char *path)
{
    for (unsigned i = 0; i < d->name_count; i++)
        if (strcmp(d->names[i].path, path) == 0) return &d->names[i];
    return NULL;
}

static void set_name(struct disk *d, const char *path, unsigned inode)
{
    struct name *n = find_name(d, path);
    if (!n) {
        d->names = grow(d->names, (d->name_count + 1) * sizeof *n);
        n = &d->names[d->name_count++];
        snprintf(n->path, sizeof n->path, "%s", path);
    }
    n->inode = inode;
}

static void drop_name(struct disk *d, const char *path)
{
    struct name *n = find_name(d, path);
    if (n) *n = d->names[--d->name_count];
}

static unsigned add_inode(struct disk *d)
{
    d->inodes = grow(d->inodes, (d->inode_count + 1) * sizeof *d->inodes);
    d->inodes[d->inode_count] = (struct inode){0};
    return d->inode_count++;
}

static void resize(struct inode *n, size_t size)
{
    if (size > n->capacity) {
        n->capacity = size + 4096;
        n->data = grow(n->data, n->capacity);
    }
    if (size > n->size) memset(n->data + n->size, 0, size - n->size);
    n->size = size;
}

static void write_to(struct inode *n, size_t offset, const char *data, size_t size)
{
    if (size == 0) return;
    if (offset + size > n->size) resize(n, offset + size);
    memcpy(n->data + offset, data, size);
}

/* ---- the trace ---- */

static struct step *add_step(enum step_kind kind, unsigned inode)
{
    if (disk->step_count == disk->step_capacity) {
        disk->step_capacity = 2 * disk->step_capacity + 64;
        disk->steps = grow(disk->steps, disk->step_capacity * sizeof *disk->steps);
    }
    struct step *s = &disk->steps[disk->step_count++];
    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->inode = inode;
    return s;
}

static void do_write(unsigned inode, uint64_t offset, const char *data, size_t size)
{
    if (size == 0) return;
    if (disk->byte_count + size > disk->byte_capacity) {
        disk->byte_capacity = 2 * (disk->byte_count + size);
        disk->bytes = grow(disk->bytes, disk->byte_capacity);
    }
    memcpy(disk->bytes + disk->byte_count, data, size);
    struct step *s = add_step(STEP_WRITE, inode);
    s->offset = offset;
    s->size = size;
    s->data = disk->byte_count;
    disk->byte_count += size;
    write_to(&disk->inodes[inode], offset, data, size);
}

static void do_sync(unsigned inode, size_t until)
{
    if (!disk->ignores_file_syncs) add_step(STEP_SYNC, inode)->until = until;
}

/* Makes all names durable that were given so far. */
static void do_sync_names(void)
{
    size_t until = disk->step_count;
    if (!disk->ignores_directory_syncs) add_step(STEP_SYNC_NAMES, 0)->until = until;
}

/* ---- crashes ---- */

size_t disk_trace_start(const struct disk *d)
{
    return d->start;
}

size_t disk_trace_length(const struct disk *d)
{
    return d->step_count;
}

struct crash {
    const struct disk *from;
    struct disk *to;
    enum disk_crash how;
    uint64_t random;
    size_t length, last_write;
};

/* Whether a step that no sync covers is there after the crash. */
static bool keeps(struct crash *c)
{
    switch (c->how) {
    case DISK_KILL:
    case DISK_KEEP_ALL:
    case DISK_TEAR_LAST:
        return true;
    case DISK_LOSE_ALL:
        return false;
    case DISK_LOSE_WRITES:
    case DISK_LOSE_SECTORS:
    case DISK_MISPLACE:
    case DISK_CRASH_COUNT:
        return chance(&c->random);
    }
    return false;
}

/* What another file holds at the same place. */
static void misplace(struct crash *c, unsigned inode, size_t at, size_t size)
{
    if (c->from->inode_count < 2) return;
    unsigned other = (unsigned)(next_random(&c->random) % c->from->inode_count);
    const struct inode *n = &c->from->inodes[other];
    if (other != inode && at + size <= n->size) {
        write_to(&c->to->inodes[inode], at, n->data + at, size);
    }
}

static void keep_sectors(struct crash *c, const struct step *s)
{
    const char *data = c->from->bytes + s->data;
    for (size_t at = 0; at < s->size;) {
        size_t place = s->offset + at;
        size_t size = MIN(DISK_SECTOR_BYTES - place % DISK_SECTOR_BYTES, s->size - at);
        if (chance(&c->random))
            write_to(&c->to->inodes[s->inode], place, data + at, size);
        else if (c->how == DISK_MISPLACE)
            misplace(c, s->inode, place, size);
        at += size;
    }
}

static void keep_write(struct crash *c, const struct step *s, size_t index)
{
    bool by_sector = c->how == DISK_LOSE_SECTORS || c->how == DISK_MISPLACE ||
                     (c->how == DISK_TEAR_LAST && index == c->last_write);
    if (by_sector) {
        keep_sectors(c, s);
        return;
    }
    if (keeps(c)) write_to(&c->to->inodes[s->inode], s->offset, c->from->bytes + s->data, s->size);
}

static void keep_names(struct disk *to, const struct step *s)
{
    if (s->old_name[0]) drop_name(to, s->old_name);
    if (s->kind == STEP_LINK)
        set_name(to, s->name, s->inode);
    else
        drop_name(to, s->name);
}

/* Whether a sync within the prefix covers this step. */
static bool is_durable(const struct crash *c, size_t index)
{
    const struct step *s = &c->from->steps[index];
    bool is_name = s->kind == STEP_LINK || s->kind == STEP_UNLINK;
    for (size_t i = index + 1; i < c->length; i++) {
        const struct step *sync = &c->from->steps[i];
        if (sync->until <= index) continue;
        if (is_name ? sync->kind == STEP_SYNC_NAMES
                    : sync->kind == STEP_SYNC && sync->inode == s->inode)
            return true;
    }
    return false;
}

static void apply(struct crash *c, size_t index)
{
    const struct step *s = &c->from->steps[index];
    bool durable = is_durable(c, index);
    struct inode *n = s->kind == STEP_SYNC_NAMES ? NULL : &c->to->inodes[s->inode];
    switch (s->kind) {
    case STEP_WRITE:
        if (durable)
            write_to(n, s->offset, c->from->bytes + s->data, s->size);
        else
            keep_write(c, s, index);
        return;
    case STEP_RESIZE:
        if (durable || keeps(c)) resize(n, s->offset);
        return;
    case STEP_LINK:
    case STEP_UNLINK:
        if (durable || keeps(c)) keep_names(c->to, s);
        return;
    case STEP_SYNC:
    case STEP_SYNC_NAMES:
        return;
    }
}

static struct disk *copy_start(const struct disk *d)
{
    struct disk *to = disk_create();
    for (unsigned i = 0; i < d->inode_count; i++) add_inode(to);
    return to;
}

/* What is left is where the new trace begins, and durable. */
static void make_durable(struct disk *d)
{
    struct disk *used = disk;
    disk = d;
    for (unsigned i = 0; i < d->name_count; i++) {
        struct step *s = add_step(STEP_LINK, d->names[i].inode);
        memcpy(s->name, d->names[i].path, sizeof s->name);
    }
    for (unsigned i = 0; i < d->inode_count; i++) {
        struct inode *n = &d->inodes[i];
        char *data = n->data;
        size_t size = n->size;
        *n = (struct inode){0};
        do_write(i, 0, data, size);
        free(data);
        do_sync(i, disk->step_count);
    }
    do_sync_names();
    disk = used;
}

/* The system goes on: what was not synced is still not. */
static void keep_trace(struct crash *c)
{
    struct disk *used = disk;
    disk = c->to;
    for (size_t i = 0; i < c->length; i++) {
        const struct step *s = &c->from->steps[i];
        if (s->kind == STEP_WRITE)
            do_write(s->inode, s->offset, c->from->bytes + s->data, s->size);
        else
            *add_step(s->kind, s->inode) = *s;
        if (s->kind == STEP_RESIZE) resize(&disk->inodes[s->inode], s->offset);
        if (s->kind == STEP_LINK || s->kind == STEP_UNLINK) keep_names(disk, s);
    }
    if (c->length < c->from->step_count && c->from->steps[c->length].kind == STEP_WRITE) {
        const struct step *s = &c->from->steps[c->length];
        size_t size = next_random(&c->random) % s->size;
        do_write(s->inode, s->offset, c->from->bytes + s->data, size);
    }
    disk = used;
}

struct disk *disk_crash(const struct disk *d, size_t length, enum disk_crash how, uint64_t seed)
{
    CHECK(length <= d->step_count);
    struct crash c = {.from = d, .to = copy_start(d), .how = how, .random = seed, .length = length};
    for (size_t i = 0; i < length; i++)
        if (d->steps[i].kind == STEP_WRITE) c.last_write = i;
    if (how == DISK_KILL) {
        keep_trace(&c);
    } else {
        for (size_t i = 0; i < length; i++) apply(&c, i);
        make_durable(c.to);
    }
    c.to->start = c.to->step_count;
    return c.to;
}

/* ---- faults ---- */

size_t disk_call_count(const struct disk *d)
{
    return d->call_count;
}

void disk_plant(struct disk *d, size_t call, size_t count, enum disk_fault fault)
{
    d->fault_call = call;
    d->fault_count = count;
    d->fault = fault;
}

bool disk_has_failed(const struct disk *d)
{
    return d->has_failed;
}

unsigned disk_syncs_after_failure(const struct disk *d)
{
    return d->syncs_after_failure;
}

void disk_ignore_directory_syncs(struct disk *d)
{
    d->ignores_directory_syncs = true;
}

void disk_ignore_file_syncs(struct disk *d)
{
    d->ignores_file_syncs = true;
}

void disk_on_call(struct disk *d, void (*hook)(void))
{
    d->hook = hook;
}

static enum disk_fault next_fault(void)
{
    if (disk->hook) disk->hook();
    size_t call = disk->call_count++;
    bool is_planted = call >= disk->fault_call && call - disk->fault_call < disk->fault_count;
    return is_planted ? disk->fault : DISK_NO_FAULT;
}

static bool is_failure(enum disk_fault fault)
{
    return fault == DISK_EIO || fault == DISK_ENOSPC;
}

static enum err fail(struct env_file *f, enum disk_fault fault)
{
    disk->has_failed = true;
    if (f) f->logged_error = fault == DISK_ENOSPC ? ENOSPC : EIO;
    return ERR_IO;
}

/* A call that does all or nothing. `f`: the file that it is about, or NULL. */
static bool fails(struct env_file *f)
{
    enum disk_fault fault = next_fault();
    return is_failure(fault) && fail(f, fault) != OK;
}

/* ---- env.h: files ---- */

static struct inode *inode_of(const struct env_file *f)
{
    CHECK(disk && f->fd >= 0 && (unsigned)f->fd < disk->inode_count);
    return &disk->inodes[f->fd];
}

enum err env_file_open(struct env_file *f, const char *path, enum env_open_mode mode)
{
    memset(f, 0, sizeof *f);
    f->fd = -1;
    snprintf(f->path, sizeof f->path, "%s", path);
    CHECK(strlen(path) < NAME_BYTES_MAX);
    if (fails(f)) return ERR_IO;
    struct name *n = find_name(disk, path);
    if ((n != NULL) == (mode >= ENV_OPEN_CREATE)) return ERR_IO;
    if (!n) {
        unsigned inode = add_inode(disk);
        memcpy(add_step(STEP_LINK, inode)->name, path, strlen(path) + 1);
        set_name(disk, path, inode);
        n = find_name(disk, path);
        CHECK(n);
    }
    f->fd = (int)n->inode;
    return OK;
}

void env_file_take_mode(struct env_file *f, const char *path)
{
    CHECK(f->fd >= 0 && strlen(path) < NAME_BYTES_MAX);
}

/* There are no links. */
enum err env_resolve(const char *path, char out[ENV_PATH_BYTES_MAX])
{
    snprintf(out, ENV_PATH_BYTES_MAX, "%s", path);
    return OK;
}

void env_file_close(struct env_file *f)
{
    f->fd = -1;
}

enum err env_file_read(struct env_file *f, uint64_t offset, char *out, size_t room, size_t *got)
{
    if (fails(f)) return ERR_IO;
    const struct inode *n = inode_of(f);
    *got = offset >= n->size ? 0 : MIN(room, n->size - offset);
    if (*got > 0) memcpy(out, n->data + offset, *got);
    return OK;
}

enum err env_file_write(struct env_file *f, uint64_t offset, struct bytes data)
{
    size_t half = data.size / 2;
    enum disk_fault fault = next_fault();
    switch (fault) {
    case DISK_ENOSPC:
        do_write((unsigned)f->fd, offset, data.data, half);
        return fail(f, fault);
    case DISK_EIO:
        return fail(f, fault);
    case DISK_SHORT:
        do_write((unsigned)f->fd, offset, data.data, half);
        do_write((unsigned)f->fd, offset + half, data.data + half, data.size - half);
        return OK;
    case DISK_INTERRUPTED:
    case DISK_NO_FAULT:
    case DISK_FAULT_COUNT:
        break;
    }
    do_write((unsigned)f->fd, offset, data.data, data.size);
    return OK;
}

enum err env_file_truncate(struct env_file *f, uint64_t size)
{
    if (fails(f)) return ERR_IO;
    if (inode_of(f)->size == size) return OK;
    add_step(STEP_RESIZE, (unsigned)f->fd)->offset = size;
    resize(inode_of(f), size);
    return OK;
}

enum err env_file_size(struct env_file *f, uint64_t *size)
{
    if (fails(f)) return ERR_IO;
    *size = inode_of(f)->size;
    return OK;
}

static enum err sync_file(struct env_file *f, size_t until)
{
    struct inode *n = inode_of(f);
    if (f->sync_failed) return ERR_IO;
    if (n->sync_failed) disk->syncs_after_failure++;
    if (fails(f)) {
        f->sync_failed = n->sync_failed = true;
        return ERR_IO;
    }
    do_sync((unsigned)f->fd, until);
    return OK;
}

enum err env_file_sync(struct env_file *f)
{
    return sync_file(f, disk->step_count);
}

enum err env_file_rename(struct env_file *f, const char *to)
{
    struct name *n = find_name(disk, f->path);
    if (fails(f) || !n) return ERR_IO;
    struct step *s = add_step(STEP_LINK, n->inode);
    memcpy(s->old_name, n->path, strlen(n->path) + 1);
    memcpy(s->name, to, strlen(to) + 1);
    keep_names(disk, s);
    memcpy(f->path, to, strlen(to) + 1);
    return OK;
}

enum err env_read_file(const char *path, struct buf *out, char *why)
{
    size_t size;
    const char *data = disk_contents(disk, path, &size);
    snprintf(why, ENV_NAME_BYTES_MAX * 2, "cannot open %s: No such file or directory", path);
    if (!data || fails(NULL)) return ERR_IO;
    buf_append(out, data, size);
    return OK;
}

/* ---- env.h: names ---- */

enum err env_file_exists(const char *path, bool *exists)
{
    if (fails(NULL)) return ERR_IO;
    *exists = find_name(disk, path) != NULL;
    return OK;
}

enum err env_unlink(const char *path)
{
    struct name *n = find_name(disk, path);
    if (fails(NULL) || !n) return ERR_IO;
    struct step *s = add_step(STEP_UNLINK, n->inode);
    memcpy(s->name, path, strlen(path) + 1);
    keep_names(disk, s);
    return OK;
}

enum err env_make_directory(const char *path)
{
    CHECK(strlen(path) < NAME_BYTES_MAX);
    return fails(NULL) ? ERR_IO : OK;
}

enum err env_sync_directory(const char *path)
{
    CHECK(strlen(path) < NAME_BYTES_MAX);
    if (fails(NULL)) return ERR_IO;
    do_sync_names();
    return OK;
}

enum err env_list_directory(const char *path, struct buf *out)
{
    if (fails(NULL)) return ERR_IO;
    size_t size = strlen(path);
    for (unsigned i = 0; i < disk->name_count; i++) {
        const char *name = disk->names[i].path;
        if (strncmp(name, path, size) != 0 || name[size] != '/') continue;
        buf_append(out, name + size + 1, strlen(name + size + 1) + 1);
    }
    return OK;
}

/* ---- env.h: requests ---- */

void env_file_commit(struct env_loop *loop, struct env_file_request *r, struct env_file *f,
                     uint64_t offset, struct bytes data)
{
    CHECK(!r->is_pending && disk->pending_count < PENDING_MAX);
    *r = (struct env_file_request){
        .is_pending = true, .file = f, .loop = loop, .offset = offset, .left = data};
    if (data.size == 0) {
        r->is_write_done = true;
        r->offset = disk->step_count;
    }
    disk->pending[disk->pending_count++] = r;
}

unsigned disk_pending(const struct disk *d)
{
    return d->pending_count;
}

bool disk_complete_one(struct disk *d, uint64_t seed)
{
    CHECK(d == disk);
    if (d->pending_count == 0) return false;
    unsigned index = (unsigned)(seed % d->pending_count);
    struct env_file_request *r = d->pending[index];
    /* Written at one call, synced at a later one: what others write between the two is not covered
     * by this sync. */
    if (!r->is_write_done) {
        r->status = env_file_write(r->file, r->offset, r->left);
        r->failed = r->status == OK ? ENV_FILE_NOTHING : ENV_FILE_WRITE;
        r->is_write_done = true;
        r->offset = d->step_count;
        if (r->status == OK) return true;
    } else {
        r->status = sync_file(r->file, r->offset);
        r->failed = r->status == OK ? ENV_FILE_NOTHING : ENV_FILE_SYNC;
    }
    d->pending[index] = d->pending[d->pending_count - 1];
    d->pending_count--;
    r->is_pending = false;
    if (r->loop) env_wake(NULL, r->loop);
    return true;
}

/* ---- contents ---- */

const char *disk_contents(const struct disk *d, const char *path, size_t *size)
{
    const struct name *n = find_name(d, path);
    if (!n) return NULL;
    *size = d->inodes[n->inode].size;
    return *size > 0 ? d->inodes[n->inode].data : "";
}

void disk_corrupt(struct disk *d, const char *path, size_t offset, uint8_t mask)
{
    const struct name *n = find_name(d, path);
    CHECK(n && offset < d->inodes[n->inode].size);
    d->inodes[n->inode].data[offset] ^= (char)mask;
}
