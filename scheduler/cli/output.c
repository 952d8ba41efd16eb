#include "scheduler/cli/output.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

enum { CELL_MAX = 1024, COLUMNS_MAX = 16 };

static bool is_format(const struct cli *cli, const char *format)
{
	return strcmp(cli->settings.output, format) == 0;
}

/* Follows "a.b" through objects. */
static const json_t *member_of(const json_t *object, const char *path)
{
	const char *dot;

	while ((dot = strchr(path, '.'))) {
		char name[64];

		snprintf(name, sizeof(name), "%.*s", (int)(dot - path), path);
		object = json_object_get(object, name);
		path = dot + 1;
	}
	return json_object_get(object, path);
}

static void cell_add(char cell[CELL_MAX], const char *text)
{
	size_t used = strlen(cell);

	snprintf(cell + used, CELL_MAX - used, "%s", text);
}

static void cell_add_scalar(char cell[CELL_MAX], const json_t *value)
{
	char number[32];

	if (json_is_string(value)) {
		cell_add(cell, json_string_value(value));
	} else if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		cell_add(cell, number);
	} else if (json_is_real(value)) {
		snprintf(number, sizeof(number), "%.9g", json_real_value(value));
		cell_add(cell, number);
	} else if (json_is_boolean(value)) {
		cell_add(cell, json_is_true(value) ? "yes" : "no");
	}
}

static void cell_add_list(char cell[CELL_MAX], const json_t *array)
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *item = json_array_get(array, i);

		cell_add(cell, i ? "," : "");
		cell_add_scalar(cell, json_is_object(item) ? json_object_get(item, "name") : item);
	}
}

static void cell_add_pairs(char cell[CELL_MAX], json_t *object)
{
	const char *key;
	json_t *value;
	bool is_first = true;

	json_object_foreach(object, key, value)
	{
		cell_add(cell, is_first ? "" : ",");
		cell_add(cell, key);
		cell_add(cell, "=");
		cell_add_scalar(cell, value);
		is_first = false;
	}
}

/* Metadata is anybody's text: it must not move the reader's cursor. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static void cell_make(char cell[CELL_MAX], const struct column *column, const json_t *row)
{
	const json_t *value = member_of(row, column->member);

	cell[0] = 0;
	switch (column->kind) {
	case COLUMN_TEXT:
	case COLUMN_RIGHT:
		cell_add_scalar(cell, value);
		break;
	case COLUMN_PAIRS:
		cell_add_pairs(cell, (json_t *)(uintptr_t)value);
		break;
	case COLUMN_LIST:
		cell_add_list(cell, value);
		break;
	}
}

/* Characters, not bytes, so that columns stay straight. */
static int width_of(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(const char *text, int width, bool is_right, bool is_last, FILE *out)
{
	int pad = width - width_of(text);

	if (pad < 0)
		pad = 0;
	fprintf(out, "%*s%s%*s", is_right ? pad : 0, "", text, is_right || is_last ? 0 : pad, "");
	fputs(is_last ? "\n" : "  ", out);
}

static void print_table(const struct listing *listing, json_t *rows, bool is_wide, FILE *out)
{
	const struct column *shown[COLUMNS_MAX];
	int width[COLUMNS_MAX];
	size_t shown_n = 0, i;
	char cell[CELL_MAX];
	json_t *row;

	for (size_t c = 0; c < listing->columns_n; c++)
		if (is_wide || !listing->columns[c].is_wide)
			shown[shown_n++] = &listing->columns[c];
	for (size_t c = 0; c < shown_n; c++) {
		width[c] = width_of(shown[c]->title);
		json_array_foreach(rows, i, row)
		{
			cell_make(cell, shown[c], row);
			width[c] = width_of(cell) > width[c] ? width_of(cell) : width[c];
		}
	}
	for (size_t c = 0; c < shown_n; c++)
		print_cell(shown[c]->title, width[c], shown[c]->kind == COLUMN_RIGHT,
			   c + 1 == shown_n, out);
	json_array_foreach(rows, i, row)
	{
		for (size_t c = 0; c < shown_n; c++) {
			cell_make(cell, shown[c], row);
			make_printable(cell);
			print_cell(cell[0] ? cell : "-", width[c], shown[c]->kind == COLUMN_RIGHT,
				   c + 1 == shown_n, out);
		}
	}
}

/* RFC 4180. A text that a spreadsheet would take for a formula gets a quote in front. */
static void print_csv_cell(const char *text, bool is_last, FILE *out)
{
	bool is_formula = text[0] && strchr("=+-@\t\r", text[0]) != NULL;
	bool is_quoted = is_formula || strpbrk(text, ",\"\r\n") != NULL;

	fputs(is_quoted ? "\"" : "", out);
	fputs(is_formula ? "'" : "", out);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputs(is_quoted ? "\"" : "", out);
	fputs(is_last ? "\r\n" : ",", out);
}

static void print_csv(const struct listing *listing, json_t *rows, FILE *out)
{
	char cell[CELL_MAX];
	json_t *row;
	size_t i;

	for (size_t c = 0; c < listing->columns_n; c++)
		print_csv_cell(listing->columns[c].member, c + 1 == listing->columns_n, out);
	json_array_foreach(rows, i, row)
	{
		for (size_t c = 0; c < listing->columns_n; c++) {
			cell_make(cell, &listing->columns[c], row);
			print_csv_cell(cell, c + 1 == listing->columns_n, out);
		}
	}
}

static void print_envelope(const char *kind, json_t *data, FILE *out)
{
	json_t *envelope = json_pack("{s:s, s:O}", "kind", kind, "data", data);

	CHECK(envelope);
	json_dumpf(envelope, out, JSON_INDENT(2));
	fputc('\n', out);
	json_decref(envelope);
}

void output_list(const struct cli *cli, const struct listing *listing, json_t *rows, FILE *out)
{
	json_t *row;
	size_t i;

	CHECK(listing->columns_n <= COLUMNS_MAX);
	if (is_format(cli, "json")) {
		print_envelope(listing->kind, rows, out);
	} else if (is_format(cli, "jsonl")) {
		json_array_foreach(rows, i, row)
		{
			json_dumpf(row, out, JSON_COMPACT);
			fputc('\n', out);
		}
	} else if (is_format(cli, "name")) {
		json_array_foreach(rows, i, row) fprintf(
			out, "%s\n", json_string_value(json_object_get(row, listing->name)) ?: "");
	} else if (is_format(cli, "csv")) {
		print_csv(listing, rows, out);
	} else {
		print_table(listing, rows, is_format(cli, "wide"), out);
	}
}

static void print_members(json_t *object, const char *hide, int depth, FILE *out)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		char cell[CELL_MAX] = "";

		if (hide && strcmp(key, hide) == 0)
			continue;
		if (json_is_object(value) && json_object_size(value) && depth < 4) {
			fprintf(out, "%*s%s:\n", depth * 2, "", key);
			print_members(value, hide, depth + 1, out);
			continue;
		}
		if (json_is_array(value))
			cell_add_list(cell, value);
		else
			cell_add_scalar(cell, value);
		make_printable(cell);
		fprintf(out, "%*s%s: %s\n", depth * 2, "", key, cell[0] ? cell : "-");
	}
}

void output_object(const struct cli *cli, const char *kind, const char *name, json_t *object,
		   const char *hide, FILE *out)
{
	if (is_format(cli, "json")) {
		print_envelope(kind, object, out);
	} else if (is_format(cli, "jsonl")) {
		json_dumpf(object, out, JSON_COMPACT);
		fputc('\n', out);
	} else if (is_format(cli, "name") && name) {
		fprintf(out, "%s\n", json_string_value(json_object_get(object, name)) ?: "");
	} else {
		print_members(object, hide, 0, out);
	}
}

void output_text(const struct cli *cli, const char *kind, const char *text, json_t *object,
		 FILE *out)
{
	if (cli_prints_json(cli))
		output_object(cli, kind, NULL, object, NULL, out);
	else
		fprintf(out, "%s\n", text);
}
