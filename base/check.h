/* check.h: assertions that stay on, the compiler attributes we use, and named fault points.
 *
 * Thread     any.
 * Errors     A failed CHECK prints where it happened, which thread and shard it was and the last
 *            command that ran there, then aborts. A client's mistake is never a CHECK; it is an
 *            enum err.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_LINE 64

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_at, first_at) __attribute__((format(printf, format_at, first_at)))
#define NOT_NULL(argument) __attribute__((nonnull(argument)))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))
#define ALWAYS_INLINE inline __attribute__((always_inline))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* A broken invariant of ours. Always compiled in. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (unlikely(!(condition))) check_failed(#condition, __FILE__, __LINE__);                  \
    } while (0)

/* Here nobody comes; `text` says why not. */
#define CHECK_NEVER(text) check_failed("never: " text, __FILE__, __LINE__)

/* As CHECK, for what costs more than a few ns; only in debug and sanitizer builds. */
#ifdef SHOAL_DCHECK
#define DCHECK(condition) CHECK(condition)
#else
#define DCHECK(condition)                                                                          \
    do {                                                                                           \
        if (0) CHECK(condition);                                                                   \
    } while (0)
#endif

NORETURN void check_failed(const char *condition, const char *file, int line);

/* What this thread tells in a crash report. Set by the loops: `role` and `command` must stay valid.
 */
struct check_context {
    const char *role;    /* "main", "io-0" … */
    const char *command; /* name of the command that runs or ran last; NULL if none */
};
struct check_context *check_context_here(void);

/* Where reports go: standard error until the log has a file. [any] */
void check_set_report_fd(int fd);

/* Installs handlers for SIGSEGV, SIGBUS, SIGFPE and SIGILL that print the context and a backtrace.
 * [main] */
void check_install_crash_handler(void);

/* Named fault points: `fault_set("aof_write", 3)` makes the third fault_hit("aof_write") from now
 * true, once; with FAULT_LASTING in the count, and all that follow. With count 0 the point is
 * cleared. Costs one relaxed load while no point is set. A name stays in the table for ever: a
 * longer name, or more names than FAULT_POINTS_MAX in one process, is a failed CHECK. [any] */
#define FAULT_POINTS_MAX 64
#define FAULT_NAME_BYTES_MAX 31
#define FAULT_LASTING (1u << 31)
void fault_set(const char *point, unsigned count);
bool fault_hit_slow(const char *point);
extern _Atomic unsigned fault_points_armed;
static inline bool fault_hit(const char *point)
{
    unsigned armed = atomic_load_explicit(&fault_points_armed, memory_order_relaxed);
    return unlikely(armed != 0) && fault_hit_slow(point);
}
