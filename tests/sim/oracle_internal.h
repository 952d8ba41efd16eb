/* What the oracle knows. */
#ifndef FLOTILLA_SIM_ORACLE_INTERNAL_H
#define FLOTILLA_SIM_ORACLE_INTERNAL_H

#include "tests/sim/oracle.h"

enum { ATTEMPTS_MAX = 1 << 15, SLACK_MS = 1000 };

/* What is known of an attempt. */
struct attempt {
	uint64_t number;     /* 0: an empty place */
	bool yes, no, ended; /* as journaled */
	bool told;           /* to a tenant, as running */
	uint64_t serial;     /* of the microVM that ran it; 0: none is known */
	uint64_t told_ms;    /* running time that records tell */
	uint64_t posted_ms;  /* and that the scheduler has posted */
	bool posted_end;
};

/* What a microVM ran. */
struct run {
	bool ended, lost;
	uint64_t ran_ms;
	uint64_t journaled_ms; /* lost: as its journal had it */
};

struct oracle {
	bool stirred;
	int64_t stirred_ns;                    /* last */
	struct attempt attempts[ATTEMPTS_MAX]; /* by their number's hash, then the next free */
	struct run *runs;                      /* by serial */
	size_t runs_cap;
	uint64_t next_seq[HOSTS_MAX], posted_seq[HOSTS_MAX];
	struct wire_room used[HOSTS_MAX]; /* at the last look */
	uint64_t *seen;                   /* by sandbox: the look in which it was seen running */
	size_t seen_cap;
	uint64_t look;
	bool *killed; /* by sandbox: a tenant was told that it is killed */
	size_t killed_cap;
	bool *asked; /* by sandbox: somebody asked for its end */
	size_t asked_cap;
};

#endif
