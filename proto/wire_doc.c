/* WIRE.md and wire.lock from the tables. */
#include "proto/wire_doc.h"

#include "proto/wire.h"

#include <string.h>

static void print_type(FILE *out, const struct wire_field *field)
{
	if (field->of)
		fprintf(out, "%s of %s", wire_type_names[field->type], field->of->name);
	else if (field->values)
		fprintf(out, "%s %s", wire_type_names[field->type], field->values->name);
	else
		fputs(wire_type_names[field->type], out);
}

static void print_bounds(FILE *out, const struct wire_field *field)
{
	switch (field->type) {
	case WIRE_TYPE_u16:
	case WIRE_TYPE_u32:
	case WIRE_TYPE_u64:
		fprintf(out, "%lld..%llu", (long long)field->min, (unsigned long long)field->max);
		break;
	case WIRE_TYPE_i64:
		if (field->min != INT64_MIN)
			fprintf(out, "%lld or more", (long long)field->min);
		break;
	case WIRE_TYPE_text:
	case WIRE_TYPE_bytes:
		fprintf(out, "%lld..%llu bytes", (long long)field->min,
			(unsigned long long)field->max);
		break;
	case WIRE_TYPE_fixed:
		fprintf(out, "%llu bytes", (unsigned long long)field->max);
		break;
	case WIRE_TYPE_list:
		fprintf(out, "%lld..%llu elements", (long long)field->min,
			(unsigned long long)field->max);
		break;
	case WIRE_TYPE_bool:
	case WIRE_TYPE_enumerated:
	case WIRE_TYPE_id:
	case WIRE_TYPE_nested:
	case WIRE_TYPE_retired:
		break;
	}
	if (field->unit[0])
		fprintf(out, "%s%s", field->type == WIRE_TYPE_i64 ? "" : " ", field->unit);
}

static void print_shape(FILE *out, const struct wire_shape *shape)
{
	fprintf(out, "\n## %s\n\n", shape->name);
	if (shape->kind)
		fprintf(out, "Kind %u. ", shape->kind);
	fprintf(out, "%s.\n", shape->doc);
	if (shape->field_n)
		fputs("\n| tag | name | type | bounds, unit | | meaning |\n"
		      "| --- | --- | --- | --- | --- | --- |\n",
		      out);
	for (size_t i = 0; i < shape->field_n; i++) {
		const struct wire_field *field = &shape->fields[i];

		fprintf(out, "| %u | `%s` | ", field->tag, field->name);
		print_type(out, field);
		fputs(" | ", out);
		print_bounds(out, field);
		fprintf(out, " | %s | %s |\n",
			field->presence == WIRE_REQUIRED ? "required" : "optional", field->doc);
	}
	if (shape->rule_n)
		fputs("\nAlways:\n", out);
	for (size_t i = 0; i < shape->rule_n; i++)
		fprintf(out, "- %s\n", shape->rules[i].doc);
}

void wire_doc_markdown(FILE *out)
{
	fputs("# The wire\n\n"
	      "Written from `wire.def` by `flotilla-wire-doc`; do not edit.\n\n"
	      "A message is a msgpack map from tag to value. Integers, texts (`str`), `fixed` and\n"
	      "`bytes` (`bin`), lists (`array`) and parts (`map`) are msgpack's; an id is a text "
	      "of\n"
	      "`[a-z0-9_]`. An optional field that is absent is zero, empty or false, and such a "
	      "value\n"
	      "is sent as absent. Unknown tags are skipped. A message with a required field "
	      "missing, a\n"
	      "value out of bounds, a tag twice or a rule broken is refused whole.\n",
	      out);
	for (const struct wire_shape *const *shape = wire_shapes; *shape; shape++)
		print_shape(out, *shape);
	for (const struct wire_enum *const *values = wire_enums; *values; values++) {
		fprintf(out, "\n## %s\n\n%s.\n\n| number | name | meaning |\n| --- | --- | --- |\n",
			(*values)->name, (*values)->doc);
		for (size_t i = 0; i < (*values)->value_n; i++) {
			const struct wire_value *value = &(*values)->values[i];

			fprintf(out, "| %u | `%s` | %s |\n", value->number, value->name,
				value->doc);
		}
	}
}

void wire_doc_lock(FILE *out)
{
	for (const struct wire_shape *const *shape = wire_shapes; *shape; shape++) {
		if ((*shape)->kind)
			fprintf(out, "%s kind %u\n", (*shape)->name, (*shape)->kind);
		for (size_t i = 0; i < (*shape)->field_n; i++) {
			const struct wire_field *field = &(*shape)->fields[i];

			fprintf(out, "%s %u %s ", (*shape)->name, field->tag, field->name);
			print_type(out, field);
			if (field->type == WIRE_TYPE_fixed)
				fprintf(out, " %llu", (unsigned long long)field->max);
			/* To be required or not cannot change either: the other side may be older.
			 */
			if (field->type != WIRE_TYPE_retired && field->presence == WIRE_REQUIRED)
				fputs(" required", out);
			fputc('\n', out);
		}
	}
	for (const struct wire_enum *const *values = wire_enums; *values; values++)
		for (size_t i = 0; i < (*values)->value_n; i++)
			fprintf(out, "%s value %u %s\n", (*values)->name,
				(*values)->values[i].number, (*values)->values[i].name);
}

static bool has_line(const char *text, const char *line, size_t line_n)
{
	for (const char *at = text; *at;) {
		size_t n = strcspn(at, "\n");

		if (n == line_n && memcmp(at, line, n) == 0)
			return true;
		at += n + (at[n] == '\n');
	}
	return false;
}

/* "poll 8 records list of record" may have become "poll 8 records retired". */
static bool is_retired(const char *text, const char *line, size_t line_n)
{
	char retired[256];
	size_t words_n = 0;

	for (int word = 0; word < 3 && words_n < line_n; word++) {
		words_n += strcspn(line + words_n, " \n");
		words_n += words_n < line_n;
	}
	if (words_n + sizeof("retired") > sizeof(retired))
		return false;
	memcpy(retired, line, words_n);
	memcpy(retired + words_n, "retired", sizeof("retired"));
	return has_line(text, retired, strlen(retired));
}

bool wire_lock_holds(const char *before, const char *after, char *out_line, size_t out_line_max)
{
	for (const char *at = before; *at;) {
		size_t n = strcspn(at, "\n");

		if (!has_line(after, at, n) && !is_retired(after, at, n)) {
			snprintf(out_line, out_line_max, "%.*s", (int)n, at);
			return false;
		}
		at += n + (at[n] == '\n');
	}
	return true;
}
