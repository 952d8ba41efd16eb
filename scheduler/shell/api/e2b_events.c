/* What happened to sandboxes: GET /events/sandboxes and /events/sandboxes/{id}. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const char *const event_names[] = {
#define EVENT(number, upper, name, running) [number] = name,
#include "scheduler/shell/observe/events.def"
#undef EVENT
};

void api_uuid(const char *kind, const char *name, int64_t number, char out_text[API_UUID_MAX])
{
	char seed[256];
	uint8_t hash[16];
	int n = snprintf(seed, sizeof(seed), "%s %s %lld", kind, name, (long long)number);

	CHECK(n > 0 && n < (int)sizeof(seed));
	crypto_generichash(hash, sizeof(hash), (const uint8_t *)seed, (unsigned long long)n, NULL,
			   0);
	hash[6] = (uint8_t)(0x80 | (hash[6] & 0x0f)); /* version 8: made by a rule of our own */
	hash[8] = (uint8_t)(0x80 | (hash[8] & 0x3f));
	snprintf(out_text, API_UUID_MAX,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", hash[0],
		 hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7], hash[8], hash[9],
		 hash[10], hash[11], hash[12], hash[13], hash[14], hash[15]);
}

/* Of the current row. */
static json_t *event_json(struct api_call *call, struct sqlite *reader,
			  enum observations_read statement)
{
	const char *node = sqlite_text(reader, statement, 0);
	const char *sandbox = sqlite_text(reader, statement, 3);
	const char *template_ = sqlite_text(reader, statement, 5);
	int64_t seq = sqlite_int(reader, statement, 1), type = sqlite_int(reader, statement, 2);
	int64_t until_ms = sqlite_int(reader, statement, 8);
	char id[API_UUID_MAX], execution[API_UUID_MAX];
	struct api_template_label label;
	json_t *data = json_null();

	api_uuid("event", node, seq * 16 + type, id);
	api_template_label(call, template_, &label);
	api_uuid("execution", sandbox, sqlite_int(reader, statement, 6), execution);
	if (until_ms)
		data = json_pack("{s:o}", "set_timeout", api_time(until_ms * NS_PER_MS));
	return json_pack("{s:s,s:s,s:s,s:o,s:s,s:s,s:s,s:s,s:s,s:o}", "version", "v1", "id", id,
			 "type", event_names[type], "eventData", data, "sandboxBuildId",
			 label.build, "sandboxExecutionId", execution, "sandboxId", sandbox,
			 "sandboxTeamId", sqlite_text(reader, statement, 4), "sandboxTemplateId",
			 label.id.text, "timestamp",
			 api_time(sqlite_int(reader, statement, 7) * NS_PER_MS));
}

/* Names joined by commas, as bits by number; 0: any.  False: the call is ended. */
static bool event_types(struct api_call *call, int64_t *out_bits)
{
	const char *text = api_text(call->query, "types");

	*out_bits = 0;
	while (text && *text) {
		size_t n = strcspn(text, ",");
		int64_t before = *out_bits;
		for (size_t i = 1; i < ARRAY_N(event_names); i++)
			if (strlen(event_names[i]) == n && memcmp(event_names[i], text, n) == 0)
				*out_bits |= 1 << i;
		/* E2B has ones that do not happen here: they are asked for in vain. */
		if (*out_bits == before &&
		    (n < 18 || memcmp(text, "sandbox.lifecycle.", 18) != 0)) {
			api_fail(call, 400, "invalid_request", "",
				 "types: should be names of lifecycle events");
			return false;
		}
		*out_bits |= *out_bits == 0; /* no event is of type 0 */
		text += n + (text[n] == ',');
	}
	return true;
}

static void events_answer(struct api_call *call, struct sqlite *reader, const struct id *tenant,
			  const struct id *sandbox)
{
	bool is_oldest = json_is_true(json_object_get(call->query, "orderAsc"));
	enum observations_read statement =
		sandbox ? (is_oldest ? OBSERVATIONS_READ_EVENTS_OF_OLDEST
				     : OBSERVATIONS_READ_EVENTS_OF_NEWEST)
			: (is_oldest ? OBSERVATIONS_READ_EVENTS_OLDEST
				     : OBSERVATIONS_READ_EVENTS_NEWEST);
	json_t *rows = json_array();
	int64_t types;
	struct err err;
	int got;

	if (!event_types(call, &types)) {
		json_decref(rows);
		return;
	}
	got = sqlite_bind(reader, statement,
			  SQL(SQL_TEXT(tenant->text), SQL_TEXT(sandbox ? sandbox->text : NULL),
			      SQL_INT(api_int(call->query, "limit", 10)),
			      SQL_INT(api_int(call->query, "offset", 0)), SQL_INT(types)),
			  &err);
	while (got >= 0 && (got = sqlite_next(reader, statement, &err)) == 1)
		json_array_append_new(rows, event_json(call, reader, statement));
	if (got == 0) {
		api_answer(call, rows);
		return;
	}
	json_decref(rows);
	api_fail_store(call, &err);
}

void api_sandbox_events(struct api_call *call)
{
	struct core_sandbox row;
	struct sqlite *reader = api_observed(call, &row);

	if (reader)
		events_answer(call, reader, &row.tenant, &row.id);
}

void api_events(struct api_call *call)
{
	struct sqlite *reader = api_observations(call);

	if (reader)
		events_answer(call, reader, &call->tenant, NULL);
}
