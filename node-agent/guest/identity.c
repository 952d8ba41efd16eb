/*
 * GET /health, GET /envs and POST /init: whether the guest is there, and who it is.
 *
 * POST /init is the host's word at the claim.  Beyond E2B's fields it takes "hostname", "seed"
 * (base64 of fresh entropy: every clone of a snapshot wakes with the same generator state) and
 * "network" (see network.h).
 */
#include <errno.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "common/base/units.h"
#include "node-agent/guest/base64.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/network.h"
#include "node-agent/guest/routes.h"

enum { SEED_MAX = 512 };

void health_get(struct conn *conn, json_t *request)
{
	(void)request;
	conn_answer(conn, 204, NULL, NULL, NULL, 0);
}

void envs_get(struct conn *conn, json_t *request)
{
	(void)request;
	conn_answer_json(conn, 200, json_incref(conn->guest->settings.env));
}

static bool entropy_add(const char *seed, size_t seed_n)
{
	_Alignas(struct rand_pool_info) char storage[sizeof(struct rand_pool_info) + SEED_MAX];
	struct rand_pool_info *pool = (struct rand_pool_info *)storage;
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	pool->entropy_count = (int)seed_n * 8;
	pool->buf_size = (int)seed_n;
	memcpy(storage + sizeof(*pool), seed, seed_n);
	done = !ioctl(fd, RNDADDENTROPY, pool) && !ioctl(fd, RNDRESEEDCRNG);
	close(fd);
	return done;
}

/* NULL, or what is wrong with the field. Absent is fine. */
static const char *seed_apply(const json_t *document, bool apply)
{
	const json_t *seed = json_object_get(document, "seed");
	char bytes[SEED_MAX + 3];
	size_t bytes_n;

	if (!seed)
		return NULL;
	if (!json_is_string(seed) || json_string_length(seed) > BASE64_N(SEED_MAX) ||
	    !base64_decode((struct http_text){json_string_value(seed), json_string_length(seed)},
			   bytes, &bytes_n) ||
	    bytes_n > SEED_MAX)
		return "seed: base64 of at most 512 bytes is wanted";
	if (apply && !entropy_add(bytes, bytes_n))
		return "seed: the kernel refused it";
	return NULL;
}

static const char *clock_apply(const json_t *document, bool apply)
{
	const json_t *timestamp = json_object_get(document, "timestamp");
	struct timespec now;
	int64_t ns;

	if (!timestamp || json_is_null(timestamp))
		return NULL;
	if (!json_is_string(timestamp) || !settings_time_parse(json_string_value(timestamp), &ns))
		return "timestamp: RFC 3339 is wanted";
	now = (struct timespec){ns / NS_PER_S, ns % NS_PER_S};
	if (apply && clock_settime(CLOCK_REALTIME, &now))
		return "timestamp: the kernel refused it";
	return NULL;
}

/*
 * sudo and others look their own host up, and would wait for a name server that is not there.  The
 * line stands behind what the image has and takes the place of an earlier one.
 */
static bool hosts_set(const char *name)
{
	static off_t image_n = -1; /* bytes of the image's own */
	char line[80];
	int line_n = snprintf(line, sizeof(line), "127.0.1.1\t%s\n", name);
	int fd = open("/etc/hosts", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	bool done;

	if (fd < 0)
		return false;
	if (image_n < 0)
		image_n = lseek(fd, 0, SEEK_END);
	done = pwrite(fd, line, (size_t)line_n, image_n) == line_n &&
	       !ftruncate(fd, image_n + line_n);
	close(fd);
	return done;
}

static const char *hostname_apply(const json_t *document, bool apply)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789-.";
	const json_t *value = json_object_get(document, "hostname");
	const char *name = json_string_value(value);

	if (!value || json_is_null(value))
		return NULL;
	if (!name || !name[0] || strlen(name) > 63 || strspn(name, letters) != strlen(name))
		return "hostname: 1 to 63 letters, digits, dashes and dots are wanted";
	/* Even if it is the same: a host that warms a clone wants all of this to have run. */
	if (apply && (sethostname(name, strlen(name)) || !hosts_set(name)))
		return "hostname: the system refused it";
	return NULL;
}

/* Once there is a token, only who knows it may say who we are. */
static bool may_init(const struct conn *conn, const json_t *document)
{
	const char *token = conn->guest->settings.token;
	const json_t *given = json_object_get(document, "accessToken");
	struct http_text in_body = {json_string_value(given), json_string_length(given)};

	return !token[0] || conn->guest->settings.has_new_host ||
	       settings_token_equal(token, in_body) ||
	       settings_token_equal(token, http_head_value(&conn->head, "x-access-token"));
}

void init_expect(void *pool)
{
	struct conn_pool *conns = pool;

	/* Perhaps from the channel's own thread. */
	__atomic_store_n(&conns->guest->settings.has_new_host, true, __ATOMIC_SEQ_CST);
}

void init_post(struct conn *conn, json_t *request)
{
	json_error_t error;
	bool apply = conn->guest->owns_system;
	const char *problem = NULL;
	json_t *document =
		conn->body_n ? json_loadb(conn->body, conn->body_n, 0, &error) : json_object();

	(void)request;
	if (!json_is_object(document))
		conn_answer_error(conn, 400, "the body is not a JSON object");
	else if (!may_init(conn, document))
		conn_answer_error(conn, 401,
				  "unauthorized access, please provide a valid access "
				  "token");
	else if ((problem = seed_apply(document, apply)) ||
		 (problem = clock_apply(document, apply)) ||
		 (problem = hostname_apply(document, apply)) ||
		 (problem = network_apply(document, apply, &conn->guest->settings.has_authority)) ||
		 (problem = settings_update(&conn->guest->settings, document)))
		conn_answer_error(conn, 400, "%s", problem);
	else {
		/* What was used before is not this sandbox's. */
		metrics_init(&conn->guest->metrics);
		conn->guest->settings.has_new_host = false;
		conn_answer(conn, 204, NULL, "X-Envd-Version: " GUEST_ENVD_VERSION "\r\n", NULL, 0);
	}
	json_decref(document);
}
