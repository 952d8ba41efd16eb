/* A guest's stream while a command runs: the same lines however it is cut, each of them text. */
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/template/output.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	size_t lines_n;
	uint64_t hash;
};

static void on_line(void *arg, bool is_error, const char *line)
{
	struct seen *seen = arg;
	json_t *text = json_string(line);

	CHECK(text && strlen(line) < OUTPUT_LINE_MAX);
	json_decref(text);
	seen->lines_n++;
	for (; *line; line++)
		seen->hash = (seen->hash ^ (uint8_t)*line ^ (is_error ? 256 : 0)) * 0x100000001b3u;
}

static int take(const uint8_t *data, size_t size, size_t piece_n, struct seen *out)
{
	struct output *output = calloc(1, sizeof(*output));
	int result = 0;

	CHECK(output);
	*out = (struct seen){0};
	output->on_line = on_line;
	output->arg = out;
	output->is_kept = true;
	for (size_t at = 0; !result && at < size; at += piece_n)
		result = output_feed(output, (const char *)data + at,
				     piece_n < size - at ? piece_n : size - at, NULL);
	CHECK(strlen(output->problem) < sizeof(output->problem));
	output_finish(output);
	free(output);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole, cut;
	int result = take(data, size, size ? size : 1, &whole);

	CHECK(take(data, size, 3, &cut) == result);
	CHECK(whole.lines_n == cut.lines_n && whole.hash == cut.hash);
	return 0;
}
