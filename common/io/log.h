/*
 * The log: one line per event on standard error, for people ("info agent: claimed sandbox=i12 ...")
 * or for journals (JSON with ts, level, component, msg and the fields beside them).
 *
 *   log_info("agent", "claimed", LOG_TEXT("sandbox", id.text), LOG_INT("took_ms", took_ms));
 *   log_error("store", "cannot commit", LOG_ERR(&err));
 *
 * 'msg' is constant text; what varies goes into fields.  Values are escaped, so that no text from
 * outside can forge a line.  Identical lines beyond 5 in 10 s are counted and told as one
 * "suppressed" line later.  A line longer than LOG_LINE_MAX is cut.  Never give it a secret.
 * Any thread may log.  Only programs log; libraries return faults.
 */
#ifndef FLOTILLA_IO_LOG_H
#define FLOTILLA_IO_LOG_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOG_LINE_MAX = 4096 };

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum log_format {
	LOG_FORMAT_AUTO, /* text on a terminal, JSON otherwise */
	LOG_FORMAT_TEXT,
	LOG_FORMAT_JSON,
};

enum log_field_kind { LOG_FIELD_NONE, LOG_FIELD_TEXT, LOG_FIELD_INT, LOG_FIELD_UINT };

struct log_field {
	const char *key; /* [a-z0-9_]; borrowed for the call, as is text */
	enum log_field_kind kind;
	union {
		const char *text; /* NULL is written as an empty text */
		int64_t number;
		uint64_t count;
	};
};

#define LOG_TEXT(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_TEXT, .text = (v)})
#define LOG_INT(k, v)  ((struct log_field){.key = (k), .kind = LOG_FIELD_INT, .number = (v)})
#define LOG_UINT(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_UINT, .count = (v)})
#define LOG_ERR(err)   LOG_TEXT("error", (err)->text)

/* Before the first call the level is info and the format automatic. level and format: the words
 * that their options allow ("debug", "info", "warn", "error"; "auto", "text", "json"), checked. */
void log_setup(const char *level, const char *format);

/* Where lines go; 2 unless told otherwise. For tests. */
void log_to(int fd);

/* True when a line of this level would be written: for fields that cost something to make. */
bool log_is_on(enum log_level level);

/* Tells what is still suppressed; for the end of a program. */
void log_flush(void);

/* fields[0] is never read: it lets the macros below take no fields at all. */
void log_write(enum log_level level, const char *component, const char *message,
	       const struct log_field *fields, size_t fields_n);

#define LOG_FIELDS(...) ((const struct log_field[]){{.key = NULL}, ##__VA_ARGS__})
#define LOG_AT(level, component, message, ...)                                                     \
	log_write((level), (component), (message), LOG_FIELDS(__VA_ARGS__),                        \
		  sizeof(LOG_FIELDS(__VA_ARGS__)) / sizeof(struct log_field))

#define log_debug(component, message, ...)                                                         \
	LOG_AT(LOG_LEVEL_DEBUG, component, message, ##__VA_ARGS__)
#define log_info(component, message, ...) LOG_AT(LOG_LEVEL_INFO, component, message, ##__VA_ARGS__)
#define log_warn(component, message, ...) LOG_AT(LOG_LEVEL_WARN, component, message, ##__VA_ARGS__)
#define log_error(component, message, ...)                                                         \
	LOG_AT(LOG_LEVEL_ERROR, component, message, ##__VA_ARGS__)

#endif
