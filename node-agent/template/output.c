/* See output.h. */
#include "node-agent/template/output.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAG_END = 2 };

/* How many bytes the character at the front has; 0: it is none (RFC 3629). */
static size_t utf8_n(const unsigned char *at, size_t n)
{
	size_t want = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

	if (want == 0 || want > n || at[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < want; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
	    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return want;
}

/* It becomes JSON: bytes that are no text become question marks. */
static void utf8_mend(char *text, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t one = utf8_n((const unsigned char *)text + i, n - i);

		if (one == 0)
			text[i] = '?';
		i += one ? one : 1;
	}
}

static void line_end(struct output *output, int stream)
{
	struct output_line *line = &output->lines[stream];

	utf8_mend(line->text, line->n);
	line->text[line->n] = 0;
	line->n = 0;
	if (!output->on_line || output->lines_n > OUTPUT_LINES_MAX)
		return;
	if (output->lines_n++ == OUTPUT_LINES_MAX)
		output->on_line(output->arg, true, "... what follows is not shown: too many lines");
	else
		output->on_line(output->arg, stream == 1, line->text);
}

/* Lines end at a newline, or at a carriage return, so that progress bars do not become one endless
 * line.  What a terminal would obey is left out. */
static void lines_add(struct output *output, int stream, const unsigned char *bytes, size_t n)
{
	struct output_line *line = &output->lines[stream];

	for (size_t i = 0; i < n; i++) {
		unsigned char c = bytes[i];

		if (c == '\n' || (c == '\r' && line->n > 0)) {
			line_end(output, stream);
			continue;
		}
		if (line->n == sizeof(line->text) - 1)
			line_end(output, stream);
		if (c == '\t')
			c = ' ';
		if (c >= ' ' && c != 127)
			line->text[line->n++] = (char)c;
	}
}

static void keep(struct output *output, const unsigned char *bytes, size_t n)
{
	size_t room = sizeof(output->kept) - 1 - output->kept_n;

	n = n < room ? n : room;
	memcpy(output->kept + output->kept_n, bytes, n);
	output->kept_n += n;
	output->kept[output->kept_n] = 0;
}

static int take_data(struct output *output, const json_t *data, struct err *err)
{
	static const char *const names[] = {"stdout", "stderr"};
	unsigned char *bytes;
	size_t n;

	for (int i = 0; i < 2; i++) {
		const json_t *value = json_object_get(data, names[i]);
		size_t text_n = json_string_length(value);

		if (!json_is_string(value))
			continue;
		bytes = malloc(text_n + 1);
		if (!bytes || sodium_base642bin(bytes, text_n + 1, json_string_value(value), text_n,
						NULL, &n, NULL, sodium_base64_VARIANT_ORIGINAL)) {
			free(bytes);
			return err_set(err, "the guest's output is not base64");
		}
		if (i == 0 && output->is_kept)
			keep(output, bytes, n);
		lines_add(output, i, bytes, n);
		free(bytes);
	}
	return 0;
}

static void take_end(struct output *output, const json_t *end)
{
	output->has_ended = true;
	output->exit_code = (int)json_integer_value(json_object_get(end, "exitCode"));
	/* proto3's JSON may leave a zero out, and says by this that there is a code at all. */
	if (!json_is_true(json_object_get(end, "exited")))
		output->exit_code = -1;
}

static void take_refusal(struct output *output, const json_t *error)
{
	const char *text = json_string_value(json_object_get(error, "message"));

	output->is_refused = true;
	snprintf(output->problem, sizeof(output->problem), "%s", text ? text : "refused");
}

/* Fault: the guest broke the protocol. */
static int take_message(struct output *output, struct err *err)
{
	json_t *root = json_loadb(output->message, output->message_n, 0, NULL);
	const json_t *event = json_object_get(root, "event");
	int result = 0;

	if (!json_is_object(root)) {
		json_decref(root);
		return err_set(err, "the guest sent what is not JSON");
	}
	if (output->head[0] & FLAG_END) {
		if (json_is_object(json_object_get(root, "error")))
			take_refusal(output, json_object_get(root, "error"));
	} else if (json_is_object(json_object_get(event, "data"))) {
		result = take_data(output, json_object_get(event, "data"), err);
	} else if (json_is_object(json_object_get(event, "end"))) {
		take_end(output, json_object_get(event, "end"));
	}
	json_decref(root);
	return result;
}

/* The head is whole: room for what it announces. */
static int begin_message(struct output *output, struct err *err)
{
	size_t n = (size_t)output->head[1] << 24 | (size_t)output->head[2] << 16 |
		   (size_t)output->head[3] << 8 | output->head[4];

	if (n > OUTPUT_MESSAGE_MAX)
		return err_set(err, "the guest sent a message of %zu bytes", n);
	output->message = malloc(n + 1);
	output->message_n = n;
	output->message_at = 0;
	return output->message ? 0 : err_set(err, "no memory");
}

static int end_message(struct output *output, struct err *err)
{
	int result = take_message(output, err);

	free(output->message);
	output->message = NULL;
	output->head_n = 0;
	return result;
}

int output_feed(struct output *output, const char *bytes, size_t bytes_n, struct err *err)
{
	while (bytes_n > 0) {
		size_t n;

		if (!output->message) {
			output->head[output->head_n++] = (uint8_t)*bytes++;
			bytes_n--;
			if (output->head_n == sizeof(output->head) && begin_message(output, err))
				return -1;
		} else {
			n = output->message_n - output->message_at;
			n = n < bytes_n ? n : bytes_n;
			memcpy(output->message + output->message_at, bytes, n);
			output->message_at += n;
			bytes += n;
			bytes_n -= n;
		}
		if (output->message && output->message_at == output->message_n &&
		    end_message(output, err))
			return -1;
	}
	return 0;
}

void output_finish(struct output *output)
{
	for (int i = 0; i < 2; i++)
		if (output->lines[i].n > 0)
			line_end(output, i);
	free(output->message);
	output->message = NULL;
}
