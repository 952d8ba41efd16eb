#include "scheduler/shell/api/schema.h"

#include "common/base/check.h"
#include "scheduler/shell/api/target.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off: a list being read */
#define SCHEMA(id, name, doc) static const struct field id##_fields[] = {
#define FIELD(name, type, flags, min, max, initial, of, doc)                                       \
	{name, FIELD_TYPE_##type, flags, min, max, initial, of, doc},
#define END(id)                                                                                    \
	}                                                                                          \
	;
#include "scheduler/shell/api/schemas.def"
#undef SCHEMA
#undef FIELD
#undef END

#define SCHEMA(id, name, doc)                                                                      \
	const struct schema schema_##id = {name, doc, id##_fields, ARRAY_N(id##_fields)};
#define FIELD(name, type, flags, min, max, initial, of, doc)
#define END(id)
#include "scheduler/shell/api/schemas.def"
#undef SCHEMA

const struct schema *const schemas[] = {
#define SCHEMA(id, name, doc) &schema_##id,
#include "scheduler/shell/api/schemas.def"
#undef SCHEMA
#undef FIELD
#undef END
	NULL,
};
/* clang-format on */

void problems_add(struct problems *problems, const char *in, const char *field, const char *type,
		  const char *format, ...)
{
	struct problem *problem = &problems->items[problems->n];
	va_list args;

	if (problems->n == PROBLEMS_MAX)
		return;
	problems->n++;
	*problem = (struct problem){.in = in, .field = field, .type = type};
	va_start(args, format);
	vsnprintf(problem->text, sizeof(problem->text), format, args);
	va_end(args);
}

/* ---- bodies ---- */

static bool schema_is_blank(const char *text, size_t text_n)
{
	for (size_t i = 0; i < text_n; i++)
		if (!strchr(" \t\r\n", text[i]) || !text[i])
			return false;
	return true;
}

/* jansson recurses for each container: how deep is looked at before. */
static bool schema_depth_is_fine(const char *text, size_t text_n)
{
	size_t depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < text_n; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > JSON_DEPTH_MAX)
				return false;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return true;
}

json_t *schema_parse_body(const char *text, size_t text_n, struct problems *problems)
{
	json_error_t error;
	json_t *body;

	if (schema_is_blank(text, text_n))
		return json_object();
	if (!schema_depth_is_fine(text, text_n)) {
		problems_add(problems, "body", "", "json_depth", "nested deeper than %d levels",
			     JSON_DEPTH_MAX);
		return NULL;
	}
	body = json_loadb(text, text_n, JSON_REJECT_DUPLICATES, &error);
	if (!body) {
		problems_add(problems, "body", "", "json_invalid",
			     "not valid JSON: line %d, column %d", error.line, error.column);
		return NULL;
	}
	if (!json_is_object(body)) {
		problems_add(problems, "body", "", "dict_type", "should be a JSON object");
		json_decref(body);
		return NULL;
	}
	return body;
}

/* ---- queries ---- */

/* A whole number, and nothing else. */
static bool schema_parse_int(const char *text, json_int_t *out)
{
	char *end;
	size_t digits = strspn(text + (*text == '-'), "0123456789");

	if (digits == 0 || digits > 18)
		return false;
	*out = strtoll(text, &end, 10);
	return *end == 0;
}

static json_t *schema_query_value(const struct field *field, const char *text)
{
	json_int_t number;

	switch (field->type) {
	case FIELD_TYPE_INT:
		if (schema_parse_int(text, &number))
			return json_integer(number);
		return json_string(text); /* the check names it */
	case FIELD_TYPE_BOOL:
		if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
			return json_boolean(text[0] == 't');
		return json_string(text);
	case FIELD_TYPE_TEXT:
	case FIELD_TYPE_TIME:
	case FIELD_TYPE_DECIMAL:
	case FIELD_TYPE_NUMBER:
	case FIELD_TYPE_TEXT_MAP:
	case FIELD_TYPE_OBJECT:
	case FIELD_TYPE_LIST:
	case FIELD_TYPE_ANY:
		break;
	}
	return json_string(text);
}

static void schema_query_pair(const struct schema *schema, const struct target_pair *pair,
			      json_t *query, struct problems *problems)
{
	char name[64], value[4200];

	if (!target_decode(pair->name, pair->name_n, true, name, sizeof(name)))
		return; /* none of ours */
	for (size_t i = 0; i < schema->fields_n; i++) {
		const struct field *field = &schema->fields[i];
		if (strcmp(field->name, name) != 0)
			continue;
		const char *before = field->flags & FIELD_REPEATED
					     ? json_string_value(json_object_get(query, name))
					     : NULL;
		json_t *json = NULL;
		if (before && target_decode(pair->value, pair->value_n, true, value, sizeof(value)))
			json = json_sprintf("%s,%s", before, value);
		else if (target_decode(pair->value, pair->value_n, true, value, sizeof(value)))
			json = schema_query_value(field, value);
		if (!json || json_object_set_new(query, field->name, json))
			problems_add(problems, "query", field->name, "url_encoding",
				     "is not valid URL-encoded UTF-8 text");
	}
}

json_t *schema_parse_query(const struct schema *schema, const char *query,
			   struct problems *problems)
{
	json_t *object = json_object();
	struct target_pair pair;
	size_t before = problems->n;

	while (target_next_pair(&query, &pair))
		schema_query_pair(schema, &pair, object, problems);
	if (problems->n == before)
		return object;
	json_decref(object);
	return NULL;
}

/* ---- checks ---- */

/* What asks for nothing: null, false, 0, "", {}, [], and objects and lists of such. */
static bool schema_is_off(const json_t *value)
{
	const char *key;
	json_t *item;
	size_t i;

	switch (json_typeof(value)) {
	case JSON_NULL:
	case JSON_FALSE:
		return true;
	case JSON_INTEGER:
		return json_integer_value(value) == 0;
	case JSON_STRING:
		return json_string_length(value) == 0;
	case JSON_OBJECT:
		json_object_foreach((json_t *)value, key,
				    item) if (!schema_is_off(item)) return false;
		return true;
	case JSON_ARRAY:
		json_array_foreach(value, i, item) if (!schema_is_off(item)) return false;
		return true;
	case JSON_TRUE:
	case JSON_REAL:
		return false;
	}
	return false;
}

static void schema_check_number(const struct field *field, const json_t *value, const char *in,
				struct problems *problems)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value))
		problems_add(problems, in, field->name, "int_type", "should be an integer");
	else if (number < field->min)
		problems_add(problems, in, field->name, "greater_than_equal",
			     "should be at least %" PRId64, field->min);
	else if (number > field->max)
		problems_add(problems, in, field->name, "less_than_equal",
			     "should be at most %" PRId64, field->max);
}

static void schema_check_text(const struct field *field, const json_t *value, const char *in,
			      struct problems *problems)
{
	int64_t n = (int64_t)json_string_length(value);

	if (!json_is_string(value))
		problems_add(problems, in, field->name, "string_type", "should be a string");
	else if (n < field->min)
		problems_add(problems, in, field->name, "string_too_short",
			     "should have at least %" PRId64 " bytes", field->min);
	else if (n > field->max)
		problems_add(problems, in, field->name, "string_too_long",
			     "should have at most %" PRId64 " bytes", field->max);
}

static void schema_check_map(const struct field *field, json_t *value, const char *in,
			     struct problems *problems)
{
	const char *key;
	json_t *item;

	if (!json_is_object(value)) {
		problems_add(problems, in, field->name, "dict_type",
			     "should be an object of strings");
		return;
	}
	if ((int64_t)json_object_size(value) > field->max)
		problems_add(problems, in, field->name, "too_long",
			     "should have at most %" PRId64 " entries", field->max);
	json_object_foreach(value, key, item)
	{
		if (!json_is_string(item)) {
			problems_add(problems, in, field->name, "string_type",
				     "the value of '%.80s' should be a string", key);
			return;
		}
	}
}

static void schema_check_value(const struct field *field, json_t *value, const char *in,
			       struct problems *problems)
{
	int64_t at;

	switch (field->type) {
	case FIELD_TYPE_INT:
		schema_check_number(field, value, in, problems);
		return;
	case FIELD_TYPE_TEXT:
		schema_check_text(field, value, in, problems);
		return;
	case FIELD_TYPE_BOOL:
		if (!json_is_boolean(value))
			problems_add(problems, in, field->name, "bool_type",
				     "should be true or false");
		return;
	case FIELD_TYPE_TIME:
		if (!json_is_string(value) || !time_parse(json_string_value(value), &at))
			problems_add(problems, in, field->name, "datetime_type",
				     "should be a date and time as in RFC 3339");
		return;
	case FIELD_TYPE_TEXT_MAP:
		schema_check_map(field, value, in, problems);
		return;
	case FIELD_TYPE_OBJECT:
		if (!json_is_object(value))
			problems_add(problems, in, field->name, "dict_type", "should be an object");
		else
			schema_check(field->of, value, in, problems);
		return;
	case FIELD_TYPE_DECIMAL: /* only in answers */
	case FIELD_TYPE_NUMBER:
	case FIELD_TYPE_LIST:
	case FIELD_TYPE_ANY:
		return;
	}
}

void schema_check(const struct schema *schema, json_t *object, const char *in,
		  struct problems *problems)
{
	for (size_t i = 0; i < schema->fields_n; i++) {
		const struct field *field = &schema->fields[i];
		json_t *value = json_object_get(object, field->name);

		if (json_is_null(value)) {
			json_object_del(object, field->name);
			value = NULL;
		}
		if (value && (field->flags & FIELD_UNSUPPORTED)) {
			if (!schema_is_off(value))
				problems_add(problems, in, field->name, "unsupported",
					     "is not supported here yet; leave it out");
			continue;
		}
		if (value)
			schema_check_value(field, value, in, problems);
		else if (field->flags & FIELD_REQUIRED)
			problems_add(problems, in, field->name, "missing", "is required");
		else if (field->initial)
			json_object_set_new(object, field->name,
					    json_loads(field->initial, JSON_DECODE_ANY, NULL));
	}
}
