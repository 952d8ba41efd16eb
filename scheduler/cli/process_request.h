/* Requests to envd's process.Process through the gateway: how they look, not when they are sent. */
#ifndef FLOTILLA_CLI_PROCESS_REQUEST_H
#define FLOTILLA_CLI_PROCESS_REQUEST_H

#include "scheduler/cli/process.h"

#include <curl/curl.h>
#include <jansson.h>

enum { REQUEST_REFUSAL_MAX = 4096 };

struct process_request {
	CURL *curl; /* NULL: none is under way */
	struct curl_slist *headers;
	void *body;
	char refusal[REQUEST_REFUSAL_MAX]; /* what came with a status other than 200; cut */
	size_t refusal_n;
};

/* The message of Start. */
json_t *process_start_message(const struct cli *cli, const struct process_spec *spec);

/* Makes the handle for process.Process/METHOD; message is taken. A stream's message is put into an
 * envelope. The caller sets where the answer goes. */
void process_request_open(struct process_request *request, const struct cli *cli,
			  const struct process_spec *spec, const char *method, json_t *message,
			  bool is_stream);
void process_request_close(struct process_request *request);

/* For CURLOPT_WRITEFUNCTION of unary requests, and for refusals: keeps the beginning. */
size_t process_request_keep(char *data, size_t one, size_t n, void *request);

#endif
