#include "scheduler/cli/connect.h"

#include "common/base/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAG_COMPRESSED = 1, FLAG_END = 2 };

/* --- base64 ---------------------------------------------------------------------------------- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *connect_base64(const uint8_t *data, size_t n)
{
	char *text = malloc((n + 2) / 3 * 4 + 1), *out = text;

	CHECK(text);
	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		uint32_t bits = (uint32_t)data[i] << 16 |
				(left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
				(left > 2 ? data[i + 2] : 0);

		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = left > 1 ? alphabet[bits >> 6 & 63] : '=';
		*out++ = left > 2 ? alphabet[bits & 63] : '=';
	}
	*out = 0;
	return text;
}

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Into out, which has room for text_n / 4 * 3 bytes; false for anything but padded base64. */
static bool base64_decode(const char *text, size_t text_n, uint8_t *out, size_t *out_n)
{
	size_t n = 0, pad = 0;
	uint32_t bits = 0;

	if (text_n % 4)
		return false;
	while (pad < 2 && text_n > pad && text[text_n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < text_n; i++) {
		int digit = i >= text_n - pad ? 0 : digit_of(text[i]);

		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		if (i % 4 == 3) {
			out[n++] = (uint8_t)(bits >> 16);
			out[n++] = (uint8_t)(bits >> 8);
			out[n++] = (uint8_t)bits;
		}
	}
	*out_n = n - pad;
	return true;
}

/* --- one message ----------------------------------------------------------------------------- */

static void copy_text(char *out, size_t room, const json_t *value)
{
	const char *text = json_string_value(value);

	snprintf(out, room, "%s", text ? text : "");
}

static int decode_data(const json_t *data, connect_event_cb on_event, void *user, struct err *err)
{
	static const struct {
		const char *member;
		enum connect_event_kind kind;
	} streams[] = {{"stdout", CONNECT_STDOUT}, {"stderr", CONNECT_STDERR}};

	for (size_t i = 0; i < ARRAY_N(streams); i++) {
		const json_t *value = json_object_get(data, streams[i].member);
		struct connect_event event = {.kind = streams[i].kind};
		size_t text_n = json_string_length(value);
		uint8_t *bytes;
		bool is_good;

		if (!value)
			continue;
		bytes = malloc(text_n / 4 * 3 + 1);
		CHECK(bytes);
		is_good = json_is_string(value) &&
			  base64_decode(json_string_value(value), text_n, bytes, &event.data_n);
		event.data = bytes;
		if (is_good)
			on_event(user, &event);
		free(bytes);
		if (!is_good)
			return err_set(err, "the sandbox's output is no base64");
	}
	return 0;
}

static int decode_message(const json_t *message, connect_event_cb on_event, void *user,
			  struct err *err)
{
	const json_t *event = json_object_get(message, "event");
	const json_t *start = json_object_get(event, "start");
	const json_t *end = json_object_get(event, "end");
	struct connect_event out = {0};

	if (start) {
		json_int_t pid = json_integer_value(json_object_get(start, "pid"));

		if (pid < 1 || pid > UINT32_MAX)
			return err_set(err, "the sandbox reports a process without a number");
		out.kind = CONNECT_STARTED;
		out.pid = (uint32_t)pid;
		on_event(user, &out);
	}
	if (decode_data(json_object_get(event, "data"), on_event, user, err))
		return -1;
	if (end) {
		/* Zero values may be left out. */
		out.kind = CONNECT_ENDED;
		out.exit_code = (int)json_integer_value(json_object_get(end, "exitCode"));
		out.exited = json_is_true(json_object_get(end, "exited"));
		copy_text(out.text, sizeof(out.text), json_object_get(end, "status"));
		on_event(user, &out);
	}
	return 0;
}

static void decode_end(const json_t *message, connect_event_cb on_event, void *user)
{
	const json_t *error = json_object_get(message, "error");
	struct connect_event out = {.kind = CONNECT_FINISHED};

	if (error) {
		copy_text(out.code, sizeof(out.code), json_object_get(error, "code"));
		copy_text(out.text, sizeof(out.text), json_object_get(error, "message"));
		if (!out.code[0])
			snprintf(out.code, sizeof(out.code), "unknown");
	}
	on_event(user, &out);
}

/* --- the stream ------------------------------------------------------------------------------ */

/* How many bytes the message in the buffer has, once its head is there. */
static size_t message_length(const struct connect_decoder *decoder)
{
	const uint8_t *head = decoder->buffer;

	return (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
}

/* Takes up to want bytes in all into the buffer. */
static size_t buffer_take(struct connect_decoder *decoder, size_t want, const uint8_t *data,
			  size_t n)
{
	size_t missing = want - decoder->buffer_n;

	if (n > missing)
		n = missing;
	if (decoder->buffer_n + n > decoder->room) {
		size_t room = (decoder->buffer_n + n) * 2;
		uint8_t *larger = realloc(decoder->buffer, room);

		CHECK(larger);
		decoder->buffer = larger;
		decoder->room = room;
	}
	if (n)
		memcpy(decoder->buffer + decoder->buffer_n, data, n);
	decoder->buffer_n += n;
	return n;
}

static int message_finish(struct connect_decoder *decoder, connect_event_cb on_event, void *user,
			  struct err *err)
{
	uint8_t flags = decoder->buffer[0];
	json_t *message;
	int failed = 0;

	if (flags & FLAG_COMPRESSED)
		return err_set(err, "the sandbox sends compressed messages");
	message = json_loadb((const char *)decoder->buffer + CONNECT_HEAD_N,
			     decoder->buffer_n - CONNECT_HEAD_N, 0, NULL);
	if (!json_is_object(message)) {
		json_decref(message);
		return err_set(err, "the sandbox sends a message that is no JSON");
	}
	if (flags & FLAG_END) {
		decoder->is_finished = true;
		decode_end(message, on_event, user);
	} else {
		failed = decode_message(message, on_event, user, err);
	}
	json_decref(message);
	return failed;
}

int connect_decode(struct connect_decoder *decoder, const uint8_t *data, size_t n,
		   connect_event_cb on_event, void *user, struct err *err)
{
	while (n) {
		size_t want = CONNECT_HEAD_N, taken;

		if (decoder->is_finished)
			return err_set(err, "the sandbox goes on after the stream's end");
		if (decoder->buffer_n >= CONNECT_HEAD_N)
			want += message_length(decoder);
		taken = buffer_take(decoder, want, data, n);
		data += taken;
		n -= taken;
		if (decoder->buffer_n < CONNECT_HEAD_N)
			break;
		if (message_length(decoder) > CONNECT_MESSAGE_MAX)
			return err_set(err, "the sandbox sends a message of %zu bytes",
				       message_length(decoder));
		if (decoder->buffer_n < CONNECT_HEAD_N + message_length(decoder))
			continue;
		if (message_finish(decoder, on_event, user, err))
			return -1;
		decoder->buffer_n = 0;
	}
	return 0;
}

void connect_close(struct connect_decoder *decoder)
{
	free(decoder->buffer);
	*decoder = (struct connect_decoder){0};
}

uint8_t *connect_encode(const json_t *message, size_t *out_n)
{
	char *text = json_dumps(message, JSON_COMPACT);
	size_t n = text ? strlen(text) : 0;
	uint8_t *out = malloc(CONNECT_HEAD_N + n);

	CHECK(text && out && n <= CONNECT_MESSAGE_MAX);
	out[0] = 0;
	out[1] = (uint8_t)(n >> 24);
	out[2] = (uint8_t)(n >> 16);
	out[3] = (uint8_t)(n >> 8);
	out[4] = (uint8_t)n;
	memcpy(out + CONNECT_HEAD_N, text, n);
	free(text);
	*out_n = CONNECT_HEAD_N + n;
	return out;
}

int connect_exit_status(const struct connect_event *ended)
{
	static const struct {
		const char *text;
		int number;
	} signals[] = {
		{"hangup", SIGHUP},
		{"interrupt", SIGINT},
		{"quit", SIGQUIT},
		{"illegal instruction", SIGILL},
		{"trace/breakpoint trap", SIGTRAP},
		{"aborted", SIGABRT},
		{"bus error", SIGBUS},
		{"floating point exception", SIGFPE},
		{"killed", SIGKILL},
		{"user defined signal 1", SIGUSR1},
		{"segmentation fault", SIGSEGV},
		{"user defined signal 2", SIGUSR2},
		{"broken pipe", SIGPIPE},
		{"alarm clock", SIGALRM},
		{"terminated", SIGTERM},
	};
	static const char prefix[] = "signal: ";
	const char *text = ended->text;
	int number;

	/* `exited` may be left out by a guest that says everything in the code. */
	if (strncmp(text, prefix, sizeof(prefix) - 1) != 0)
		return ended->exit_code & 255;
	text += sizeof(prefix) - 1;
	for (size_t i = 0; i < ARRAY_N(signals); i++)
		if (strncmp(text, signals[i].text, strlen(signals[i].text)) == 0)
			return 128 + signals[i].number;
	number = atoi(text + strcspn(text, "0123456789"));
	return number > 0 && number < 65 ? 128 + number : 255;
}
