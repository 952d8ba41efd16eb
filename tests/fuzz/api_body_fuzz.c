/* Bodies: the first byte picks the schema; what passes its check has the types it promises. */
#include "scheduler/shell/api/schema.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(int kept)
{
	if (!kept)
		abort();
}

static void require_types(const struct schema *schema, const json_t *object)
{
	for (size_t i = 0; i < schema->fields_n; i++) {
		const struct field *field = &schema->fields[i];
		const json_t *value = json_object_get(object, field->name);
		int64_t at;

		require(value || !(field->flags & FIELD_REQUIRED));
		if (!value || (field->flags & FIELD_UNSUPPORTED))
			continue;
		if (field->type == FIELD_TYPE_INT)
			require(json_is_integer(value) && json_integer_value(value) >= field->min &&
				json_integer_value(value) <= field->max);
		if (field->type == FIELD_TYPE_TEXT)
			require(json_is_string(value) &&
				(int64_t)json_string_length(value) <= field->max);
		if (field->type == FIELD_TYPE_TIME)
			require(time_parse(json_string_value(value), &at));
		if (field->type == FIELD_TYPE_TEXT_MAP)
			require(json_is_object(value));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct problems problems = {0};
	size_t schemas_n = 0;
	json_t *body;

	while (schemas[schemas_n])
		schemas_n++;
	if (n == 0)
		return 0;
	body = schema_parse_body((const char *)data + 1, n - 1, &problems);
	if (!body)
		return 0;
	schema_check(schemas[data[0] % schemas_n], body, "body", &problems);
	if (problems.n == 0)
		require_types(schemas[data[0] % schemas_n], body);
	json_decref(body);
	return 0;
}
