/* What needs the operator's key: nodes, tenants, keys. */
#include "common/base/check.h"
#include "scheduler/cli/api.h"
#include "scheduler/cli/output.h"

#include <string.h>
#include <unistd.h>

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

static const struct column copy_columns[] = {
	{"TEMPLATE", "template", COLUMN_TEXT, false}, {"SANDBOX", "sandboxID", COLUMN_TEXT, false},
	{"FROM", "fromNodeID", COLUMN_TEXT, false},   {"TO", "toNodeID", COLUMN_TEXT, false},
	{"STATE", "state", COLUMN_TEXT, false},       {"DONE", "doneBytes", COLUMN_RIGHT, false},
	{"OF", "bytes", COLUMN_RIGHT, false},         {"SINCE", "startedAt", COLUMN_TEXT, false},
	{"WHY", "refusal", COLUMN_TEXT, true},
};
static const struct listing copy_listing = {"copies", "template", copy_columns,
					    ARRAY_N(copy_columns)};

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

/* What an operator calls things by. */
struct named {
	const char *path, *id; /* where they are listed, and the member that is their identity */
	const char *one, *many;
};

static const struct named tenants = {"/v1/tenants", "tenantID", "tenant", "tenants"};
static const struct named nodes = {"/v1/nodes", "nodeID", "node", "nodes"};

/* The row of the one that is wanted by its id, a prefix of it, or its name, as long as only one
 * fits. The caller's. */
static int find(struct cli *cli, const struct named *named, const char *wanted, json_t **out_row)
{
	size_t wanted_n = strlen(wanted), found_n = 0, i;
	json_t *rows, *row;
	int status = api_get(cli, API_AS_OPERATOR, named->path, named->many, &rows);

	*out_row = NULL;
	if (status != STATUS_OK)
		return status;
	json_array_foreach(rows, i, row)
	{
		const char *id = api_text(row, named->id);
		bool is_exact =
			strcmp(id, wanted) == 0 || strcmp(api_text(row, "name"), wanted) == 0;

		if (!is_exact && (wanted_n < 5 || strncmp(id, wanted, wanted_n) != 0))
			continue;
		json_decref(*out_row);
		*out_row = json_incref(row);
		found_n++;
	}
	json_decref(rows);
	if (found_n == 1)
		return STATUS_OK;
	json_decref(*out_row);
	*out_row = NULL;
	if (found_n == 0)
		return cli_fail(cli, STATUS_NOT_FOUND, "there is no %s %s", named->one, wanted);
	return cli_fail(cli, STATUS_USAGE, "%zu %s fit %s: give an id", found_n, named->many,
			wanted);
}

int command_node_ls(struct cli *cli)
{
	return list(cli, "/v1/nodes", &node_listing);
}

int command_node_copies(struct cli *cli)
{
	return list(cli, "/v1/transfers", &copy_listing);
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

/* Asks for one of the node's acts, and prints what is decided of it then. */
static int decide(struct cli *cli, const json_t *node, const char *act)
{
	char path[API_URL_MAX] = "/v1/nodes/", what[128];
	json_t *answer;
	int status;

	api_url_add(path, api_text(node, nodes.id));
	snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", act);
	snprintf(what, sizeof(what), "node %s", api_text(node, "name"));
	status = post(cli, path, what, json_object(), &answer);
	if (status == STATUS_OK)
		output_object(cli, nodes.one, nodes.id, answer, NULL, stdout);
	json_decref(answer);
	return status;
}

static int find_and_decide(struct cli *cli, const char *act)
{
	json_t *node;
	int status = find(cli, &nodes, cli->args.operand[0], &node);

	if (status == STATUS_OK)
		status = decide(cli, node, act);
	json_decref(node);
	return status;
}

int command_node_cordon(struct cli *cli)
{
	return find_and_decide(cli, "cordon");
}

int command_node_uncordon(struct cli *cli)
{
	return find_and_decide(cli, "uncordon");
}

/* What cannot be taken back is done for who types the name, or said so beforehand. */
static int confirm_loss(struct cli *cli, const json_t *node)
{
	const char *id = api_text(node, nodes.id);
	const char *name = api_text(node, "name")[0] ? api_text(node, "name") : id;
	char typed[128] = "";

	if (args_value(&cli->args, "yes"))
		return STATUS_OK;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return cli_fail(cli, STATUS_USAGE,
				"node lost ends all that node %s ran, for good: say --yes", name);
	fprintf(stderr,
		"node %s (%s) will be given up: the %lld sandboxes that it holds end for good.\n"
		"type its name to go on: ",
		name, id,
		(long long)json_integer_value(
			json_object_get(json_object_get(node, "committed"), "sandboxes")));
	if (!fgets(typed, sizeof(typed), stdin))
		fputc('\n', stderr);
	typed[strcspn(typed, "\r\n")] = 0;
	if (strcmp(typed, name) != 0)
		return cli_fail(cli, STATUS_USAGE, "that is not its name: nothing was done");
	return STATUS_OK;
}

int command_node_lost(struct cli *cli)
{
	json_t *node;
	int status = find(cli, &nodes, cli->args.operand[0], &node);

	if (status == STATUS_OK)
		status = confirm_loss(cli, node);
	if (status == STATUS_OK)
		status = decide(cli, node, "lost");
	json_decref(node);
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

int command_key_create(struct cli *cli)
{
	const char *tenant = args_value(&cli->args, "tenant");
	const char *name = args_value(&cli->args, "name");
	char path[API_URL_MAX] = "/v1/tenants/";
	json_t *row, *answer;
	int status;

	if (!tenant)
		return cli_fail(cli, STATUS_USAGE, "key create needs --tenant");
	status = find(cli, &tenants, tenant, &row);
	if (status != STATUS_OK)
		return status;
	api_url_add(path, api_text(row, tenants.id));
	json_decref(row);
	strcat(path, "/keys");
	status = post(cli, path, "key", json_pack("{s:s}", "name", name ? name : "cli"), &answer);
	if (status == STATUS_OK) {
		output_text(cli, "key", api_text(answer, "key"), answer, stdout);
		cli_note(cli, "keep it: it is shown this once");
	}
	json_decref(answer);
	return status;
}
