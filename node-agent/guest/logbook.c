#include "node-agent/guest/logbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static struct logbook_line *line_of(struct logbook *logbook, uint64_t number)
{
	return &logbook->lines[number % LOGBOOK_LINES_MAX];
}

void logbook_init(struct logbook *logbook)
{
	memset(logbook, 0, sizeof(*logbook));
	logbook->first = logbook->end = 1;
}

static void drop_oldest(struct logbook *logbook)
{
	struct logbook_line *line = line_of(logbook, logbook->first++);

	logbook->bytes_n -= line->text_n;
	free(line->text);
	line->text = NULL;
}

void logbook_close(struct logbook *logbook)
{
	while (logbook->first < logbook->end)
		drop_oldest(logbook);
}

/* ---- text that JSON can hold ---- */

/* Bytes of the character that begins here; 0 when it is none. */
static size_t character_n(const unsigned char *at, size_t n)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t need = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
	uint32_t code = need == 1 ? at[0] : at[0] & (0xffu >> (need + 1));

	if (need == 1)
		return at[0] != 0;
	if (at[0] < 0xc2 || at[0] > 0xf4 || need > n)
		return 0;
	for (size_t i = 1; i < need; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	return code >= least[need] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? need
											   : 0;
}

/* In place: what is no character becomes '?'. */
static void make_text(char *text, size_t n)
{
	for (size_t at = 0; at < n;) {
		size_t width = character_n((unsigned char *)text + at, n - at);

		if (width == 0)
			text[at] = '?';
		at += width ? width : 1;
	}
}

/* ---- lines ---- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void add(struct logbook *logbook, pid_t pid, enum logbook_event event, const char *bytes,
		size_t n, bool is_open)
{
	struct logbook_line *line;
	char *text = malloc(n + 1);

	if (!text)
		return; /* it is a log: the sandbox's own work goes before */
	memcpy(text, bytes, n);
	make_text(text, n);
	while (logbook->end - logbook->first == LOGBOOK_LINES_MAX ||
	       (logbook->first < logbook->end && logbook->bytes_n + n > LOGBOOK_BYTES_MAX))
		drop_oldest(logbook);
	line = line_of(logbook, logbook->end++);
	*line = (struct logbook_line){now_ms(), text, (uint32_t)n, pid, event, is_open};
	logbook->bytes_n += n;
}

/* The newest line, if it is this output's and not complete. */
static struct logbook_line *open_line(struct logbook *logbook, pid_t pid, enum logbook_event event)
{
	struct logbook_line *line = line_of(logbook, logbook->end - 1);

	if (logbook->first == logbook->end || !line->is_open || line->pid != pid ||
	    line->event != event)
		return NULL;
	return line;
}

/* Returns how many bytes of it were taken. */
static size_t go_on(struct logbook *logbook, struct logbook_line *line, const char *bytes, size_t n)
{
	size_t room = LOGBOOK_LINE_MAX - line->text_n;
	char *text;

	n = n < room ? n : room;
	text = realloc(line->text, line->text_n + n + 1);
	if (!text)
		return n; /* as in add */
	memcpy(text + line->text_n, bytes, n);
	make_text(text + line->text_n, n);
	line->text = text;
	line->text_n += (uint32_t)n;
	logbook->bytes_n += n;
	return n;
}

/* Of more lines than there are places only the last are written: the others would be lost at once.
 * They are counted as those are. Returns how many bytes that spares. */
static size_t skip(struct logbook *logbook, const char *bytes, size_t bytes_n)
{
	const char *end = bytes + bytes_n, *at;
	size_t lines_n = 0;

	for (at = bytes; (at = memchr(at, '\n', (size_t)(end - at))); at++)
		lines_n++;
	if (lines_n <= LOGBOOK_LINES_MAX)
		return 0;
	logbook_close(logbook);
	lines_n -= LOGBOOK_LINES_MAX;
	logbook->first = logbook->end += lines_n;
	for (at = bytes; lines_n; lines_n--)
		at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
	return (size_t)(at - bytes);
}

void logbook_output(struct logbook *logbook, pid_t pid, bool is_stderr, const char *bytes,
		    size_t bytes_n)
{
	enum logbook_event event = is_stderr ? LOGBOOK_STDERR : LOGBOOK_STDOUT;
	size_t skipped = skip(logbook, bytes, bytes_n);

	bytes += skipped;
	bytes_n -= skipped;
	while (bytes_n) {
		struct logbook_line *line = open_line(logbook, pid, event);
		const char *newline = memchr(bytes, '\n', bytes_n);
		size_t n = newline ? (size_t)(newline - bytes) : bytes_n, taken;

		if (line) {
			taken = go_on(logbook, line, bytes, n);
		} else {
			taken = n < LOGBOOK_LINE_MAX ? n : LOGBOOK_LINE_MAX;
			add(logbook, pid, event, bytes, taken, true);
			line = open_line(logbook, pid, event);
		}
		/* Full: what follows is a line of its own. */
		if (line && (taken < n || newline))
			line->is_open = false;
		bytes += taken;
		bytes_n -= taken;
		if (newline && taken == n) {
			bytes++;
			bytes_n--;
		}
	}
}

void logbook_started(struct logbook *logbook, pid_t pid, const json_t *config)
{
	const char *cmd = json_string_value(json_object_get(config, "cmd"));
	const json_t *args = json_object_get(config, "args");
	char text[LOGBOOK_LINE_MAX];
	const json_t *arg;
	size_t i, n = (size_t)snprintf(text, sizeof(text), "%s", cmd ? cmd : "");

	json_array_foreach(args, i, arg)
	{
		if (n < sizeof(text))
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %s",
					      json_string_value(arg));
	}
	add(logbook, pid, LOGBOOK_STARTED, text, n < sizeof(text) ? n : sizeof(text) - 1, false);
}

void logbook_ended(struct logbook *logbook, pid_t pid, int status)
{
	char text[64];
	int n = WIFSIGNALED(status)
			? snprintf(text, sizeof(text), "signal %d", WTERMSIG(status))
			: snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));

	add(logbook, pid, LOGBOOK_ENDED, text, (size_t)n, false);
}

/* ---- for the host ---- */

json_t *logbook_json(struct logbook *logbook, uint64_t after)
{
	uint64_t from = after + 1 > logbook->first ? after + 1 : logbook->first;
	uint64_t lost = after && after < logbook->end ? from - after - 1 : 0;
	json_t *lines = json_array();
	size_t bytes_n = 0, lines_n = 0;

	/* A number from another life of this sandbox. */
	if (from > logbook->end)
		from = logbook->first;
	while (from < logbook->end && lines_n < LOGBOOK_ANSWER_LINES_MAX) {
		struct logbook_line *line = line_of(logbook, from);

		if (bytes_n && bytes_n + line->text_n > LOGBOOK_ANSWER_BYTES_MAX)
			break;
		json_array_append_new(lines, json_pack("[I, i, i, o]", (json_int_t)line->at_ms,
						       (int)line->event, (int)line->pid,
						       json_stringn(line->text, line->text_n)));
		line->is_open = false; /* told: it does not grow any more */
		bytes_n += line->text_n;
		lines_n++;
		from++;
	}
	return json_pack("{s:I, s:I, s:o}", "next", (json_int_t)(from - 1), "lost",
			 (json_int_t)lost, "lines", lines);
}
