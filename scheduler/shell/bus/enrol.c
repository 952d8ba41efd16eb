/* What comes in clear: a new node with its token, and a node that opens a session. */
#include "scheduler/shell/bus/internal.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- enrolment ---- */

static void enrol_no(struct nodes *nodes, uint64_t token, const char *why)
{
	struct wire_enrol_reply reply = {.ok = false};

	snprintf(reply.refusal, sizeof(reply.refusal), "%s", why);
	nodes->options.metrics->bus_refused++;
	log_warn("bus", "enrolment refused", LOG_TEXT("why", why));
	nodes_reply_clear(nodes, token, &wire_shape_enrol_reply, &reply);
}

static void enrol_no_leader(struct nodes *nodes, uint64_t token)
{
	const char *leader = nodes->options.leader_bus(nodes->options.data);
	char why[128];

	if (leader[0])
		snprintf(why, sizeof(why), "this scheduler stands by: the leader is at %s", leader);
	else
		snprintf(why, sizeof(why), "this scheduler stands by, and nobody leads");
	enrol_no(nodes, token, why);
}

static void enrol_yes(struct nodes *nodes, uint64_t token, const struct id *node)
{
	struct wire_enrol_reply reply = {.ok = true, .node = *node};

	memcpy(reply.scheduler_public_key, nodes->self.public_key,
	       sizeof(reply.scheduler_public_key));
	nodes_reply_clear(nodes, token, &wire_shape_enrol_reply, &reply);
}

/* 1: the token may be used by the owner of this key; 0: not; -1: fault. */
static int enrol_judge(struct nodes *nodes, const uint8_t hash[SECRET_HASH_N],
		       const uint8_t public_key[STORE_PUBLIC_KEY_N], struct err *err)
{
	struct sqlite *reader = store_reader(engine_store(nodes->engine));
	bool fits;
	size_t n;
	int got;

	if (sqlite_bind(reader, STORE_READ_TOKEN, SQL(SQL_BLOB(hash, SECRET_HASH_N)), err))
		return -1;
	got = sqlite_next(reader, STORE_READ_TOKEN, err);
	if (got != 1)
		return got;
	const void *used_by = sqlite_blob(reader, STORE_READ_TOKEN, 1, &n);
	/* A token that was used admits its user again, whose answer may have been lost. */
	fits = sqlite_int(reader, STORE_READ_TOKEN, 0) > engine_wall().ns &&
	       (n == 0 || (n == STORE_PUBLIC_KEY_N && memcmp(used_by, public_key, n) == 0));
	sqlite_reset(reader, STORE_READ_TOKEN);
	return fits;
}

/* The node that has this key already. */
static struct node *enrol_known(struct nodes *nodes, const uint8_t public_key[STORE_PUBLIC_KEY_N])
{
	for (uint32_t i = 0; i < nodes->nodes_n; i++)
		if (memcmp(nodes->nodes[i].public_key, public_key, STORE_PUBLIC_KEY_N) == 0)
			return &nodes->nodes[i];
	return NULL;
}

static void enrol_on_decided(void *data, enum refusal refusal)
{
	struct enrolment *enrolment = data, **at;
	struct nodes *nodes = enrolment->nodes;

	for (at = &nodes->enrolments; *at != enrolment; at = &(*at)->next)
		;
	*at = enrolment->next;
	/* Otherwise it asks again. */
	if (refusal == REFUSAL_NONE)
		enrol_yes(nodes, enrolment->token, &enrolment->row.id);
	free(enrolment);
}

static void enrol(struct nodes *nodes, uint64_t token, const struct wire_enrol_request *request,
		  const uint8_t hash[SECRET_HASH_N])
{
	struct enrolment *enrolment;
	uint8_t random[ID_RANDOM_BYTES];
	struct store_op op = {.kind = STORE_OP_NODE};

	/* Asked twice before the first was written: the first is answered. */
	for (enrolment = nodes->enrolments; enrolment; enrolment = enrolment->next)
		if (memcmp(enrolment->row.token_hash, hash, SECRET_HASH_N) == 0 ||
		    memcmp(enrolment->row.public_key, request->node_public_key,
			   STORE_PUBLIC_KEY_N) == 0)
			return;
	enrolment = calloc(1, sizeof(*enrolment));
	CHECK(enrolment);
	enrolment->nodes = nodes;
	enrolment->token = token;
	randombytes_buf(random, sizeof(random));
	enrolment->row.id = id_make("nod_", random);
	snprintf(enrolment->row.name, sizeof(enrolment->row.name), "%.*s",
		 (int)sizeof(enrolment->row.name) - 1, request->host_name);
	memcpy(enrolment->row.public_key, request->node_public_key, STORE_PUBLIC_KEY_N);
	memcpy(enrolment->row.token_hash, hash, SECRET_HASH_N);
	enrolment->next = nodes->enrolments;
	nodes->enrolments = enrolment;
	op.node = enrolment->row;
	decisions_make(nodes->options.decisions, &op, enrol_on_decided, enrolment);
}

void nodes_on_enrol(struct nodes *nodes, uint64_t token, const struct wire_bytes *body)
{
	struct wire_enrol_request request;
	uint8_t hash[SECRET_HASH_N];
	struct node *known;
	struct err err;
	int may;

	nodes->arena.used = 0;
	if (wire_enrol_request_decode(body->data, body->n, &nodes->arena, &request, &err)) {
		nodes->options.metrics->bus_refused++;
		return;
	}
	if (!engine_is_available(nodes->engine))
		return;
	if (core_role(engine_core(nodes->engine)) == CORE_STANDBY) {
		enrol_no_leader(nodes, token);
		return;
	}
	secrets_hash(nodes->options.secrets, request.token, hash);
	may = enrol_judge(nodes, hash, request.node_public_key, &err);
	if (may < 0) {
		log_error("bus", "cannot read tokens", LOG_ERR(&err));
		return;
	}
	known = enrol_known(nodes, request.node_public_key);
	if (!may)
		enrol_no(nodes, token, "this token is not valid (any more): ask for a new one");
	else if (known)
		enrol_yes(nodes, token, &known->id);
	else if (nodes->nodes_n == nodes->options.nodes_max)
		enrol_no(nodes, token, "this fleet has as many nodes as it is built for");
	else
		enrol(nodes, token, &request, hash);
}

/* ---- sessions ---- */

static uint64_t session_number(const struct node *node)
{
	uint64_t number;

	do
		randombytes_buf(&number, sizeof(number));
	while (number == 0 || number == node->peer.current.number ||
	       number == node->peer.offered.number);
	return number;
}

void nodes_on_hello(struct nodes *nodes, uint64_t token, const struct wire_bytes *body)
{
	uint8_t random[HANDSHAKE_ACCEPT_RANDOM_N];
	struct wire_session_welcome welcome;
	struct wire_session_hello hello;
	struct session session;
	struct node *node;
	struct err err;

	nodes->arena.used = 0;
	if (wire_session_hello_decode(body->data, body->n, &nodes->arena, &hello, &err)) {
		nodes->options.metrics->bus_refused++;
		return;
	}
	node = nodes_find(nodes, hello.node.text);
	randombytes_buf(random, sizeof(random));
	if (node && handshake_accept(&nodes->self, node->public_key, &hello, session_number(node),
				     random, &welcome, &session, &err) == 0) {
		envelope_peer_offer(&node->peer, &session);
		session_close(&session);
	} else {
		nodes->options.metrics->bus_refused++;
		log_warn("bus", "session refused", LOG_TEXT("node", hello.node.text),
			 LOG_TEXT("why", node ? err.text : "no such node"));
		handshake_refuse(&nodes->self, &hello,
				 node ? "not signed by this node" : "this node is not enrolled",
				 &welcome);
	}
	sodium_memzero(random, sizeof(random));
	nodes_reply_clear(nodes, token, &wire_shape_session_welcome, &welcome);
}
