/*
 * What a build says while it goes on: to people on standard error, or to programs on standard
 * output, a JSON object a line, {"timestamp", "level", "step", "message"}: what E2B's SDK shows of
 * a build.  step is "base", the number of a step from 1, or "finalize".  The last line of a
 * program's output is {"result": {...}}.
 */
#ifndef FLOTILLA_TEMPLATE_PROGRESS_H
#define FLOTILLA_TEMPLATE_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum progress_level { PROGRESS_INFO, PROGRESS_WARN, PROGRESS_ERROR };

void progress_use_json(void);
bool progress_is_json(void);

/* What is said from here on belongs to it. number 0: "base". */
void progress_at_step(size_t number);
void progress_at_end(void); /* "finalize" */
const char *progress_step(void);

void progress_say(enum progress_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Taken over. Nothing when people listen. */
void progress_result(json_t *result);

#endif
