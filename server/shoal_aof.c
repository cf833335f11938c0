/* shoal_aof.c: a tool for the files of the append-only log.
 *
 *     shoal-aof check FILE…    are they whole? Exit status 1 if not
 *     shoal-aof fix FILE…      leaves out what is damaged, and all behind it
 *     shoal-aof dump FILE…     prints the commands, for redis-cli --pipe
 *
 * FILE is a segment, a base, or the manifest; for a manifest everything that it names is looked at
 * together, with the transactions that span shards.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "persist/aof_reader.h"
#include "persist/file.h"
#include "persist/recovery.h"

struct tool {
    struct mem mem;
    bool fixes, dumps;
    bool has_failed;
    uint32_t db; /* selected in the output; UINT32_MAX: none */
};

static const char usage[] = "usage: shoal-aof check|fix|dump FILE...\n"
                            "  check  says whether segments, bases or a manifest are whole\n"
                            "  fix    cuts off what is damaged, and everything behind it\n"
                            "  dump   prints the commands: shoal-aof dump FILE | redis-cli --pipe\n"
                            "Stop the server before fix.\n";

/* ---- output of dump ---- */

static void print_commands(struct tool *t, uint32_t db, struct bytes payload)
{
    if (db != t->db) {
        char digits[16];
        int n = snprintf(digits, sizeof digits, "%" PRIu32, db);
        printf("*2\r\n$6\r\nSELECT\r\n$%d\r\n%s\r\n", n, digits);
        t->db = db;
    }
    fwrite(payload.data, 1, payload.size, stdout);
    /* It may have gone on in another database. */
    static const char select[] = "$6\r\nSELECT\r\n";
    if (memmem(payload.data, payload.size, select, sizeof select - 1)) t->db = UINT32_MAX;
}

/* ---- one segment or base ---- */

static void report(struct tool *t, const char *path, const struct aof_reader *r, uint64_t count,
                   enum aof_found found)
{
    FILE *out = t->dumps ? stderr : stdout;
    const struct segment_header *h = &r->header;
    bool is_base = h->kind == SEGMENT_KIND_BASE;
    fprintf(out, "%s: %s, generation %" PRIu32 ", shard %u: ", path, is_base ? "base" : "segment",
            h->generation, h->shard);
    fprintf(out, "%" PRIu64 " records in %" PRIu64 " bytes, next lsn %" PRIu64 "\n", count,
            r->offset, r->next_lsn);
    if (found == AOF_FOUND_DAMAGE) {
        fprintf(stderr, "%s: %s at offset %" PRIu64 "\n", path, r->fault, r->offset);
    }
}

static enum err truncate_file(const char *path, uint64_t size)
{
    struct env_file f;
    enum err e = env_file_open(&f, path, ENV_OPEN_WRITE);
    if (e == OK) e = env_file_truncate(&f, size);
    if (e == OK) e = env_file_sync(&f);
    env_file_close(&f);
    return e;
}

/* Says whether anything valid stands behind the damage, and cuts it off if told to. */
static void treat_damage(struct tool *t, const char *path, struct aof_reader *r)
{
    uint64_t offset = r->offset, end;
    if (!aof_reader_data_end(r, offset, &end)) return;
    bool has_more = aof_reader_seek(r) == AOF_FOUND_RECORD;
    fprintf(stderr, "%s: %" PRIu64 " bytes are damaged or behind damage; %s\n", path, end - offset,
            has_more ? "there are valid records among them" : "a torn tail");
    t->has_failed = !t->fixes;
    if (!t->fixes) return;
    if (truncate_file(path, offset) != OK) {
        t->has_failed = true;
        return;
    }
    printf("%s: cut to %" PRIu64 " bytes\n", path, offset);
}

static void treat_segment(struct tool *t, const char *path)
{
    struct aof_reader r;
    uint64_t count = 0;
    enum aof_found found = aof_reader_open(&r, &t->mem, path, NULL, UINT64_MAX);
    if (found == AOF_FOUND_DAMAGE) fprintf(stderr, "%s: %s\n", path, r.fault);
    if (found != AOF_FOUND_RECORD) {
        t->has_failed = true;
        aof_reader_close(&r);
        return;
    }
    if (t->dumps) aof_reader_want_payloads(&r);
    while ((found = aof_reader_next(&r)) == AOF_FOUND_RECORD) {
        count++;
        bool prints = t->dumps && r.record.type == SEGMENT_EFFECTS;
        if (prints) print_commands(t, segment_db(&r.record), r.payload);
    }
    report(t, path, &r, count, found);
    if (found == AOF_FOUND_FAILURE) t->has_failed = true;
    if (found == AOF_FOUND_DAMAGE) treat_damage(t, path, &r);
    aof_reader_close(&r);
}

/* ---- a manifest ---- */

static enum err print_record(void *context, const struct recovery_record *record)
{
    print_commands(context, record->db, record->payload);
    return OK;
}

static enum err scan_all(struct tool *t, struct recovery *r)
{
    for (unsigned i = 0; i < r->stream_count; i++) {
        enum err e = recovery_scan(r, i, &t->mem);
        if (r->streams[i].why[0] != 0) fprintf(stderr, "%s\n", r->streams[i].why);
        if (e != OK) return e;
    }
    recovery_resolve(r);
    return OK;
}

static void report_streams(const struct tool *t, const struct recovery *r)
{
    FILE *out = t->dumps ? stderr : stdout;
    for (unsigned i = 0; i < r->stream_count; i++) {
        const struct recovery_stream *s = &r->streams[i];
        fprintf(out,
                "generation %" PRIu32 ", shard %u: %" PRIu64
                " records in %u files, next lsn %" PRIu64 "\n",
                s->generation, s->shard, s->record_count, s->file_count, s->end.lsn);
        if (s->cut_records_from != 0) {
            fprintf(out,
                    "  from lsn %" PRIu64 " on left out: transaction %" PRIu64 " is not whole\n",
                    s->cut_records_from, r->cut_txid);
        }
    }
}

/* A base stands for keys of older generations, and which those are this tool cannot know. */
static bool can_dump(const struct recovery *r)
{
    uint32_t first = r->stream_count > 0 ? r->streams[0].generation : 0;
    for (unsigned i = 0; i < r->manifest.file_count; i++) {
        const struct manifest_file *f = &r->manifest.files[i];
        if (f->kind == SEGMENT_KIND_BASE && f->generation != first) return false;
    }
    return true;
}

static enum err dump_all(struct tool *t, struct recovery *r)
{
    if (!can_dump(r)) {
        fprintf(stderr, "a base replaces parts of older generations: dump the files one by one\n");
        return ERR_NOT_SUPPORTED;
    }
    enum err e = OK;
    for (unsigned i = 0; e == OK && i < r->stream_count; i++) {
        e = recovery_replay(r, i, &t->mem, print_record, t);
        if (e != OK) fprintf(stderr, "%s\n", r->streams[i].why);
    }
    return e;
}

static enum err fix_all(struct tool *t, struct recovery *r, const char *directory)
{
    struct manifest next;
    manifest_init(&next, &t->mem);
    enum err e = recovery_seal(r, &next);
    if (e == OK) e = manifest_write(&next, directory);
    if (e == OK) e = recovery_trim(r);
    if (e == OK) printf("%s/" MANIFEST_NAME ": rewritten\n", directory);
    manifest_deinit(&next);
    return e;
}

static void treat_manifest(struct tool *t, const char *directory)
{
    struct recovery r;
    char why[MANIFEST_WHY_BYTES];
    struct recovery_options o = {
        .mem = &t->mem, .directory = directory, .accept_corruption = t->fixes};
    enum err e = recovery_open(&r, &o, why);
    if (e != OK) fprintf(stderr, "%s\n", e == ERR_NO_KEY ? "there is no such manifest" : why);
    if (e == OK) e = scan_all(t, &r);
    if (e == OK) report_streams(t, &r);
    if (e == OK && t->dumps) e = dump_all(t, &r);
    if (e == OK && t->fixes) e = fix_all(t, &r, directory);
    for (unsigned i = 0; e == OK && !t->fixes && i < r.stream_count; i++) {
        if (r.streams[i].why[0] != 0) t->has_failed = true;
    }
    if (e != OK) t->has_failed = true;
    recovery_close(&r);
}

/* ---- main ---- */

static void treat(struct tool *t, const char *path)
{
    char directory[ENV_PATH_BYTES_MAX];
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    if (strcmp(name, MANIFEST_NAME) != 0) {
        treat_segment(t, path);
        return;
    }
    int size = slash == NULL ? 0 : (int)(slash - path);
    snprintf(directory, sizeof directory, "%.*s", size == 0 ? 1 : size, slash == NULL ? "." : path);
    treat_manifest(t, directory);
}

int main(int argc, char **argv)
{
    struct tool t = {.db = UINT32_MAX};
    const char *verb = argc > 2 ? argv[1] : "";
    t.fixes = strcmp(verb, "fix") == 0;
    t.dumps = strcmp(verb, "dump") == 0;
    if (!t.fixes && !t.dumps && strcmp(verb, "check") != 0) {
        fputs(usage, stderr);
        return 2;
    }
    log_set_level(LOG_WARNING);
    check_context_here()->role = "shoal-aof";
    mem_init(&t.mem, "shoal-aof");
    for (int i = 2; i < argc; i++) treat(&t, argv[i]);
    mem_deinit(&t.mem);
    if (fflush(stdout) != 0) t.has_failed = true;
    return t.has_failed ? 1 : 0;
}
