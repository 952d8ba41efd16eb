/*
 * A response's way back: its head is read and rewritten, its body passes as it is.
 *
 * When the guest's side ends too early nothing is made up: before the head the tenant gets an
 * answer that says why, after it the connection ends without the body's end.
 */
#include "scheduler/gateway/client.h"

#include "common/io/log.h"

static void log_access(const struct client *client, enum outcome outcome)
{
	uint64_t took_ns = uv_hrtime() - client->asked_at_ns;

	log_info("gateway", "request", LOG_TEXT("sandbox", client->route.sandbox.text),
		 LOG_UINT("port", client->route.port), LOG_INT("status", client->status),
		 LOG_TEXT("outcome", gateway_outcome_names[outcome]),
		 LOG_UINT("took_us", took_ns / 1000));
}

void exchange_end(struct client *client, enum outcome outcome)
{
	struct gateway *gateway = client->gateway;

	gateway->metrics.exchanges--;
	gateway->metrics.outcomes[outcome]++;
	if (gateway->options->access_log)
		log_access(client, outcome);
	client->response = RESPONSE_NONE;
	bytes_remove(&client->up, client->up.n);
	bytes_remove(&client->response_head, client->response_head.n);
	leg_close(client);
}

static void next_request(struct client *client)
{
	client->request = REQUEST_HEAD;
	client->is_head_timed = false;
	client_set_deadline(client, client->gateway->options->idle_ms);
	client_resume(client);
}

void response_done(struct client *client)
{
	bool is_last =
		client->is_last || client->request != REQUEST_DONE || client->gateway->is_stopping;

	exchange_end(client, OUTCOME_ROUTED);
	if (is_last)
		client_finish(client);
	else
		next_request(client);
}

static void answer(struct client *client, struct rewrite_answer *what)
{
	char text[REWRITE_ANSWER_MAX];
	bool is_whole =
		client->request == REQUEST_DONE ||
		(client->request == REQUEST_HEAD && client->request_body.kind == HTTP_BODY_NONE);
	uv_buf_t buffer;

	what->is_last = what->is_last || !is_whole || !client->keep_alive || client->is_last ||
			client->gateway->is_stopping;
	search_cancel(client);
	buffer = uv_buf_init(text, (unsigned)rewrite_answer(what, text));
	client->status = what->status ? what->status : outcome_status(what->outcome);
	if (client->response != RESPONSE_NONE)
		exchange_end(client, what->outcome);
	else
		client->gateway->metrics.outcomes[what->outcome]++;
	client_send(client, &buffer, 1, 0);
	if (what->is_last)
		client_finish(client);
	else if (!client->is_closing)
		next_request(client);
}

void response_answer(struct client *client, enum outcome outcome)
{
	bool is_about_sandbox = client->route.sandbox.text[0];

	if (client->is_closing || client->is_shut)
		return;
	answer(client,
	       &(struct rewrite_answer){
		       .outcome = outcome,
		       .sandbox = is_about_sandbox ? &client->route.sandbox : NULL,
		       .port = client->route.port,
		       .is_last = outcome == OUTCOME_HEAD_TIMEOUT ||
				  outcome == OUTCOME_BODY_TIMEOUT || outcome == OUTCOME_FULL,
		       .is_html = client->wants_html,
		       .to_head = client->to_head,
	       });
}

void response_refuse_head(struct client *client, int status, const char *message)
{
	if (client->response != RESPONSE_NONE && client->response != RESPONSE_HEAD) {
		client_reset(client);
		return;
	}
	answer(client, &(struct rewrite_answer){
			       .outcome = OUTCOME_BAD_HEAD,
			       .status = status,
			       .message = message,
			       .is_last = true,
		       });
}

/* For tenants that do not know chunks: each payload by itself, with the credit of what was read. */
static void pass_dechunked(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	size_t at = 0;

	while (at < bytes_n && !client->is_closing) {
		struct http_text data;
		size_t used_n;
		enum http_verdict verdict =
			http_chunked_read(&client->response_body.chunked, (const char *)bytes + at,
					  bytes_n - at, &used_n, &data);
		uv_buf_t buffer = uv_buf_init((char *)data.at, (unsigned)data.n);

		if (verdict != HTTP_OK && verdict != HTTP_MORE) {
			client_reset(client);
			return;
		}
		at += used_n;
		client_send(client, &buffer, 1, used_n);
		if (verdict == HTTP_OK && !data.n) {
			if (!client->is_closing)
				response_done(client);
			return;
		}
	}
}

/* A head (or nothing), and as much of the bytes as belongs to the body behind it. */
static void pass_body(struct client *client, size_t head_n, const uint8_t *bytes, size_t bytes_n,
		      size_t consumed_n)
{
	uv_buf_t buffers[2] = {uv_buf_init(client->gateway->head_buffer, (unsigned)head_n)};
	ssize_t body_n;
	bool ended;

	if (client->dechunk) {
		client_send(client, buffers, head_n ? 1 : 0, consumed_n - bytes_n);
		pass_dechunked(client, bytes, bytes_n);
		return;
	}
	body_n = http_body_measure(&client->response_body, bytes, bytes_n, &ended);
	if (body_n < 0) {
		client_reset(client);
		return;
	}
	buffers[1] = uv_buf_init((char *)bytes, (unsigned)body_n);
	client_send(client, buffers, 2, consumed_n);
	if (ended && !client->is_closing)
		response_done(client);
}

/* Written into the shared head buffer; 0 after an answer was given instead. */
static size_t plan_response(struct client *client, const struct http_head *head)
{
	struct rewrite_plan plan;
	size_t head_n;

	client->status = head->status;
	client->dechunk = head->body == HTTP_BODY_CHUNKED && client->request_minor == 0;
	plan.dechunk = client->dechunk;
	plan.is_last = client->is_last || !client->keep_alive || client->dechunk ||
		       head->body == HTTP_BODY_CLOSE || client->gateway->is_stopping;
	head_n = rewrite_response(head, client->request_minor, &plan, client->gateway->head_buffer);
	if (!head_n || (head->status == 101 && !client->wants_upgrade)) {
		response_answer(client, OUTCOME_BAD_ANSWER);
		return 0;
	}
	client->is_last = plan.is_last;
	client->response_body = http_body_begin(head);
	metric_observe(&client->gateway->metrics.first_byte_ns, uv_hrtime() - client->asked_at_ns);
	return head_n;
}

static void upgrade(struct client *client, size_t head_n, const uint8_t *bytes, size_t bytes_n,
		    size_t consumed_n)
{
	uv_buf_t buffers[2] = {
		uv_buf_init(client->gateway->head_buffer, (unsigned)head_n),
		uv_buf_init((char *)bytes, (unsigned)bytes_n),
	};

	client->gateway->metrics.upgrades++;
	client->request = REQUEST_RAW;
	client->response = RESPONSE_RAW;
	client_set_deadline(client, 0);
	client_send(client, buffers, 2, consumed_n);
	client_resume(client);
}

static void pass_interim(struct client *client, const struct http_head *head)
{
	uv_buf_t buffer;
	size_t head_n;

	/* HTTP/1.0 knows none. */
	if (client->request_minor == 0)
		return;
	head_n = rewrite_response(head, client->request_minor, &(struct rewrite_plan){0},
				  client->gateway->head_buffer);
	buffer = uv_buf_init(client->gateway->head_buffer, (unsigned)head_n);
	client_send(client, &buffer, 1, 0);
}

/* bytes: all of the response so far; fresh_n of them are not consumed yet. */
static void take_head(struct client *client, const uint8_t *bytes, size_t bytes_n, size_t fresh_n)
{
	size_t at = 0;

	while (!client->is_closing) {
		struct http_head head;
		size_t head_n, sent_n;
		enum http_verdict verdict =
			http_response_parse((const char *)bytes + at, bytes_n - at, client->to_head,
					    &client->response_scanned_n, &head, &head_n);

		if (verdict == HTTP_MORE)
			break;
		client->response_scanned_n = 0;
		if (verdict != HTTP_OK) {
			response_answer(client, OUTCOME_BAD_ANSWER);
			return;
		}
		at += head_n;
		if (head.status < 200 && head.status != 101) {
			pass_interim(client, &head);
			continue;
		}
		sent_n = plan_response(client, &head);
		if (!sent_n)
			return;
		if (head.status == 101) {
			upgrade(client, sent_n, bytes + at, bytes_n - at, fresh_n);
			return;
		}
		client->response = RESPONSE_BODY;
		pass_body(client, sent_n, bytes + at, bytes_n - at, fresh_n);
		return;
	}
	if (client->is_closing)
		return;
	/* Half a head waits here; at most HTTP_HEAD_MAX, or the parser would have refused it. */
	leg_consumed(client, fresh_n);
	if (bytes == client->response_head.at)
		bytes_remove(&client->response_head, at);
	else if (!bytes_append(&client->response_head, bytes + at, bytes_n - at))
		client_close(client);
}

void response_on_data(struct client *client, const uint8_t *bytes, size_t bytes_n)
{
	uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)bytes_n);
	struct bytes joined = client->response_head;

	if (client->has_ended && client->request == REQUEST_DONE)
		client_set_deadline(client, client->gateway->options->half_closed_ms);
	switch (client->response) {
	case RESPONSE_HEAD:
		if (!joined.n) {
			take_head(client, bytes, bytes_n, bytes_n);
			return;
		}
		if (!bytes_append(&client->response_head, bytes, bytes_n)) {
			client_close(client);
			return;
		}
		take_head(client, client->response_head.at, client->response_head.n, bytes_n);
		if (client->response == RESPONSE_BODY || client->response == RESPONSE_RAW)
			bytes_remove(&client->response_head, client->response_head.n);
		return;
	case RESPONSE_BODY:
		pass_body(client, 0, bytes, bytes_n, bytes_n);
		return;
	case RESPONSE_RAW:
		client_send(client, &buffer, 1, bytes_n);
		return;
	case RESPONSE_NONE:
		return;
	}
}

void response_on_end(struct client *client)
{
	switch (client->response) {
	case RESPONSE_HEAD:
		response_answer(client, OUTCOME_NO_ANSWER);
		return;
	case RESPONSE_BODY:
		if (client->response_body.kind == HTTP_BODY_CLOSE) {
			response_done(client);
			return;
		}
		exchange_end(client, OUTCOME_ABORTED);
		client_finish(client);
		return;
	case RESPONSE_RAW:
		client->is_guest_ended = true;
		if (client->is_request_ended) {
			exchange_end(client, OUTCOME_ROUTED);
			client_finish(client);
		} else {
			client_half_close(client);
		}
		return;
	case RESPONSE_NONE:
		return;
	}
}

/* After the head: what came before the loss still goes out where the tenant can tell that the end
 * is missing; a body that ends with the connection has to be reset. */
void response_on_reset(struct client *client, enum outcome outcome)
{
	bool shows_its_end = client->response == RESPONSE_BODY &&
			     client->response_body.kind != HTTP_BODY_CLOSE && !client->dechunk;

	if (client->response == RESPONSE_HEAD) {
		response_answer(client, outcome);
		return;
	}
	exchange_end(client, OUTCOME_ABORTED);
	if (shows_its_end)
		client_finish(client);
	else
		client_reset(client);
}
