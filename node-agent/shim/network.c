/* See network.h, and shim.h for its functions. */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/egress/channel.h"
#include "node-agent/egress/rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct shim_keeper {
	struct shim *shim; /* NULL: let go of */
	uv_process_t process;
	uv_poll_t poll;
	int fd;
	int handles_n;
};

/* ---- done, or not ---- */

static void tell_done(struct shim *shim, const struct err *err)
{
	shim_network_cb done = shim->network.done;

	shim->network.done = NULL;
	if (done)
		done(shim, err);
}

static void look_if_done(struct shim *shim)
{
	if (shim->network.is_attached && shim->network.is_in_force)
		tell_done(shim, NULL);
}

/* ---- the keeper's end ---- */

static void on_handle_closed(uv_handle_t *handle)
{
	struct shim_keeper *keeper = handle->data;

	if (--keeper->handles_n == 0)
		free(keeper);
}

/* It ends when it sees that we have let go. */
static void keeper_drop(struct shim *shim)
{
	struct shim_keeper *keeper = shim->network.keeper;

	if (!keeper)
		return;
	shim->network.keeper = NULL;
	keeper->shim = NULL;
	keeper->handles_n = 2;
	uv_close((uv_handle_t *)&keeper->poll, on_handle_closed);
	uv_close((uv_handle_t *)&keeper->process, on_handle_closed);
	close(keeper->fd);
}

/* An answer that nobody needs: QEMU's end is told otherwise. */
static void on_nothing(void *arg, const struct qmp_message *answer, const struct err *err)
{
	(void)answer;
	(void)arg;
	if (err)
		log_warn("shim", "QEMU refuses to move the network card", LOG_ERR(err));
}

static void set_link(struct shim *shim, bool is_up, qmp_answer_cb answer)
{
	char arguments[64];

	snprintf(arguments, sizeof(arguments), "{\"name\":\"" VM_NETWORK_CARD "\",\"up\":%s}",
		 is_up ? "true" : "false");
	qmp_send(&shim->qmp, "set_link", arguments, answer, shim);
}

static void detach(struct shim *shim)
{
	char arguments[64];

	if (!shim->network.is_attached)
		return;
	shim->network.is_attached = false;
	set_link(shim, false, on_nothing);
	snprintf(arguments, sizeof(arguments), "{\"id\":\"port%u\"}", shim->network.number);
	qmp_send(&shim->qmp, "netdev_del", arguments, on_nothing, shim);
	snprintf(arguments, sizeof(arguments), "{\"id\":\"way%u\"}", shim->network.number);
	qmp_send(&shim->qmp, "netdev_del", arguments, on_nothing, shim);
}

static void keeper_start(struct shim *shim);

static void on_again(uv_timer_t *timer)
{
	struct shim *shim = timer->data;

	if (!shim->network.keeper && !shim->is_ending)
		keeper_start(shim);
}

/* Whoever waits hears of it, and decides; otherwise there shall be another. */
static void keeper_failed(struct shim *shim, const struct err *err)
{
	bool is_waited_for = shim->network.done != NULL;

	log_warn("shim", "the keeper of the network has failed", LOG_ERR(err));
	keeper_drop(shim);
	detach(shim);
	tell_done(shim, err);
	if (!is_waited_for && !shim->is_ending)
		uv_timer_start(&shim->network.timer, on_again, SHIM_NETWORK_AGAIN_MS, 0);
}

/* ---- its tap, and the card ---- */

static void on_attached(void *arg, const struct qmp_message *answer, const struct err *err)
{
	struct shim *shim = arg;

	(void)answer;
	if (shim->is_ending || !shim->network.keeper)
		return;
	if (err) {
		keeper_failed(shim, err);
		return;
	}
	shim->network.is_attached = true;
	look_if_done(shim);
}

/* Of what it refuses the later commands fail as well, and the last one tells. */
static void attach(struct shim *shim, int tap_fd)
{
	unsigned number = shim->network.number;
	char arguments[160];
	struct err err;

	snprintf(arguments, sizeof(arguments), "{\"fdname\":\"tap%u\"}", number);
	if (qmp_send_fd(&shim->qmp, "getfd", arguments, tap_fd, on_nothing, shim, &err)) {
		keeper_failed(shim, &err);
		return;
	}
	snprintf(arguments, sizeof(arguments),
		 "{\"type\":\"tap\",\"id\":\"way%u\",\"fd\":\"tap%u\"}", number, number);
	qmp_send(&shim->qmp, "netdev_add", arguments, on_nothing, shim);
	set_link(shim, true, on_nothing);
	snprintf(arguments, sizeof(arguments),
		 "{\"type\":\"hubport\",\"id\":\"port%u\",\"hubid\":0,\"netdev\":\"way%u\"}",
		 number, number);
	qmp_send(&shim->qmp, "netdev_add", arguments, on_attached, shim);
}

/* ---- its words ---- */

static void on_packet(struct shim *shim, const struct egress_packet *packet)
{
	struct err err;

	if (packet->n) {
		err_set(&err, "network: %.200s", (const char *)packet->bytes);
		keeper_failed(shim, &err);
	} else if (packet->change == 0 && packet->fd >= 0) {
		attach(shim, packet->fd);
	} else if (packet->change == shim->network.change) {
		shim->network.is_in_force = true;
		look_if_done(shim);
	}
}

static void on_channel(uv_poll_t *poll, int status, int events)
{
	static struct egress_packet packet;
	struct shim_keeper *keeper = poll->data;
	struct err err;
	int got = 0;

	(void)events;
	while (keeper->shim &&
	       (got = status < 0 ? -1 : egress_channel_receive(keeper->fd, &packet)) > 0) {
		on_packet(keeper->shim, &packet);
		if (packet.fd >= 0)
			close(packet.fd);
	}
	if (got < 0 && keeper->shim) {
		err_set(&err, "network: its keeper has ended");
		keeper_failed(keeper->shim, &err);
	}
}

/* ---- its start ---- */

static void on_exit_(uv_process_t *process, int64_t status, int signal)
{
	(void)process;
	(void)status;
	(void)signal; /* its closed channel says it */
}

static int program_find(char out_path[PATH_MAX], struct err *err)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return err_errno(err, errno, "/proc/self/exe");
	self[n] = 0;
	*strrchr(self, '/') = 0;
	snprintf(out_path, PATH_MAX, "%.*s/flotilla-egress", PATH_MAX - 32, self);
	return 0;
}

static int keeper_spawn(struct shim *shim, struct shim_keeper *keeper, int their_fd,
			struct err *err)
{
	char path[PATH_MAX];
	char *argv[] = {path, shim->network.host, NULL};
	uv_stdio_container_t stdio[EGRESS_CHANNEL_FD + 1];
	uv_process_options_t options = {
		.file = path,
		.args = argv,
		.exit_cb = on_exit_,
		.stdio = stdio,
		.stdio_count = EGRESS_CHANNEL_FD + 1,
	};
	int status;

	for (int fd = 0; fd < EGRESS_CHANNEL_FD; fd++)
		stdio[fd] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = fd};
	stdio[EGRESS_CHANNEL_FD] =
		(uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = their_fd};
	if (program_find(path, err))
		return -1;
	status = uv_spawn(&shim->loop, &keeper->process, &options);
	return status ? err_set(err, "network: %s: %s", path, uv_strerror(status)) : 0;
}

static void keeper_send(struct shim *shim)
{
	struct shim_network *network = &shim->network;
	struct err err;

	network->is_in_force = false;
	if (egress_channel_send(network->keeper->fd, ++network->change, network->rules,
				network->rules_n, -1, &err))
		keeper_failed(shim, &err);
}

static void keeper_start(struct shim *shim)
{
	struct shim_keeper *keeper = calloc(1, sizeof(*keeper));
	struct err err;
	int fds[2];

	CHECK(keeper);
	keeper->shim = shim;
	keeper->fd = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
		err_errno(&err, errno, "network: socketpair");
		free(keeper);
		tell_done(shim, &err);
		return;
	}
	keeper->fd = fds[0];
	keeper->process.data = keeper->poll.data = keeper;
	shim->network.keeper = keeper;
	shim->network.number++;
	shim->network.is_attached = false;
	int status = keeper_spawn(shim, keeper, fds[1], &err);
	close(fds[1]);
	uv_poll_init(&shim->loop, &keeper->poll, keeper->fd);
	if (status) {
		keeper_failed(shim, &err);
		return;
	}
	uv_poll_start(&keeper->poll, UV_READABLE, on_channel);
	keeper_send(shim);
}

/* ---- for the shim ---- */

void shim_network_open(struct shim *shim)
{
	uv_timer_init(&shim->loop, &shim->network.timer);
	shim->network.timer.data = shim;
}

void shim_network_close(struct shim *shim)
{
	keeper_drop(shim);
	uv_close((uv_handle_t *)&shim->network.timer, NULL);
}

bool shim_network_is_wanted(const char *host, const struct wire_bytes *rules)
{
	struct egress_policy policy;

	return host[0] && rules->n && egress_policy_read(rules, &policy, NULL) == 0 &&
	       !egress_policy_is_closed(&policy);
}

char *shim_network_authority(const struct wire_bytes *rules)
{
	struct egress_policy policy;
	struct egress_rules read = {0};
	char *authority = NULL;

	/* Most have no rules, and need not be read again. */
	if (!rules->n || egress_policy_read(rules, &policy, NULL) || !policy.has_rules ||
	    egress_rules_read(&read, rules, NULL))
		return NULL;
	authority = strndup((const char *)read.wire.authority.data, read.wire.authority.n);
	CHECK(authority);
	egress_rules_free(&read);
	return authority;
}

static void on_needless(uv_timer_t *timer)
{
	tell_done(timer->data, NULL);
}

void shim_network_set(struct shim *shim, const char *host, const struct wire_bytes *rules,
		      shim_network_cb done)
{
	struct shim_network *network = &shim->network;

	CHECK(rules->n <= sizeof(network->rules));
	snprintf(network->host, sizeof(network->host), "%s", host);
	if (rules->n)
		memcpy(network->rules, rules->data, rules->n);
	network->rules_n = rules->n;
	network->done = done;
	if (network->keeper) {
		keeper_send(shim);
		return;
	}
	if (shim_network_is_wanted(host, rules)) {
		uv_timer_stop(&network->timer);
		keeper_start(shim);
		return;
	}
	/* What was saved with its card on shall not find a hub that leads nowhere. */
	if (shim_is_resumed(shim))
		set_link(shim, false, on_nothing);
	uv_timer_start(&network->timer, on_needless, 0, 0);
}
