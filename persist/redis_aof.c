#include "persist/redis_aof.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"

#define WINDOW_BYTES (256u << 10)

/* No limits: who wrote the file had them. */
static const struct resp_limits limits = {
    .bulk_bytes_max = INT64_MAX, .args_max = INT32_MAX, .authenticated = true};

/* ---- the manifest ---- */

void redis_aof_manifest_init(struct redis_aof_manifest *m, struct mem *mem)
{
    *m = (struct redis_aof_manifest){.mem = mem};
}

void redis_aof_manifest_deinit(struct redis_aof_manifest *m)
{
    mem_free(m->mem, m->increments, m->increment_capacity * sizeof *m->increments);
}

/* NULL, or what is wrong. */
static const char *add_file(struct redis_aof_manifest *m, const struct redis_aof_file *f, char type)
{
    if (type == 'h') return NULL;
    if (type == 'b') {
        if (m->has_base) return "names a second base";
        m->has_base = true;
        m->base = *f;
        return NULL;
    }
    if (type != 'i') return "has a type of file that is not known";
    unsigned count = m->increment_count;
    if (count > 0 && m->increments[count - 1].number >= f->number)
        return "has a sequence number out of order";
    if (count == m->increment_capacity) {
        unsigned capacity = count == 0 ? 4 : 2 * count;
        void *grown = mem_try_realloc(m->mem, m->increments, count * sizeof *m->increments,
                                      capacity * sizeof *m->increments);
        if (!grown) return "names more files than there is memory for";
        m->increments = grown;
        m->increment_capacity = capacity;
    }
    m->increments[m->increment_count++] = *f;
    return NULL;
}

static bool is_file_name(struct bytes name)
{
    return name.size > 0 && name.size < REDIS_AOF_NAME_BYTES &&
           !memchr(name.data, '/', name.size) && !memchr(name.data, '\0', name.size);
}

/* Pairs of words: file NAME seq NUMBER type LETTER. */
static const char *take_words(struct redis_aof_manifest *m, const struct bytes *words,
                              uint32_t count)
{
    struct redis_aof_file f = {0};
    char type = '\0';
    bool has_number = false;
    for (uint32_t i = 0; i + 1 < count; i += 2) {
        struct bytes value = words[i + 1];
        if (bytes_equal_nocase(words[i], "file")) {
            if (!is_file_name(value)) return "has a file name with a path, or none";
            snprintf(f.name, sizeof f.name, "%.*s", (int)value.size, value.data);
        } else if (bytes_equal_nocase(words[i], "seq")) {
            has_number = text_to_u64(value, &f.number);
        } else if (bytes_equal_nocase(words[i], "type")) {
            type = value.size == 1 ? value.data[0] : '\0';
        }
    }
    if (count % 2 || !f.name[0] || !has_number || !type) return "is not valid";
    return add_file(m, &f, type);
}

/* A line has the form of an inline command, quotes and all. NULL, or what is wrong. */
static const char *take_line(struct redis_aof_manifest *m, struct bytes line)
{
    struct buf text = {.mem = m->mem};
    struct resp_reader words;
    const char *fault = "is not valid";
    if (line.size > 0 && line.data[0] == '#') return NULL;
    if (line.size == 0 || line.data[0] == '*') return fault;
    buf_append(&text, line.data, line.size);
    buf_append_text(&text, "\n");
    resp_reader_init(&words, m->mem);
    resp_feed(&words, text.data, text.size);
    if (resp_next(&words, &limits) == RESP_REQUEST) fault = take_words(m, words.argv, words.argc);
    resp_reader_deinit(&words);
    buf_clear(&text);
    return fault;
}

bool redis_aof_manifest_parse(struct redis_aof_manifest *m, struct bytes text, char *why)
{
    unsigned line = 0;
    const char *fault = NULL;
    while (text.size > 0 && !fault) {
        const char *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        fault = take_line(m, bytes_make(text.data, size));
        size += end != NULL;
        text = bytes_make(text.data + size, text.size - size);
        line++;
    }
    if (!fault && !m->has_base && m->increment_count == 0) fault = "is not valid: there is no file";
    if (fault) snprintf(why, REDIS_AOF_WHY_BYTES, "line %u %s", MAX(line, 1u), fault);
    return !fault;
}

/* ---- commands ---- */

bool redis_aof_open(struct redis_aof_reader *r, struct mem *mem, const char *path, uint64_t offset)
{
    *r = (struct redis_aof_reader){.mem = mem,
                                   .offset = offset,
                                   .end = offset,
                                   .window_offset = offset,
                                   .window_end = offset,
                                   .fault = "cannot be opened"};
    resp_reader_init(&r->resp, mem);
    r->window = mem_alloc(mem, WINDOW_BYTES);
    return env_file_open(&r->file, path, ENV_OPEN_READ) == OK &&
           env_file_size(&r->file, &r->size) == OK;
}

void redis_aof_close(struct redis_aof_reader *r)
{
    env_file_close(&r->file);
    resp_reader_deinit(&r->resp);
    mem_free(r->mem, r->window, WINDOW_BYTES);
}

static enum redis_aof_found stop(struct redis_aof_reader *r, enum redis_aof_found found,
                                 const char *fault)
{
    r->offset = r->end;
    r->fault = fault;
    return found;
}

/* REDIS_AOF_COMMAND: there are more bytes. */
static enum redis_aof_found read_window(struct redis_aof_reader *r)
{
    size_t got;
    if (r->end >= r->window_offset && r->end < r->window_end)
        r->first = r->window[r->end - r->window_offset];
    if (env_file_read(&r->file, r->window_end, r->window, WINDOW_BYTES, &got) != OK)
        return stop(r, REDIS_AOF_FAILURE, "cannot be read");
    if (got == 0 && r->end == r->window_end) return stop(r, REDIS_AOF_END, NULL);
    if (got == 0) return stop(r, REDIS_AOF_CUT, "ends within a command");
    r->window_offset = r->window_end;
    r->window_end += got;
    resp_feed(&r->resp, r->window, got);
    return REDIS_AOF_COMMAND;
}

/* The first byte of what the resp reader has just found. */
static char first_byte(const struct redis_aof_reader *r)
{
    return r->offset >= r->window_offset ? r->window[r->offset - r->window_offset] : r->first;
}

enum redis_aof_found redis_aof_next(struct redis_aof_reader *r)
{
    for (;;) {
        enum resp_state state = resp_next(&r->resp, &limits);
        if (state == RESP_BROKEN)
            return stop(r, REDIS_AOF_BROKEN, "has no command where one should be");
        if (state == RESP_NEED_MORE) {
            enum redis_aof_found found = read_window(r);
            if (found != REDIS_AOF_COMMAND) return found;
            continue;
        }
        r->offset = r->end;
        r->end = r->window_end - resp_unread_bytes(&r->resp);
        char first = first_byte(r);
        if (first == '#') continue;
        r->fault = "has no command where one should be";
        if (first != '*') return REDIS_AOF_BROKEN;
        r->argv = r->resp.argv;
        r->argc = r->resp.argc;
        return REDIS_AOF_COMMAND;
    }
}
