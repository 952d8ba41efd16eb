/* QMP's lines, taken apart. See qmp_message.h. */
#include "node-agent/vm/qmp_message.h"

#include "common/base/check.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *const event_names[] = {
#define EVENT(name) [QMP_EVENT_##name] = #name,
#include "node-agent/vm/qmp_events.def"
#undef EVENT
};

static enum qmp_event event_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_N(event_names); i++)
		if (strcmp(name, event_names[i]) == 0)
			return (enum qmp_event)i;
	return QMP_EVENT_UNKNOWN;
}

/* A member's text, cut to fit; empty when it is not there or no text. */
static void copy_member(const json_t *object, const char *member, char *out, size_t out_n)
{
	const char *text = json_string_value(json_object_get(object, member));

	snprintf(out, out_n, "%s", text ? text : "");
}

static uint32_t id_of(const json_t *root)
{
	json_int_t id = json_integer_value(json_object_get(root, "id"));

	return id > 0 && id <= UINT32_MAX ? (uint32_t)id : 0;
}

static void read_root(const json_t *root, struct qmp_message *out)
{
	const json_t *member;

	memset(out, 0, sizeof(*out));
	out->kind = QMP_OTHER;
	out->event = QMP_EVENT_UNKNOWN;
	out->id = id_of(root);
	if (json_object_get(root, "QMP")) {
		out->kind = QMP_GREETING;
	} else if ((member = json_object_get(root, "return"))) {
		out->kind = QMP_RETURN;
		copy_member(member, "status", out->status, sizeof(out->status));
		copy_member(member, "error-desc", out->text, sizeof(out->text));
	} else if ((member = json_object_get(root, "error"))) {
		out->kind = QMP_ERROR;
		copy_member(member, "desc", out->text, sizeof(out->text));
	} else if (json_is_string(member = json_object_get(root, "event"))) {
		out->kind = QMP_EVENT;
		out->event = event_of(json_string_value(member));
		member = json_object_get(root, "data");
		copy_member(member, "status", out->status, sizeof(out->status));
		copy_member(member, "reason", out->reason, sizeof(out->reason));
	}
}

int qmp_message_parse(const char *line, size_t line_n, struct qmp_message *out_message,
		      struct err *err)
{
	json_error_t problem;
	json_t *root;

	if (line_n > QMP_LINE_MAX)
		return err_set(err, "QMP: a line of %zu bytes", line_n);
	/* Depth is bounded by jansson's own limit, length by ours. */
	root = json_loadb(line, line_n, 0, &problem);
	if (!root)
		return err_set(err, "QMP: not JSON: %s", problem.text);
	if (!json_is_object(root)) {
		json_decref(root);
		return err_set(err, "QMP: not an object");
	}
	read_root(root, out_message);
	json_decref(root);
	return 0;
}
