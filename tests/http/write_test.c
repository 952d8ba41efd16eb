/* The promises of common/http/write.h, target.h and text.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/http/head.h"
#include "common/http/target.h"
#include "common/http/write.h"

static void what_is_written_can_be_read(void **state)
{
	size_t scanned_n = 0, head_n;
	struct http_writer writer;
	struct http_head head;
	char bytes[256];

	(void)state;
	http_writer_init(&writer, bytes, sizeof(bytes));
	http_write_status(&writer, 404);
	http_write_header(&writer, "Content-Type", "text/plain");
	http_write_header_u64(&writer, "Content-Length", 12);
	assert_true(http_write_end(&writer));
	assert_int_equal(http_response_parse(bytes, writer.n, false, &scanned_n, &head, &head_n),
			 HTTP_OK);
	assert_int_equal(head_n, writer.n);
	assert_int_equal(head.status, 404);
	assert_true(http_text_equal(head.reason, "Not Found"));
	assert_int_equal(head.length, 12);
	scanned_n = 0;
	http_writer_init(&writer, bytes, sizeof(bytes));
	http_write_request(&writer, http_text_of("GET"), http_text_of("/a?b"));
	http_write_header(&writer, "Host", "x");
	assert_true(http_write_end(&writer));
	assert_int_equal(http_request_parse(bytes, writer.n, &scanned_n, &head, &head_n), HTTP_OK);
	assert_true(http_text_equal(head.target, "/a?b"));
}

static void nobody_can_smuggle_a_field_into_a_head(void **state)
{
	struct http_writer writer;
	char bytes[256];

	(void)state;
	http_writer_init(&writer, bytes, sizeof(bytes));
	http_write_header(&writer, "A", "b\r\nC: d");
	assert_false(http_write_end(&writer));
	http_writer_init(&writer, bytes, sizeof(bytes));
	http_write_request(&writer, http_text_of("GET"), http_text_of("/\n"));
	assert_false(http_write_end(&writer));
}

static void a_head_with_more_fields_than_we_read_is_not_sent(void **state)
{
	struct http_writer writer;
	char bytes[1024];

	(void)state;
	http_writer_init(&writer, bytes, sizeof(bytes));
	http_write_status(&writer, 200);
	for (int i = 0; i < HTTP_HEADERS_MAX; i++)
		http_write_header(&writer, "A", "b");
	assert_true(http_write_end(&writer));
	http_write_header(&writer, "A", "b");
	assert_false(http_write_end(&writer));
}

static void a_head_that_does_not_fit_is_not_sent(void **state)
{
	struct http_writer writer;
	char bytes[20];

	(void)state;
	http_writer_init(&writer, bytes, sizeof(bytes));
	http_write_status(&writer, 200);
	http_write_header(&writer, "A", "b");
	http_write_header(&writer, "A", "");
	assert_false(http_write_end(&writer));
	assert_true(writer.n <= sizeof(bytes));
}

static void targets_are_split(void **state)
{
	struct http_text path, query;

	(void)state;
	http_target_split(http_text_of("/a/b?c=d?e"), &path, &query);
	assert_true(http_text_equal(path, "/a/b"));
	assert_true(http_text_equal(query, "c=d?e"));
	http_target_split(http_text_of("http://host:80/x"), &path, &query);
	assert_true(http_text_equal(path, "/x"));
	assert_int_equal(query.n, 0);
	http_target_split(http_text_of("https://host?q"), &path, &query);
	assert_true(http_text_equal(path, "/"));
	assert_true(http_text_equal(query, "q"));
	http_target_split(http_text_of("*"), &path, &query);
	assert_true(http_text_equal(path, "*"));
}

static void queries_are_decoded(void **state)
{
	struct http_text query = http_text_of("a&path=%2Ftmp%2fx+y&b=%zz&n=a%00b&path=2&e=");
	char value[16];

	(void)state;
	assert_int_equal(http_query_get(query, "path", value, sizeof(value)), HTTP_QUERY_FOUND);
	assert_string_equal(value, "/tmp/x y");
	assert_int_equal(http_query_get(query, "path", value, 8), HTTP_QUERY_BAD);
	assert_int_equal(http_query_get(query, "b", value, sizeof(value)), HTTP_QUERY_BAD);
	assert_int_equal(http_query_get(query, "n", value, sizeof(value)), HTTP_QUERY_BAD);
	assert_int_equal(http_query_get(query, "e", value, sizeof(value)), HTTP_QUERY_FOUND);
	assert_string_equal(value, "");
	assert_int_equal(http_query_get(query, "a", value, sizeof(value)), HTTP_QUERY_FOUND);
	assert_int_equal(http_query_get(query, "pat", value, sizeof(value)), HTTP_QUERY_ABSENT);
	assert_string_equal(value, "");
}

static void lists_are_cut_at_commas(void **state)
{
	struct http_text list = http_text_of(" , a ,,b\t,c"), element;

	(void)state;
	assert_true(http_text_list_next(&list, &element) && http_text_equal(element, "a"));
	assert_true(http_text_list_next(&list, &element) && http_text_equal(element, "b"));
	assert_true(http_text_list_next(&list, &element) && http_text_equal(element, "c"));
	assert_false(http_text_list_next(&list, &element));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_can_be_read),
		cmocka_unit_test(nobody_can_smuggle_a_field_into_a_head),
		cmocka_unit_test(a_head_with_more_fields_than_we_read_is_not_sent),
		cmocka_unit_test(a_head_that_does_not_fit_is_not_sent),
		cmocka_unit_test(targets_are_split),
		cmocka_unit_test(queries_are_decoded),
		cmocka_unit_test(lists_are_cut_at_commas),
	};

	return cmocka_run_group_tests_name("http.write", tests, NULL, NULL);
}
