#include "common/io/daemon.h"
#include "common/io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/io/scratch.h"
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void only_one_process_holds_a_state_directory(void **unused)
{
	struct scratch scratch;
	struct err err;
	char pid[32];
	int first, second;

	(void)unused;
	scratch_open(&scratch);
	assert_int_equal(daemon_lock(scratch.dir, &first, &err), 0);
	assert_int_equal(daemon_lock(scratch.dir, &second, &err), -1);
	snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	assert_non_null(strstr(err.text, pid));
	close(first);
	assert_int_equal(daemon_lock(scratch.dir, &second, &err), 0);
	close(second);
	scratch_close(&scratch);
}

static void ready_names_every_endpoint_in_the_file_and_to_systemd(void **unused)
{
	struct daemon_endpoint endpoints[] = {{"api", {"127.0.0.1", 3000}}, {"bus", {"::1", 3003}}};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct scratch scratch;
	char heard[64], *text;
	struct err err;
	ssize_t heard_n;
	size_t n;

	(void)unused;
	scratch_open(&scratch);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s",
		 scratch_path(&scratch, "notify"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	scratch_path(&scratch, "ready");
	assert_int_equal(daemon_ready(scratch.path, endpoints, 2, &err), 0);
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(file_read(scratch.path, 1000, &text, &n, &err), 0);
	assert_string_equal(text, "api=127.0.0.1:3000\nbus=[::1]:3003\n");
	heard_n = recv(fd, heard, sizeof(heard), MSG_DONTWAIT);
	assert_int_equal(heard_n, 7);
	assert_memory_equal(heard, "READY=1", 7);
	free(text);
	close(fd);
	scratch_close(&scratch);
}

struct counts {
	int stops, reloads;
};

static void on_stop(struct daemon_signals *signals)
{
	((struct counts *)signals->data)->stops++;
	daemon_signals_stop(signals);
}

/* Signal watchers alone do not keep a loop alive; a daemon has its listeners, a test has this. */
static void stay_alive(uv_idle_t *idle)
{
	(void)idle;
}

static void on_reload(struct daemon_signals *signals)
{
	((struct counts *)signals->data)->reloads++;
	raise(SIGTERM);
}

static void signals_reload_then_stop_and_the_loop_ends(void **unused)
{
	struct counts counts = {0};
	struct daemon_signals signals = {
		.data = &counts, .on_stop = on_stop, .on_reload = on_reload};
	uv_idle_t busy;
	struct err err;
	uv_loop_t loop;

	(void)unused;
	uv_loop_init(&loop);
	assert_int_equal(daemon_signals_start(&signals, &loop, &err), 0);
	uv_idle_init(&loop, &busy);
	uv_idle_start(&busy, stay_alive);
	raise(SIGHUP);
	while (!counts.stops)
		uv_run(&loop, UV_RUN_NOWAIT);
	uv_close((uv_handle_t *)&busy, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(counts.reloads, 1);
	assert_int_equal(counts.stops, 1);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void do_nothing(struct daemon_signals *signals)
{
	raise(SIGTERM); /* the second one */
	(void)signals;
}

static void a_second_stop_does_not_wait(void **unused)
{
	int status;
	pid_t child = fork();

	(void)unused;
	if (child == 0) {
		struct daemon_signals signals = {.on_stop = do_nothing};
		uv_idle_t busy;
		uv_loop_t loop;

		alarm(20); /* should the promise be broken */
		uv_loop_init(&loop);
		uv_idle_init(&loop, &busy);
		uv_idle_start(&busy, stay_alive);
		daemon_signals_start(&signals, &loop, NULL);
		raise(SIGTERM);
		for (;;)
			uv_run(&loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 128 + SIGTERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_one_process_holds_a_state_directory),
		cmocka_unit_test(ready_names_every_endpoint_in_the_file_and_to_systemd),
		cmocka_unit_test(signals_reload_then_stop_and_the_loop_ends),
		cmocka_unit_test(a_second_stop_does_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
