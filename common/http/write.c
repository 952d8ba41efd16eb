/* Writes heads: see write.h. */
#include "common/http/write.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/http/head.h"

static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{100, "Continue"},
	{101, "Switching Protocols"},
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{206, "Partial Content"},
	{304, "Not Modified"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{411, "Length Required"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{416, "Range Not Satisfiable"},
	{421, "Misdirected Request"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{499, "Client Closed Request"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
	{507, "Insufficient Storage"},
};

const char *http_status_reason(int status)
{
	for (size_t i = 0; i < ARRAY_N(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}

void http_writer_init(struct http_writer *writer, char *storage, size_t storage_max)
{
	*writer = (struct http_writer){.at = storage, .max = storage_max};
}

static void put(struct http_writer *writer, const char *bytes, size_t bytes_n)
{
	if (writer->failed || bytes_n > writer->max - writer->n) {
		writer->failed = true;
		return;
	}
	if (bytes_n)
		memcpy(writer->at + writer->n, bytes, bytes_n);
	writer->n += bytes_n;
}

static void put_text(struct http_writer *writer, struct http_text text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.at[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			writer->failed = true;
	}
	put(writer, text.at, text.n);
}

void http_write_request(struct http_writer *writer, struct http_text method,
			struct http_text target)
{
	put_text(writer, method);
	put(writer, " ", 1);
	put_text(writer, target);
	put(writer, " HTTP/1.1\r\n", 11);
}

void http_write_status(struct http_writer *writer, int status)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "HTTP/1.1 %03d %s\r\n", status,
			 http_status_reason(status));

	CHECK(n > 0 && (size_t)n < sizeof(line));
	put(writer, line, (size_t)n);
}

void http_write_header_text(struct http_writer *writer, struct http_text name,
			    struct http_text value)
{
	if (++writer->headers_n > HTTP_HEADERS_MAX)
		writer->failed = true;
	put_text(writer, name);
	put(writer, ": ", 2);
	put_text(writer, value);
	put(writer, "\r\n", 2);
}

void http_write_header(struct http_writer *writer, const char *name, const char *value)
{
	http_write_header_text(writer, http_text_of(name), http_text_of(value));
}

void http_write_header_u64(struct http_writer *writer, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	http_write_header(writer, name, text);
}

bool http_write_end(struct http_writer *writer)
{
	put(writer, "\r\n", 2);
	return !writer->failed;
}
