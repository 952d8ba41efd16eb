/* What a guest answers to GET /observations. See observe.h. */
#include "node-agent/shim/observe.h"

#include "common/base/units.h"

#include <jansson.h>

static uint64_t number_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	json_int_t number = json_is_integer(value) ? json_integer_value(value) : 0;

	return number > 0 ? (uint64_t)number : 0;
}

static void read_metrics(const json_t *metrics, struct observe_answer *out)
{
	uint64_t vcpus = number_of(metrics, "cpu_count");
	double used = json_number_value(json_object_get(metrics, "cpu_used_pct"));

	out->sample = (struct wire_sample){
		.vcpus = vcpus <= 4096 ? (uint32_t)vcpus : 4096,
		.mem_used = number_of(metrics, "mem_used"),
		.mem_total = number_of(metrics, "mem_total"),
		.mem_cache = number_of(metrics, "mem_cache"),
		.disk_used = number_of(metrics, "disk_used"),
		.disk_total = number_of(metrics, "disk_total"),
	};
	out->cpu_used_pct = used > 0 ? (used < 100 ? used : 100) : 0; /* and not for what is none */
}

/* A guest's clock can say anything; a line can only be of this sandbox's time. */
static int64_t within(json_int_t at_ms, int64_t since_ns, int64_t now_ns)
{
	if (at_ms <= since_ns / NS_PER_MS)
		return since_ns;
	return at_ms >= now_ns / NS_PER_MS ? now_ns : at_ms * NS_PER_MS;
}

/* [at_ms, event, pid, text] */
static bool read_line(const json_t *row, bool is_first, int64_t since_ns, int64_t now_ns,
		      struct wire_log_line *out)
{
	json_int_t at_ms = json_integer_value(json_array_get(row, 0));
	json_int_t event = json_integer_value(json_array_get(row, 1));
	json_int_t pid = json_integer_value(json_array_get(row, 2));
	const json_t *text = json_array_get(row, 3);

	if (!json_is_string(text) || (is_first && at_ms < since_ns / NS_PER_MS - 1000))
		return false;
	if (event < WIRE_LOG_STDOUT || event > WIRE_LOG_ENDED)
		return false;
	*out = (struct wire_log_line){
		.at_wall_ns = within(at_ms, since_ns, now_ns),
		.event = (enum wire_log_event)event,
		.pid = pid > 0 && pid <= INT32_MAX ? (uint32_t)pid : 0,
		.text = {(const uint8_t *)json_string_value(text), json_string_length(text)},
	};
	return out->text.n <= WIRE_LOG_TEXT_MAX;
}

bool observe_read(const char *body, size_t body_n, bool is_first, int64_t since_wall_ns,
		  int64_t now_wall_ns, struct observe_answer *out, struct json_t **out_document)
{
	json_t *document = json_loadb(body, body_n, 0, NULL);
	const json_t *lines = json_object_get(document, "lines"), *row;
	size_t i, text_n = 0;

	*out = (struct observe_answer){0};
	if (!json_is_object(json_object_get(document, "metrics")) || !json_is_array(lines)) {
		json_decref(document);
		return false;
	}
	read_metrics(json_object_get(document, "metrics"), out);
	out->next = number_of(document, "next");
	out->lost_n = number_of(document, "lost");
	json_array_foreach(lines, i, row)
	{
		struct wire_log_line *line = &out->lines[out->lines_n];
		if (out->lines_n == OBSERVE_LINES_MAX)
			break;
		if (!read_line(row, is_first, since_wall_ns, now_wall_ns, line))
			continue;
		if (text_n + line->text.n > OBSERVE_TEXT_MAX)
			break;
		text_n += line->text.n;
		out->lines_n++;
	}
	out->has_more = json_array_size(lines) >= OBSERVE_LINES_MAX / 2;
	*out_document = document;
	return true;
}
