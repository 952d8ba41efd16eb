/* QMP: lines as values, and the client against a QEMU played by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node-agent/vm/qmp.h"

/* ---- lines ---- */

static void parse(const char *line, struct qmp_message *out)
{
	assert_int_equal(qmp_message_parse(line, strlen(line), out, NULL), 0);
}

static void lines_are_told_apart(void **state)
{
	struct qmp_message message;

	(void)state;
	parse("{\"QMP\": {\"version\": {}, \"capabilities\": []}}", &message);
	assert_int_equal(message.kind, QMP_GREETING);
	parse("{\"return\": {}, \"id\": 7}", &message);
	assert_int_equal(message.kind, QMP_RETURN);
	assert_int_equal(message.id, 7);
	parse("{\"return\": {\"status\": \"paused\", \"running\": false}, \"id\": 8}", &message);
	assert_string_equal(message.status, "paused");
	parse("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such thing\"}, \"id\": 9}",
	      &message);
	assert_int_equal(message.kind, QMP_ERROR);
	assert_string_equal(message.text, "no such thing");
	parse("{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}",
	      &message);
	assert_int_equal(message.kind, QMP_EVENT);
	assert_int_equal(message.event, QMP_EVENT_SHUTDOWN);
	assert_string_equal(message.reason, "guest-reset");
	parse("{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}", &message);
	assert_int_equal(message.event, QMP_EVENT_MIGRATION);
	assert_string_equal(message.status, "completed");
}

static void what_is_not_known_is_passed_over(void **state)
{
	struct qmp_message message;

	(void)state;
	parse("{\"event\": \"NIC_RX_FILTER_CHANGED\", \"data\": {}}", &message);
	assert_int_equal(message.event, QMP_EVENT_UNKNOWN);
	parse("{\"event\": 5}", &message);
	assert_int_equal(message.kind, QMP_OTHER);
	parse("{}", &message);
	assert_int_equal(message.kind, QMP_OTHER);
	parse("{\"return\": [1, 2], \"id\": -4}", &message);
	assert_int_equal(message.kind, QMP_RETURN);
	assert_int_equal(message.id, 0);
	parse("{\"event\": \"SHUTDOWN\", \"data\": \"none\"}", &message);
	assert_string_equal(message.reason, "");
}

static void what_is_not_qmp_is_a_fault(void **state)
{
	static const char *const lines[] = {"", "[]", "5", "{", "{\"a\": }", "\xff\xfe", "null"};
	static char line[QMP_LINE_MAX + 1];
	struct qmp_message message;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(qmp_message_parse(lines[i], strlen(lines[i]), &message, NULL), -1);
	memset(line, ' ', sizeof(line));
	assert_int_equal(qmp_message_parse(line, sizeof(line), &message, NULL), -1);
}

static void long_words_are_cut(void **state)
{
	struct qmp_message message;
	char line[1024], word[600];

	(void)state;
	memset(word, 'w', sizeof(word) - 1);
	word[sizeof(word) - 1] = 0;
	snprintf(line, sizeof(line), "{\"error\": {\"desc\": \"%s\"}}", word);
	parse(line, &message);
	assert_int_equal(strlen(message.text), QMP_TEXT_MAX - 1);
}

/* ---- the client ---- */

static uv_loop_t loop;
static struct qmp qmp;
static int qemu; /* QEMU's end */
static int answers_n, events_n, closed_n;
static struct qmp_message last;
static char last_fault[ERR_TEXT_MAX];

static void on_answer(void *arg, const struct qmp_message *answer, const struct err *err)
{
	(void)arg;
	answers_n++;
	if (answer)
		last = *answer;
	snprintf(last_fault, sizeof(last_fault), "%s", err ? err->text : "");
}

static void on_event(void *arg, const struct qmp_message *event)
{
	(void)arg;
	events_n++;
	last = *event;
}

static void on_closed(void *arg, const struct err *why)
{
	(void)arg;
	(void)why;
	closed_n++;
}

static int setup(void **state)
{
	const struct qmp_callbacks callbacks = {on_event, on_closed, NULL};
	int pair[2];

	(void)state;
	answers_n = events_n = closed_n = 0;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	qemu = pair[1];
	return qmp_open(&qmp, &loop, pair[0], &callbacks, NULL);
}

static int teardown(void **state)
{
	(void)state;
	qmp_close(&qmp);
	if (qemu >= 0)
		close(qemu);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

static void say(const char *text)
{
	assert_int_equal(write(qemu, text, strlen(text)), strlen(text));
	uv_run(&loop, UV_RUN_ONCE);
}

/* What the client has written; it writes at once. */
static void heard(char *out, size_t out_n)
{
	ssize_t n = recv(qemu, out, out_n - 1, MSG_DONTWAIT);

	out[n > 0 ? n : 0] = 0;
}

static void commands_are_answered_in_their_order(void **state)
{
	char text[1024];

	(void)state;
	heard(text, sizeof(text));
	assert_string_equal(text, "{\"execute\":\"qmp_capabilities\",\"arguments\":{},\"id\":1}\n");
	say("{\"QMP\": {}}\r\n{\"return\": {}, \"id\": 1}\r\n");
	qmp_send(&qmp, "stop", NULL, on_answer, NULL);
	qmp_send(&qmp, "set_link", "{\"up\":false}", on_answer, NULL);
	say("{\"return\": {}, \"id\": 2}\r\n");
	assert_int_equal(answers_n, 1);
	/* In two pieces. */
	say("{\"error\": {\"desc\": \"De");
	say("vice not found\"}, \"id\": 3}\r\n");
	assert_int_equal(answers_n, 2);
	assert_string_equal(last_fault, "QEMU: Device not found");
}

static void events_come_between_answers(void **state)
{
	(void)state;
	say("{\"QMP\": {}}\r\n{\"return\": {}, \"id\": 1}\r\n{\"event\": \"STOP\"}\r\n"
	    "{\"event\": \"SOMETHING_NEW\"}\r\n");
	assert_int_equal(events_n, 1);
	assert_int_equal(last.event, QMP_EVENT_STOP);
}

static void a_held_command_is_complete_with_its_last_byte(void **state)
{
	char text[1024];

	(void)state;
	say("{\"return\": {}, \"id\": 1}\r\n");
	heard(text, sizeof(text));
	qmp_hold(&qmp, "cont");
	heard(text, sizeof(text));
	assert_string_equal(text, "{\"execute\":\"cont\",\"id\":2");
	qmp_release(&qmp, on_answer, NULL);
	heard(text, sizeof(text));
	assert_string_equal(text, "}");
	say("{\"return\": {}, \"id\": 2}\r\n");
	assert_int_equal(answers_n, 1);
}

static void open_commands_fail_when_the_channel_closes(void **state)
{
	(void)state;
	qmp_send(&qmp, "stop", NULL, on_answer, NULL);
	close(qemu);
	qemu = -1;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(answers_n, 1);
	assert_true(last_fault[0]);
	assert_int_equal(closed_n, 1);
	/* Whatever is asked afterwards goes nowhere, and harms nobody. */
	qmp_send(&qmp, "stop", NULL, on_answer, NULL);
}

static void an_answer_that_nobody_asked_for_ends_the_channel(void **state)
{
	(void)state;
	say("{\"return\": {}, \"id\": 99}\r\n");
	assert_int_equal(closed_n, 1);
}

static void a_line_without_end_ends_the_channel(void **state)
{
	static char line[QMP_LINE_MAX];

	(void)state;
	memset(line, 'x', sizeof(line));
	assert_int_equal(write(qemu, line, sizeof(line)), sizeof(line));
	close(qemu);
	qemu = -1;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(closed_n, 1);
}

static void a_descriptor_is_passed_with_its_name(void **state)
{
	char text[256], control[CMSG_SPACE(sizeof(int))];
	struct iovec piece = {text, sizeof(text) - 1};
	struct msghdr message = {.msg_iov = &piece,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	int passed;

	(void)state;
	heard(text, sizeof(text));
	assert_int_equal(qmp_send_fd(&qmp, "getfd", "{\"fdname\":\"state\"}", STDIN_FILENO,
				     on_answer, NULL, NULL),
			 0);
	assert_true(recvmsg(qemu, &message, 0) > 0);
	assert_non_null(CMSG_FIRSTHDR(&message));
	memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(passed));
	close(passed);
	say("{\"return\": {}, \"id\": 1}\r\n{\"return\": {}, \"id\": 2}\r\n");
	assert_int_equal(answers_n, 1);
}

#define CLIENT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_told_apart),
		cmocka_unit_test(what_is_not_known_is_passed_over),
		cmocka_unit_test(what_is_not_qmp_is_a_fault),
		cmocka_unit_test(long_words_are_cut),
		CLIENT_TEST(commands_are_answered_in_their_order),
		CLIENT_TEST(events_come_between_answers),
		CLIENT_TEST(a_held_command_is_complete_with_its_last_byte),
		CLIENT_TEST(open_commands_fail_when_the_channel_closes),
		CLIENT_TEST(an_answer_that_nobody_asked_for_ends_the_channel),
		CLIENT_TEST(a_line_without_end_ends_the_channel),
		CLIENT_TEST(a_descriptor_is_passed_with_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
