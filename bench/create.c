/*
 * How long a tenant waits for a sandbox: POST /v2/sandboxes -> 201 -> the first GET /health that
 * the guest's process 1 answers through the gateway.  Every round takes a clone never used before,
 * and waits, untimed, until the pool has one again (or, with --cold, until it has none).
 *
 * usage: bench_create API GATEWAY TENANT-KEY OPERATOR-KEY ROUNDS [--cold]
 *        --cold: the pool is and stays empty
 *
 * One connection to each, kept alive, as the SDKs do.  Prints one line of JSON a figure, times in
 * milliseconds.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MAX = 10000, ANSWER_MAX = 1 << 20 };

struct answer {
	int status;
	char head[16384];
	char body[ANSWER_MAX];
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench_create: %s\n", what);
	exit(1);
}

static double now_ms(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

static int dial(const char *address)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	char host[64];
	int one = 1, port, fd;

	if (sscanf(address, "%63[^:]:%d", host, &port) != 2 ||
	    inet_pton(AF_INET, host, &to.sin_addr) != 1)
		die("an address is IPV4:PORT");
	to.sin_port = htons((uint16_t)port);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("cannot connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static const char *head_find(const char *head, const char *name)
{
	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
		if (strncasecmp(line + 2, name, strlen(name)) == 0)
			return line + 2 + strlen(name);
	}
	return NULL;
}

/* Sends one request and reads its whole answer; the connection stays open. */
static void ask(int fd, const char *request, struct answer *out)
{
	char data[sizeof(out->head) + sizeof(out->body)];
	size_t data_n = 0, length = 0;
	char *end = NULL;

	for (size_t sent = 0, all = strlen(request); sent < all;) {
		ssize_t n = write(fd, request + sent, all - sent);
		if (n <= 0)
			die("a connection was closed");
		sent += (size_t)n;
	}
	for (;;) {
		ssize_t n = read(fd, data + data_n, sizeof(data) - 1 - data_n);
		if (n <= 0)
			die("a connection was closed before its answer");
		data_n += (size_t)n;
		data[data_n] = 0;
		if (!end && (end = strstr(data, "\r\n\r\n"))) {
			size_t head_n = (size_t)(end - data);
			const char *value;
			if (head_n >= sizeof(out->head))
				die("an answer's head is too long");
			memcpy(out->head, data, head_n);
			out->head[head_n] = 0;
			value = head_find(out->head, "content-length:");
			length = value ? strtoul(value, NULL, 10) : 0;
		}
		if (end && data_n >= (size_t)(end + 4 - data) + length)
			break;
	}
	if (sscanf(out->head, "HTTP/1.1 %d", &out->status) != 1)
		die("an answer is no HTTP");
	memcpy(out->body, end + 4, length);
	out->body[length] = 0;
}

/* The text value of a key in a flat JSON answer; enough for our own server's. */
static void json_text(const char *json, const char *key, char *out, size_t out_n)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\"", key);
	at = strstr(json, quoted);
	if (!at || !(at = strchr(at + strlen(quoted), '"')))
		die("an answer lacks a field");
	at++;
	snprintf(out, out_n, "%.*s", (int)strcspn(at, "\""), at);
}

static int warm_n(int api, const char *operator_key)
{
	static struct answer answer;
	char request[512];
	const char *at;

	snprintf(request, sizeof(request),
		 "GET /v1/templates HTTP/1.1\r\nHost: api\r\nX-API-Key: %s\r\n\r\n", operator_key);
	ask(api, request, &answer);
	at = strstr(answer.body, "\"warm\"");
	return at ? atoi(strchr(at, ':') + 1) : 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *figure, double *ms, int n)
{
	qsort(ms, (size_t)n, sizeof(*ms), compare);
	printf("{\"figure\":\"%s\",\"unit\":\"ms\",\"n\":%d,\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,"
	       "\"min\":%.2f,\"max\":%.2f}\n",
	       figure, n, ms[n / 2], ms[n * 9 / 10], ms[n * 99 / 100], ms[0], ms[n - 1]);
}

struct round {
	double created_ms;
	double healthy_ms;
};

static struct round run_round(int api, int gateway, const char *key)
{
	static const char body[] = "{\"templateID\":\"base\",\"timeout\":300}";
	static struct answer answer;
	char request[1024], sandbox[64], token[128];
	struct round round;
	double began;

	snprintf(request, sizeof(request),
		 "POST /v2/sandboxes HTTP/1.1\r\nHost: api\r\nX-API-Key: %s\r\n"
		 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		 key, strlen(body), body);
	began = now_ms();
	ask(api, request, &answer);
	round.created_ms = now_ms() - began;
	if (answer.status != 201) {
		fprintf(stderr, "%s\n", answer.body);
		die("create was refused");
	}
	json_text(answer.body, "sandboxID", sandbox, sizeof(sandbox));
	json_text(answer.body, "envdAccessToken", token, sizeof(token));
	snprintf(request, sizeof(request),
		 "GET /health HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: %s\r\n"
		 "E2b-Sandbox-Port: 49983\r\nX-Access-Token: %s\r\n\r\n",
		 sandbox, token);
	ask(gateway, request, &answer);
	round.healthy_ms = now_ms() - began;
	if (answer.status != 204)
		die("/health was not 204");
	snprintf(request, sizeof(request),
		 "DELETE /sandboxes/%s HTTP/1.1\r\nHost: api\r\nX-API-Key: %s\r\n\r\n", sandbox,
		 key);
	ask(api, request, &answer);
	if (answer.status != 204)
		die("the sandbox was not ended");
	return round;
}

int main(int argc, char **argv)
{
	static double created[ROUNDS_MAX], healthy[ROUNDS_MAX];
	bool cold = argc == 7 && strcmp(argv[6], "--cold") == 0;
	int rounds_n, api, gateway, full_n;
	char figure[64];

	if (argc < 6 || (argc == 7 && !cold) || (rounds_n = atoi(argv[5])) < 1 ||
	    rounds_n > ROUNDS_MAX) {
		fprintf(stderr, "usage: %s API GATEWAY TENANT-KEY OPERATOR-KEY ROUNDS [--cold]\n",
			argv[0]);
		return 2;
	}
	api = dial(argv[1]);
	gateway = dial(argv[2]);
	full_n = warm_n(api, argv[4]);
	if ((full_n == 0) != cold)
		die(cold ? "the pool is not empty" : "the pool is empty");
	for (int i = 0; i < rounds_n; i++) {
		struct round round;
		while (warm_n(api, argv[4]) != full_n)
			usleep(20000);
		usleep(100000);
		round = run_round(api, gateway, argv[3]);
		created[i] = round.created_ms;
		healthy[i] = round.healthy_ms;
	}
	snprintf(figure, sizeof(figure), "create_%s", cold ? "empty_pool" : "warm");
	report(figure, created, rounds_n);
	snprintf(figure, sizeof(figure), "create_and_first_health_%s",
		 cold ? "empty_pool" : "warm");
	report(figure, healthy, rounds_n);
	return 0;
}
