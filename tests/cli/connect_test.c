#include "common/base/check.h"
#include "scheduler/cli/connect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Events as text, one after the other. */
struct heard {
	char text[8192];
	size_t n;
};

static void hear(void *user, const struct connect_event *event)
{
	static const char *const names[] = {"started", "stdout", "stderr", "ended", "finished"};
	struct heard *heard = user;

	heard->n += (size_t)snprintf(heard->text + heard->n, sizeof(heard->text) - heard->n,
				     "%s pid=%u data=%.*s exited=%d code=%d/%s text=%s\n",
				     names[event->kind], event->pid, (int)event->data_n,
				     event->data ? (const char *)event->data : "", event->exited,
				     event->exit_code, event->code, event->text);
}

static size_t put(uint8_t *out, uint8_t flags, const char *json)
{
	size_t n = strlen(json);

	out[0] = flags;
	out[1] = (uint8_t)(n >> 24);
	out[2] = (uint8_t)(n >> 16);
	out[3] = (uint8_t)(n >> 8);
	out[4] = (uint8_t)n;
	memcpy(out + 5, json, n);
	return n + 5;
}

static size_t story(uint8_t *out)
{
	size_t n = put(out, 0, "{\"event\":{\"start\":{\"pid\":7}}}");

	n += put(out + n, 0, "{\"event\":{\"data\":{\"stdout\":\"b3V0Cg==\"}}}");
	n += put(out + n, 0, "{\"event\":{\"keepalive\":{}},\"new\":[1]}");
	n += put(out + n, 0, "{\"event\":{\"data\":{\"stderr\":\"ZXI=\"}}}");
	n += put(out + n, 0,
		 "{\"event\":{\"end\":{\"exitCode\":7,\"exited\":true,"
		 "\"status\":\"exit status 7\"}}}");
	return n + put(out + n, 2, "{}");
}

static const char told[] = "started pid=7 data= exited=0 code=0/ text=\n"
			   "stdout pid=0 data=out\n exited=0 code=0/ text=\n"
			   "stderr pid=0 data=er exited=0 code=0/ text=\n"
			   "ended pid=0 data= exited=1 code=7/ text=exit status 7\n"
			   "finished pid=0 data= exited=0 code=0/ text=\n";

static void any_cut_of_the_stream_tells_the_same_story(void **unused)
{
	uint8_t bytes[1024];
	size_t n = story(bytes);

	(void)unused;
	for (size_t piece = 1; piece <= n; piece++) {
		struct connect_decoder decoder = {0};
		struct heard heard = {.n = 0};
		struct err err;

		for (size_t at = 0; at < n; at += piece) {
			/* Exactly as large as the piece: the sanitizer sees a read past it. */
			size_t length = n - at < piece ? n - at : piece;
			uint8_t *copy = malloc(length);

			memcpy(copy, bytes + at, length);
			assert_int_equal(connect_decode(&decoder, copy, length, hear, &heard, &err),
					 0);
			free(copy);
		}
		assert_true(decoder.is_finished);
		assert_string_equal(heard.text, told);
		connect_close(&decoder);
	}
}

static int decode_one(uint8_t flags, const char *json, struct heard *heard, struct err *err)
{
	struct connect_decoder decoder = {0};
	uint8_t bytes[1024];
	int failed = connect_decode(&decoder, bytes, put(bytes, flags, json), hear, heard, err);

	connect_close(&decoder);
	return failed;
}

static void garbage_is_a_fault(void **unused)
{
	static const struct {
		uint8_t flags;
		const char *json;
	} rows[] = {
		{0, "{"},
		{0, ""},
		{0, "[]"},
		{0, "null"},
		{1, "{}"},
		{0, "{\"event\":{\"start\":{}}}"},
		{0, "{\"event\":{\"start\":{\"pid\":-1}}}"},
		{0, "{\"event\":{\"start\":{\"pid\":\"7\"}}}"},
		{0, "{\"event\":{\"data\":{\"stdout\":7}}}"},
		{0, "{\"event\":{\"data\":{\"stdout\":\"abc\"}}}"},
		{0, "{\"event\":{\"data\":{\"stdout\":\"ab!=\"}}}"},
		{0, "{\"event\":{\"data\":{\"stdout\":\"====\"}}}"},
		{0, "{\"event\":{\"data\":{\"stdout\":\"a===\"}}}"},
		{2, "x"},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct heard heard = {.n = 0};
		struct err err = {""};

		assert_int_equal(decode_one(rows[i].flags, rows[i].json, &heard, &err), -1);
		assert_true(err.text[0]);
		assert_int_equal(heard.n, 0);
	}
}

static void an_endless_message_is_refused_before_it_is_kept(void **unused)
{
	const uint8_t head[] = {0, 0xff, 0xff, 0xff, 0xff};
	struct connect_decoder decoder = {0};
	struct heard heard = {.n = 0};
	struct err err;

	(void)unused;
	assert_int_equal(connect_decode(&decoder, head, sizeof(head), hear, &heard, &err), -1);
	assert_true(decoder.room < 64);
	connect_close(&decoder);
}

static void nothing_follows_the_end(void **unused)
{
	struct connect_decoder decoder = {0};
	struct heard heard = {.n = 0};
	uint8_t bytes[64];
	struct err err;
	size_t n = put(bytes, 2, "{}");

	(void)unused;
	bytes[n] = 0;
	assert_int_equal(connect_decode(&decoder, bytes, n + 1, hear, &heard, &err), -1);
	connect_close(&decoder);
}

static void an_error_at_the_end_carries_its_code_and_text(void **unused)
{
	struct heard heard = {.n = 0};
	struct err err;

	(void)unused;
	assert_int_equal(decode_one(2, "{\"error\":{\"code\":\"not_found\",\"message\":\"no\"}}",
				    &heard, &err),
			 0);
	assert_int_equal(decode_one(2, "{\"error\":{}}", &heard, &err), 0);
	assert_string_equal(heard.text, "finished pid=0 data= exited=0 code=0/not_found text=no\n"
					"finished pid=0 data= exited=0 code=0/unknown text=\n");
}

static void base64_returns_through_the_decoder(void **unused)
{
	uint8_t data[70], bytes[1024];

	(void)unused;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)('0' + i);
	for (size_t n = 1; n <= sizeof(data); n++) {
		struct connect_decoder decoder = {0};
		struct heard heard = {.n = 0};
		char *text = connect_base64(data, n), json[256], expected[256];
		struct err err;

		snprintf(json, sizeof(json), "{\"event\":{\"data\":{\"stdout\":\"%s\"}}}", text);
		assert_int_equal(
			connect_decode(&decoder, bytes, put(bytes, 0, json), hear, &heard, &err),
			0);
		snprintf(expected, sizeof(expected),
			 "stdout pid=0 data=%.*s exited=0 code=0/ text=\n", (int)n,
			 (const char *)data);
		assert_string_equal(heard.text, expected);
		free(text);
		connect_close(&decoder);
	}
}

static void a_message_is_put_behind_its_length(void **unused)
{
	json_t *message = json_pack("{s:i}", "a", 1);
	size_t n;
	uint8_t *bytes = connect_encode(message, &n);

	(void)unused;
	assert_int_equal(n, 12);
	assert_memory_equal(bytes, "\0\0\0\0\7{\"a\":1}", 12);
	free(bytes);
	json_decref(message);
}

static void exit_statuses_are_those_of_a_shell(void **unused)
{
	static const struct {
		struct connect_event ended;
		int status;
	} rows[] = {
		{{.exited = true, .exit_code = 0, .text = "exit status 0"}, 0},
		{{.exited = true, .exit_code = 255, .text = "exit status 255"}, 255},
		{{.exit_code = -1, .text = "signal: killed"}, 128 + SIGKILL},
		{{.exit_code = -1, .text = "signal: terminated"}, 128 + SIGTERM},
		{{.exit_code = -1, .text = "signal: segmentation fault (core dumped)"},
		 128 + SIGSEGV},
		{{.exit_code = -1, .text = "signal: user defined signal 2"}, 128 + SIGUSR2},
		{{.exit_code = -1, .text = "signal: signal 34"}, 128 + 34},
		{{.exit_code = -1, .text = "signal: odd"}, 255},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(rows); i++)
		assert_int_equal(connect_exit_status(&rows[i].ended), rows[i].status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_cut_of_the_stream_tells_the_same_story),
		cmocka_unit_test(garbage_is_a_fault),
		cmocka_unit_test(an_endless_message_is_refused_before_it_is_kept),
		cmocka_unit_test(nothing_follows_the_end),
		cmocka_unit_test(an_error_at_the_end_carries_its_code_and_text),
		cmocka_unit_test(base64_returns_through_the_decoder),
		cmocka_unit_test(a_message_is_put_behind_its_length),
		cmocka_unit_test(exit_statuses_are_those_of_a_shell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
