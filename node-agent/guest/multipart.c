/*
 * multipart/form-data: see multipart.h.
 *
 * The delimiter begins with the only CR in it, so a match that breaks cannot have begun a second
 * one inside itself: what was matched is payload, and the search begins anew at the byte that
 * broke it.
 */
#include "node-agent/guest/multipart.h"

#include <stdio.h>
#include <string.h>

#include "common/http/target.h"

/* Cuts the next parameter off: name and value, quotes still on.  The first piece is the value
 * itself, with an empty name. */
static bool parameter_next(struct http_text *rest, struct http_text *out_name,
			   struct http_text *out_value)
{
	size_t n = 0;
	bool quoted = false;
	struct http_text piece;
	const char *equals;

	if (!rest->n)
		return false;
	for (; n < rest->n && (quoted || rest->at[n] != ';'); n++) {
		if (rest->at[n] == '"')
			quoted = !quoted;
		else if (quoted && rest->at[n] == '\\' && n + 1 < rest->n)
			n++;
	}
	piece = http_text_trim((struct http_text){rest->at, n});
	n += n < rest->n ? 1 : 0;
	rest->at += n;
	rest->n -= n;
	equals = piece.n ? memchr(piece.at, '=', piece.n) : NULL;
	*out_name = (struct http_text){piece.at, equals ? (size_t)(equals - piece.at) : 0};
	*out_value = piece;
	if (equals)
		*out_value =
			(struct http_text){equals + 1, (size_t)(piece.at + piece.n - equals - 1)};
	return true;
}

static bool unquote(struct http_text value, char *out, size_t out_max)
{
	size_t n = 0;

	if (value.n < 2 || value.at[0] != '"' || value.at[value.n - 1] != '"')
		return http_text_copy(value, out, out_max);
	for (size_t i = 1; i + 1 < value.n; i++) {
		char c = value.at[i];

		/* Only what needs a backslash: old browsers send Windows paths as they are. */
		if (c == '\\' && i + 2 < value.n && strchr("\"\\", value.at[i + 1]))
			c = value.at[++i];
		if (!c || n + 1 >= out_max) {
			out[0] = 0;
			return false;
		}
		out[n++] = c;
	}
	out[n] = 0;
	return true;
}

bool multipart_parameter(struct http_text value, const char *name, char *out, size_t out_max)
{
	struct http_text found, text;

	while (parameter_next(&value, &found, &text))
		if (found.n && http_text_equal_nocase(found, name))
			return unquote(text, out, out_max);
	return false;
}

/* RFC 5987: UTF-8''percent%20encoded. */
static bool extended_filename(struct http_text value, char *out, size_t out_max)
{
	char raw[MULTIPART_FILENAME_MAX];
	char *quote;

	if (!multipart_parameter(value, "filename*", raw, sizeof(raw)) ||
	    !http_text_starts_nocase(http_text_of(raw), "utf-8'"))
		return false;
	quote = strchr(raw + 6, '\'');
	return quote && http_percent_decode(http_text_of(quote + 1), false, out, out_max);
}

bool multipart_init(struct multipart *multipart, struct http_text content_type)
{
	char boundary[MULTIPART_BOUNDARY_MAX + 1];

	multipart->state = MULTIPART_IN_PREAMBLE;
	multipart->matched_n = multipart->virtual_n = 2; /* a body may begin with a boundary */
	multipart->tail_n = multipart->header_n = 0;
	multipart->is_open = false;
	if (!http_text_starts_nocase(content_type, "multipart/form-data") ||
	    !multipart_parameter(content_type, "boundary", boundary, sizeof(boundary)) ||
	    !boundary[0] || strpbrk(boundary, "\r\n"))
		return false;
	multipart->delimiter_n = (size_t)snprintf(
		multipart->delimiter, sizeof(multipart->delimiter), "\r\n--%s", boundary);
	return true;
}

/* One line of a part's header; false when it is malformed. */
static bool header_line(struct multipart *multipart, struct http_text line)
{
	const char *colon = memchr(line.at, ':', line.n);
	struct http_text name, value;

	if (!colon)
		return false;
	name = (struct http_text){line.at, (size_t)(colon - line.at)};
	value = http_text_trim(
		(struct http_text){colon + 1, (size_t)(line.at + line.n - colon - 1)});
	if (!http_text_equal_nocase(name, "content-disposition"))
		return true;
	multipart_parameter(value, "name", multipart->name, sizeof(multipart->name));
	return extended_filename(value, multipart->filename, sizeof(multipart->filename)) ||
	       multipart_parameter(value, "filename", multipart->filename,
				   sizeof(multipart->filename)) ||
	       !multipart->filename[0];
}

static enum multipart_event header_byte(struct multipart *multipart, char c)
{
	struct http_text line = {multipart->header, 0};

	if (multipart->header_n == MULTIPART_HEADER_MAX)
		return MULTIPART_BAD;
	multipart->header[multipart->header_n++] = c;
	if (c != '\n')
		return MULTIPART_MORE;
	if (multipart->header_n < 2 || multipart->header[multipart->header_n - 2] != '\r')
		return MULTIPART_BAD;
	line.n = multipart->header_n - 2;
	multipart->header_n = 0;
	if (line.n)
		return header_line(multipart, line) ? MULTIPART_MORE : MULTIPART_BAD;
	multipart->state = MULTIPART_IN_DATA;
	/* An empty part may have its delimiter right behind the header's empty line. */
	multipart->matched_n = multipart->virtual_n = 2;
	multipart->is_open = true;
	return MULTIPART_PART;
}

/* Behind a boundary: blanks and CRLF, or two dashes. */
static enum multipart_event boundary_byte(struct multipart *multipart, char c)
{
	if (!multipart->tail_n && (c == ' ' || c == '\t'))
		return MULTIPART_MORE;
	multipart->tail[multipart->tail_n++] = c;
	if (multipart->tail_n < 2)
		return c == '-' || c == '\r' ? MULTIPART_MORE : MULTIPART_BAD;
	multipart->tail_n = 0;
	if (!memcmp(multipart->tail, "--", 2)) {
		multipart->state = MULTIPART_IN_EPILOGUE;
		return MULTIPART_DONE;
	}
	if (memcmp(multipart->tail, "\r\n", 2))
		return MULTIPART_BAD;
	multipart->state = MULTIPART_IN_HEADER;
	multipart->header_n = 0;
	multipart->name[0] = multipart->filename[0] = 0;
	return MULTIPART_MORE;
}

/* What a match that broke had swallowed is payload. */
static struct http_text match_break(struct multipart *multipart)
{
	struct http_text payload = {multipart->delimiter + multipart->virtual_n,
				    multipart->matched_n - multipart->virtual_n};

	multipart->matched_n = multipart->virtual_n = 0;
	return payload;
}

/*
 * Payload, or the preamble which is read over.  Returns DATA with a piece, END behind the last one,
 * MORE when *used has reached bytes_n or the state has changed.
 */
static enum multipart_event search(struct multipart *multipart, const char *bytes, size_t bytes_n,
				   size_t *used, struct http_text *out_data)
{
	while (*used < bytes_n) {
		const char *at = bytes + *used, *cr;

		if (!multipart->matched_n) {
			cr = memchr(at, '\r', bytes_n - *used);
			*out_data =
				(struct http_text){at, cr ? (size_t)(cr - at) : bytes_n - *used};
			*used += out_data->n + (cr ? 1 : 0);
			multipart->matched_n = cr ? 1 : 0;
		} else if (*at == multipart->delimiter[multipart->matched_n]) {
			(*used)++;
			if (++multipart->matched_n < multipart->delimiter_n)
				continue;
			multipart->matched_n = multipart->virtual_n = 0;
			multipart->state = MULTIPART_AFTER_BOUNDARY;
			return multipart->is_open ? MULTIPART_END : MULTIPART_MORE;
		} else {
			*out_data = match_break(multipart);
		}
		if (out_data->n && multipart->is_open)
			return MULTIPART_DATA;
	}
	return MULTIPART_MORE;
}

enum multipart_event multipart_read(struct multipart *multipart, const char *bytes, size_t bytes_n,
				    size_t *out_used, struct http_text *out_data)
{
	enum multipart_event event = MULTIPART_MORE;
	size_t used = 0;

	*out_data = (struct http_text){NULL, 0};
	while (event == MULTIPART_MORE && used < bytes_n) {
		switch (multipart->state) {
		case MULTIPART_IN_PREAMBLE:
		case MULTIPART_IN_DATA:
			event = search(multipart, bytes, bytes_n, &used, out_data);
			break;
		case MULTIPART_AFTER_BOUNDARY:
			multipart->is_open = false;
			event = boundary_byte(multipart, bytes[used++]);
			break;
		case MULTIPART_IN_HEADER:
			event = header_byte(multipart, bytes[used++]);
			break;
		case MULTIPART_IN_EPILOGUE:
			used = bytes_n;
			event = MULTIPART_DONE;
			break;
		}
	}
	*out_used = used;
	return event;
}
