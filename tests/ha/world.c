#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/ha/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct mono world_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (struct mono){now.tv_sec * NS_PER_S + now.tv_nsec};
}

void world_etcdctl(struct world *world, const char *format, ...)
{
	char words[1024], command[1536];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	snprintf(command, sizeof(command), "ETCDCTL_API=3 etcdctl --endpoints %s %s >/dev/null",
		 world->rig.endpoints, words);
	assert_int_equal(system(command), 0);
}

void world_init_fleet(struct world *world, uint64_t epoch_base, uint64_t generation)
{
	struct fleet fleet = {
		.fingerprint = {7}, .epoch_base = epoch_base, .generation = generation};
	char *json = fleet_encode(&fleet);

	world_etcdctl(world, "put " HA_KEY_FLEET " '%s'", json);
	free(json);
}

void world_open(struct world *world, int members_n, const char *const *extra)
{
	alarm(120);
	memset(world, 0, sizeof(*world));
	etcd_rig_open(&world->rig, members_n, extra);
	world->endpoints = world->rig.endpoints;
	assert_int_equal(uv_loop_init(&world->loop), 0);
	assert_int_equal(uv_loop_init(&world->other), 0);
	world_init_fleet(world, 100, 1);
}

void world_close(struct world *world)
{
	for (int i = 0; i < REPLICAS_MAX; i++)
		replica_kill(&world->replicas[i]);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	uv_run(&world->other, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	assert_int_equal(uv_loop_close(&world->other), 0);
	etcd_rig_close(&world->rig);
	alarm(0);
}

/* ---- callbacks ---- */

static void on_lead(void *data, uint64_t epoch)
{
	struct replica *replica = data;

	uv_stop(replica->loop);
	assert_int_equal(replica->epoch, 0);
	/* Whoever begins to lead is alone, and later than all before. */
	assert_true(epoch > replica->world->highest_epoch);
	replica->world->highest_epoch = epoch;
	replica->epoch = epoch;
	replica->leads_n++;
	replica->led_at = world_now();
	assert_ptr_equal(world_leader(replica->world), replica);
}

static void on_follow(void *data)
{
	struct replica *replica = data;

	uv_stop(replica->loop);
	assert_int_not_equal(replica->epoch, 0);
	assert_false(ha_leads(replica->ha, world_now()));
	replica->epoch = 0;
	replica->follows_n++;
}

static void on_leader(void *data, const struct ha_peer *leader)
{
	struct replica *replica = data;

	uv_stop(replica->loop);
	replica->leaders_n += leader != NULL;
	snprintf(replica->leader, sizeof(replica->leader), "%s", leader ? leader->name : "");
}

static void replica_apply(struct replica *replica, const struct store_op *op)
{
	size_t used = strlen(replica->log);
	char *at = replica->log + used;
	size_t room = sizeof(replica->log) - used;

	replica->ops_n++;
	switch (op->kind) {
	case STORE_OP_TENANT:
		snprintf(at, room, "tenant:%s ", op->tenant.id.text);
		break;
	case STORE_OP_KEY:
		snprintf(at, room, "key:%s ", op->key.id.text);
		break;
	case STORE_OP_NODE:
		snprintf(at, room, "node:%s ", op->node.id.text);
		break;
	case STORE_OP_TOKEN:
		snprintf(at, room, "token ");
		break;
	case STORE_OP_NODE_SET:
		snprintf(at, room, "node-set:%s ", op->node_set.id.text);
		break;
	case STORE_OP_PLAN:
		snprintf(at, room, "plan:%s ", op->plan.name);
		break;
	case STORE_OP_TEMPLATE:
		snprintf(at, room, "template:%s ", op->template_.id.text);
		break;
	case STORE_OP_BUILD:
		snprintf(at, room, "build:%s ", op->build.id);
		break;
	case STORE_OP_TAG:
		snprintf(at, room, "tag:%s ", op->tag.tag);
		break;
	case STORE_OP_VOLUME:
		snprintf(at, room, "volume:%s ", op->volume.id.text);
		break;
	case STORE_OP_SECRET:
	case STORE_OP_PRICE:
	case STORE_OP_REVISION:
	case STORE_OP_EPOCH:
	case STORE_OP_PROBE:
	case STORE_OP_SANDBOX_NEW:
	case STORE_OP_SANDBOX_ADOPT:
	case STORE_OP_NETWORK:
	case STORE_OP_EFFECT:
		fail_msg("not expected here");
	}
}

static void on_decisions(void *data, const struct store_op *ops, size_t n, uint64_t revision,
			 bool whole)
{
	struct replica *replica = data;

	uv_stop(replica->loop);
	assert_true(n > 0 || whole);
	if (replica->refuse_writes_n) {
		replica->refuse_writes_n -= replica->refuse_writes_n > 0;
		ha_applied(replica->ha, false);
		return;
	}
	if (whole) {
		replica->whole_n++;
		replica->log[0] = 0;
	}
	for (size_t i = 0; i < n; i++)
		replica_apply(replica, &ops[i]);
	replica->revision = revision;
	ha_applied(replica->ha, true);
}

/* ---- replicas ---- */

int replica_try_open(struct world *world, int number, uv_loop_t *loop, struct err *err)
{
	struct replica *replica = &world->replicas[number];
	struct ha_callbacks callbacks = {.data = replica,
					 .on_lead = on_lead,
					 .on_follow = on_follow,
					 .on_leader = on_leader,
					 .on_decisions = on_decisions};

	assert_null(replica->ha);
	replica->world = world;
	replica->loop = loop;
	replica->options = (struct ha_options){.endpoints = world->endpoints,
					       .fingerprint = {7},
					       .limits = ha_limits_default(),
					       .applied_revision = replica->revision};
	snprintf(replica->options.self.name, HA_NAME_MAX, "r%d", number);
	snprintf(replica->options.self.api, ADDRESS_TEXT_MAX, "127.0.0.1:300%d", number);
	snprintf(replica->options.self.bus, ADDRESS_TEXT_MAX, "127.0.0.1:400%d", number);
	replica->epoch = 0;
	replica->leader[0] = 0;
	if (ha_check(&replica->options, err))
		return -1;
	return ha_open(&replica->ha, loop, &replica->options, &callbacks, err);
}

struct replica *replica_open(struct world *world, int number, uv_loop_t *loop)
{
	struct err err;

	if (replica_try_open(world, number, loop, &err))
		fail_msg("%s", err.text);
	return &world->replicas[number];
}

void replica_kill(struct replica *replica)
{
	ha_close(replica->ha);
	replica->ha = NULL;
	replica->epoch = 0;
}

bool replica_leads(const struct replica *replica)
{
	return replica->ha && replica->epoch && ha_leads(replica->ha, world_now());
}

struct replica *world_leader(struct world *world)
{
	struct replica *found = NULL;

	for (int i = 0; i < REPLICAS_MAX; i++) {
		if (!world->replicas[i].ha || !ha_leads(world->replicas[i].ha, world_now()))
			continue;
		assert_null(found);
		found = &world->replicas[i];
	}
	return found;
}

/* ---- decisions ---- */

struct store_op tenant_op(const char *id)
{
	struct store_op op = {.kind = STORE_OP_TENANT, .wall_ns = 1764000000000000000};

	snprintf(op.tenant.id.text, sizeof(op.tenant.id.text), "%s", id);
	snprintf(op.tenant.name, sizeof(op.tenant.name), "Acme \"%s\" \xc3\xa4", id);
	snprintf(op.tenant.plan, sizeof(op.tenant.plan), "pro");
	op.tenant.credit_nano = 5;
	return op;
}

static void on_decided(void *data, enum refusal refusal)
{
	struct replica *replica = data;

	uv_stop(replica->loop);
	replica->decided_n++;
	replica->refusal = refusal;
}

void decide(struct replica *replica, const struct store_op *op)
{
	ha_decide(replica->ha, op, on_decided, replica);
}

void decide_now(struct replica *replica, const char *tenant)
{
	struct store_op op = tenant_op(tenant);
	int before_n = replica->decided_n;

	decide(replica, &op);
	AWAIT(replica->loop, replica->decided_n > before_n);
	assert_int_equal(replica->refusal, REFUSAL_NONE);
	assert_non_null(strstr(replica->log, tenant));
}

void decide_at_last(struct replica *replica, const char *tenant)
{
	struct store_op op = tenant_op(tenant);

	do {
		int before_n = replica->decided_n;

		AWAIT(replica->loop, replica_leads(replica));
		decide(replica, &op);
		AWAIT(replica->loop, replica->decided_n > before_n);
	} while (replica->refusal != REFUSAL_NONE);
}
