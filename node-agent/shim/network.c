/* See network.h. */
#include "node-agent/shim/network.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/egress/channel.h"
#include "node-agent/egress/rules.h"
#include "node-agent/vm/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct network_keeper {
	struct network *network; /* NULL: let go of */
	uv_process_t process;
	uv_poll_t poll;
	int fd;
	int handles_n;
};

/* ---- done, or not ---- */

static void tell_done(struct network *network, const struct err *err)
{
	network_cb done = network->done;

	network->done = NULL;
	if (done)
		done(network->arg, err);
}

static void look_if_done(struct network *network)
{
	if (network->is_attached && network->is_in_force)
		tell_done(network, NULL);
}

/* ---- the keeper's end ---- */

static void on_handle_closed(uv_handle_t *handle)
{
	struct network_keeper *keeper = handle->data;

	if (--keeper->handles_n == 0)
		free(keeper);
}

/* It ends when it sees that we have let go. */
static void keeper_drop(struct network *network)
{
	struct network_keeper *keeper = network->keeper;

	if (!keeper)
		return;
	network->keeper = NULL;
	keeper->network = NULL;
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
		log_warn("network", "QEMU refuses to move the network card", LOG_ERR(err));
}

static void set_link(struct network *network, bool is_up, qmp_answer_cb answer)
{
	char arguments[64];

	snprintf(arguments, sizeof(arguments), "{\"name\":\"" VM_NETWORK_CARD "\",\"up\":%s}",
		 is_up ? "true" : "false");
	qmp_send(network->qmp, "set_link", arguments, answer, network);
}

static void detach(struct network *network)
{
	char arguments[64];

	if (!network->is_attached)
		return;
	network->is_attached = false;
	set_link(network, false, on_nothing);
	snprintf(arguments, sizeof(arguments), "{\"id\":\"port%u\"}", network->number);
	qmp_send(network->qmp, "netdev_del", arguments, on_nothing, network);
	snprintf(arguments, sizeof(arguments), "{\"id\":\"way%u\"}", network->number);
	qmp_send(network->qmp, "netdev_del", arguments, on_nothing, network);
}

static void keeper_start(struct network *network);

static void on_again(uv_timer_t *timer)
{
	struct network *network = timer->data;

	if (!network->keeper && !network->is_ending)
		keeper_start(network);
}

/* Whoever waits hears of it, and decides; otherwise there shall be another. */
static void keeper_failed(struct network *network, const struct err *err)
{
	bool is_waited_for = network->done != NULL;

	log_warn("network", "the keeper of the network has failed", LOG_ERR(err));
	keeper_drop(network);
	detach(network);
	tell_done(network, err);
	if (!is_waited_for && !network->is_ending)
		uv_timer_start(&network->timer, on_again, NETWORK_AGAIN_MS, 0);
}

/* ---- its tap, and the card ---- */

static void on_attached(void *arg, const struct qmp_message *answer, const struct err *err)
{
	struct network *network = arg;

	(void)answer;
	if (network->is_ending || !network->keeper)
		return;
	if (err) {
		keeper_failed(network, err);
		return;
	}
	network->is_attached = true;
	look_if_done(network);
}

/* Of what it refuses the later commands fail as well, and the last one tells. */
static void attach(struct network *network, int tap_fd)
{
	unsigned number = network->number;
	char arguments[160];
	struct err err;

	snprintf(arguments, sizeof(arguments), "{\"fdname\":\"tap%u\"}", number);
	if (qmp_send_fd(network->qmp, "getfd", arguments, tap_fd, on_nothing, network, &err)) {
		keeper_failed(network, &err);
		return;
	}
	snprintf(arguments, sizeof(arguments),
		 "{\"type\":\"tap\",\"id\":\"way%u\",\"fd\":\"tap%u\"}", number, number);
	qmp_send(network->qmp, "netdev_add", arguments, on_nothing, network);
	set_link(network, true, on_nothing);
	snprintf(arguments, sizeof(arguments),
		 "{\"type\":\"hubport\",\"id\":\"port%u\",\"hubid\":0,\"netdev\":\"way%u\"}",
		 number, number);
	qmp_send(network->qmp, "netdev_add", arguments, on_attached, network);
}

/* ---- its words ---- */

static void on_packet(struct network *network, const struct egress_packet *packet)
{
	struct err err;

	if (packet->n) {
		err_set(&err, "network: %.200s", (const char *)packet->bytes);
		keeper_failed(network, &err);
	} else if (packet->change == 0 && packet->fd >= 0) {
		attach(network, packet->fd);
	} else if (packet->change == network->change) {
		network->is_in_force = true;
		look_if_done(network);
	}
}

static void on_channel(uv_poll_t *poll, int status, int events)
{
	static struct egress_packet packet;
	struct network_keeper *keeper = poll->data;
	struct err err;
	int got = 0;

	(void)events;
	while (keeper->network &&
	       (got = status < 0 ? -1 : egress_channel_receive(keeper->fd, &packet)) > 0) {
		on_packet(keeper->network, &packet);
		if (packet.fd >= 0)
			close(packet.fd);
	}
	if (got < 0 && keeper->network) {
		err_set(&err, "network: its keeper has ended");
		keeper_failed(keeper->network, &err);
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

static int keeper_spawn(struct network *network, struct network_keeper *keeper, int their_fd,
			struct err *err)
{
	char path[PATH_MAX];
	char *argv[] = {path, network->host, NULL};
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
	status = uv_spawn(network->loop, &keeper->process, &options);
	return status ? err_set(err, "network: %s: %s", path, uv_strerror(status)) : 0;
}

static void keeper_send(struct network *network)
{
	struct err err;

	network->is_in_force = false;
	if (egress_channel_send(network->keeper->fd, ++network->change, network->rules,
				network->rules_n, -1, &err))
		keeper_failed(network, &err);
}

static void keeper_start(struct network *network)
{
	struct network_keeper *keeper = calloc(1, sizeof(*keeper));
	struct err err;
	int fds[2];

	CHECK(keeper);
	keeper->network = network;
	keeper->fd = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
		err_errno(&err, errno, "network: socketpair");
		free(keeper);
		tell_done(network, &err);
		return;
	}
	keeper->fd = fds[0];
	keeper->process.data = keeper->poll.data = keeper;
	network->keeper = keeper;
	network->number++;
	network->is_attached = false;
	int status = keeper_spawn(network, keeper, fds[1], &err);
	close(fds[1]);
	uv_poll_init(network->loop, &keeper->poll, keeper->fd);
	if (status) {
		keeper_failed(network, &err);
		return;
	}
	uv_poll_start(&keeper->poll, UV_READABLE, on_channel);
	keeper_send(network);
}

/* ---- for its owner ---- */

void network_open(struct network *network)
{
	uv_timer_init(network->loop, &network->timer);
	network->timer.data = network;
}

void network_end(struct network *network)
{
	network->is_ending = true;
}

void network_close(struct network *network)
{
	keeper_drop(network);
	uv_close((uv_handle_t *)&network->timer, NULL);
}

bool network_is_wanted(const char *host, const struct wire_bytes *rules)
{
	struct egress_policy policy;

	return host[0] && rules->n && egress_policy_read(rules, &policy, NULL) == 0 &&
	       !egress_policy_is_closed(&policy);
}

char *network_authority(const struct wire_bytes *rules)
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

static json_t *address_text(uint32_t address)
{
	return json_sprintf("%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255,
			    address & 255);
}

json_t *network_describe(const char *authority)
{
	json_t *network =
		json_pack("{s:o, s:i, s:o, s:o}", "address", address_text(EGRESS_GUEST_ADDRESS),
			  "prefix", EGRESS_PREFIX, "gateway", address_text(EGRESS_GATE_ADDRESS),
			  "dns", address_text(EGRESS_GATE_ADDRESS));

	CHECK(network);
	if (authority)
		json_object_set_new(network, "authority", json_string(authority));
	return network;
}

static void on_needless(uv_timer_t *timer)
{
	tell_done(timer->data, NULL);
}

void network_set(struct network *network, const char *host, const struct wire_bytes *rules,
		 network_cb done)
{
	CHECK(rules->n <= sizeof(network->rules));
	snprintf(network->host, sizeof(network->host), "%s", host);
	if (rules->n)
		memcpy(network->rules, rules->data, rules->n);
	network->rules_n = rules->n;
	network->done = done;
	if (network->keeper) {
		keeper_send(network);
		return;
	}
	if (network_is_wanted(host, rules)) {
		uv_timer_stop(&network->timer);
		keeper_start(network);
		return;
	}
	/* What was saved with its card on shall not find a hub that leads nowhere. */
	if (network->was_saved)
		set_link(network, false, on_nothing);
	uv_timer_start(&network->timer, on_needless, 0, 0);
}
