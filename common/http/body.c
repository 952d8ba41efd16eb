/* See body.h. */
#include "common/http/body.h"

struct http_body_reader http_body_begin(const struct http_head *head)
{
	return (struct http_body_reader){.kind = head->body, .left = head->length};
}

static ssize_t measure_chunked(struct http_chunked *chunked, const uint8_t *bytes, size_t bytes_n,
			       bool *out_ended)
{
	size_t all_n = 0, used_n;
	struct http_text data;

	while (all_n < bytes_n && !*out_ended) {
		enum http_verdict verdict = http_chunked_read(chunked, (const char *)bytes + all_n,
							      bytes_n - all_n, &used_n, &data);

		if (verdict != HTTP_OK && verdict != HTTP_MORE)
			return -1;
		all_n += used_n;
		*out_ended = verdict == HTTP_OK && !data.n;
	}
	return (ssize_t)all_n;
}

ssize_t http_body_measure(struct http_body_reader *body, const uint8_t *bytes, size_t bytes_n,
			  bool *out_ended)
{
	size_t n;

	*out_ended = false;
	switch (body->kind) {
	case HTTP_BODY_NONE:
		*out_ended = true;
		return 0;
	case HTTP_BODY_CLOSE:
		return (ssize_t)bytes_n;
	case HTTP_BODY_LENGTH:
		n = bytes_n < body->left ? bytes_n : (size_t)body->left;
		body->left -= n;
		*out_ended = !body->left;
		return (ssize_t)n;
	case HTTP_BODY_CHUNKED:
		return measure_chunked(&body->chunked, bytes, bytes_n, out_ended);
	}
	return -1;
}
