/* `ha`: several schedulers with etcd, which is asked directly. */
#include "common/base/check.h"
#include "scheduler/cli/output.h"
#include "scheduler/ha/admin.h"

#include <inttypes.h>
#include <string.h>

static int options_of(struct cli *cli, struct admin_options *out)
{
	const char *state_dir = args_value(&cli->args, "state-dir");

	*out = (struct admin_options){
		.endpoints = args_value(&cli->args, "etcd"),
		.ca_file = args_value(&cli->args, "etcd-ca"),
		.state_dir = state_dir ? state_dir : "/var/lib/flotilla/scheduler",
		.data = cli,
	};
	if (!out->endpoints)
		return cli_fail(cli, STATUS_USAGE,
				"--etcd says where etcd is: http://HOST:2379,...");
	return STATUS_OK;
}

static void on_progress(void *data, int64_t done, int64_t all)
{
	char text[96];

	snprintf(text, sizeof(text), "%" PRId64 " of %" PRId64 " decisions", done, all);
	cli_progress(data, text);
}

int command_ha_init(struct cli *cli)
{
	struct admin_options options;
	struct admin_init done;
	struct err err;
	int status = options_of(cli, &options);

	if (status != STATUS_OK)
		return status;
	options.on_progress = on_progress;
	if (admin_init(&options, &done, &err))
		return cli_fail(cli, STATUS_FAILED, "%s", err.text);
	cli_progress(cli, NULL);
	json_t *object = json_pack("{s:s, s:I, s:I}", "etcd", options.endpoints, "decisions",
				   (json_int_t)done.decisions_n, "epochBase",
				   (json_int_t)done.fleet.epoch_base);
	output_object(cli, "fleet", "etcd", object, NULL, stdout);
	json_decref(object);
	cli_note(cli,
		 "from now on start this scheduler with --etcd. A further replica needs copies "
		 "of fleet.key, key.pepper, bus.key, vault.key and operator.key before its first "
		 "start");
	return STATUS_OK;
}

static json_t *peer_object(const struct ha_peer *peer, bool leads)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "name", peer->name, "role",
			 leads ? "leader" : "standby", "api", peer->api, "bus", peer->bus);
}

static json_t *replicas_array(const struct admin_status *fleet)
{
	json_t *array = json_array();
	bool has_leader = false;

	for (size_t i = 0; i < fleet->replicas_n; i++) {
		bool leads = fleet->has_leader &&
			     strcmp(fleet->replicas[i].name, fleet->leader.name) == 0;

		has_leader |= leads;
		json_array_append_new(array, peer_object(&fleet->replicas[i], leads));
	}
	/* One that has just begun may not have written its own key yet. */
	if (fleet->has_leader && !has_leader)
		json_array_append_new(array, peer_object(&fleet->leader, true));
	return array;
}

int command_ha_status(struct cli *cli)
{
	static const struct column columns[] = {
		{"REPLICA", "name", COLUMN_TEXT, false},
		{"ROLE", "role", COLUMN_TEXT, false},
		{"API", "api", COLUMN_TEXT, false},
		{"BUS", "bus", COLUMN_TEXT, false},
	};
	static const struct listing listing = {"replicas", "name", columns, ARRAY_N(columns)};
	static struct admin_status fleet;
	struct admin_options options;
	struct err err;
	int status = options_of(cli, &options);

	if (status != STATUS_OK)
		return status;
	if (admin_status(&options, &fleet, &err))
		return cli_fail(cli, STATUS_TRY_AGAIN, "%s", err.text);
	if (!fleet.has_fleet)
		return cli_fail(cli, STATUS_NOT_FOUND,
				"etcd knows no fleet: run `flotilla ha init` on the host of the "
				"scheduler that keeps the books");
	json_t *replicas = replicas_array(&fleet);
	if (!cli_prints_json(cli)) {
		output_list(cli, &listing, replicas, stdout);
		json_decref(replicas);
		cli_note(cli,
			 "%s epoch %" PRIu64 ", %" PRId64 " decisions at revision %" PRId64
			 " of %s",
			 fleet.has_leader ? "led in" : "nobody leads; base",
			 fleet.has_leader ? fleet.epoch : fleet.fleet.epoch_base, fleet.decisions_n,
			 fleet.revision, fleet.endpoint);
		return STATUS_OK;
	}
	json_t *object = json_pack("{s:o, s:s, s:I, s:I, s:I, s:s}", "replicas", replicas, "leader",
				   fleet.has_leader ? fleet.leader.name : "", "epoch",
				   (json_int_t)(fleet.has_leader ? fleet.epoch : 0), "decisions",
				   (json_int_t)fleet.decisions_n, "revision",
				   (json_int_t)fleet.revision, "endpoint", fleet.endpoint);
	output_object(cli, "fleet", "leader", object, NULL, stdout);
	json_decref(object);
	return STATUS_OK;
}
