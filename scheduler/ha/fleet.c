#include "scheduler/ha/fleet.h"

#include "common/base/check.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the fleet's key ---- */

static char *fleet_dump(json_t *json)
{
	CHECK(json);
	char *text = json_dumps(json, JSON_COMPACT);
	CHECK(text);
	json_decref(json);
	return text;
}

char *fleet_encode(const struct fleet *fleet)
{
	char hex[2 * HA_FINGERPRINT_N + 1];

	sodium_bin2hex(hex, sizeof(hex), fleet->fingerprint, HA_FINGERPRINT_N);
	return fleet_dump(json_pack("{s:s, s:I, s:I}", "fingerprint", hex, "epoch_base",
				    (json_int_t)fleet->epoch_base, "generation",
				    (json_int_t)fleet->generation));
}

int fleet_decode(const struct etcd_kv *kv, struct fleet *out, struct err *err)
{
	json_t *json =
		json_loadb((const char *)kv->value, kv->value_n, JSON_REJECT_DUPLICATES, NULL);
	const char *hex;
	json_int_t base, generation;
	size_t n = 0;

	int fault = json_unpack(json, "{s:s, s:I, s:I !}", "fingerprint", &hex, "epoch_base", &base,
				"generation", &generation);
	if (!fault) {
		out->epoch_base = (uint64_t)base;
		out->generation = (uint64_t)generation;
		fault = base < 0 || base > INT32_MAX || generation < 1 ||
			generation > HA_GENERATION_MAX ||
			sodium_hex2bin(out->fingerprint, HA_FINGERPRINT_N, hex, strlen(hex), NULL,
				       &n, NULL) != 0 ||
			n != HA_FINGERPRINT_N;
	}
	json_decref(json);
	return fault ? err_set(err, HA_KEY_FLEET " in etcd cannot be read") : 0;
}

uint64_t fleet_position(const struct fleet *fleet, int64_t revision)
{
	return fleet->generation << HA_REVISION_BITS | (uint64_t)revision;
}

int64_t fleet_revision(const struct fleet *fleet, uint64_t position)
{
	if (position >> HA_REVISION_BITS != fleet->generation)
		return 0;
	return (int64_t)(position & ((UINT64_C(1) << HA_REVISION_BITS) - 1));
}

int fleet_check(const struct etcd_kv *kv, const uint8_t fingerprint[HA_FINGERPRINT_N],
		struct fleet *out, struct err *err)
{
	if (!kv)
		return err_set(err,
			       "etcd knows no fleet: run `flotilla ha init` on the host of the "
			       "scheduler that keeps the books");
	if (fleet_decode(kv, out, err))
		return -1;
	if (sodium_memcmp(out->fingerprint, fingerprint, HA_FINGERPRINT_N) != 0)
		return err_set(
			err,
			"the fleet in etcd has other secrets: copy fleet.key, "
			"key.pepper, bus.key, vault.key and operator.key from a replica of it");
	return 0;
}

/* ---- replicas ---- */

char *fleet_peer_encode(const struct ha_peer *peer)
{
	return fleet_dump(json_pack("{s:s, s:s, s:s}", "name", peer->name, "api", peer->api, "bus",
				    peer->bus));
}

static int fleet_copy(char *out, size_t size, const char *text)
{
	return snprintf(out, size, "%s", text) < (int)size ? 0 : -1;
}

int fleet_peer_decode(const struct etcd_kv *kv, struct ha_peer *out, struct err *err)
{
	json_t *json =
		json_loadb((const char *)kv->value, kv->value_n, JSON_REJECT_DUPLICATES, NULL);
	const char *name, *api, *bus;
	int fault = json_unpack(json, "{s:s, s:s, s:s !}", "name", &name, "api", &api, "bus", &bus);

	*out = (struct ha_peer){0};
	if (!fault)
		fault = fleet_copy(out->name, sizeof(out->name), name) ||
			fleet_copy(out->api, sizeof(out->api), api) ||
			fleet_copy(out->bus, sizeof(out->bus), bus);
	json_decref(json);
	return fault ? err_set(err, "%.100s in etcd cannot be read", kv->key) : 0;
}

/* ---- at the start ---- */

struct fleet_question {
	const struct ha_options *options;
	uv_loop_t *loop;
	bool is_answered;
	int fault;
	struct err err;
};

static void fleet_on_answer(void *data, const struct etcd_answer *answer)
{
	struct fleet_question *question = data;
	struct fleet fleet;

	question->is_answered = true;
	uv_stop(question->loop);
	if (answer->outcome == ETCD_ANSWERED)
		question->fault =
			fleet_check(answer->kvs_n ? &answer->kvs[0] : NULL,
				    question->options->fingerprint, &fleet, &question->err);
}

int fleet_check_now(const struct ha_options *options, struct err *err)
{
	struct etcd_options with = {.endpoints = options->endpoints, .ca_file = options->ca_file};
	struct etcd_range range = {.key = HA_KEY_FLEET};
	uv_loop_t loop;
	struct fleet_question question = {.options = options, .loop = &loop};
	struct etcd *etcd;

	CHECK(uv_loop_init(&loop) == 0);
	if (etcd_open(&etcd, &loop, &with, err)) {
		uv_run(&loop, UV_RUN_DEFAULT);
		uv_loop_close(&loop);
		return -1;
	}
	etcd_range(etcd, &range, fleet_on_answer, &question);
	while (!question.is_answered)
		uv_run(&loop, UV_RUN_DEFAULT);
	etcd_close(etcd);
	uv_run(&loop, UV_RUN_DEFAULT);
	CHECK(uv_loop_close(&loop) == 0);
	if (question.fault)
		return err_set(err, "%s", question.err.text);
	return 0;
}
