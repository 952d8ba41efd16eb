/*
 * flotilla-gateway: the tenants' data plane.  A process of its own, so that neither a scheduler's
 * restart nor its load is felt here; it keeps nothing on disk and needs nobody to start.
 */
#include "scheduler/gateway/gateway.h"

#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "common/io/daemon.h"
#include "common/io/log.h"

/* A tunnel's engine is one block of some 120 KiB of which little is ever touched: mapped, it costs
 * what is touched; from the heap, a reused block would be zeroed whole. */
enum { MAP_FROM_BYTES = 64 * 1024 };

enum { ENDPOINTS_MAX = 4 };

static const struct option_spec option_rows[] = {
#define OPTION(...) OPTION_ROW(struct gateway_options, __VA_ARGS__)
#include "scheduler/gateway/options.def"
#undef OPTION
};

static const struct options_program program = {
	.name = "gateway",
	.summary = "carries tenants' requests to their sandboxes",
	.rows = option_rows,
	.rows_n = ARRAY_N(option_rows),
	.size = sizeof(struct gateway_options),
};

static struct options_set set;
static struct gateway_options options;
static struct gateway gateway;
static uv_timer_t drain;
static struct daemon_signals signals;

static int listen_on(uv_tcp_t *listener, const struct address *address,
		     uv_connection_cb on_connection, struct daemon_endpoint *endpoint,
		     struct err *err)
{
	char text[ADDRESS_TEXT_MAX];
	struct sockaddr_storage to;
	int length = sizeof(to);
	int status;

	address_format(address, text);
	if (!address_to_sockaddr(address, &to))
		return err_set(err, "listen on %s: not a numeric address", text);
	uv_tcp_init(gateway.loop, listener);
	listener->data = &gateway;
	status = uv_tcp_bind(listener, (struct sockaddr *)&to, 0);
	if (status == 0)
		status = uv_listen((uv_stream_t *)listener, GATEWAY_BACKLOG, on_connection);
	if (status == 0)
		status = uv_tcp_getsockname(listener, (struct sockaddr *)&to, &length);
	if (status < 0)
		return err_set(err, "listen on %s: %s", text, uv_strerror(status));
	if (!address_from_sockaddr((struct sockaddr *)&to, &endpoint->address))
		return err_set(err, "listen on %s: no address", text);
	return 0;
}

/* The end is reached when the tenants are gone or their time is over. */
static void finish(void)
{
	if (!uv_is_active((uv_handle_t *)&drain))
		return;
	daemon_signals_stop(&signals);
	uv_timer_stop(&drain);
	uv_close((uv_handle_t *)&drain, NULL);
	clients_close_all(&gateway);
	searches_close(&gateway);
	wakes_close(&gateway);
	tunnels_close_all(&gateway);
	admin_close_all(&gateway);
	uv_close((uv_handle_t *)&gateway.sweep, NULL);
	if (gateway.has_admin)
		uv_close((uv_handle_t *)&gateway.admin_listener, NULL);
}

static int read_certificate(struct err *err)
{
	struct tls_config *config;

	if (tls_config_server(&config, options.tls_cert, options.tls_key, gateway.tls, err))
		return -1;
	tls_config_unref(gateway.tls);
	gateway.tls = config;
	return 0;
}

/* A certificate lasts for weeks, connections for longer than that. */
static void on_reload(struct daemon_signals *which)
{
	struct err err;

	(void)which;
	if (!gateway.has_tls)
		return;
	if (read_certificate(&err))
		log_error("gateway", "the certificate stays the old one", LOG_ERR(&err));
	else
		log_info("gateway", "read the certificate again");
}

void gateway_check_stopped(struct gateway *which)
{
	if (which->is_stopping && !which->metrics.clients)
		finish();
}

static void on_drained(uv_timer_t *timer)
{
	(void)timer;
	if (gateway.metrics.clients)
		log_warn("gateway", "stopping with requests in progress",
			 LOG_INT("clients", gateway.metrics.clients));
	finish();
}

static void on_stop(struct daemon_signals *which)
{
	(void)which;
	log_info("gateway", "stopping", LOG_INT("clients", gateway.metrics.clients));
	gateway.is_stopping = true;
	uv_close((uv_handle_t *)&gateway.client_listener, NULL);
	if (gateway.has_tls)
		uv_close((uv_handle_t *)&gateway.tls_listener, NULL);
	uv_close((uv_handle_t *)&gateway.tunnel_listener, NULL);
	uv_timer_start(&drain, on_drained, options.drain_ms, 0);
	clients_stop(&gateway);
	gateway_check_stopped(&gateway);
}

static void check_files_limit(void)
{
	size_t limit = daemon_raise_files();
	size_t wanted = (size_t)options.clients_max + options.tunnels_max + 64;

	if (limit < wanted)
		log_warn("gateway", "fewer open files allowed than connections",
			 LOG_UINT("files", limit), LOG_UINT("wanted", wanted));
}

static int open_tls(struct daemon_endpoint *endpoint, struct err *err)
{
	gateway.has_tls = options.tls_listen.host[0];
	if (gateway.has_tls != (options.tls_cert[0] && options.tls_key[0]))
		return err_set(err, "--tls-listen, --tls-cert and --tls-key go together");
	if (tls_config_client(&gateway.guest_tls, err))
		return -1;
	if (!gateway.has_tls)
		return 0;
	return read_certificate(err) ? -1
				     : listen_on(&gateway.tls_listener, &options.tls_listen,
						 clients_on_connection, endpoint, err);
}

static int gateway_open(struct daemon_endpoint endpoints[ENDPOINTS_MAX], size_t *out_n,
			struct err *err)
{
	size_t n = 2;

	if (sodium_init() < 0)
		return err_set(err, "libsodium does not start");
	if (fleet_key_read(options.fleet_key, &gateway.key, err))
		return -1;
	gateway.loop = uv_default_loop();
	gateway.options = &options;
	gateway.started_ms = uv_now(gateway.loop);
	list_init(&gateway.admins);
	clients_open(&gateway);
	if (searches_open(&gateway, err) || wakes_open(&gateway, err))
		return -1;
	uv_timer_init(gateway.loop, &drain);
	if (tunnels_open(&gateway, err))
		return -1;
	endpoints[0].name = "tenants";
	endpoints[1].name = "tunnels";
	if (listen_on(&gateway.tunnel_listener, &options.tunnel_listen, tunnels_on_connection,
		      &endpoints[1], err) ||
	    listen_on(&gateway.client_listener, &options.listen, clients_on_connection,
		      &endpoints[0], err))
		return -1;
	if (open_tls(&endpoints[n], err))
		return -1;
	if (gateway.has_tls)
		endpoints[n++].name = "tls";
	gateway.has_admin = options.admin_listen.host[0];
	if (gateway.has_admin && listen_on(&gateway.admin_listener, &options.admin_listen,
					   admin_on_connection, &endpoints[n], err))
		return -1;
	if (gateway.has_admin)
		endpoints[n++].name = "admin";
	*out_n = n;
	return 0;
}

int main(int argc, char **argv)
{
	static struct daemon_endpoint endpoints[ENDPOINTS_MAX];
	size_t endpoints_n = 0;
	struct err err;
	int status = options_start(&set, &program, &options, argc, argv);

	if (status != OPTIONS_GO_ON)
		return status;
	signals.on_stop = on_stop;
	signals.on_reload = on_reload;
	log_setup(options.log_level, options.log_format);
	mallopt(M_MMAP_THRESHOLD, MAP_FROM_BYTES);
	check_files_limit();
	if (gateway_open(endpoints, &endpoints_n, &err) ||
	    daemon_signals_start(&signals, gateway.loop, &err) ||
	    daemon_ready(options.ready_file, endpoints, endpoints_n, &err)) {
		log_error("gateway", "cannot start", LOG_ERR(&err));
		return 1;
	}
	uv_run(gateway.loop, UV_RUN_DEFAULT);
	tls_config_unref(gateway.tls);
	tls_config_unref(gateway.guest_tls);
	free(gateway.slots);
	free(gateway.index_memory);
	uv_loop_close(gateway.loop);
	log_flush();
	return 0;
}
