/*
 * Stands between a replica and etcd, and treats one transaction that writes a decision badly:
 * its answer is lost, it never arrives, or it arrives when nobody expects it any more.
 */
#ifndef FLOTILLA_TESTS_HA_SWALLOW_H
#define FLOTILLA_TESTS_HA_SWALLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum swallow_what {
	SWALLOW_NOTHING,
	SWALLOW_ANSWER,  /* carried out, and the connection ends without an answer */
	SWALLOW_REQUEST, /* the connection ends, and etcd never heard of it */
	SWALLOW_HOLD,    /* the connection ends, and etcd hears of it at swallow_release */
};

struct swallow {
	uv_loop_t *loop;
	uv_tcp_t listener;
	uint16_t etcd_port;
	enum swallow_what next; /* becomes SWALLOW_NOTHING when it has happened */
	int swallowed_n;
	struct swallow_pair *pairs, *held;
	bool released;     /* what was held has been answered by etcd */
	bool is_cut;       /* nothing passes, and no connection ends by it */
	uint64_t delay_ms; /* of each answer */
	char endpoints[64];
};

void swallow_open(struct swallow *swallow, uv_loop_t *loop, uint16_t etcd_port);
/* Before the loop ends. */
void swallow_close(struct swallow *swallow);
/* The network is whole again; what was open before is closed. */
void swallow_mend(struct swallow *swallow);
/* etcd hears what was held; runs the loop until it has answered it. */
void swallow_release(struct swallow *swallow);

#endif
