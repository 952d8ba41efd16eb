#include "scheduler/cli/process.h"

#include "common/base/check.h"
#include "scheduler/cli/api.h"
#include "scheduler/cli/connect.h"
#include "scheduler/cli/process_request.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
	INPUT_CHUNK_MAX = 32 << 10,
	POLL_MS = 1000,
};

struct pump {
	struct cli *cli;
	const struct process_spec *spec;
	CURLM *multi;
	struct process_request stream; /* Start: the process's output and end */
	struct process_request side;   /* one of SendInput, CloseStdin, SendSignal at a time */
	struct connect_decoder decoder;
	struct err fault; /* why decoding stopped */
	uint32_t pid;     /* 0: not started yet */
	bool input_is_open;
	bool input_must_close; /* ours has ended; the process is to be told */
	int interrupt;         /* the first signal that we got */
	int interrupts_n;
	int kill_with;       /* SIGTERM or SIGKILL, to be sent; 0: nothing */
	bool output_is_gone; /* nobody reads ours any more */
	bool has_ended;
	struct connect_event ended;
	struct connect_event finished; /* kind CONNECT_FINISHED once there */
	bool stream_is_done;
	CURLcode stream_code;
};

/* --- output ---------------------------------------------------------------------------------- */

static bool write_all(int fd, const uint8_t *data, size_t n)
{
	while (n) {
		ssize_t put = write(fd, data, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		data += put;
		n -= (size_t)put;
	}
	return true;
}

static void on_event(void *user, const struct connect_event *event)
{
	struct pump *pump = user;

	switch (event->kind) {
	case CONNECT_STARTED:
		pump->pid = event->pid;
		return;
	case CONNECT_STDOUT:
	case CONNECT_STDERR:
		if (!pump->output_is_gone &&
		    !write_all(event->kind == CONNECT_STDOUT ? 1 : 2, event->data, event->data_n)) {
			/* As a process whose reader left: it is told to end. */
			pump->output_is_gone = true;
			pump->kill_with = SIGTERM;
		}
		return;
	case CONNECT_ENDED:
		pump->has_ended = true;
		pump->ended = *event;
		return;
	case CONNECT_FINISHED:
		pump->finished = *event;
		return;
	}
}

static size_t take_stream(char *data, size_t one, size_t n, void *user)
{
	struct pump *pump = user;
	long code = 0;

	curl_easy_getinfo(pump->stream.curl, CURLINFO_RESPONSE_CODE, &code);
	if (code != 200)
		return process_request_keep(data, one, n, &pump->stream);
	if (connect_decode(&pump->decoder, (const uint8_t *)data, n * one, on_event, pump,
			   &pump->fault))
		return 0;
	return n * one;
}

/* --- input and signals ----------------------------------------------------------------------- */

static void side_start(struct pump *pump, const char *method, json_t *message)
{
	json_object_set_new(message, "process", json_pack("{s:I}", "pid", (json_int_t)pump->pid));
	process_request_open(&pump->side, pump->cli, pump->spec, method, message, false);
	curl_multi_add_handle(pump->multi, pump->side.curl);
}

static void side_finish(struct pump *pump)
{
	curl_multi_remove_handle(pump->multi, pump->side.curl);
	process_request_close(&pump->side);
}

static void send_input(struct pump *pump)
{
	uint8_t chunk[INPUT_CHUNK_MAX];
	ssize_t n = read(0, chunk, sizeof(chunk));
	char *text;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		pump->input_is_open = false;
		pump->input_must_close = true;
		return;
	}
	text = connect_base64(chunk, (size_t)n);
	side_start(pump, "SendInput", json_pack("{s:{s:s}}", "input", "stdin", text));
	free(text);
}

/* What is due next goes out, when nothing else is under way. */
static void side_next(struct pump *pump)
{
	if (!pump->pid || pump->has_ended)
		return;
	/* A signal does not wait behind input that the process may never read. */
	if (pump->kill_with && pump->side.curl)
		side_finish(pump);
	if (pump->side.curl)
		return;
	if (pump->kill_with) {
		side_start(pump, "SendSignal",
			   json_pack("{s:s}", "signal",
				     pump->kill_with == SIGKILL ? "SIGNAL_SIGKILL"
								: "SIGNAL_SIGTERM"));
		pump->kill_with = 0;
		/* What is in the pipe does not matter to a process that was told to end. */
		pump->input_is_open = false;
	} else if (pump->input_must_close) {
		pump->input_must_close = false;
		side_start(pump, "CloseStdin", json_object());
	}
}

static void take_interrupt(struct pump *pump)
{
	struct signalfd_siginfo info;

	if (read(pump->cli->interrupt_fd, &info, sizeof(info)) != sizeof(info))
		return;
	pump->interrupts_n++;
	if (!pump->interrupt)
		pump->interrupt = (int)info.ssi_signo;
	/* Once: please end. Twice: be killed. Three times: we leave without it. */
	pump->kill_with = pump->interrupts_n > 1 ? SIGKILL : SIGTERM;
}

void process_catch_signals(struct cli *cli)
{
	sigset_t caught;

	sigemptyset(&caught);
	sigaddset(&caught, SIGINT);
	sigaddset(&caught, SIGTERM);
	sigaddset(&caught, SIGHUP);
	sigaddset(&caught, SIGQUIT);
	sigprocmask(SIG_BLOCK, &caught, NULL);
	signal(SIGPIPE, SIG_IGN);
	cli->interrupt_fd = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
	CHECK(cli->interrupt_fd >= 0);
}

/* --- the loop -------------------------------------------------------------------------------- */

static void take_results(struct pump *pump)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(pump->multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		if (message->easy_handle == pump->stream.curl) {
			pump->stream_is_done = true;
			pump->stream_code = message->data.result;
		} else {
			/* Input that is refused belongs to a process that has ended: its end is on
			 * the stream. */
			side_finish(pump);
		}
	}
}

static void wait_for_more(struct pump *pump)
{
	struct curl_waitfd more[2] = {
		{.fd = pump->cli->interrupt_fd, .events = CURL_WAIT_POLLIN},
		{.fd = 0, .events = CURL_WAIT_POLLIN},
	};
	bool reads = pump->input_is_open && pump->pid && !pump->side.curl && !pump->has_ended;

	curl_multi_poll(pump->multi, more, reads ? 2 : 1, POLL_MS, NULL);
	if (more[0].revents)
		take_interrupt(pump);
	/* A hang-up or an error may come as events that libcurl does not name: 0 is read anyway. */
	if (reads && more[1].revents && !pump->side.curl)
		send_input(pump);
}

static void pump_run(struct pump *pump)
{
	while (!pump->stream_is_done && pump->interrupts_n < 3) {
		int running;

		curl_multi_perform(pump->multi, &running);
		take_results(pump);
		side_next(pump);
		if (!pump->stream_is_done)
			wait_for_more(pump);
	}
}

/* --- how it ended ---------------------------------------------------------------------------- */

static int status_of_code(const char *code)
{
	static const struct {
		const char *code;
		int status;
	} rows[] = {
		{"deadline_exceeded", STATUS_TIMED_OUT}, {"unauthenticated", STATUS_DENIED},
		{"permission_denied", STATUS_DENIED},    {"invalid_argument", STATUS_USAGE},
		{"not_found", STATUS_NOT_FOUND},         {"resource_exhausted", STATUS_QUOTA},
		{"unavailable", STATUS_TRY_AGAIN},
	};

	for (size_t i = 0; i < ARRAY_N(rows); i++)
		if (strcmp(rows[i].code, code) == 0)
			return rows[i].status;
	return STATUS_FAILED;
}

/* What a shell says of a command that it cannot start. */
static int status_of_start(const struct connect_event *finished)
{
	if (strncmp(finished->text, "error starting process", 22) != 0)
		return status_of_code(finished->code);
	return strstr(finished->text, strerror(EACCES)) ? STATUS_NOT_EXECUTABLE : STATUS_NO_COMMAND;
}

static enum process_outcome outcome_of_refusal(struct pump *pump, long code, int *out_status)
{
	json_t *body = json_loads(pump->stream.refusal, 0, NULL);
	const char *message = api_text(body, "message");

	*out_status = code == 502                  ? STATUS_NOT_FOUND
		      : code == 401 || code == 403 ? STATUS_DENIED
						   : status_of_code(api_text(body, "code"));
	cli_fail(pump->cli, *out_status, "sandbox %s: %s%s(status %ld)", pump->spec->sandbox_id,
		 message, message[0] ? " " : "", code);
	json_decref(body);
	return PROCESS_FAILED;
}

static enum process_outcome outcome_of_end(struct pump *pump, int *out_status)
{
	const struct connect_event *finished = &pump->finished;

	if (finished->code[0]) {
		*out_status =
			pump->pid ? status_of_code(finished->code) : status_of_start(finished);
		cli_fail(pump->cli, *out_status, "%s: %s (%s)", pump->spec->argv[0], finished->text,
			 finished->code);
		return PROCESS_FAILED;
	}
	if (!pump->has_ended) {
		*out_status =
			cli_fail(pump->cli, STATUS_FAILED, "the sandbox does not say how %s ended",
				 pump->spec->argv[0]);
		return PROCESS_FAILED;
	}
	*out_status = connect_exit_status(&pump->ended);
	if (pump->interrupt == SIGINT && *out_status > 128)
		*out_status = STATUS_INTERRUPTED;
	if (pump->output_is_gone)
		*out_status = 128 + SIGPIPE;
	return PROCESS_ENDED;
}

static enum process_outcome outcome_of(struct pump *pump, int *out_status)
{
	long code = 0;

	if (!pump->stream_is_done) {
		*out_status = 128 + pump->interrupt;
		return PROCESS_ENDED;
	}
	curl_easy_getinfo(pump->stream.curl, CURLINFO_RESPONSE_CODE, &code);
	if (pump->fault.text[0]) {
		*out_status = cli_fail(pump->cli, STATUS_FAILED, "%s", pump->fault.text);
		return PROCESS_FAILED;
	}
	if (code == 0 && pump->stream_code != CURLE_OK) {
		*out_status = cli_fail(
			pump->cli, STATUS_TRY_AGAIN, "cannot reach the gateway at %s: %s",
			pump->cli->settings.gateway_url, curl_easy_strerror(pump->stream_code));
		return PROCESS_FAILED;
	}
	if (code != 200)
		return outcome_of_refusal(pump, code, out_status);
	if (pump->decoder.is_finished)
		return outcome_of_end(pump, out_status);
	*out_status = STATUS_FAILED;
	return PROCESS_LOST;
}

enum process_outcome process_run(struct cli *cli, const struct process_spec *spec, int *out_status)
{
	struct pump pump = {
		.cli = cli,
		.spec = spec,
		.multi = curl_multi_init(),
		.input_is_open = spec->has_input,
	};
	json_t *message = process_start_message(cli, spec);
	enum process_outcome outcome;

	CHECK(pump.multi);
	if (!message) {
		*out_status = cli_fail(cli, STATUS_USAGE, "the command is not in UTF-8");
		curl_multi_cleanup(pump.multi);
		return PROCESS_FAILED;
	}
	process_request_open(&pump.stream, cli, spec, "Start", message, true);
	curl_easy_setopt(pump.stream.curl, CURLOPT_WRITEFUNCTION, take_stream);
	curl_easy_setopt(pump.stream.curl, CURLOPT_WRITEDATA, &pump);
	curl_multi_add_handle(pump.multi, pump.stream.curl);
	pump_run(&pump);
	outcome = outcome_of(&pump, out_status);
	if (pump.side.curl)
		side_finish(&pump);
	curl_multi_remove_handle(pump.multi, pump.stream.curl);
	process_request_close(&pump.stream);
	connect_close(&pump.decoder);
	curl_multi_cleanup(pump.multi);
	return outcome;
}
