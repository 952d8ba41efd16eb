/* `backup` and `ledger`: on a daemon's own host, with its files; no API is asked. */
#include "common/base/check.h"
#include "scheduler/cli/output.h"
#include "scheduler/shell/store/backup.h"

#include <inttypes.h>
#include <sodium.h>
#include <string.h>

enum { PROGRESS_STEP = 64 }; /* lines for a whole piece of work */

static void on_progress(void *data, const char *what, int64_t done, int64_t all)
{
	static int64_t last = -1;
	const struct cli *cli = data;
	int64_t step = all > 0 ? done * PROGRESS_STEP / all : 0;
	char text[128];

	if (step == last)
		return;
	last = step;
	snprintf(text, sizeof(text), "%s: %" PRId64 "%% of %" PRId64, what,
		 all > 0 ? done * 100 / all : 0, all);
	cli_progress(cli, text);
}

static struct backup_options options_of(struct cli *cli)
{
	return (struct backup_options){
		.kind = args_value(&cli->args, "agent") ? BACKUP_AGENT : BACKUP_SCHEDULER,
		.with_secrets = args_value(&cli->args, "with-secrets"),
		.force = args_value(&cli->args, "force"),
		.on_progress = on_progress,
		.data = cli,
	};
}

static const char *state_dir(struct cli *cli)
{
	const char *given = args_value(&cli->args, "state-dir");

	if (given)
		return given;
	return args_value(&cli->args, "agent") ? "/var/lib/flotilla/agent"
					       : "/var/lib/flotilla/scheduler";
}

static void add_chain(json_t *object, const struct backup_report *report)
{
	char hex[BACKUP_HASH_N * 2 + 1];

	if (!report->chain_verified)
		return;
	sodium_bin2hex(hex, sizeof(hex), report->chain_hash, BACKUP_HASH_N);
	json_object_set_new(object, "facts", json_integer(report->events_n));
	json_object_set_new(object, "chain", json_string(hex));
	json_object_set_new(object, "heads", json_integer(report->heads_n));
	json_object_set_new(object, "lastHead", json_integer(report->head_event));
	json_object_set_new(object, "signatures",
			    json_string(report->signatures_checked
						? "checked"
						: "not checked: there is no bus.key"));
}

static json_t *report_object(const char *path, const struct backup_report *report)
{
	json_t *object = json_object(), *files = json_array();

	json_object_set_new(object, "path", json_string(path));
	json_object_set_new(object, "of", json_string(backup_kinds[report->manifest.kind].name));
	json_object_set_new(object, "made", json_string(report->manifest.made_at));
	json_object_set_new(object, "secrets", json_boolean(report->has_secrets));
	for (int i = 0; i < report->manifest.files_n; i++)
		json_array_append_new(files, json_pack("{s:s,s:I}", "name",
						       report->manifest.files[i].name, "bytes",
						       (json_int_t)report->manifest.files[i].size));
	json_object_set_new(object, "files", files);
	add_chain(object, report);
	return object;
}

static void print(struct cli *cli, const char *kind, json_t *object)
{
	cli_progress(cli, NULL);
	output_object(cli, kind, "path", object, NULL, stdout);
	json_decref(object);
}

int command_backup_create(struct cli *cli)
{
	const char *out = cli->args.operand[0];
	struct backup_options options = options_of(cli);
	static struct backup_report report;
	struct err err;

	if (backup_create(state_dir(cli), out, &options, &report, &err))
		return cli_fail(cli, STATUS_FAILED, "%s", err.text);
	print(cli, "backup", report_object(out, &report));
	if (!options.with_secrets)
		cli_note(cli, "without secrets: a restore needs those of %s beside it",
			 state_dir(cli));
	return STATUS_OK;
}

int command_backup_verify(struct cli *cli)
{
	const char *copy = cli->args.operand[0];
	struct backup_options options = options_of(cli);
	static struct backup_report report;
	struct err err;

	if (backup_verify(copy, &options, &report, &err))
		return cli_fail(cli, STATUS_FAILED, "%s: %s", copy, err.text);
	print(cli, "backup", report_object(copy, &report));
	if (report.manifest.kind == BACKUP_SCHEDULER && !report.chain_verified)
		cli_note(cli, "of an older version: the ledger's chain is verified by a restore");
	return STATUS_OK;
}

int command_backup_restore(struct cli *cli)
{
	const char *copy = cli->args.operand[0], *dir = args_value(&cli->args, "state-dir");
	struct backup_options options = options_of(cli);
	static struct backup_report report;
	json_t *object;
	struct err err;

	if (!dir)
		return cli_fail(cli, STATUS_USAGE, "--state-dir says where to");
	if (backup_restore(copy, dir, &options, &report, &err))
		return cli_fail(cli, STATUS_FAILED, "%s", err.text);
	object = report_object(dir, &report);
	json_object_set_new(object, "epoch", json_integer(report.epoch));
	if (report.replaced[0])
		json_object_set_new(object, "replaced", json_string(report.replaced));
	print(cli, "restore", object);
	if (!report.has_secrets)
		cli_note(cli,
			 "the copy has no secrets: before the start put fleet.key, key.pepper, "
			 "bus.key, vault.key and operator.key into %s, or no node, no API key and "
			 "no "
			 "secret's value is known",
			 dir);
	return STATUS_OK;
}

int command_ledger_verify(struct cli *cli)
{
	struct backup_options options = options_of(cli);
	static struct backup_report report;
	const char *dir = state_dir(cli);
	json_t *object;
	struct err err;

	if (backup_verify_ledger(dir, &options, &report, &err))
		return cli_fail(cli, STATUS_FAILED, "%s: %s", dir, err.text);
	object = json_pack("{s:s}", "path", dir);
	add_chain(object, &report);
	print(cli, "ledger", object);
	return STATUS_OK;
}
