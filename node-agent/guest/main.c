/*
 * flotilla-guest: the agent inside a sandbox.
 *
 *   flotilla-guest --listen 127.0.0.1:49983 [--user NAME]    on a plain host, for tests
 *   /init                                                    as process 1 of a microVM
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node-agent/guest/boot.h"
#include "node-agent/guest/channel.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/tcp.h"

static int guest_open(struct guest *guest, bool owns_system)
{
	*guest = (struct guest){.owns_system = owns_system};
	settings_init(&guest->settings);
	metrics_init(&guest->metrics);
	watchers_init(&guest->watchers, &guest->loop);
	metrics_init(&guest->observed);
	logbook_init(&guest->logbook);
	signal(SIGPIPE, SIG_IGN);
	return uv_loop_init(&guest->loop) || conn_pool_open(&guest->conns, guest) ||
	       process_table_open(&guest->processes, guest);
}

static void on_stop(uv_signal_t *handle, int number)
{
	(void)number;
	uv_stop(handle->loop);
}

static void guest_close(struct guest *guest)
{
	conn_pool_close(&guest->conns);
	process_table_close(&guest->processes);
	watchers_close(&guest->watchers);
	uv_run(&guest->loop, UV_RUN_DEFAULT);
	uv_loop_close(&guest->loop);
	settings_close(&guest->settings);
	logbook_close(&guest->logbook);
}

static int host_main(const char *address, const char *user)
{
	static struct guest guest;
	static struct tcp_listener listener;
	uv_signal_t stops[2];
	uint16_t port;
	struct err err;

	if (guest_open(&guest, false)) {
		fprintf(stderr, "flotilla-guest: no event loop\n");
		return 1;
	}
	if (user)
		snprintf(guest.settings.default_user, USER_NAME_MAX, "%s", user);
	if (tcp_listen(&listener, &guest.loop, address, conn_accept, &guest.conns, &port, &err)) {
		fprintf(stderr, "flotilla-guest: %s\n", err.text);
		return 1;
	}
	for (int i = 0; i < 2; i++) {
		uv_signal_init(&guest.loop, &stops[i]);
		uv_signal_start(&stops[i], on_stop, i ? SIGTERM : SIGINT);
	}
	printf("listening on port %u\n", port);
	fflush(stdout);
	uv_run(&guest.loop, UV_RUN_DEFAULT);
	tcp_listener_close(&listener);
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&stops[i], NULL);
	guest_close(&guest);
	return 0;
}

static void on_channel_broken(const char *problem)
{
	boot_give_up(problem);
}

static int system_main(void)
{
	static struct tcp_listener listener;
	static struct channel channel;
	static struct guest guest;
	char device[300];
	uint16_t port;
	struct err err;
	int fd;

	if (boot_system(&err) || channel_device_find(device, sizeof(device), &err))
		boot_give_up(err.text);
	fd = open(device, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || guest_open(&guest, true))
		boot_give_up("the channel or the event loop cannot be opened");
	channel.on_broken = on_channel_broken;
	channel.on_new_host = init_expect;
	if (channel_open(&channel, &guest.loop, fd, conn_accept, &guest.conns, GUEST_PORT, &err))
		boot_give_up(err.text);
	/* Programs inside may ask as well, under the same token: a template's server for the
	 * sandbox's environment, say. */
	if (tcp_listen(&listener, &guest.loop, GUEST_LOOPBACK, conn_accept, &guest.conns, &port,
		       &err))
		boot_say("%s", err.text);
	boot_say("ready");
	uv_run(&guest.loop, UV_RUN_DEFAULT);
	boot_give_up("the event loop has ended");
}

int main(int argc, char **argv)
{
	const char *address = NULL, *user = NULL;

	if (getpid() == 1)
		return system_main();
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--listen") && i + 1 < argc) {
			address = argv[++i];
		} else if (!strcmp(argv[i], "--user") && i + 1 < argc) {
			user = argv[++i];
		} else if (!strcmp(argv[i], "--version")) {
			printf("flotilla-guest %s (envd %s)\n", FLOTILLA_VERSION,
			       GUEST_ENVD_VERSION);
			return 0;
		} else {
			address = NULL;
			break;
		}
	}
	if (!address) {
		fprintf(stderr, "usage: flotilla-guest --listen ADDRESS:PORT [--user NAME]\n");
		return 2;
	}
	return host_main(address, user);
}
