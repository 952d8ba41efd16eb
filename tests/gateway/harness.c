#include "tests/gateway/harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io/address.h"

enum { ARGUMENTS_MAX = 32 };

static void on_patience_over(uv_timer_t *timer)
{
	(void)timer;
	fail_msg("nothing happened for %d ms", PATIENCE_MS);
}

void world_once(struct world *world)
{
	uv_timer_start(&world->patience, on_patience_over, PATIENCE_MS, 0);
	uv_run(&world->loop, UV_RUN_ONCE);
}

void world_until(struct world *world, const bool *flag)
{
	while (!*flag)
		world_once(world);
}

void world_until_count(struct world *world, const int *count, int at_least)
{
	while (*count < at_least)
		world_once(world);
}

static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
	struct world *world = process->data;

	world->is_running = false;
	world->exit_status = signal ? 1000 + signal : status;
}

static void read_address(const char *ready, const char *name, struct sockaddr_storage *out,
			 char *out_text)
{
	const char *line = strstr(ready, name);
	struct address address;
	char text[64];

	if (!line)
		return;
	snprintf(text, sizeof(text), "%.*s", (int)strcspn(line + strlen(name), "\n"),
		 line + strlen(name));
	assert_true(address_parse(text, &address));
	assert_true(address_to_sockaddr(&address, out));
	if (out_text)
		strcpy(out_text, text);
}

static void read_ready(struct world *world)
{
	char text[512] = "";
	FILE *file = NULL;

	/* The gateway writes it whole, once it listens. */
	while (!(file = fopen(world->ready_path, "r"))) {
		assert_true(world->is_running);
		uv_run(&world->loop, UV_RUN_NOWAIT);
		usleep(1000);
	}
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	read_address(text, "tenants=", &world->tenants_at, NULL);
	read_address(text, "tls=", &world->tls_at, NULL);
	read_address(text, "tunnels=", &world->tunnels_at, world->tunnels_text);
	read_address(text, "admin=", &world->admin_at, NULL);
}

void world_start_gateway(struct world *world, const char *tunnel_at, const char *const *extra)
{
	/* A test that fails half-way leaves no gateway behind. */
	char *arguments[ARGUMENTS_MAX] = {
		"setpriv",
		"--pdeathsig",
		"KILL",
		FLOTILLA_GATEWAY,
		"--config",
		"/dev/null",
		"--listen",
		"127.0.0.1:0",
		"--tunnel-listen",
		(char *)(tunnel_at ? tunnel_at : "127.0.0.1:0"),
		"--admin-listen",
		"127.0.0.1:0",
		"--fleet-key",
		world->key_path,
		"--ready-file",
		world->ready_path,
	};
	uv_stdio_container_t streams[3] = {
		{.flags = UV_IGNORE},
		{.flags = UV_IGNORE},
		{.flags = UV_INHERIT_FD, .data.fd = 2},
	};
	uv_process_options_t options = {
		.file = "setpriv",
		.args = arguments,
		.exit_cb = on_process_exit,
		.stdio = streams,
		.stdio_count = 3,
	};
	size_t n = 0;

	while (arguments[n])
		n++;
	for (; extra && *extra; extra++) {
		assert_true(n + 1 < ARGUMENTS_MAX);
		arguments[n++] = (char *)*extra;
	}
	unlink(world->ready_path);
	world->process.data = world;
	world->is_running = true;
	assert_int_equal(uv_spawn(&world->loop, &world->process, &options), 0);
	read_ready(world);
}

static void on_process_closed(uv_handle_t *handle)
{
	struct world *world = handle->data;

	world->is_process_open = false;
}

void world_stop_gateway(struct world *world, int signal)
{
	if (world->is_running)
		uv_process_kill(&world->process, signal);
	while (world->is_running)
		world_once(world);
	world->is_process_open = true;
	uv_close((uv_handle_t *)&world->process, on_process_closed);
	while (world->is_process_open)
		world_once(world);
	if (signal == SIGTERM)
		assert_int_equal(world->exit_status, 0);
}

void world_open(struct world *world, const char *const *extra)
{
	int fd;

	memset(world, 0, sizeof(*world));
	assert_true(sodium_init() >= 0);
	signal(SIGPIPE, SIG_IGN);
	strcpy(world->folder, "/tmp/flotilla-gateway-XXXXXX");
	assert_non_null(mkdtemp(world->folder));
	snprintf(world->key_path, sizeof(world->key_path), "%s/key", world->folder);
	snprintf(world->ready_path, sizeof(world->ready_path), "%s/ready", world->folder);
	for (size_t at = 0; at < FLEET_KEY_N; at++)
		world->key.bytes[at] = (uint8_t)(at * 11);
	fd = open(world->key_path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, world->key.bytes, FLEET_KEY_N), FLEET_KEY_N);
	close(fd);
	assert_int_equal(uv_loop_init(&world->loop), 0);
	uv_timer_init(&world->loop, &world->patience);
	world_start_gateway(world, NULL, extra);
}

void world_close(struct world *world)
{
	world_stop_gateway(world, SIGTERM);
	uv_timer_stop(&world->patience);
	uv_close((uv_handle_t *)&world->patience, NULL);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	unlink(world->ready_path);
	unlink(world->key_path);
	rmdir(world->folder);
}

long world_gateway_rss_kib(struct world *world)
{
	char path[64], line[128];
	long kib = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", world->process.pid);
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "VmRSS: %ld", &kib);
	fclose(file);
	return kib;
}

/* The cable: what one engine has to send the other reads, as two processes would. */

static void shim_take_events(struct sandbox *sandbox)
{
	struct mux_event event;

	for (;;) {
		if (!relay_has_room(&sandbox->relay)) {
			sandbox->has_waiting_input = true;
			return;
		}
		if (!mux_next(sandbox->shim_end, &event))
			break;
		assert_int_not_equal(event.kind, MUX_BROKEN);
		if (relay_owns(&sandbox->relay, &event))
			relay_on_guest_event(&sandbox->relay, &event);
	}
	sandbox->has_waiting_input = false;
	sandbox->held_n = 0;
}

static void move_to_shim(struct sandbox *sandbox)
{
	struct mux_slice slices[2];

	if (!sandbox->held_n && mux_output(sandbox->guest_end, slices)) {
		size_t n =
			slices[0].n < sizeof(sandbox->held) ? slices[0].n : sizeof(sandbox->held);

		memcpy(sandbox->held, slices[0].bytes, n);
		sandbox->held_n = n;
		mux_output_done(sandbox->guest_end, n);
		mux_feed(sandbox->shim_end, sandbox->held, n);
	}
	shim_take_events(sandbox);
	relay_flush(&sandbox->relay);
}

static void move_to_guest(struct sandbox *sandbox)
{
	struct mux_slice slices[2];
	struct mux_event event;

	if (mux_output(sandbox->shim_end, slices)) {
		mux_feed(sandbox->guest_end, slices[0].bytes, slices[0].n);
		while (mux_next(sandbox->guest_end, &event))
			services_on_event(sandbox, &event);
		mux_output_done(sandbox->shim_end, slices[0].n);
		relay_on_guest_room(&sandbox->relay);
	}
	/* Room in the guest's own output lets its writers go on. */
	while (mux_next(sandbox->guest_end, &event))
		services_on_event(sandbox, &event);
}

static void on_cable(uv_idle_t *cable)
{
	struct sandbox *sandbox = cable->data;
	struct mux_slice slices[2];

	if (sandbox->is_cable_cut || !sandbox->is_open) {
		uv_idle_stop(cable);
		return;
	}
	move_to_guest(sandbox);
	move_to_shim(sandbox);
	if (!mux_output(sandbox->shim_end, slices) &&
	    (sandbox->held_n || !mux_output(sandbox->guest_end, slices)))
		uv_idle_stop(cable);
}

static void cable_wake(void *arg)
{
	struct sandbox *sandbox = arg;

	if (sandbox->is_open && !sandbox->is_cable_cut)
		uv_idle_start(&sandbox->cable, on_cable);
}

static void on_bound(void *arg)
{
	struct sandbox *sandbox = arg;

	sandbox->bound_n++;
}

static void on_refused(void *arg)
{
	struct sandbox *sandbox = arg;

	sandbox->refused_n++;
}

void sandbox_open(struct sandbox *sandbox, struct world *world, const char *id)
{
	struct relay_config config = {
		.loop = &world->loop,
		.streams_max = GUEST_STREAMS_MAX,
		.callbacks = {on_bound, on_refused, cable_wake, cable_wake, sandbox},
	};
	struct err err;

	memset(sandbox, 0, sizeof(*sandbox));
	sandbox->world = world;
	strcpy(sandbox->id.text, id);
	sandbox->shim_end = mux_create(&(struct mux_config){
		.initiator = true, .open_max = GUEST_STREAMS_MAX + 4, .output_max = 64 * 1024});
	sandbox->guest_end = mux_create(
		&(struct mux_config){.accept_max = GUEST_STREAMS_MAX + 4, .output_max = 64 * 1024});
	config.guest = sandbox->shim_end;
	assert_int_equal(relay_open(&sandbox->relay, &config, &err), 0);
	uv_idle_init(&world->loop, &sandbox->cable);
	sandbox->cable.data = sandbox;
	sandbox->is_open = true;
	relay_dial(&sandbox->relay, (struct sockaddr *)&world->tunnels_at);
	cable_wake(sandbox);
}

static void bind_with(struct sandbox *sandbox, const uint8_t *ingress, size_t ingress_n)
{
	struct ticket ticket =
		fleet_key_ticket(&sandbox->world->key, &sandbox->id, ingress, ingress_n);

	relay_bind(&sandbox->relay, &sandbox->id, &ticket, ingress, ingress_n);
	world_until_count(sandbox->world, &sandbox->bound_n, 1);
}

void sandbox_bind(struct sandbox *sandbox)
{
	bind_with(sandbox, NULL, 0);
}

void sandbox_bind_with(struct sandbox *sandbox, const struct wire_ingress *ingress)
{
	uint8_t bytes[WIRE_INGRESS_MAX];
	struct err err;
	size_t n;

	assert_int_equal(wire_ingress_encode(ingress, bytes, sizeof(bytes), &n, &err), 0);
	bind_with(sandbox, bytes, n);
}

void sandbox_open_bound(struct sandbox *sandbox, struct world *world, const char *id)
{
	sandbox_open(sandbox, world, id);
	sandbox_bind(sandbox);
}

static void on_sandbox_closed(void *arg)
{
	struct sandbox *sandbox = arg;

	sandbox->is_closed = true;
}

void sandbox_die(struct sandbox *sandbox)
{
	sandbox->is_open = false;
	relay_close(&sandbox->relay, on_sandbox_closed, sandbox);
	uv_close((uv_handle_t *)&sandbox->cable, NULL);
	world_until(sandbox->world, &sandbox->is_closed);
	services_close(sandbox);
	mux_destroy(sandbox->shim_end);
	mux_destroy(sandbox->guest_end);
}

/* Tenants. */

static void take(struct tenant *tenant, const char *bytes, size_t n)
{
	for (size_t at = 0; at < n; at++)
		tenant->received_sum = tenant->received_sum * 31 + (uint8_t)bytes[at];
	tenant->received_n += n;
	if (tenant->counts_only)
		return;
	if (tenant->in_n + n + 1 > tenant->in_max) {
		tenant->in_max = 2 * (tenant->in_n + n + 1);
		tenant->in = realloc(tenant->in, tenant->in_max);
		assert_non_null(tenant->in);
	}
	memcpy(tenant->in + tenant->in_n, bytes, n);
	tenant->in_n += n;
	tenant->in[tenant->in_n] = '\0';
}

static void send_sealed(struct tenant *tenant)
{
	const uint8_t *bytes;
	size_t n;

	if (!(bytes = tls_output(tenant->tls, &n)))
		return;
	tenant_send_raw(tenant, bytes, n);
	tls_output_done(tenant->tls, n);
}

static void take_sealed(struct tenant *tenant, const char *bytes, size_t n)
{
	static uint8_t plain[65536 + TLS_PLAIN_MORE];
	struct tls_read read;
	struct err err;

	if (tls_feed(tenant->tls, (const uint8_t *)bytes, n, plain, sizeof(plain), &read, &err)) {
		if (!tenant->counts_only)
			fail_msg("the tenant's end: %s", err.text);
		tenant->is_ended = true; /* it did not deserve better */
		return;
	}
	tenant->has_said_end |= read.is_ended;
	take(tenant, (char *)plain, read.plain_n);
	send_sealed(tenant);
}

static void on_tenant_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct tenant *tenant = stream->data;

	if (n < 0) {
		tenant->is_ended = true;
		tenant->is_aborted = n != UV_EOF;
		tenant->error = (int)n;
	} else if (tenant->tls) {
		take_sealed(tenant, buffer->base, (size_t)n);
	} else {
		take(tenant, buffer->base, (size_t)n);
	}
}

static void on_tenant_allocate(uv_handle_t *handle, size_t n, uv_buf_t *out_buffer)
{
	static char buffer[65536];

	(void)handle;
	(void)n;
	*out_buffer = uv_buf_init(buffer, sizeof(buffer));
}

static void on_tenant_connected(uv_connect_t *request, int status)
{
	struct tenant *tenant = request->data;

	assert_int_equal(status, 0);
	tenant->is_connected = true;
	tenant_pause(tenant, false);
}

void tenant_pause(struct tenant *tenant, bool on)
{
	if (on)
		uv_read_stop((uv_stream_t *)&tenant->tcp);
	else
		uv_read_start((uv_stream_t *)&tenant->tcp, on_tenant_allocate, on_tenant_read);
}

void tenant_open_at(struct tenant *tenant, struct world *world, const struct sockaddr *at)
{
	memset(tenant, 0, sizeof(*tenant));
	tenant->world = world;
	tenant->is_open = true;
	tenant->tcp.data = tenant;
	tenant->connect.data = tenant;
	uv_tcp_init(&world->loop, &tenant->tcp);
	assert_int_equal(uv_tcp_connect(&tenant->connect, &tenant->tcp, at, on_tenant_connected),
			 0);
	world_until(world, &tenant->is_connected);
}

void tenant_open(struct tenant *tenant, struct world *world)
{
	tenant_open_at(tenant, world, (struct sockaddr *)&world->tenants_at);
}

struct sending {
	uv_write_t request;
	struct tenant *tenant;
	size_t n;
	char bytes[];
};

static void on_sent(uv_write_t *request, int status)
{
	struct sending *sending = request->data;

	(void)status;
	sending->tenant->unsent_n -= sending->n;
	free(sending);
}

void tenant_send_raw(struct tenant *tenant, const void *bytes, size_t bytes_n)
{
	struct sending *sending = malloc(sizeof(*sending) + bytes_n);
	uv_buf_t buffer;

	assert_non_null(sending);
	sending->tenant = tenant;
	sending->n = bytes_n;
	sending->request.data = sending;
	memcpy(sending->bytes, bytes, bytes_n);
	buffer = uv_buf_init(sending->bytes, (unsigned)bytes_n);
	tenant->unsent_n += bytes_n;
	/* Fails at once when the gateway has reset the connection: reading tells the test. */
	if (uv_write(&sending->request, (uv_stream_t *)&tenant->tcp, &buffer, 1, on_sent) < 0)
		on_sent(&sending->request, 0);
}

void tenant_send_bytes(struct tenant *tenant, const void *bytes, size_t bytes_n)
{
	if (!tenant->tls) {
		tenant_send_raw(tenant, bytes, bytes_n);
		return;
	}
	if (tls_write(tenant->tls, bytes, bytes_n))
		assert_true(tenant->is_ended);
	send_sealed(tenant);
}

void tenant_open_tls(struct tenant *tenant, struct world *world, struct tls_config *config)
{
	tenant_open_at(tenant, world, (struct sockaddr *)&world->tls_at);
	tenant->tls = tls_open(config);
	assert_non_null(tenant->tls);
	send_sealed(tenant);
	while (!tls_is_ready(tenant->tls)) {
		assert_false(tenant->is_ended);
		world_once(world);
	}
}

void tenant_send(struct tenant *tenant, const char *text)
{
	tenant_send_bytes(tenant, text, strlen(text));
}

static void on_half_closed(uv_shutdown_t *request, int status)
{
	(void)status;
	free(request);
}

void tenant_half_close(struct tenant *tenant)
{
	uv_shutdown_t *request = malloc(sizeof(*request));

	assert_non_null(request);
	if (tenant->tls) {
		tls_end(tenant->tls);
		send_sealed(tenant);
	}
	if (uv_shutdown(request, (uv_stream_t *)&tenant->tcp, on_half_closed) < 0)
		free(request);
}

void tenant_expect(struct tenant *tenant, const char *text)
{
	char *at;

	while (!tenant->in || !(at = strstr(tenant->in, text))) {
		if (tenant->is_ended)
			fail_msg("wanted \"%s\", the end came after \"%s\"", text,
				 tenant->in ? tenant->in : "");
		world_once(tenant->world);
	}
	at += strlen(text);
	tenant->in_n -= (size_t)(at - tenant->in);
	memmove(tenant->in, at, tenant->in_n + 1);
}

void tenant_expect_end(struct tenant *tenant)
{
	world_until(tenant->world, &tenant->is_ended);
	if (tenant->in_n)
		fail_msg("more than was expected: \"%s\"", tenant->in);
}

static void on_tenant_closed(uv_handle_t *handle)
{
	struct tenant *tenant = handle->data;

	tenant->is_closed = true;
}

void tenant_close(struct tenant *tenant)
{
	uv_close((uv_handle_t *)&tenant->tcp, on_tenant_closed);
	world_until(tenant->world, &tenant->is_closed);
	tls_close(tenant->tls);
	free(tenant->in);
}

void tenant_reset(struct tenant *tenant)
{
	uv_tcp_close_reset(&tenant->tcp, on_tenant_closed);
	world_until(tenant->world, &tenant->is_closed);
	tls_close(tenant->tls);
	free(tenant->in);
}

void tenant_get(struct tenant *tenant, const char *id, int port, const char *path)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "GET %s HTTP/1.1\r\nhost: 127.0.0.1:3001\r\ne2b-sandbox-id: %s\r\n"
		 "e2b-sandbox-port: %d\r\n\r\n",
		 path, id, port);
	tenant_send(tenant, text);
}
