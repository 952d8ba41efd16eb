/* `flotilla ha status`: what etcd says of the fleet, at one revision. */
#include "scheduler/ha/admin.h"
#include "scheduler/ha/ask.h"
#include "scheduler/ha/codec.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

struct status_question {
	struct admin_status *out;
	struct err err;
	bool failed;
};

static int status_take(struct admin_status *out, const struct etcd_kv *kv, struct err *err)
{
	if (strcmp(kv->key, HA_KEY_FLEET) == 0) {
		out->has_fleet = true;
		return fleet_decode(kv, &out->fleet, err);
	}
	if (strcmp(kv->key, HA_KEY_LEADER) == 0) {
		out->has_leader = true;
		out->epoch = (uint64_t)kv->create_revision;
		return fleet_peer_decode(kv, &out->leader, err);
	}
	if (out->replicas_n == ADMIN_REPLICAS_MAX)
		return 0;
	return fleet_peer_decode(kv, &out->replicas[out->replicas_n++], err);
}

static void status_on_answer(void *data, const struct etcd_answer *answer)
{
	struct status_question *question = data;
	struct admin_status *out = question->out;

	out->revision = answer->revision;
	for (size_t i = 0; i < answer->kvs_n; i++)
		if (status_take(out, &answer->kvs[i], &question->err))
			question->failed = true;
	/* Of all ranges together: what is no decision has its key here. */
	out->decisions_n = answer->count - (int64_t)answer->kvs_n;
	if (out->has_leader && out->has_fleet)
		out->epoch += out->fleet.epoch_base;
}

int admin_status(const struct admin_options *options, struct admin_status *out, struct err *err)
{
	struct status_question question = {.out = out};
	struct etcd_op reads[] = {
		{.kind = ETCD_OP_RANGE, .range = {.key = HA_KEY_FLEET}},
		{.kind = ETCD_OP_RANGE, .range = {.key = HA_KEY_LEADER}},
		{.kind = ETCD_OP_RANGE, .range = {.key = HA_KEY_REPLICA, .is_prefix = true}},
		{.kind = ETCD_OP_RANGE,
		 .range = {.key = CODEC_PREFIX, .is_prefix = true, .only_count = true}},
	};
	struct etcd_txn txn = {.success = reads, .success_n = ARRAY_N(reads)};
	struct ask ask;

	memset(out, 0, sizeof(*out));
	if (ask_open(&ask, options->endpoints, options->ca_file, err))
		return -1;
	enum etcd_outcome outcome = ask_txn(&ask, &txn, status_on_answer, &question);
	snprintf(out->endpoint, sizeof(out->endpoint), "%s", etcd_endpoint(ask.etcd));
	ask_close(&ask);
	if (outcome != ETCD_ANSWERED)
		return err_set(err, "%s", ask.err.text);
	if (question.failed)
		return err_set(err, "%s", question.err.text);
	return 0;
}
