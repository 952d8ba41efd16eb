/*
 * Heads of requests and responses.  Beyond memory safety: a head that was taken is taken the same
 * when it comes in two pieces, and what we write of it is taken again.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "common/http/head.h"
#include "common/http/target.h"
#include "common/http/write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rewrite(const struct http_head *head)
{
	static char bytes[2 * HTTP_HEAD_MAX];
	size_t scanned_n = 0, head_n;
	struct http_writer writer;
	struct http_head again;

	http_writer_init(&writer, bytes, sizeof(bytes));
	http_write_request(&writer, head->method, head->target);
	if (head->minor == 0) /* 1.1 is what is written, and wants a host */
		return;
	for (size_t i = 0; i < head->headers_n; i++)
		http_write_header_text(&writer, head->headers[i].name, head->headers[i].value);
	CHECK(http_write_end(&writer));
	if (writer.n > HTTP_HEAD_MAX)
		return;
	CHECK(http_request_parse(bytes, writer.n, &scanned_n, &again, &head_n) == HTTP_OK);
	CHECK(again.headers_n == head->headers_n && again.body == head->body &&
	      again.length == head->length && again.keep_alive == head->keep_alive);
}

static void check_target(const struct http_head *head)
{
	struct http_text path, query;
	char value[256];

	http_target_split(head->target, &path, &query);
	CHECK(path.n > 0);
	http_query_get(query, "path", value, sizeof(value));
	http_percent_decode(path, false, value, sizeof(value));
	for (size_t i = 0; i < head->headers_n; i++)
		http_head_is_hop(head, &head->headers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data;
	size_t scanned_n = 0, head_n = 0, again_n = 0;
	struct http_head head, again;
	enum http_verdict verdict;

	verdict = http_request_parse(bytes, size, &scanned_n, &head, &head_n);
	CHECK(verdict != HTTP_OK || head_n <= size);
	scanned_n = 0;
	if (http_request_parse(bytes, size / 2, &scanned_n, &again, &again_n) == HTTP_MORE)
		CHECK(http_request_parse(bytes, size, &scanned_n, &again, &again_n) == verdict);
	if (verdict == HTTP_OK) {
		CHECK(again_n == head_n);
		check_rewrite(&head);
		check_target(&head);
	}
	scanned_n = 0;
	if (http_response_parse(bytes, size, false, &scanned_n, &head, &head_n) == HTTP_OK)
		CHECK(head_n <= size && head.status >= 100 && head.status <= 999);
	return 0;
}
