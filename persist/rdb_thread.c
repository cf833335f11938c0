#include "persist/rdb_thread.h"

#include <signal.h>
#include <stdio.h>

/* ---- the writer's side ---- */

static bool note_failure(struct rdb_thread *t, enum err e)
{
    if (e != OK && !t->why[0]) file_output_why(&t->output, t->why);
    return e == OK;
}

static bool write_bytes(void *context, struct bytes bytes)
{
    struct rdb_thread *t = context;
    bool done = note_failure(t, file_output_write(&t->output, bytes, t->options.sync_bytes));
    atomic_store_explicit(&t->bytes_written, t->output.written, memory_order_relaxed);
    return done;
}

static void put_number(struct rdb_file_writer *w, const char *name, uint64_t value)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    rdb_file_put_aux(w, bytes_of(name), bytes_make(text, (size_t)n));
}

static void write_head(struct rdb_thread *t)
{
    struct rdb_file_writer *w = &t->writer;
    rdb_file_writer_init(w, &t->mem, write_bytes, t, &t->options.file);
    rdb_file_begin(w);
    rdb_file_put_aux(w, BYTES_LITERAL("redis-ver"), bytes_of(t->options.server_version));
    put_number(w, "redis-bits", 64);
    put_number(w, "ctime", (uint64_t)t->options.time_s);
    put_number(w, "used-mem", t->options.used_memory_bytes);
    put_number(w, "aof-base", 0);
    for (uint32_t i = 0; i < t->options.function_count; i++)
        rdb_file_put_function(w, t->options.functions[i]);
}

/* The database is named when it changes. */
static void write_piece(struct rdb_thread *t, const struct rdb_piece *piece, int64_t *db)
{
    if (piece->records.size == 0) return;
    if (*db != (int64_t)piece->db) {
        const struct rdb_sizes *sizes = &t->options.sizes[piece->db];
        rdb_file_put_database(&t->writer, piece->db, sizes->keys, sizes->deadlines);
        *db = piece->db;
    }
    rdb_file_put_records(&t->writer, piece->records);
    uint64_t keys = atomic_load_explicit(&t->keys_written, memory_order_relaxed);
    atomic_store_explicit(&t->keys_written, keys + piece->key_count, memory_order_relaxed);
}

/* Takes the oldest piece that may come now off the queue; NULL: there is none. At the end all may:
 * when it was given up, records stay incomplete. */
static struct rdb_piece *take_piece(struct rdb_thread *t)
{
    struct rdb_piece *before = NULL, *piece = t->first;
    while (piece && t->has_open_record && !t->has_end && piece->lane != t->open_lane) {
        before = piece;
        piece = piece->next;
    }
    if (!piece) return NULL;
    *(before ? &before->next : &t->first) = piece->next;
    if (piece == t->last) t->last = before;
    t->has_open_record = piece->is_open;
    t->open_lane = piece->lane;
    return piece;
}

/* The next piece; NULL: there is none any more. */
static struct rdb_piece *await_piece(struct rdb_thread *t)
{
    pthread_mutex_lock(&t->mutex);
    struct rdb_piece *piece = take_piece(t);
    while (!piece && !(t->has_end && !t->first)) {
        pthread_cond_wait(&t->changed, &t->mutex);
        piece = take_piece(t);
    }
    pthread_mutex_unlock(&t->mutex);
    return piece;
}

static void give_back(struct rdb_thread *t, struct rdb_piece *piece, bool has_failed)
{
    pthread_mutex_lock(&t->mutex);
    piece->next = t->done;
    t->done = piece;
    t->has_failed |= has_failed;
    pthread_mutex_unlock(&t->mutex);
    t->options.wake(t->options.context);
}

static bool finish_file(struct rdb_thread *t, bool has_failed)
{
    if (has_failed || !t->should_keep || !rdb_file_end(&t->writer)) {
        file_output_abandon(&t->output);
        return false;
    }
    return note_failure(t, file_output_commit(&t->output));
}

static void *run(void *argument)
{
    struct rdb_thread *t = argument;
    struct rdb_piece *piece;
    int64_t db = -1;
    write_head(t);
    while ((piece = await_piece(t))) {
        if (!t->writer.failed) write_piece(t, piece, &db);
        give_back(t, piece, t->writer.failed);
    }
    bool done = finish_file(t, t->writer.failed);
    rdb_file_writer_deinit(&t->writer);
    pthread_mutex_lock(&t->mutex);
    t->has_failed = !done;
    t->is_over = true;
    pthread_mutex_unlock(&t->mutex);
    t->options.wake(t->options.context);
    return NULL;
}

/* ---- the owner's side ---- */

/* Signals are the main thread's. */
static bool start_thread(struct rdb_thread *t)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool done = !fault_hit("thread_create") && pthread_create(&t->pthread, NULL, run, t) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (done) pthread_setname_np(t->pthread, "rdb-writer");
    return done;
}

static void writer_deinit(struct rdb_thread *t)
{
    pthread_mutex_destroy(&t->mutex);
    pthread_cond_destroy(&t->changed);
    mem_deinit(&t->mem);
    t->is_running = false;
}

bool rdb_thread_start(struct rdb_thread *t, const struct rdb_thread_options *options, char *why)
{
    *t = (struct rdb_thread){.options = *options};
    if (file_output_create(&t->output, options->path) != OK) {
        file_output_why(&t->output, why);
        return false;
    }
    mem_init(&t->mem, "rdb-writer");
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->changed, NULL);
    t->is_running = true;
    if (start_thread(t)) return true;
    snprintf(why, FILE_WHY_BYTES, "cannot create the thread that writes the file");
    file_output_abandon(&t->output);
    writer_deinit(t);
    return false;
}

void rdb_thread_push(struct rdb_thread *t, struct rdb_piece *piece)
{
    piece->next = NULL;
    pthread_mutex_lock(&t->mutex);
    if (t->first)
        t->last->next = piece;
    else
        t->first = piece;
    t->last = piece;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

struct rdb_piece *rdb_thread_take_done(struct rdb_thread *t)
{
    if (!t->is_running) return NULL;
    pthread_mutex_lock(&t->mutex);
    struct rdb_piece *done = t->done;
    t->done = NULL;
    pthread_mutex_unlock(&t->mutex);
    return done;
}

void rdb_thread_end(struct rdb_thread *t, bool keep)
{
    pthread_mutex_lock(&t->mutex);
    t->has_end = true;
    t->should_keep = keep;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

bool rdb_thread_is_over(struct rdb_thread *t)
{
    pthread_mutex_lock(&t->mutex);
    bool is_over = t->is_over;
    pthread_mutex_unlock(&t->mutex);
    return is_over;
}

const char *rdb_thread_error(struct rdb_thread *t)
{
    pthread_mutex_lock(&t->mutex);
    bool has_failed = t->has_failed;
    pthread_mutex_unlock(&t->mutex);
    if (!has_failed) return NULL;
    return t->why[0] ? t->why : "not everything could be serialised";
}

void rdb_thread_join(struct rdb_thread *t)
{
    pthread_join(t->pthread, NULL);
    writer_deinit(t);
}
