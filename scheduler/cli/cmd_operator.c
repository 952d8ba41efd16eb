/* What needs the operator's key: nodes, tenants, keys. */
#include "common/base/check.h"
#include "scheduler/cli/api.h"
#include "scheduler/cli/output.h"

#include <string.h>

static const struct column node_columns[] = {
	{"NODE", "nodeID", COLUMN_TEXT, false},
	{"NAME", "name", COLUMN_TEXT, false},
	{"STATE", "state", COLUMN_TEXT, false},
	{"VERSION", "version", COLUMN_TEXT, true},
	{"VCPUS", "committed.vcpus", COLUMN_RIGHT, false},
	{"OF", "capacity.vcpus", COLUMN_RIGHT, false},
	{"MIB", "committed.memoryMiB", COLUMN_RIGHT, false},
	{"OF", "capacity.memoryMiB", COLUMN_RIGHT, false},
	{"SANDBOXES", "committed.sandboxes", COLUMN_RIGHT, false},
	{"OF", "capacity.sandboxes", COLUMN_RIGHT, false},
	{"TEMPLATES", "templates", COLUMN_LIST, true},
	{"SEEN", "lastSeenAt", COLUMN_TEXT, false},
	{"TROUBLE", "trouble", COLUMN_TEXT, true},
};
static const struct listing node_listing = {"nodes", "nodeID", node_columns, ARRAY_N(node_columns)};

static const struct column tenant_columns[] = {
	{"TENANT", "tenantID", COLUMN_TEXT, false},
	{"NAME", "name", COLUMN_TEXT, false},
	{"PLAN", "plan", COLUMN_TEXT, false},
};
static const struct listing tenant_listing = {"tenants", "tenantID", tenant_columns,
					      ARRAY_N(tenant_columns)};

static int list(struct cli *cli, const char *path, const struct listing *listing)
{
	json_t *answer;
	int status = api_get(cli, API_AS_OPERATOR, path, listing->kind, &answer);

	if (status == STATUS_OK)
		output_list(cli, listing, answer, stdout);
	json_decref(answer);
	return status;
}

/* body is taken. */
static int post(struct cli *cli, const char *path, const char *what, json_t *body,
		json_t **out_answer)
{
	struct api_call call = {
		.who = API_AS_OPERATOR, .method = "POST", .path = path, .body = body, .what = what};
	int status;

	*out_answer = NULL;
	if (!body)
		return cli_fail(cli, STATUS_USAGE, "%s: not in UTF-8", what);
	status = api_call(cli, &call, out_answer);
	json_decref(body);
	return status;
}

int command_node_ls(struct cli *cli)
{
	return list(cli, "/v1/nodes", &node_listing);
}

int command_node_token(struct cli *cli)
{
	const char *ttl = args_value(&cli->args, "ttl");
	int64_t ttl_s = 3600;
	json_t *answer;
	int status;

	if (ttl && !api_seconds(ttl, &ttl_s))
		return cli_fail(cli, STATUS_USAGE, "--ttl %s: write it like 15m or 2h", ttl);
	status = post(cli, "/v1/nodes/tokens", "enrolment token",
		      json_pack("{s:I}", "ttl_s", (json_int_t)ttl_s), &answer);
	if (status == STATUS_OK)
		output_text(cli, "token", api_text(answer, "token"), answer, stdout);
	json_decref(answer);
	return status;
}

int command_tenant_ls(struct cli *cli)
{
	return list(cli, "/v1/tenants", &tenant_listing);
}

int command_tenant_add(struct cli *cli)
{
	const char *plan = args_value(&cli->args, "plan");
	json_t *answer;
	int status = post(cli, "/v1/tenants", "tenant",
			  json_pack("{s:s, s:s}", "name", cli->args.operand[0], "plan",
				    plan ? plan : "hobby"),
			  &answer);

	if (status == STATUS_OK)
		output_object(cli, "tenant", "tenantID", answer, NULL, stdout);
	json_decref(answer);
	return status;
}

/* A tenant by its id, a prefix of it, or its name, as long as only one fits. */
static int tenant_id(struct cli *cli, const char *wanted, char out_id[64])
{
	size_t wanted_n = strlen(wanted), found_n = 0, i;
	json_t *tenants, *tenant;
	int status = api_get(cli, API_AS_OPERATOR, "/v1/tenants", "tenants", &tenants);

	if (status != STATUS_OK)
		return status;
	json_array_foreach(tenants, i, tenant)
	{
		const char *id = api_text(tenant, "tenantID");
		bool is_exact =
			strcmp(id, wanted) == 0 || strcmp(api_text(tenant, "name"), wanted) == 0;

		if (!is_exact && (wanted_n < 5 || strncmp(id, wanted, wanted_n) != 0))
			continue;
		snprintf(out_id, 64, "%s", id);
		found_n++;
	}
	json_decref(tenants);
	if (found_n == 0)
		return cli_fail(cli, STATUS_NOT_FOUND, "there is no tenant %s", wanted);
	if (found_n > 1)
		return cli_fail(cli, STATUS_USAGE, "%zu tenants fit %s: give an id", found_n,
				wanted);
	return STATUS_OK;
}

int command_key_create(struct cli *cli)
{
	const char *tenant = args_value(&cli->args, "tenant");
	const char *name = args_value(&cli->args, "name");
	char id[64], path[API_URL_MAX] = "/v1/tenants/";
	json_t *answer;
	int status;

	if (!tenant)
		return cli_fail(cli, STATUS_USAGE, "key create needs --tenant");
	status = tenant_id(cli, tenant, id);
	if (status != STATUS_OK)
		return status;
	api_url_add(path, id);
	strcat(path, "/keys");
	status = post(cli, path, "key", json_pack("{s:s}", "name", name ? name : "cli"), &answer);
	if (status == STATUS_OK) {
		output_text(cli, "key", api_text(answer, "key"), answer, stdout);
		cli_note(cli, "keep it: it is shown this once");
	}
	json_decref(answer);
	return status;
}
