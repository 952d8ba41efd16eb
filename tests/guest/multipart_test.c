/* The promises of node-agent/guest/multipart.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/guest/multipart.h"

/* What was read, as text: "[name|filename]data" for each part, then "." or "!". */
struct reading {
	char text[4096];
	size_t n;
};

static void put(struct reading *reading, const char *bytes, size_t bytes_n)
{
	assert_true(reading->n + bytes_n < sizeof(reading->text));
	memcpy(reading->text + reading->n, bytes, bytes_n);
	reading->n += bytes_n;
	reading->text[reading->n] = 0;
}

/* False when there is no more to be read. */
static bool tell(struct reading *reading, struct multipart *multipart, enum multipart_event event,
		 struct http_text data)
{
	char part[300];

	switch (event) {
	case MULTIPART_MORE:
	case MULTIPART_END:
		return true;
	case MULTIPART_PART:
		put(reading, part,
		    (size_t)snprintf(part, sizeof(part), "[%.100s|%.100s]", multipart->name,
				     multipart->filename));
		return true;
	case MULTIPART_DATA:
		assert_true(data.n > 0);
		put(reading, data.at, data.n);
		return true;
	case MULTIPART_DONE:
		put(reading, ".", 1);
		return false;
	case MULTIPART_BAD:
		put(reading, "!", 1);
		return false;
	}
	return false;
}

static void read_all(const char *body, size_t piece_max, struct reading *out)
{
	static struct multipart multipart;
	size_t body_n = strlen(body), at = 0;

	*out = (struct reading){"", 0};
	assert_true(multipart_init(&multipart, http_text_of("multipart/form-data; boundary=XX")));
	while (at < body_n) {
		size_t n = body_n - at < piece_max ? body_n - at : piece_max, used;
		struct http_text data;
		enum multipart_event event = multipart_read(&multipart, body + at, n, &used, &data);

		at += used;
		if (!tell(out, &multipart, event, data))
			return;
	}
}

#define PART(name, file)                                                                           \
	"--XX\r\nContent-Disposition: form-data; name=\"" name "\"; " file "\r\n\r\n"

static void bodies_are_the_same_in_pieces_of_any_size(void **state)
{
	static const struct {
		const char *body, *reading;
	} rows[] = {
		{PART("file", "filename=\"/a/b.txt\"") "hello\r\n--XX--\r\nend",
		 "[file|/a/b.txt]hello."},
		{"\r\n" PART("file", "filename=\"a\"") "1\r\n" PART("f2",
								    "filename=\"b\"") "2\r\n"
										      "--XX--",
		 "[file|a]1[f2|b]2."},
		{PART("file", "filename=\"e\"") "\r\n--XX--", "[file|e]."},
		{PART("file", "filename=\"e\"") "--XX--", "[file|e]."},
		{PART("file", "filename=\"n\"") "\r\n\r\n--XX--", "[file|n]\r\n."},
		{PART("file", "filename=\"n\"") "\r\n--X\r\r\n--X\r\n--XX--",
		 "[file|n]\r\n--X\r\r\n--X."},
		{PART("file", "filename=\"n\"") "--X--XX\r\n--XX--", "[file|n]--X--XX."},
		{"preamble\r\n" PART("x", "") "y\r\n--XX \r\n\r\nz\r\n--XX--", "[x|]y[|]z."},
		{"--XX--", "."},
		{"--XXY", "!"},
		{"--XX\r\nno colon\r\n\r\n", "!"},
		{"--XX\r\nA: b\n", "!"},
		{PART("file", "filename=\"cut"), "[file|\"cut]"},
		{"--XX\r\ncontent-disposition: form-data; NAME=file; "
		 "filename*=UTF-8''%c3%a4%20b; filename=\"x\"\r\n\r\n1\r\n--XX--",
		 "[file|\xc3\xa4 b]1."},
		{PART("file", "filename=\"a;b\\\"c\\\\d\\e\"") "\r\n--XX--",
		 "[file|a;b\"c\\d\\e]."},
	};
	struct reading reading;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++)
		for (size_t piece = 1; piece <= strlen(rows[i].body); piece++) {
			read_all(rows[i].body, piece, &reading);
			if (strcmp(reading.text, rows[i].reading))
				fail_msg("row %zu in pieces of %zu: %s", i, piece, reading.text);
		}
}

static void a_header_has_bounds(void **state)
{
	char body[MULTIPART_HEADER_MAX + 100] = "--XX\r\n";
	struct reading reading;

	(void)state;
	memset(body + 6, 'a', sizeof(body) - 7);
	read_all(body, 1000, &reading);
	assert_string_equal(reading.text, "!");
}

static void a_form_needs_a_boundary(void **state)
{
	static const char *const bad[] = {
		"multipart/form-data",
		"multipart/form-data; boundary=",
		"multipart/form-data; boundary=\"\"",
		"multipart/mixed; boundary=X",
		"text/plain; boundary=X",
		"",
	};
	static struct multipart multipart;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(bad); i++)
		assert_false(multipart_init(&multipart, http_text_of(bad[i])));
	assert_true(multipart_init(&multipart,
				   http_text_of("Multipart/Form-Data; a=b; Boundary=\"a b;c\"")));
	assert_string_equal(multipart.delimiter, "\r\n--a b;c");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_are_the_same_in_pieces_of_any_size),
		cmocka_unit_test(a_header_has_bounds),
		cmocka_unit_test(a_form_needs_a_boundary),
	};

	return cmocka_run_group_tests_name("guest.multipart", tests, NULL, NULL);
}
