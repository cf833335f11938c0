#include "persist/manifest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"
#include "persist/crc32c.h"
#include "persist/file.h"

#define UUID_TEXT_BYTES 32
#define CRC_LINE_BYTES 13 /* "crc 01234567\n" */

void manifest_init(struct manifest *m, struct mem *mem)
{
    *m = (struct manifest){.mem = mem};
}

void manifest_deinit(struct manifest *m)
{
    mem_free(m->mem, m->generations, m->generation_capacity * sizeof *m->generations);
    mem_free(m->mem, m->files, m->file_capacity * sizeof *m->files);
    manifest_init(m, m->mem);
}

/* Room for one more. */
static void *grown(struct mem *mem, void *p, unsigned count, unsigned *capacity, size_t size)
{
    if (count < *capacity) return p;
    unsigned more = *capacity == 0 ? 8 : 2 * *capacity;
    p = mem_try_realloc(mem, p, *capacity * size, more * size);
    CHECK(p != NULL);
    *capacity = more;
    return p;
}

void manifest_add_generation(struct manifest *m, uint32_t number, uint16_t shard_count)
{
    CHECK(m->generation_count == 0 || number > manifest_last(m)->number);
    m->generations = grown(m->mem, m->generations, m->generation_count, &m->generation_capacity,
                           sizeof *m->generations);
    m->generations[m->generation_count++] = (struct manifest_generation){number, shard_count};
}

/* As qsort's. */
static int compare(const struct manifest_file *a, const struct manifest_file *b)
{
    if (a->generation != b->generation) return a->generation < b->generation ? -1 : 1;
    if (a->shard != b->shard) return a->shard < b->shard ? -1 : 1;
    return a->number == b->number ? 0 : a->number < b->number ? -1 : 1;
}

void manifest_add_file(struct manifest *m, const struct manifest_file *f)
{
    m->files = grown(m->mem, m->files, m->file_count, &m->file_capacity, sizeof *m->files);
    unsigned at = m->file_count++;
    while (at > 0 && compare(&m->files[at - 1], f) > 0) {
        m->files[at] = m->files[at - 1];
        at--;
    }
    CHECK(at == 0 || compare(&m->files[at - 1], f) < 0);
    m->files[at] = *f;
}

struct manifest_file *manifest_find(const struct manifest *m, const struct segment_uuid *uuid)
{
    for (unsigned i = 0; i < m->file_count; i++) {
        if (segment_uuid_equal(&m->files[i].uuid, uuid)) return &m->files[i];
    }
    return NULL;
}

void manifest_remove_file(struct manifest *m, unsigned index)
{
    CHECK(index < m->file_count);
    m->file_count--;
    memmove(m->files + index, m->files + index + 1, (m->file_count - index) * sizeof *m->files);
}

static bool has_files(const struct manifest *m, uint32_t generation)
{
    for (unsigned i = 0; i < m->file_count; i++) {
        if (m->files[i].generation == generation) return true;
    }
    return false;
}

void manifest_drop_empty_generations(struct manifest *m)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < m->generation_count; i++) {
        bool is_last = i + 1 == m->generation_count;
        if (is_last || has_files(m, m->generations[i].number)) {
            m->generations[kept++] = m->generations[i];
        }
    }
    m->generation_count = kept;
}

void manifest_file_name(const struct manifest_file *f, char out[MANIFEST_FILE_NAME_BYTES])
{
    snprintf(out, MANIFEST_FILE_NAME_BYTES, "g%" PRIu32 "-s%u-%" PRIu32 ".%s", f->generation,
             f->shard, f->number, f->kind == SEGMENT_KIND_BASE ? "base" : "aof");
}

/* ---- encoding ---- */

static void put_uuid(struct buf *out, const struct segment_uuid *uuid)
{
    for (size_t i = 0; i < sizeof uuid->bytes; i++) buf_printf(out, "%02x", uuid->bytes[i]);
}

static void put_file(struct buf *out, const struct manifest_file *f)
{
    buf_printf(out, "%s %u %" PRIu32 " ", f->kind == SEGMENT_KIND_BASE ? "base" : "segment",
               f->shard, f->number);
    put_uuid(out, &f->uuid);
    buf_printf(out, " %" PRIu64 " %" PRIu64 "\n", f->first_lsn, f->size);
}

void manifest_encode(const struct manifest *m, struct buf *out)
{
    size_t start = out->size;
    buf_append_text(out, "shoal manifest 1\nserver ");
    put_uuid(out, &m->server);
    buf_printf(out, "\nseed %016" PRIx64 "\nhorizon %" PRIu64 "\n", m->hash_seed, m->horizon);
    unsigned at = 0;
    for (unsigned i = 0; i < m->generation_count; i++) {
        const struct manifest_generation *g = &m->generations[i];
        buf_printf(out, "generation %" PRIu32 " shards %u\n", g->number, g->shard_count);
        while (at < m->file_count && m->files[at].generation == g->number) {
            put_file(out, &m->files[at++]);
        }
    }
    uint32_t crc = crc32c(0, bytes_make(out->data + start, out->size - start));
    buf_printf(out, "crc %08" PRIx32 "\n", crc);
}

/* ---- parsing ---- */

static bool fail(char *why, const char *format, ...) PRINTF_LIKE(2, 3);
static bool fail(char *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, MANIFEST_WHY_BYTES, format, args);
    va_end(args);
    return false;
}

/* The text before the next `end`, which goes as well. */
static bool take_until(struct bytes *in, char end, struct bytes *out)
{
    const char *at = in->size > 0 ? memchr(in->data, end, in->size) : NULL;
    if (at == NULL) return false;
    *out = bytes_make(in->data, (size_t)(at - in->data));
    *in = bytes_make(at + 1, in->size - out->size - 1);
    return true;
}

static bool take_word(struct bytes *line, const char *word)
{
    struct bytes got;
    return take_until(line, ' ', &got) && bytes_equal(got, bytes_of(word));
}

static bool take_u64(struct bytes *line, uint64_t max, uint64_t *out)
{
    struct bytes got = *line;
    if (!take_until(line, ' ', &got)) *line = (struct bytes){0};
    return text_to_u64(got, out) && *out <= max;
}

static bool take_hex(struct bytes *line, uint8_t *out, size_t size)
{
    struct bytes got = *line;
    if (!take_until(line, ' ', &got)) *line = (struct bytes){0};
    if (got.size != 2 * size) return false;
    for (size_t i = 0; i < got.size; i++) {
        char c = got.data[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return false;
        out[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : out[i / 2] | digit);
    }
    return true;
}

static bool parse_generation(struct manifest *m, struct bytes line)
{
    uint64_t number, shards;
    if (!take_u64(&line, UINT32_MAX, &number) || !take_word(&line, "shards")) return false;
    if (!take_u64(&line, MANIFEST_SHARDS_MAX, &shards) || shards == 0 || line.size > 0)
        return false;
    if (m->generation_count == MANIFEST_GENERATIONS_MAX) return false;
    if (m->generation_count > 0 && number <= manifest_last(m)->number) return false;
    manifest_add_generation(m, (uint32_t)number, (uint16_t)shards);
    return true;
}

/* Whether it may stand behind the last file. */
static bool is_in_order(const struct manifest *m, const struct manifest_file *f)
{
    const struct manifest_file *last = m->file_count > 0 ? &m->files[m->file_count - 1] : NULL;
    bool is_closed = f->size != 0;
    if (f->shard >= manifest_last(m)->shard_count || is_closed != (f->first_lsn != 0)) return false;
    if (is_closed && f->size < SEGMENT_HEADER_BYTES) return false;
    bool is_first = last == NULL || last->generation != f->generation || last->shard != f->shard;
    if (f->kind == SEGMENT_KIND_BASE && (!is_closed || !is_first)) return false;
    if (last == NULL || compare(last, f) < 0)
        return is_first || f->first_lsn == 0 || last->first_lsn <= f->first_lsn;
    return false;
}

static bool parse_file(struct manifest *m, struct bytes line, enum segment_kind kind)
{
    uint64_t shard, number;
    struct manifest_file f = {.kind = kind};
    if (m->generation_count == 0) return false;
    f.generation = manifest_last(m)->number;
    if (!take_u64(&line, UINT16_MAX, &shard) || !take_u64(&line, UINT32_MAX, &number)) return false;
    if (!take_hex(&line, f.uuid.bytes, sizeof f.uuid.bytes)) return false;
    if (!take_u64(&line, UINT64_MAX, &f.first_lsn) || !take_u64(&line, INT64_MAX, &f.size)) {
        return false;
    }
    f.shard = (uint16_t)shard;
    f.number = (uint32_t)number;
    if (line.size > 0 || !is_in_order(m, &f)) return false;
    manifest_add_file(m, &f);
    return true;
}

static bool parse_line(struct manifest *m, unsigned number, struct bytes line)
{
    struct bytes word;
    uint8_t seed[8];
    if (number == 1) return bytes_equal(line, BYTES_LITERAL("shoal manifest 1"));
    if (!take_until(&line, ' ', &word)) return false;
    switch (number) {
    case 2:
        return bytes_equal(word, BYTES_LITERAL("server")) &&
               take_hex(&line, m->server.bytes, sizeof m->server.bytes) && line.size == 0;
    case 3:
        if (!bytes_equal(word, BYTES_LITERAL("seed")) || !take_hex(&line, seed, 8)) return false;
        for (unsigned i = 0; i < 8; i++) m->hash_seed = m->hash_seed << 8 | seed[i];
        return line.size == 0;
    case 4:
        return bytes_equal(word, BYTES_LITERAL("horizon")) &&
               take_u64(&line, UINT64_MAX, &m->horizon) && line.size == 0;
    default:
        if (bytes_equal(word, BYTES_LITERAL("generation"))) return parse_generation(m, line);
        if (bytes_equal(word, BYTES_LITERAL("base"))) return parse_file(m, line, SEGMENT_KIND_BASE);
        return bytes_equal(word, BYTES_LITERAL("segment")) &&
               parse_file(m, line, SEGMENT_KIND_EFFECTS);
    }
}

static bool parse_lines(struct manifest *m, struct bytes text, char *why)
{
    struct bytes line;
    unsigned number = 0;
    while (text.size > 0) {
        number++;
        if (!take_until(&text, '\n', &line) || !parse_line(m, number, line)) {
            return fail(why, "line %u is not valid", number);
        }
    }
    return m->generation_count > 0 || fail(why, "it names no generation");
}

bool manifest_parse(struct manifest *m, struct bytes text, char *why)
{
    if (text.size > MANIFEST_BYTES_MAX) return fail(why, "it is too big");
    if (text.size < CRC_LINE_BYTES) return fail(why, "it is too short");
    struct bytes body = bytes_make(text.data, text.size - CRC_LINE_BYTES);
    char crc_line[CRC_LINE_BYTES + 1];
    snprintf(crc_line, sizeof crc_line, "crc %08" PRIx32 "\n", crc32c(0, body));
    if (memcmp(crc_line, text.data + body.size, CRC_LINE_BYTES) != 0) {
        return fail(why, "its checksum is wrong");
    }
    if (!parse_lines(m, body, why)) return false;
    /* Whatever else could be written otherwise and mean the same. */
    struct buf again = {.mem = m->mem};
    manifest_encode(m, &again);
    bool is_same = bytes_equal(buf_view(&again), text);
    buf_clear(&again);
    return is_same || fail(why, "it is not written as it should be");
}

/* ---- files ---- */

enum err manifest_write(const struct manifest *m, const char *directory)
{
    char path[ENV_PATH_BYTES_MAX];
    if (file_path(path, directory, MANIFEST_NAME) != OK) return ERR_IO;
    struct buf text = {.mem = m->mem};
    manifest_encode(m, &text);
    enum err e = file_replace(path, buf_view(&text), NULL);
    buf_clear(&text);
    return e;
}

enum err manifest_read(struct manifest *m, const char *directory, char *why)
{
    char path[ENV_PATH_BYTES_MAX], fault[MANIFEST_WHY_BYTES];
    snprintf(why, MANIFEST_WHY_BYTES, "the name of the directory is too long");
    if (file_path(path, directory, MANIFEST_NAME) != OK) return ERR_IO;
    bool exists;
    snprintf(why, MANIFEST_WHY_BYTES, "%.200s cannot be looked for", path);
    if (env_file_exists(path, &exists) != OK) return ERR_IO;
    if (!exists) return ERR_NO_KEY;
    struct buf text = {.mem = m->mem};
    enum err e = file_read(path, MANIFEST_BYTES_MAX, &text);
    snprintf(fault, sizeof fault, "it cannot be read");
    if (e == OK && !manifest_parse(m, buf_view(&text), fault)) e = ERR_IO;
    buf_clear(&text);
    if (e != OK) fail(why, "%.100s/" MANIFEST_NAME ": %.100s", directory, fault);
    return e == OK ? OK : ERR_IO;
}

static bool is_named(const struct manifest *m, const char *name)
{
    char named[MANIFEST_FILE_NAME_BYTES];
    for (unsigned i = 0; i < m->file_count; i++) {
        manifest_file_name(&m->files[i], named);
        if (strcmp(named, name) == 0) return true;
    }
    return false;
}

/* Only names that are ours to remove. */
static bool is_ours(const char *name)
{
    struct bytes text = bytes_of(name);
    return text_glob_match(BYTES_LITERAL(MANIFEST_NAME FILE_TEMPORARY_SUFFIX "*"), text, false) ||
           text_glob_match(BYTES_LITERAL("g[0-9]*-s[0-9]*-[0-9]*.aof"), text, false) ||
           text_glob_match(BYTES_LITERAL("g[0-9]*-s[0-9]*-[0-9]*.base"), text, false);
}

void manifest_remove_strangers(const struct manifest *m, const char *directory)
{
    char path[ENV_PATH_BYTES_MAX];
    struct buf names = {.mem = m->mem};
    if (env_list_directory(directory, &names) == OK) {
        for (size_t at = 0; at < names.size; at += strlen(names.data + at) + 1) {
            const char *name = names.data + at;
            if (!is_ours(name) || is_named(m, name)) continue;
            if (file_path(path, directory, name) == OK) (void)!env_unlink(path);
        }
    }
    buf_clear(&names);
}
