/* One question to etcd after the other, each awaited, on a loop of its own: for commands. */
#ifndef FLOTILLA_HA_ASK_H
#define FLOTILLA_HA_ASK_H

#include "common/io/etcd.h"

struct ask {
	uv_loop_t loop;
	struct etcd *etcd;
	bool is_answered;
	etcd_answer_cb on_answer;
	void *data;
	enum etcd_outcome outcome;
	bool succeeded;
	struct err err;
};

int ask_open(struct ask *ask, const char *endpoints, const char *ca_file, struct err *err);
void ask_close(struct ask *ask);

/* The outcome; ask->err and ask->succeeded with it. on_answer (or NULL) sees the answer itself. */
enum etcd_outcome ask_txn(struct ask *ask, const struct etcd_txn *txn, etcd_answer_cb on_answer,
			  void *data);

#endif
