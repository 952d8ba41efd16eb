/* A story: what happens to a fleet at work, and what must then be seen. */
#ifndef FLOTILLA_SIM_STORIES_INTERNAL_H
#define FLOTILLA_SIM_STORIES_INTERNAL_H

#include "tests/sim/stories.h"

enum { LATER_S = 8 };

/* Of what ran on host 0 when it happened. */
enum fate {
	FATE_RUNS, /* some of it runs still, later: not all of it was to end by itself */
	FATE_ANY,
	FATE_FROZEN,   /* later it is frozen, and runs again at the end */
	FATE_ENDED,    /* it has ended at once */
	FATE_GIVEN_UP, /* it has ended at the end */
};

struct story {
	const char *promise;
	uint32_t replicas_n, hosts_n, lease_ms; /* 0: one, one, none */
	void (*before)(struct world *world);    /* 10 s before; NULL: nothing */
	void (*happens)(struct world *world);
	void (*is_over)(struct world *world); /* later; NULL: it is over by itself */
	uint32_t soon_s, later_s;             /* 0: 1 and LATER_S */
	enum fate fate;
	bool nothing_is_granted; /* from soon until later */
	bool something_is;       /* granted meanwhile */
	bool leader_changes;     /* meanwhile */
	bool leader_stays;
};

extern const struct story stories_alone[];
extern const size_t stories_alone_n;
extern const struct story stories_several[];
extern const size_t stories_several_n;

/* The one that led when it happened. */
uint32_t stories_leader(void);

#endif
