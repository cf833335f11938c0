#include "server/script_cache.h"

#include <ctype.h>
#include <stdio.h>

#include "base/text.h"
#include "server/library.h"

#define BUCKETS_FIRST 64
#define SHEBANG_WORDS_MAX 16

/* ---- the cache ---- */

void script_cache_init(struct script_cache *c)
{
    *c = (struct script_cache){.bucket_count = BUCKETS_FIRST};
    pthread_mutex_init(&c->mutex, NULL);
    mem_init(&c->mem, "scripts");
    atomic_init(&c->generation, 1);
    c->buckets = mem_alloc_zeroed(&c->mem, c->bucket_count * sizeof *c->buckets);
}

static size_t script_bytes(const struct script *s)
{
    return sizeof *s + s->size;
}

void script_ref(struct script *s)
{
    if (s->library) {
        library_ref(s->library);
        return;
    }
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

/* True if it was the last count. */
static bool script_let_go(struct script *s)
{
    /* Release what this thread did with it; acquire what the others did, before it is freed. */
    return atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1;
}

void script_unref(struct script_cache *c, struct script *s)
{
    if (s->library) {
        library_unref(s->library);
        return;
    }
    if (!script_let_go(s)) return;
    pthread_mutex_lock(&c->mutex);
    mem_free(&c->mem, s, script_bytes(s));
    pthread_mutex_unlock(&c->mutex);
}

static void buckets_clear(struct script_cache *c)
{
    for (uint32_t i = 0; i < c->bucket_count; i++) {
        struct script *s = c->buckets[i];
        c->buckets[i] = NULL;
        while (s) {
            struct script *next = s->next;
            s->next = NULL;
            if (script_let_go(s)) mem_free(&c->mem, s, script_bytes(s));
            s = next;
        }
    }
    atomic_store_explicit(&c->count, 0, memory_order_relaxed);
    atomic_store_explicit(&c->bytes, 0, memory_order_relaxed);
}

void script_cache_flush(struct script_cache *c)
{
    pthread_mutex_lock(&c->mutex);
    buckets_clear(c);
    atomic_fetch_add_explicit(&c->generation, 1, memory_order_release);
    pthread_mutex_unlock(&c->mutex);
}

void script_cache_deinit(struct script_cache *c)
{
    buckets_clear(c);
    mem_free(&c->mem, c->buckets, c->bucket_count * sizeof *c->buckets);
    mem_deinit(&c->mem);
    pthread_mutex_destroy(&c->mutex);
}

/* The SHA-1 is evenly spread by itself. */
static uint32_t sha_word(const char *sha)
{
    uint32_t word = 0;
    for (unsigned i = 0; i < 8; i++) {
        uint32_t digit = (unsigned char)sha[i];
        word = word << 4 | (digit <= '9' ? digit & 15 : (digit - 'a' + 10) & 15);
    }
    return word;
}

static struct script *find_locked(struct script_cache *c, const char *sha)
{
    struct script *s = c->buckets[sha_word(sha) & (c->bucket_count - 1)];
    while (s && memcmp(s->sha, sha, SCRIPT_SHA_BYTES) != 0) s = s->next;
    return s;
}

/* Without memory chains get longer. */
static void buckets_grow(struct script_cache *c)
{
    uint32_t old_count = c->bucket_count, count = 2 * old_count;
    struct script **buckets = mem_try_alloc(&c->mem, count * sizeof *buckets);
    if (!buckets) return;
    memset(buckets, 0, count * sizeof *buckets);
    for (uint32_t i = 0; i < old_count; i++) {
        while (c->buckets[i]) {
            struct script *s = c->buckets[i];
            c->buckets[i] = s->next;
            struct script **to = &buckets[sha_word(s->sha) & (count - 1)];
            s->next = *to;
            *to = s;
        }
    }
    mem_free(&c->mem, c->buckets, old_count * sizeof *buckets);
    c->buckets = buckets;
    c->bucket_count = count;
}

static struct script *add_locked(struct script_cache *c, struct bytes text, const char *sha)
{
    struct script *s = mem_try_alloc(&c->mem, sizeof *s + text.size);
    if (!s) return NULL;
    *s = (struct script){.id = ++c->ids, .size = text.size};
    memcpy(s->sha, sha, SCRIPT_SHA_BYTES);
    if (text.size) memcpy(s + 1, text.data, text.size);
    s->text = (const char *)(s + 1);
    s->label = s->sha;
    atomic_init(&s->refs, 1);
    if (atomic_load_explicit(&c->count, memory_order_relaxed) >= c->bucket_count) buckets_grow(c);
    struct script **to = &c->buckets[sha_word(sha) & (c->bucket_count - 1)];
    s->next = *to;
    *to = s;
    atomic_fetch_add_explicit(&c->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->bytes, script_bytes(s), memory_order_relaxed);
    return s;
}

static void sha_of(struct bytes text, char out[SCRIPT_SHA_BYTES])
{
    uint8_t digest[SHA1_BYTES];
    sha1(text, digest);
    sha1_to_hex(digest, out);
}

struct script *script_cache_add(struct script_cache *c, struct bytes text, uint32_t flags,
                                bool has_shebang)
{
    char sha[SCRIPT_SHA_BYTES];
    sha_of(text, sha);
    pthread_mutex_lock(&c->mutex);
    struct script *s = find_locked(c, sha);
    if (!s && (s = add_locked(c, text, sha))) {
        s->flags = flags;
        s->has_shebang = has_shebang;
    }
    if (s) script_ref(s);
    pthread_mutex_unlock(&c->mutex);
    return s;
}

/* False: that is no digest. */
static bool sha_fold(struct bytes sha, char out[SCRIPT_SHA_BYTES])
{
    if (sha.size != SCRIPT_SHA_BYTES) return false;
    for (unsigned i = 0; i < SCRIPT_SHA_BYTES; i++) {
        if (!isxdigit((unsigned char)sha.data[i])) return false;
        out[i] = (char)tolower((unsigned char)sha.data[i]);
    }
    return true;
}

bool script_cache_has(struct script_cache *c, struct bytes sha)
{
    char folded[SCRIPT_SHA_BYTES];
    if (!sha_fold(sha, folded)) return false;
    pthread_mutex_lock(&c->mutex);
    bool has = find_locked(c, folded) != NULL;
    pthread_mutex_unlock(&c->mutex);
    return has;
}

/* ---- a thread's own table ---- */

void script_table_init(struct script_table *t, struct script_cache *c, uint64_t seed)
{
    *t = (struct script_table){.cache = c, .generation = c->generation, .seed = seed};
}

static void table_clear(struct script_table *t)
{
    for (unsigned i = 0; i < SCRIPT_TABLE_SLOTS; i++) {
        if (t->by_text[i]) script_unref(t->cache, t->by_text[i]);
        if (t->by_sha[i]) script_unref(t->cache, t->by_sha[i]);
        t->by_text[i] = t->by_sha[i] = NULL;
    }
}

void script_table_deinit(struct script_table *t)
{
    table_clear(t);
}

/* Pairs with the release in script_cache_flush: who has been answered +OK finds nothing old. */
void script_table_refresh(struct script_table *t)
{
    uint64_t generation = atomic_load_explicit(&t->cache->generation, memory_order_acquire);
    if (likely(generation == t->generation)) return;
    table_clear(t);
    t->generation = generation;
}

static void slot_set(struct script_table *t, struct script **slot, struct script *s)
{
    if (*slot) script_unref(t->cache, *slot);
    *slot = s;
}

void script_table_put(struct script_table *t, struct script *s)
{
    uint64_t hash = bytes_hash(bytes_make(s->text, s->size), t->seed);
    script_ref(s);
    slot_set(t, &t->by_text[hash % SCRIPT_TABLE_SLOTS], s);
    slot_set(t, &t->by_sha[sha_word(s->sha) % SCRIPT_TABLE_SLOTS], s);
}

struct script *script_table_find_text(struct script_table *t, struct bytes text)
{
    script_table_refresh(t);
    uint64_t hash = bytes_hash(text, t->seed);
    struct script *s = t->by_text[hash % SCRIPT_TABLE_SLOTS];
    return s && bytes_equal(bytes_make(s->text, s->size), text) ? s : NULL;
}

struct script *script_table_find_sha(struct script_table *t, struct bytes sha)
{
    char folded[SCRIPT_SHA_BYTES];
    if (!sha_fold(sha, folded)) return NULL;
    script_table_refresh(t);
    struct script *s = t->by_sha[sha_word(folded) % SCRIPT_TABLE_SLOTS];
    if (s && memcmp(s->sha, folded, SCRIPT_SHA_BYTES) == 0) return s;
    pthread_mutex_lock(&t->cache->mutex);
    s = find_locked(t->cache, folded);
    if (s) script_ref(s);
    pthread_mutex_unlock(&t->cache->mutex);
    if (s) script_table_put(t, s);
    return s;
}

/* ---- the first line ---- */

const char *const script_flag_names[SCRIPT_FLAG_COUNT] = {"no-writes", "allow-oom", "allow-stale",
                                                          "no-cluster", "allow-cross-slot-keys"};

uint32_t script_flag_of(struct bytes name)
{
    for (unsigned i = 0; i < SCRIPT_FLAG_COUNT; i++)
        if (bytes_equal(name, bytes_of(script_flag_names[i]))) return 1u << i;
    return 0;
}

static bool read_flag(struct bytes word, uint32_t *flags, struct buf *error)
{
    uint32_t flag = script_flag_of(word);
    *flags |= flag;
    if (!flag)
        buf_printf(error, "ERR Unexpected flag in script shebang: %.*s", (int)MIN(word.size, 128u),
                   word.data);
    return flag != 0;
}

static bool read_flags(struct bytes list, uint32_t *flags, struct buf *error)
{
    while (list.size > 0) {
        const char *comma = memchr(list.data, ',', list.size);
        size_t size = comma ? (size_t)(comma - list.data) : list.size;
        if (!read_flag(bytes_make(list.data, size), flags, error)) return false;
        size_t used = comma ? size + 1 : size;
        list = bytes_make(list.data + used, list.size - used);
    }
    return true;
}

static bool read_options(const struct bytes *words, int count, uint32_t *flags, struct buf *error)
{
    for (int i = 0; i < count; i++) {
        struct bytes word = words[i];
        if (word.size < 6 || memcmp(word.data, "flags=", 6) != 0) {
            buf_printf(error, "ERR Unknown lua shebang option: %.*s", (int)MIN(word.size, 128u),
                       word.data);
            return false;
        }
        if (!read_flags(bytes_make(word.data + 6, word.size - 6), flags, error)) return false;
    }
    return true;
}

static bool read_line(struct bytes line, struct buf *storage, uint32_t *flags, struct buf *error)
{
    struct bytes words[SHEBANG_WORDS_MAX];
    int count = text_split_words(line, storage, words, SHEBANG_WORDS_MAX);
    if (count < 1 || count > SHEBANG_WORDS_MAX) {
        buf_append_text(error, "ERR Invalid engine in script shebang");
        return false;
    }
    if (!bytes_equal(words[0], BYTES_LITERAL("#!lua"))) {
        buf_printf(error, "ERR Unexpected engine in script shebang: %.*s",
                   (int)MIN(words[0].size, 128u), words[0].data);
        return false;
    }
    return read_options(words + 1, count - 1, flags, error);
}

bool script_read_shebang(struct bytes text, uint32_t *flags, bool *has_shebang, struct buf *error)
{
    *flags = 0;
    *has_shebang = text.size >= 2 && memcmp(text.data, "#!", 2) == 0;
    if (!*has_shebang) return true;
    const char *end = memchr(text.data, '\n', text.size);
    if (!end || end - text.data > SCRIPT_SHEBANG_BYTES_MAX) {
        buf_append_text(error, "ERR Invalid script shebang");
        return false;
    }
    struct buf storage = {.mem = error->mem};
    bool ok = read_line(bytes_make(text.data, (size_t)(end - text.data)), &storage, flags, error);
    buf_clear(&storage);
    return ok;
}
