/* log.h: one line an event: `pid:role dd Mon yyyy hh:mm:ss.mmm level message`.
 *
 * Thread     any; a line is one write(2), so lines never mix. Not for the path of a command.
 * Source     Redis's line format, so that existing log scrapers work.
 */
#pragma once

#include "base/check.h"

enum log_level { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING, LOG_NOTHING };

#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_verbose(...) log_line(LOG_VERBOSE, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)

void log_line(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

void log_set_level(enum log_level level); /* [any] */
enum log_level log_level_now(void);
/* An empty path means standard output. False, with the old file kept, if it cannot be opened.
 * [main] */
MUST_USE bool log_open(const char *path);
/* After SIGHUP: opens the same path again. [main] */
void log_reopen(void);
