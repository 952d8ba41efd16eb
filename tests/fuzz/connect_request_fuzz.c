/*
 * What a client may say inside a Connect call: the envelope, then the message as each of the
 * requests that are read by hand.
 */
#include <stddef.h>
#include <stdint.h>

#include "common/base/check.h"
#include "node-agent/guest/base64.h"
#include "node-agent/guest/caller.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/process.h"
#include "node-agent/guest/settings.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_message(json_t *message)
{
	struct process_request request;
	struct settings settings;
	char path[PATH_MAX];
	struct winsize size;
	const char *tag;
	bool flag;
	int64_t ns;
	pid_t pid;

	if (!process_request_read(message, &request)) {
		CHECK(request.cmd[0]);
		if (!path_resolve(request.cwd, "/home/user", "/", path))
			CHECK(path[0] == '/' && !strstr(path, "//") && !strstr(path, "/../"));
		settings_time_parse(request.cmd, &ns);
	}
	if (!process_selector_read(message, &pid, &tag))
		CHECK(pid >= -1 && (!tag || pid == -1));
	if (!process_pty_read(message, &flag, &size))
		CHECK(flag || (!size.ws_col && !size.ws_row));
	CHECK(!process_input_read(message, &flag) || json_object_get(message, "input"));
	process_signal_read(message);
	settings_init(&settings);
	settings_update(&settings, message);
	settings_close(&settings);
}

static void read_text(const char *bytes, size_t bytes_n)
{
	char *plain = malloc(bytes_n + 3), name[USER_NAME_MAX];
	struct http_text text = {bytes, bytes_n};
	size_t plain_n;
	uint64_t ms;

	CHECK(plain);
	if (base64_decode(text, plain, &plain_n))
		CHECK(plain_n <= bytes_n);
	free(plain);
	caller_basic_user(text, name);
	connect_timeout_parse(text, &ms);
}

static void read_json(struct http_text text)
{
	json_t *message = json_loadb(text.at, text.n, 0, NULL);

	if (json_is_object(message)) {
		read_message(message);
		read_message(json_object_get(message, "start"));
		read_message(json_object_get(message, "data"));
	}
	json_decref(message);
}

/* As a client stream's messages are taken, one after the other. */
static void read_messages(const char *bytes, size_t bytes_n)
{
	struct http_text message;
	size_t n;

	while (!connect_envelope_next(bytes, bytes_n, &message, &n) && n) {
		CHECK(n <= bytes_n && message.at + message.n == bytes + n);
		read_json(message);
		bytes += n;
		bytes_n -= n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_text text = {(const char *)data, size};

	read_text(text.at, text.n);
	read_messages(text.at, text.n);
	if (connect_envelope_read(text.at, text.n, &text))
		text = (struct http_text){(const char *)data, size};
	read_json(text);
	return 0;
}
