#include "server/library.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/text.h"
#include "persist/crc64.h"
#include "persist/rdb_file.h"
#include "shard/dump.h"

#define NAME_TEXT                                                                                  \
    "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least " \
    "one character long"
#define WORDS_MAX 64

/* ---- the first line ---- */

bool library_name_is_valid(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        unsigned char c = (unsigned char)name.data[i];
        bool is_word =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_word) return false;
    }
    return name.size > 0;
}

static bool refuse(struct buf *error, const char *text)
{
    buf_append_text(error, text);
    return false;
}

static bool read_options(const struct bytes *words, int count, struct bytes *name,
                         struct buf *error)
{
    bool has_name = false;
    for (int i = 0; i < count; i++) {
        struct bytes word = words[i];
        bool is_name = word.size >= 5 && bytes_equal_nocase(bytes_make(word.data, 5), "name=");
        if (!is_name) {
            buf_printf(error, "ERR Invalid metadata value given: %.*s",
                       (int)MIN(word.size, (size_t)INT32_MAX), word.data);
            return false;
        }
        if (has_name)
            return refuse(error,
                          "ERR Invalid metadata value, name argument was given multiple times");
        *name = bytes_make(word.data + 5, word.size - 5);
        has_name = true;
    }
    if (!has_name) return refuse(error, "ERR Library name was not given");
    if (!library_name_is_valid(*name)) return refuse(error, NAME_TEXT);
    return true;
}

bool library_read_metadata(struct bytes code, struct buf *words, struct bytes *name,
                           struct buf *error)
{
    struct bytes word[WORDS_MAX];
    if (code.size < 2 || memcmp(code.data, "#!", 2) != 0)
        return refuse(error, "ERR Missing library metadata");
    const char *end = memchr(code.data, '\n', code.size);
    if (!end || end - code.data > SCRIPT_SHEBANG_BYTES_MAX)
        return refuse(error, "ERR Invalid library metadata");
    struct bytes line = bytes_make(code.data, (size_t)(end - code.data));
    int count = text_split_words(line, words, word, WORDS_MAX);
    if (count < 1 || count > WORDS_MAX || word[0].size < 2)
        return refuse(error, "ERR Invalid library metadata");
    if (!read_options(word + 1, count - 1, name, error)) return false;
    struct bytes engine = bytes_make(word[0].data + 2, word[0].size - 2);
    if (bytes_equal_nocase(engine, "lua")) return true;
    buf_printf(error, "ERR Engine '%.*s' not found", (int)MIN(engine.size, (size_t)INT32_MAX),
               engine.data);
    return false;
}

/* ---- a library ---- */

void library_draft_clear(struct library_draft *d)
{
    buf_clear(&d->functions);
    buf_clear(&d->text);
}

static struct bytes put_text(char **at, const char *text, size_t size)
{
    struct bytes copy = bytes_make(*at, size);
    if (size) memcpy(*at, text, size);
    (*at)[size] = '\0';
    *at += size + 1;
    return copy;
}

static void make_function(struct library *l, const struct library_draft *d, uint32_t i, char **at)
{
    const struct drafted_function *from = draft_function(d, i);
    struct function *to = &l->functions[i];
    struct bytes name = put_text(at, d->text.data + from->name_at, from->name_size);
    *to = (struct function){.script = {.id = --l->home->ids,
                                       .flags = from->flags,
                                       .has_shebang = true,
                                       .library = l,
                                       .label = name.data,
                                       .text = l->code.data,
                                       .size = l->code.size,
                                       .first_line = from->first_line,
                                       .last_line = from->last_line},
                            .has_description = from->has_description};
    if (from->has_description)
        to->description = put_text(at, d->text.data + from->description_at, from->description_size);
}

struct library *library_make(struct functions *f, const struct library_draft *d)
{
    uint32_t count = draft_count(d);
    size_t bytes = sizeof(struct library) + count * sizeof(struct function) + d->name.size +
                   d->code.size + d->text.size + 2 + 2 * (size_t)count;
    pthread_mutex_lock(&f->mutex);
    struct library *l = mem_try_alloc(&f->mem, bytes);
    if (l) {
        *l = (struct library){.home = f, .bytes = bytes, .function_count = count};
        atomic_init(&l->refs, 1);
        char *at = (char *)&l->functions[count];
        l->name = put_text(&at, d->name.data, d->name.size);
        l->code = put_text(&at, d->code.data, d->code.size);
        for (uint32_t i = 0; i < count; i++) make_function(l, d, i, &at);
    }
    pthread_mutex_unlock(&f->mutex);
    return l;
}

void library_ref(struct library *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
}

/* Under the mutex. */
static void library_let_go(struct library *l)
{
    /* Release what this thread did with it; acquire what the others did, before it is freed. */
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
        mem_free(&l->home->mem, l, l->bytes);
}

void library_unref(struct library *l)
{
    struct functions *f = l->home;
    uint32_t refs = atomic_load_explicit(&l->refs, memory_order_relaxed);
    /* Only what may be the last count needs the mutex. */
    while (refs > 1)
        if (atomic_compare_exchange_weak_explicit(&l->refs, &refs, refs - 1, memory_order_release,
                                                  memory_order_relaxed))
            return;
    pthread_mutex_lock(&f->mutex);
    library_let_go(l);
    pthread_mutex_unlock(&f->mutex);
}

/* ---- a set ---- */

static uint32_t name_hash(struct bytes name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ (uint32_t)tolower((unsigned char)name.data[i])) * 16777619u;
    return hash;
}

static struct function **slot_of(const struct library_set *set, struct bytes name)
{
    uint32_t mask = set->bucket_count - 1, i = name_hash(name) & mask;
    while (set->buckets[i]) {
        if (bytes_equal_nocase(name, set->buckets[i]->script.label)) break;
        i = (i + 1) & mask;
    }
    return &set->buckets[i];
}

struct function *library_set_find_function(const struct library_set *set, struct bytes name)
{
    return memchr(name.data, '\0', name.size) ? NULL : *slot_of(set, name);
}

struct library *library_set_find(const struct library_set *set, struct bytes name)
{
    uint32_t low = 0, high = set->library_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = bytes_compare(set->libraries[middle]->name, name);
        if (order == 0) return set->libraries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Empty, with room for so many. NULL: no memory. */
static struct library_set *set_make(struct functions *f, uint32_t libraries, uint32_t functions)
{
    uint32_t buckets = 8;
    while (buckets < 2 * functions) buckets *= 2;
    size_t bytes = sizeof(struct library_set) + libraries * sizeof(struct library *) +
                   buckets * sizeof(struct function *);
    struct library_set *set = mem_try_alloc(&f->mem, bytes);
    if (!set) return NULL;
    *set = (struct library_set){.bytes = bytes, .bucket_count = buckets};
    atomic_init(&set->refs, 1);
    set->libraries = (struct library **)(void *)(set + 1);
    set->buckets = (struct function **)(void *)(set->libraries + libraries);
    memset(set->buckets, 0, buckets * sizeof(struct function *));
    return set;
}

/* Under the mutex. */
static void set_let_go(struct functions *f, struct library_set *set)
{
    if (atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) > 1) return;
    for (uint32_t i = 0; i < set->library_count; i++) library_let_go(set->libraries[i]);
    mem_free(&f->mem, set, set->bytes);
}

void library_set_unref(struct functions *f, struct library_set *set)
{
    pthread_mutex_lock(&f->mutex);
    set_let_go(f, set);
    pthread_mutex_unlock(&f->mutex);
}

struct library_set *functions_take(struct functions *f)
{
    pthread_mutex_lock(&f->mutex);
    struct library_set *set = f->set;
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&f->mutex);
    return set;
}

void functions_refresh(struct functions *f, struct library_set **set, uint64_t *version)
{
    /* Pairs with the release in publish: who has been answered finds the change. */
    if (likely(*set && atomic_load_explicit(&f->version, memory_order_acquire) == *version)) return;
    pthread_mutex_lock(&f->mutex);
    if (*set) set_let_go(f, *set);
    *set = f->set;
    atomic_fetch_add_explicit(&f->set->refs, 1, memory_order_relaxed);
    *version = atomic_load_explicit(&f->version, memory_order_relaxed);
    pthread_mutex_unlock(&f->mutex);
}

/* ---- changes, under the mutex ---- */

static void publish(struct functions *f, struct library_set *set)
{
    uint64_t bytes = set->bytes;
    for (uint32_t i = 0; i < set->library_count; i++) bytes += set->libraries[i]->bytes;
    atomic_store_explicit(&f->library_count, set->library_count, memory_order_relaxed);
    atomic_store_explicit(&f->function_count, set->function_count, memory_order_relaxed);
    atomic_store_explicit(&f->bytes, bytes, memory_order_relaxed);
    struct library_set *old = f->set;
    f->set = set;
    atomic_fetch_add_explicit(&f->version, 1, memory_order_release);
    if (old) set_let_go(f, old);
}

/* False, with the text: another library has a function of that name. */
static bool set_put(struct library_set *set, struct library *l, struct buf *error)
{
    for (uint32_t i = 0; i < l->function_count; i++) {
        struct function *function = &l->functions[i];
        struct bytes name = bytes_of(function->script.label);
        struct function **slot = slot_of(set, name);
        if (*slot && (*slot)->script.library != l) {
            buf_printf(error, "ERR Function %s already exists", function->script.label);
            return false;
        }
        if (!*slot) *slot = function;
    }
    library_ref(l);
    set->libraries[set->library_count++] = l;
    set->function_count += l->function_count;
    return true;
}

static int compare_libraries(const void *a, const void *b)
{
    return bytes_compare((*(struct library *const *)a)->name, (*(struct library *const *)b)->name);
}

static struct library *find_among(struct library *const *libraries, uint32_t count,
                                  struct bytes name)
{
    for (uint32_t i = 0; i < count; i++)
        if (bytes_equal(libraries[i]->name, name)) return libraries[i];
    return NULL;
}

static bool put_all(struct library_set *set, const struct library_set *old,
                    struct library *const *libraries, uint32_t count, struct buf *error)
{
    for (uint32_t i = 0; old && i < old->library_count; i++) {
        bool is_replaced = find_among(libraries, count, old->libraries[i]->name);
        if (!is_replaced && !set_put(set, old->libraries[i], error)) return false;
    }
    for (uint32_t i = 0; i < count; i++)
        if (!set_put(set, libraries[i], error)) return false;
    qsort(set->libraries, set->library_count, sizeof *set->libraries, compare_libraries);
    return true;
}

static bool check_new(const struct library_set *old, struct library *const *libraries,
                      uint32_t count, bool quote, struct buf *error)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!library_set_find(old, libraries[i]->name)) continue;
        buf_printf(error,
                   quote ? "ERR Library '%.*s' already exists" : "ERR Library %.*s already exists",
                   (int)libraries[i]->name.size, libraries[i]->name.data);
        return false;
    }
    return true;
}

static bool add_locked(struct functions *f, struct library *const *libraries, uint32_t count,
                       enum functions_policy policy, struct buf *error)
{
    const struct library_set *old = policy == FUNCTIONS_FLUSH ? NULL : f->set;
    uint32_t functions = old ? old->function_count : 0;
    for (uint32_t i = 0; i < count; i++) functions += libraries[i]->function_count;
    struct library_set *set = set_make(f, (old ? old->library_count : 0) + count, functions);
    if (!set) return refuse(error, err_text(ERR_ALLOC));
    if (!put_all(set, old, libraries, count, error)) {
        set_let_go(f, set);
        return false;
    }
    publish(f, set);
    return true;
}

bool functions_add(struct functions *f, struct library *const *libraries, uint32_t count,
                   enum functions_policy policy, bool quote, struct buf *error)
{
    pthread_mutex_lock(&f->mutex);
    bool ok = policy != FUNCTIONS_ADD || check_new(f->set, libraries, count, quote, error);
    ok = ok && add_locked(f, libraries, count, policy, error);
    pthread_mutex_unlock(&f->mutex);
    return ok;
}

static bool delete_locked(struct functions *f, struct bytes name, struct buf *error)
{
    const struct library_set *old = f->set;
    struct library *gone = library_set_find(old, name);
    if (!gone) return refuse(error, "ERR Library not found");
    struct library_set *set = set_make(f, old->library_count, old->function_count);
    if (!set) return refuse(error, err_text(ERR_ALLOC));
    for (uint32_t i = 0; i < old->library_count; i++)
        if (old->libraries[i] != gone) CHECK(set_put(set, old->libraries[i], error));
    publish(f, set);
    return true;
}

bool functions_delete(struct functions *f, struct bytes name, struct buf *error)
{
    pthread_mutex_lock(&f->mutex);
    bool ok = delete_locked(f, name, error);
    pthread_mutex_unlock(&f->mutex);
    return ok;
}

bool functions_flush(struct functions *f)
{
    pthread_mutex_lock(&f->mutex);
    struct library_set *set = set_make(f, 0, 0);
    if (set) publish(f, set);
    pthread_mutex_unlock(&f->mutex);
    return set != NULL;
}

void functions_init(struct functions *f)
{
    *f = (struct functions){0};
    pthread_mutex_init(&f->mutex, NULL);
    mem_init(&f->mem, "functions");
    struct library_set *set = set_make(f, 0, 0);
    CHECK(set);
    publish(f, set);
    atomic_store_explicit(&f->version, 0, memory_order_relaxed);
}

void functions_deinit(struct functions *f)
{
    set_let_go(f, f->set);
    mem_deinit(&f->mem);
    pthread_mutex_destroy(&f->mutex);
}

/* ---- as bytes ---- */

bool functions_dump(const struct library_set *set, bool compress, struct buf *out)
{
    size_t start = out->size;
    struct rdb_writer w = {.out = out, .packing = compress ? RDB_PACK_ALL : RDB_PACK_INTEGERS};
    bool ok = true;
    for (uint32_t i = 0; ok && i < set->library_count; i++)
        ok = rdb_try_append_type(&w, RDB_OPCODE_FUNCTION_2) &&
             rdb_try_append_string(&w, set->libraries[i]->code);
    rdb_writer_deinit(&w);
    return ok && dump_try_seal(out, start, RDB_VERSION);
}

bool functions_read_dump(struct bytes payload, struct mem *mem, functions_code_fn *each,
                         void *context, struct buf *error)
{
    struct bytes rest;
    if (!dump_is_intact(payload, &rest))
        return refuse(error, "ERR DUMP payload version or checksum are wrong");
    while (rest.size > 0) {
        struct rdb_string code;
        uint8_t opcode = (uint8_t)rest.data[0];
        rest = bytes_make(rest.data + 1, rest.size - 1);
        if (opcode == RDB_OPCODE_FUNCTION_PRE_GA)
            return refuse(error, "ERR Pre-GA function format not supported");
        if (opcode != RDB_OPCODE_FUNCTION_2)
            return refuse(error, "ERR given type is not a function");
        if (!rdb_take_string(mem, &rest, &code))
            return refuse(error, "ERR Failed loading library payload");
        bool ok = each(context, code.text, error);
        rdb_string_free(mem, &code);
        if (!ok) return false;
    }
    return true;
}
