/* See mount_link.h. */
#include "scheduler/volumes/mount_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/http/head.h"
#include "common/mux/mount.h"

enum {
	LINK_CONNECT_MS = 2000,
	LINK_ANSWER_MS =
		8000, /* the gateway holds a request while it starts; a mount takes its time */
	LINK_STUCK_MS = 60000, /* to take an answer: then it is as good as gone */
	LINK_HEAD_MAX = 4096,
};

/* 1: ready, 0: late, -1: to stop. */
static int wait_for(int fd, short what, int stop_fd, int timeout_ms)
{
	struct pollfd fds[2] = {{.fd = fd, .events = what}, {.fd = stop_fd, .events = POLLIN}};
	int n;

	do {
		n = poll(fds, 2, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	return fds[1].revents ? -1 : 1;
}

static int dial(const struct address *to, int stop_fd)
{
	struct sockaddr_storage at;
	socklen_t at_n, error_n = sizeof(int);
	int fd, error = 0, yes = 1, idle_s = 15, every_s = 10, tries = 3;

	if (!address_to_sockaddr(to, &at))
		return -1;
	at_n = at.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
	if (connect(fd, (struct sockaddr *)&at, at_n) && errno != EINPROGRESS)
		goto fail;
	if (wait_for(fd, POLLOUT, stop_fd, LINK_CONNECT_MS) != 1 ||
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_n) || error)
		goto fail;
	return fd;
fail:
	close(fd);
	return -1;
}

bool mount_link_read(int fd, int stop_fd, void *bytes, size_t n)
{
	uint8_t *at = bytes;

	while (n) {
		ssize_t got_n = recv(fd, at, n, 0);

		if (got_n > 0) {
			at += got_n;
			n -= (size_t)got_n;
		} else if (got_n == 0 || (errno != EAGAIN && errno != EINTR)) {
			return false;
		} else if (errno == EAGAIN && wait_for(fd, POLLIN, stop_fd, -1) != 1) {
			return false;
		}
	}
	return true;
}

bool mount_link_write(int fd, int stop_fd, const void *bytes, size_t n)
{
	const uint8_t *at = bytes;

	while (n) {
		ssize_t sent_n = send(fd, at, n, MSG_NOSIGNAL);

		if (sent_n >= 0) {
			at += sent_n;
			n -= (size_t)sent_n;
		} else if (errno != EAGAIN && errno != EINTR) {
			return false;
		} else if (errno == EAGAIN && wait_for(fd, POLLOUT, stop_fd, LINK_STUCK_MS) != 1) {
			return false;
		}
	}
	return true;
}

/* Byte by byte at its end, since what follows it is not ours to read. */
static bool read_head(int fd, int stop_fd, char *text, struct http_head *out)
{
	size_t n = 0, scanned_n = 0, head_n;

	while (n < LINK_HEAD_MAX) {
		ssize_t got_n = recv(fd, text + n, 1, 0);

		if (got_n < 0 && errno == EAGAIN) {
			if (wait_for(fd, POLLIN, stop_fd, LINK_ANSWER_MS) != 1)
				return false;
			continue;
		}
		if (got_n <= 0)
			return false;
		n++;
		if (text[n - 1] != '\n')
			continue;
		switch (http_response_parse(text, n, false, &scanned_n, out, &head_n)) {
		case HTTP_OK:
			return true;
		case HTTP_MORE:
			break;
		default:
			return false;
		}
	}
	return false;
}

static void read_problem(int fd, int stop_fd, const struct http_head *head,
			 char out[MOUNT_PROBLEM_MAX])
{
	size_t n =
		head->length < MOUNT_PROBLEM_MAX - 1 ? (size_t)head->length : MOUNT_PROBLEM_MAX - 1;

	if (head->body != HTTP_BODY_LENGTH || !mount_link_read(fd, stop_fd, out, n))
		n = 0;
	out[n] = 0;
	for (char *at = out; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
}

static bool say(const struct mounts_options *options, const struct id *sandbox,
		const struct id *volume, const char *path, int stop_fd, int fd)
{
	char token[ENVD_TOKEN_TEXT_MAX], text[2048], escaped[3 * MOUNT_PATH_MAX];
	char *to = escaped;
	int n;

	for (; *path; path++)
		to += sprintf(to, "%%%02X", (unsigned char)*path);
	fleet_key_mount_token(options->key, sandbox, token);
	n = snprintf(text, sizeof(text),
		     "GET /?volume=%s&path=%s HTTP/1.1\r\nHost: localhost\r\n"
		     "Connection: Upgrade\r\nUpgrade: flotilla-fuse\r\nE2b-Sandbox-Id: %s\r\n"
		     "E2b-Sandbox-Port: %d\r\n" MOUNT_TOKEN_FIELD ": %s\r\n\r\n",
		     volume->text, escaped, sandbox->text, MOUNT_PORT, token);
	return n > 0 && (size_t)n < sizeof(text) && mount_link_write(fd, stop_fd, text, (size_t)n);
}

enum mount_link_answer mount_link_open(const struct mounts_options *options,
				       const struct id *sandbox, const struct id *volume,
				       const char *path, int stop_fd, int *out_fd,
				       char out_problem[MOUNT_PROBLEM_MAX])
{
	enum mount_link_answer answer = MOUNT_LINK_AWAY;
	int fd = dial(&options->gateway, stop_fd);
	char text[LINK_HEAD_MAX];
	struct http_head head;
	struct http_text said;

	if (fd < 0)
		return MOUNT_LINK_AWAY;
	if (say(options, sandbox, volume, path, stop_fd, fd) &&
	    read_head(fd, stop_fd, text, &head)) {
		said = http_head_value(&head, MOUNT_STATE_FIELD);
		if (head.status == 101 && http_text_equal(said, MOUNT_STATE_NEW))
			answer = MOUNT_LINK_NEW;
		else if (head.status == 101 && http_text_equal(said, MOUNT_STATE_KNOWN))
			answer = MOUNT_LINK_KNOWN;
		else if (http_text_equal(said, MOUNT_STATE_REFUSED))
			answer = MOUNT_LINK_REFUSED;
	}
	if (answer == MOUNT_LINK_REFUSED)
		read_problem(fd, stop_fd, &head, out_problem);
	if (answer == MOUNT_LINK_NEW || answer == MOUNT_LINK_KNOWN)
		*out_fd = fd;
	else
		close(fd);
	return answer;
}
