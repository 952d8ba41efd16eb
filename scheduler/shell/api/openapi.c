#include "scheduler/shell/api/openapi.h"

#include "common/base/check.h"
#include "scheduler/shell/api/route.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static json_t *openapi_ref(const struct schema *schema)
{
	char path[128];

	snprintf(path, sizeof(path), "#/components/schemas/%s", schema->name);
	return json_pack("{s:s}", "$ref", path);
}

/* "string", or ["string", "null"]. */
static json_t *openapi_type(const char *type, unsigned flags)
{
	if (flags & FIELD_NULLABLE)
		return json_pack("[s,s]", type, "null");
	return json_string(type);
}

static json_t *openapi_value(const struct field *field)
{
	switch (field->type) {
	case FIELD_TYPE_TEXT:
		return json_pack("{s:o,s:I,s:I}", "type", openapi_type("string", field->flags),
				 "minLength", (json_int_t)field->min, "maxLength",
				 (json_int_t)field->max);
	case FIELD_TYPE_INT:
		return json_pack("{s:o,s:I,s:I}", "type", openapi_type("integer", field->flags),
				 "minimum", (json_int_t)field->min, "maximum",
				 (json_int_t)field->max);
	case FIELD_TYPE_BOOL:
		return json_pack("{s:o}", "type", openapi_type("boolean", field->flags));
	case FIELD_TYPE_TIME:
		return json_pack("{s:o,s:s}", "type", openapi_type("string", field->flags),
				 "format", "date-time");
	case FIELD_TYPE_NUMBER:
		return json_pack("{s:s}", "type", "number");
	case FIELD_TYPE_DECIMAL:
		return json_pack("{s:o,s:s}", "type", openapi_type("string", field->flags),
				 "pattern", "^-?[0-9]+(\\.[0-9]+)?$");
	case FIELD_TYPE_TEXT_MAP:
		return json_pack("{s:s,s:{s:s},s:I}", "type", "object", "additionalProperties",
				 "type", "string", "maxProperties", (json_int_t)field->max);
	case FIELD_TYPE_OBJECT:
		return openapi_ref(field->of);
	case FIELD_TYPE_LIST:
		return json_pack("{s:s,s:o,s:I}", "type", "array", "items", openapi_ref(field->of),
				 "maxItems", (json_int_t)field->max);
	case FIELD_TYPE_ANY:
		return json_object();
	}
	return NULL;
}

static json_t *openapi_field(const struct field *field)
{
	json_t *value = openapi_value(field);

	json_object_set_new(value, "description", json_string(field->doc));
	if (field->initial)
		json_object_set_new(value, "default",
				    json_loads(field->initial, JSON_DECODE_ANY, NULL));
	return value;
}

static json_t *openapi_schema(const struct schema *schema)
{
	json_t *properties = json_object(), *required = json_array();
	json_t *out = json_pack("{s:s,s:s,s:o}", "type", "object", "description", schema->doc,
				"properties", properties);

	for (size_t i = 0; i < schema->fields_n; i++) {
		const struct field *field = &schema->fields[i];
		json_object_set_new(properties, field->name, openapi_field(field));
		if (field->flags & FIELD_REQUIRED)
			json_array_append_new(required, json_string(field->name));
	}
	if (json_array_size(required))
		json_object_set(out, "required", required);
	json_decref(required);
	return out;
}

static bool openapi_is_query(const struct schema *schema)
{
	for (size_t i = 0; i < ROUTE_N; i++)
		if (routes[i].query == schema)
			return true;
	return schema == &schema_none;
}

static json_t *openapi_schemas(void)
{
	json_t *out = json_object();

	for (size_t i = 0; schemas[i]; i++)
		if (!openapi_is_query(schemas[i]))
			json_object_set_new(out, schemas[i]->name, openapi_schema(schemas[i]));
	return out;
}

static json_t *openapi_parameters(const struct route *route)
{
	json_t *out = json_array();

	for (const char *open = strchr(route->path, '{'); open; open = strchr(open + 1, '{')) {
		size_t n = strcspn(open + 1, "}");
		json_array_append_new(out, json_pack("{s:s%,s:s,s:b,s:s,s:{s:s}}", "name", open + 1,
						     n, "in", "path", "required", 1, "description",
						     "Its identity", "schema", "type", "string"));
	}
	for (size_t i = 0; i < route->query->fields_n; i++) {
		const struct field *field = &route->query->fields[i];
		json_t *schema = openapi_field(field);
		json_object_del(schema, "description");
		json_array_append_new(out, json_pack("{s:s,s:s,s:b,s:s,s:o}", "name", field->name,
						     "in", "query", "required",
						     (field->flags & FIELD_REQUIRED) != 0,
						     "description", field->doc, "schema", schema));
	}
	if (route->body == &schema_new_sandbox || route->body == &schema_new_sandbox_v2)
		json_array_append_new(
			out,
			json_pack("{s:s,s:s,s:b,s:s,s:{s:s,s:i}}", "name", "Idempotency-Key", "in",
				  "header", "required", 0, "description",
				  "The same key and body start one sandbox, however often sent",
				  "schema", "type", "string", "maxLength", 255));
	return out;
}

static json_t *openapi_answer(const struct route *route)
{
	json_t *schema;

	switch (route->shape) {
	case ROUTE_NOTHING:
		return json_pack("{s:s}", "description", "Done");
	case ROUTE_TEXT:
		return json_pack(
			"{s:s,s:{s:{s:{s:s}}}}", "description", "As summarised", "content",
			route->status == 200 && strstr(route->path, ".json") ? "application/json"
									     : "text/plain",
			"schema", "type", strstr(route->path, ".json") ? "object" : "string");
	case ROUTE_ONE:
	case ROUTE_MANY:
		break;
	}
	schema = openapi_ref(route->answer);
	if (route->shape == ROUTE_MANY)
		schema = json_pack("{s:s,s:o}", "type", "array", "items", schema);
	return json_pack("{s:s,s:{s:{s:o}}}", "description", route->answer->doc, "content",
			 "application/json", "schema", schema);
}

static void openapi_add_error(json_t *responses, const struct route *route, int status)
{
	bool ours = route_path_is_ours(route->path);
	char code[8];

	snprintf(code, sizeof(code), "%d", status);
	json_object_set_new(responses, code,
			    json_pack("{s:s,s:{s:{s:o}}}", "description", "Refused", "content",
				      ours ? "application/problem+json" : "application/json",
				      "schema",
				      openapi_ref(ours ? &schema_problem : &schema_error)));
}

static json_t *openapi_responses(const struct route *route)
{
	json_t *out = json_object();
	char code[8];

	snprintf(code, sizeof(code), "%d", route->status);
	json_object_set_new(out, code, openapi_answer(route));
	for (size_t i = 0; i < ROUTE_ERRORS_MAX && route->errors[i]; i++)
		openapi_add_error(out, route, route->errors[i]);
	openapi_add_error(out, route, 400);
	openapi_add_error(out, route, 503);
	if (route->who == ROUTE_ANYONE)
		return out;
	openapi_add_error(out, route, 401);
	openapi_add_error(out, route, 403);
	openapi_add_error(out, route, 429);
	if (strchr(route->path, '{') || route->body == &schema_new_sandbox ||
	    route->body == &schema_new_sandbox_v2)
		openapi_add_error(out, route, 404);
	if (route->body != &schema_none)
		openapi_add_error(out, route, 413);
	return out;
}

static const char *openapi_tag(const struct route *route)
{
	if (!route_path_is_ours(route->path))
		return route->who == ROUTE_ANYONE ? "health" : "sandboxes";
	return route->who == ROUTE_GATEWAY ? "gateway"
	       : route->who & ROUTE_TENANT ? "tenants"
					   : "operators";
}

static json_t *openapi_operation(const struct route *route)
{
	json_t *out = json_pack("{s:s,s:s,s:[s],s:o,s:o}", "operationId", route->id, "summary",
				route->summary, "tags", openapi_tag(route), "parameters",
				openapi_parameters(route), "responses", openapi_responses(route));

	if (route->who == ROUTE_ANYONE)
		json_object_set_new(out, "security", json_array());
	if (route->body != &schema_none)
		json_object_set_new(out, "requestBody",
				    json_pack("{s:b,s:{s:{s:o}}}", "required", 1, "content",
					      "application/json", "schema",
					      openapi_ref(route->body)));
	return out;
}

static json_t *openapi_paths(void)
{
	json_t *out = json_object();

	for (size_t i = 0; i < ROUTE_N; i++) {
		json_t *path = json_object_get(out, routes[i].path);
		char method[16] = "";
		const char *name = route_method_name(routes[i].method);

		for (size_t j = 0; name[j]; j++)
			method[j] = (char)tolower((unsigned char)name[j]);
		if (!path) {
			path = json_object();
			json_object_set_new(out, routes[i].path, path);
		}
		json_object_set_new(path, method, openapi_operation(&routes[i]));
	}
	return out;
}

json_t *openapi_make(const char *version)
{
	json_t *out = json_pack(
		"{s:s,s:{s:s,s:s,s:s,s:{s:s,s:s}},s:[{s:s}],s:[{s:s,s:s},{s:s,s:s},{s:s,s:s},"
		"{s:s,s:s}],s:[{s:[]},{s:[]}],s:o,s:{s:o,s:{s:{s:s,s:s,s:s},s:{s:s,s:s}}}}",
		"openapi", "3.1.0", "info", "title", "Flotilla", "version", version, "description",
		"Sandboxes for untrusted code, on microVMs. E2B's paths, and Flotilla's own below "
		"/v1.",
		"license", "name", "Apache-2.0", "identifier", "Apache-2.0", "servers", "url", "/",
		"tags", "name", "sandboxes", "description", "E2B's operations", "name", "tenants",
		"description", "What a tenant may ask", "name", "operators", "description",
		"What an operator may ask", "name", "health", "description", "Of the scheduler",
		"security", "apiKey", "bearer", "paths", openapi_paths(), "components", "schemas",
		openapi_schemas(), "securitySchemes", "apiKey", "type", "apiKey", "in", "header",
		"name", "X-API-Key", "bearer", "type", "http", "scheme", "bearer");

	CHECK(out);
	return out;
}
