#include "scheduler/ha/ask.h"

#include "common/base/check.h"

enum { ASK_ANSWER_MS = 5000 };

int ask_open(struct ask *ask, const char *endpoints, const char *ca_file, struct err *err)
{
	struct etcd_options options = {
		.endpoints = endpoints, .ca_file = ca_file, .answer_ms = ASK_ANSWER_MS};

	*ask = (struct ask){0};
	CHECK(uv_loop_init(&ask->loop) == 0);
	if (etcd_open(&ask->etcd, &ask->loop, &options, err)) {
		ask_close(ask);
		return -1;
	}
	return 0;
}

void ask_close(struct ask *ask)
{
	etcd_close(ask->etcd);
	ask->etcd = NULL;
	uv_run(&ask->loop, UV_RUN_DEFAULT);
	CHECK(uv_loop_close(&ask->loop) == 0);
}

static void ask_on_answer(void *data, const struct etcd_answer *answer)
{
	struct ask *ask = data;

	uv_stop(&ask->loop);
	ask->is_answered = true;
	ask->outcome = answer->outcome;
	ask->succeeded = answer->succeeded;
	ask->err = answer->err;
	if (ask->on_answer && answer->outcome == ETCD_ANSWERED)
		ask->on_answer(ask->data, answer);
}

enum etcd_outcome ask_txn(struct ask *ask, const struct etcd_txn *txn, etcd_answer_cb on_answer,
			  void *data)
{
	ask->is_answered = false;
	ask->on_answer = on_answer;
	ask->data = data;
	etcd_txn(ask->etcd, txn, ask_on_answer, ask);
	while (!ask->is_answered)
		uv_run(&ask->loop, UV_RUN_DEFAULT);
	return ask->outcome;
}
