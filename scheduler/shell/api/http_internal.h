/* What the two files of the server share. */
#ifndef FLOTILLA_API_HTTP_INTERNAL_H
#define FLOTILLA_API_HTTP_INTERNAL_H

#include "scheduler/shell/api/http.h"

#include <microhttpd.h>

enum {
	HTTP_BACKLOG = 512,
	HTTP_HEAD_MAX = 16 * 1024, /* request line and headers, and room for an answer's head */
	HTTP_DRAIN_MAX = 8 << 20,  /* of a body that is too long: then the connection is cut */
	HTTP_SWEEP_MS = 1000,
	HTTP_HELD_BITS = 20,
	HTTP_UPLOADS_MAX = 32, /* at once: what is not whole takes disk too */
};

struct http_connection {
	struct http_connection *next, *prev;
	int fd;
	uint64_t since_ms; /* of the last sign of good will: opened, or a request completed */
	struct http_request *request; /* NULL between two */
};

struct http_header_line {
	const char *name;
	char value[HTTP_HEADER_TEXT_MAX];
};

struct http_request {
	struct http *http;
	struct MHD_Connection *connection;
	struct http_connection *link; /* NULL until the head is complete */
	const char *method;
	char *target;
	char *body;
	size_t body_n, body_cap;
	int upload_fd; /* -1: none */
	uint64_t upload_n, upload_max;
	bool upload_failed;
	size_t drained_n; /* bytes thrown away, because the body is too long */
	bool begun, too_long, unclear;
	char id[HTTP_REQUEST_ID_MAX];
	void *data;
	/* held */
	uint64_t number;
	bool held;
	/* answered */
	bool answered;
	int status;
	const char *type;
	char *answer;
	size_t answer_n;
	struct http_header_line headers[HTTP_HEADERS_MAX];
	size_t headers_n;
};

struct http {
	struct MHD_Daemon *daemon;
	struct http_options options;
	int listen_fd;
	struct address address;
	uv_poll_t *poll; /* this and the timers are freed by their close callbacks */
	uv_timer_t *timeout, *sweep;
	struct http_connection connections; /* a ring */
	bool resumed, running, closing;
	struct http_request **held; /* by slot: number & mask */
	uint32_t held_cap;
	uint64_t generation;
	uint32_t uploads_n; /* under way */
	struct http_counts counts;
};

/* MHD's callbacks. */
void *http_on_uri(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result http_on_access(void *cls, struct MHD_Connection *connection, const char *url,
			       const char *method, const char *version, const char *upload_data,
			       size_t *upload_data_n, void **request_cls);
void http_on_completed(void *cls, struct MHD_Connection *connection, void **request_cls,
		       enum MHD_RequestTerminationCode code);

#endif
