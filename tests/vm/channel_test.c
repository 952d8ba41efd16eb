/* The shim's end of a guest's channel: what is asked of a guest, and that nothing is while it is
 * brought to rest for whoever greets it next. */
#include "node-agent/shim/channel.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const char request[] = "GET /observations HTTP/1.1\r\nHost: sandbox\r\n\r\n";

/* The other end, played by the same engine that is in a guest. */
struct peer {
	struct mux *mux;
	int fd;
	uint32_t opened_n;
};

static uv_loop_t loop;
static struct channel channel;
static struct peer guest;
static uint32_t ready_n, quiet_n, unanswered_n;

static void on_ready(void *arg)
{
	(void)arg;
	ready_n++;
}

static void on_fault(void *arg, const char *problem)
{
	(void)arg;
	fail_msg("%s", problem);
}

static void on_quiet(void *arg)
{
	(void)arg;
	quiet_n++;
}

static void on_document(void *arg, const char *body, size_t body_n)
{
	(void)arg;
	assert_int_equal(body_n, 0);
	unanswered_n += !body;
}

static void guest_says(void)
{
	struct mux_slice slices[2];

	while (mux_output(guest.mux, slices)) {
		ssize_t n = write(guest.fd, slices[0].bytes, slices[0].n);
		assert_true(n > 0);
		mux_output_done(guest.mux, (size_t)n);
	}
}

/* Until neither has anything more to say. */
static void talk(void)
{
	static uint8_t bytes[65536];
	struct mux_event event;
	ssize_t n;

	for (int idle = 0; idle < 3;) {
		uv_run(&loop, UV_RUN_NOWAIT);
		n = read(guest.fd, bytes, sizeof(bytes));
		idle = n > 0 ? 0 : idle + 1;
		if (n > 0)
			mux_feed(guest.mux, bytes, (size_t)n);
		while (mux_next(guest.mux, &event))
			guest.opened_n += event.kind == MUX_OPENED;
		guest_says();
	}
}

static bool ask(void)
{
	return channel_ask_document(&channel, request, sizeof(request) - 1, on_document, NULL);
}

static int open_both(void **state)
{
	const struct channel_callbacks callbacks = {on_ready, on_fault, NULL};
	const struct mux_config config = {
		.restartable = true, .accept_max = MUX_STREAMS_EARLY, .output_max = 64 * 1024};
	struct err err;
	int fds[2];

	(void)state;
	ready_n = quiet_n = unanswered_n = 0;
	guest = (struct peer){.mux = mux_create(&config)};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	guest.fd = fds[1];
	fcntl(guest.fd, F_SETFL, O_NONBLOCK);
	uv_loop_init(&loop);
	assert_int_equal(channel_open(&channel, &callbacks, &err), 0);
	assert_int_equal(channel_attach(&channel, &loop, fds[0], &err), 0);
	talk();
	assert_int_equal(ready_n, 1);
	return 0;
}

static int close_both(void **state)
{
	(void)state;
	channel_close(&channel);
	uv_run(&loop, UV_RUN_DEFAULT);
	channel_free(&channel);
	assert_int_equal(uv_loop_close(&loop), 0);
	mux_destroy(guest.mux);
	close(guest.fd);
	return 0;
}

static void a_question_opens_a_stream(void **state)
{
	(void)state;
	assert_true(ask());
	talk();
	assert_int_equal(guest.opened_n, 1);
}

static void a_guest_at_rest_hears_nothing(void **state)
{
	(void)state;
	channel_quiet_begin(&channel, on_quiet, NULL);
	assert_false(ask()); /* the ping is not answered yet */
	talk();
	assert_int_equal(quiet_n, 1);
	assert_false(ask());
	talk();
	assert_int_equal(guest.opened_n, 0);
	channel_quiet_end(&channel);
	assert_true(ask());
	talk();
	assert_int_equal(guest.opened_n, 1);
}

/* No word of it comes after the ping, and whoever asked may ask again. */
static void what_was_asked_before_is_given_up(void **state)
{
	(void)state;
	assert_true(ask());
	talk();
	channel_quiet_begin(&channel, on_quiet, NULL);
	talk();
	assert_int_equal(quiet_n, 1);
	assert_int_equal(mux_streams_n(guest.mux), 0);
	assert_int_equal(unanswered_n, 1);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_both, close_both)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_question_opens_a_stream),
		STORY(a_guest_at_rest_hears_nothing),
		STORY(what_was_asked_before_is_given_up),
	};

	return cmocka_run_group_tests_name("vm.channel", tests, NULL, NULL);
}
