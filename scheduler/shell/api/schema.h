/*
 * What requests and answers look like, declared once in schemas.def: validation, defaults and
 * OpenAPI are made from the same rows.  Pure.
 */
#ifndef FLOTILLA_API_SCHEMA_H
#define FLOTILLA_API_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
	FIELD_TYPE_TEXT,   /* min..max: bytes */
	FIELD_TYPE_INT,    /* min..max: values */
	FIELD_TYPE_NUMBER, /* only in answers */
	FIELD_TYPE_BOOL,
	FIELD_TYPE_TIME,     /* RFC 3339 */
	FIELD_TYPE_DECIMAL,  /* an exact number as text */
	FIELD_TYPE_TEXT_MAP, /* an object of texts; max: of entries */
	FIELD_TYPE_OBJECT,   /* of: its schema */
	FIELD_TYPE_LIST,     /* of objects of a schema */
	FIELD_TYPE_ANY,      /* no further rules */
};

enum {
	FIELD_REQUIRED = 1,
	FIELD_NULLABLE = 2,    /* of answers; in a request null always means absent */
	FIELD_REPEATED = 8,    /* of a query: given several times, it is joined by commas */
	FIELD_UNSUPPORTED = 4, /* known, but only its "off" value is accepted: false, {}, [] … */
};

struct schema;

struct field {
	const char *name;
	enum field_type type;
	unsigned flags;
	int64_t min, max;
	const char *initial; /* the default, as JSON; NULL: none */
	const struct schema *of;
	const char *doc;
};

struct schema {
	const char *name; /* as OpenAPI calls it */
	const char *doc;
	const struct field *fields;
	size_t fields_n;
};

#define SCHEMA(id, name, doc) extern const struct schema schema_##id;
#define FIELD(name, type, flags, min, max, initial, of, doc)
#define END(id)
#include "scheduler/shell/api/schemas.def"
#undef SCHEMA
#undef FIELD
#undef END

/* Every schema in the order of schemas.def; NULL behind the last. */
extern const struct schema *const schemas[];

enum {
	PROBLEMS_MAX = 8,
	PROBLEM_TEXT_MAX = 160,
	JSON_DEPTH_MAX = 16,
};

/* What is wrong with a request: where, in words, and in FastAPI's. */
struct problem {
	const char *in;    /* "body", "query", "path" */
	const char *field; /* "" for the whole */
	char text[PROBLEM_TEXT_MAX];
	const char *type; /* "missing", "int_type", "less_than_equal", … */
};

struct problems {
	size_t n; /* those beyond PROBLEMS_MAX are not kept */
	struct problem items[PROBLEMS_MAX];
};

void problems_add(struct problems *problems, const char *in, const char *field, const char *type,
		  const char *format, ...) __attribute__((format(printf, 5, 6)));

/* JSON text to an object, bounded in depth; an empty text is an empty object. NULL: a problem. */
json_t *schema_parse_body(const char *text, size_t text_n, struct problems *problems);

/* A raw query ("a=1&b=%20") to an object with the types of the schema; unknown names are skipped.
 * NULL: a problem. */
json_t *schema_parse_query(const struct schema *schema, const char *query,
			   struct problems *problems);

/* Checks every field, drops nulls and fills in defaults. Unknown fields are left alone. */
void schema_check(const struct schema *schema, json_t *object, const char *in,
		  struct problems *problems);

/* RFC 3339 and UTC nanoseconds. Formats with milliseconds, "2026-11-22T10:00:00.000Z". */
enum { TIME_TEXT_MAX = 40 };
bool time_parse(const char *text, int64_t *out_ns);
void time_format(int64_t ns, char out_text[TIME_TEXT_MAX]);

#endif
