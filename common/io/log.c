#include "common/io/log.h"

#include "common/base/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	SUPPRESS_AFTER_N = 5,
	SUPPRESS_WINDOW_S = 10,
	RECENT_N = 64, /* distinct lines watched for repeats */
};

/* A line seen lately, by the hash of everything in it but the time. */
struct recent {
	uint64_t hash;
	int64_t since_s; /* start of its window; 0 = the slot is free */
	unsigned seen_n; /* in the window */
	enum log_level level;
	char component[32];
	char message[96]; /* enough to recognise it in the "suppressed" line */
};

static const char *const level_name[] = {"debug", "info", "warn", "error"};

static struct {
	pthread_mutex_t mutex;
	enum log_level level;
	bool json;
	bool format_known;
	int fd;
	struct recent recent[RECENT_N];
} state = {.mutex = PTHREAD_MUTEX_INITIALIZER, .level = LOG_LEVEL_INFO, .fd = 2};

/* A line under construction; beyond its room it is cut. */
struct line {
	size_t n;
	char text[LOG_LINE_MAX];
};

static void line_put(struct line *line, const char *text, size_t n)
{
	size_t room = sizeof(line->text) - line->n;

	if (n > room)
		n = room;
	memcpy(line->text + line->n, text, n);
	line->n += n;
}

static void line_put_text(struct line *line, const char *text)
{
	line_put(line, text, strlen(text));
}

/* Length of the well-formed UTF-8 sequence at text, or 0. */
static size_t utf8_sequence(const char *text)
{
	const uint8_t *u = (const uint8_t *)text;
	size_t n = u[0] < 0x80 ? 1 : u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;

	if (u[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((u[i] & 0xc0) != 0x80)
			return 0; /* also stops at the NUL */
	if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
	    (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
		return 0;
	return n;
}

/* In quotes as JSON has them, which people can read too. */
static void line_put_quoted(struct line *line, const char *text)
{
	line_put(line, "\"", 1);
	while (*text) {
		unsigned char c = (unsigned char)*text;
		size_t n = utf8_sequence(text);
		char escape[8];

		if (n == 0) {
			line_put(line, "\\ufffd", 6);
			n = 1;
		} else if (c == '"' || c == '\\') {
			snprintf(escape, sizeof(escape), "\\%c", c);
			line_put(line, escape, 2);
		} else if (c == '\n') {
			line_put(line, "\\n", 2);
		} else if (c < 0x20 || c == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", c);
			line_put(line, escape, 6);
		} else {
			line_put(line, text, n);
		}
		text += n;
	}
	line_put(line, "\"", 1);
}

static bool is_plain(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (*text <= ' ' || *text >= 0x7f || *text == '"' || *text == '\\' || *text == '=')
			return false;
	return true;
}

static void line_put_value(struct line *line, const struct log_field *field, bool json)
{
	const char *text = field->text;
	char number[24];

	switch (field->kind) {
	case LOG_FIELD_NONE:
		return;
	case LOG_FIELD_TEXT:
		text = text ? text : "";
		if (!json && is_plain(text))
			line_put_text(line, text);
		else
			line_put_quoted(line, text);
		return;
	case LOG_FIELD_INT:
		snprintf(number, sizeof(number), "%lld", (long long)field->number);
		line_put_text(line, number);
		return;
	case LOG_FIELD_UINT:
		snprintf(number, sizeof(number), "%llu", (unsigned long long)field->count);
		line_put_text(line, number);
		return;
	}
}

/* Everything but the time. */
static void line_put_event(struct line *line, bool json, enum log_level level,
			   const char *component, const char *message,
			   const struct log_field *fields, size_t fields_n)
{
	if (json) {
		line_put_text(line, "\"level\":");
		line_put_quoted(line, level_name[level]);
		line_put_text(line, ",\"component\":");
		line_put_quoted(line, component);
		line_put_text(line, ",\"msg\":");
		line_put_quoted(line, message);
	} else {
		line_put_text(line, level_name[level]);
		line_put(line, " ", 1);
		line_put_text(line, component);
		line_put(line, ": ", 2);
		line_put_text(line, message);
	}
	for (size_t i = 1; i < fields_n; i++) {
		/* A JSON line that is cut would be unreadable: rather leave out what is too much.
		 */
		size_t before_n = line->n;

		if (json) {
			line_put(line, ",", 1);
			line_put_quoted(line, fields[i].key);
			line_put(line, ":", 1);
		} else {
			line_put(line, " ", 1);
			line_put_text(line, fields[i].key);
			line_put(line, "=", 1);
		}
		line_put_value(line, &fields[i], json);
		if (line->n > LOG_LINE_MAX - 64)
			line->n = before_n;
	}
}

static void write_line(const struct line *line)
{
	size_t done = 0;

	while (done < line->n) {
		ssize_t put = write(state.fd, line->text + done, line->n - done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return; /* nobody is left to be told that nobody can be told */
		done += (size_t)put;
	}
}

static bool is_json(void)
{
	if (!state.format_known) {
		state.json = isatty(state.fd) != 1;
		state.format_known = true;
	}
	return state.json;
}

static void emit(const char *event, size_t event_n)
{
	struct line line = {.n = 0};

	if (is_json()) {
		struct timespec now;
		struct tm utc;
		char ts[64];

		clock_gettime(CLOCK_REALTIME, &now);
		gmtime_r(&now.tv_sec, &utc);
		line.n = strftime(ts, sizeof(ts), "{\"ts\":\"%Y-%m-%dT%H:%M:%S", &utc);
		snprintf(ts + line.n, sizeof(ts) - line.n, ".%03ldZ\",", now.tv_nsec / 1000000);
		line.n = 0;
		line_put_text(&line, ts);
		line_put(&line, event, event_n);
		line_put(&line, "}\n", 2);
	} else {
		line_put(&line, event, event_n);
		line_put(&line, "\n", 1);
	}
	write_line(&line);
}

/* Ends the window of a repeated line. */
static void recent_close(struct recent *recent)
{
	struct line event = {.n = 0};

	if (recent->since_s && recent->seen_n > SUPPRESS_AFTER_N) {
		line_put_event(&event, is_json(), recent->level, recent->component, "suppressed",
			       LOG_FIELDS(LOG_UINT("count", recent->seen_n - SUPPRESS_AFTER_N),
					  LOG_TEXT("what", recent->message)),
			       3);
		emit(event.text, event.n);
	}
	recent->since_s = 0;
	recent->seen_n = 0;
}

static uint64_t hash_of(const char *text, size_t n)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3u;
	return hash;
}

/* False when the line was seen too often lately. */
static bool recent_admit(const struct line *event, enum log_level level, const char *component,
			 const char *message)
{
	uint64_t hash = hash_of(event->text, event->n);
	struct recent *recent = &state.recent[hash % RECENT_N];
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	if (recent->hash != hash || recent->since_s == 0 ||
	    now.tv_sec - recent->since_s >= SUPPRESS_WINDOW_S) {
		recent_close(recent);
		recent->hash = hash;
		recent->since_s = now.tv_sec ? now.tv_sec : 1;
		recent->level = level;
		snprintf(recent->component, sizeof(recent->component), "%s", component);
		snprintf(recent->message, sizeof(recent->message), "%s", message);
	}
	return ++recent->seen_n <= SUPPRESS_AFTER_N;
}

void log_setup(const char *level, const char *format)
{
	pthread_mutex_lock(&state.mutex);
	for (size_t i = 0; i < ARRAY_N(level_name); i++)
		if (strcmp(level, level_name[i]) == 0)
			state.level = (enum log_level)i;
	state.format_known = strcmp(format, "auto") != 0;
	state.json = strcmp(format, "json") == 0;
	pthread_mutex_unlock(&state.mutex);
}

void log_to(int fd)
{
	pthread_mutex_lock(&state.mutex);
	state.fd = fd;
	pthread_mutex_unlock(&state.mutex);
}

bool log_is_on(enum log_level level)
{
	bool is_on;

	pthread_mutex_lock(&state.mutex);
	is_on = level >= state.level;
	pthread_mutex_unlock(&state.mutex);
	return is_on;
}

void log_flush(void)
{
	pthread_mutex_lock(&state.mutex);
	for (size_t i = 0; i < RECENT_N; i++)
		recent_close(&state.recent[i]);
	pthread_mutex_unlock(&state.mutex);
}

void log_write(enum log_level level, const char *component, const char *message,
	       const struct log_field *fields, size_t fields_n)
{
	struct line event = {.n = 0};

	pthread_mutex_lock(&state.mutex);
	if (level >= state.level) {
		line_put_event(&event, is_json(), level, component, message, fields, fields_n);
		if (recent_admit(&event, level, component, message))
			emit(event.text, event.n);
	}
	pthread_mutex_unlock(&state.mutex);
}
