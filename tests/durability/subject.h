/*
 * What crashes are staged for: real code that commits batches, and an oracle in plain arrays that
 * says what must be there after the first b of them.  Batches count from 1.
 */
#ifndef FLOTILLA_TESTS_DURABILITY_SUBJECT_H
#define FLOTILLA_TESTS_DURABILITY_SUBJECT_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WHY_MAX = 512 };

struct subject {
	const char *name;
	/* In a short run, of how many boundaries with unflushed writes one is tried: what it costs.
	 */
	uint64_t torn_one_in;
	/* Makes the trace of about ops_n operations, and returns the number of its batches. */
	size_t (*make)(uint64_t seed, size_t ops_n);
	void (*unmake)(void);
	/* The real code, in the folder dir of the disk of now. */
	int (*open)(const char *dir, struct err *err);
	void (*close)(void);
	int (*commit)(size_t batch, struct err *err);
	/* Is it as after so many batches?  thorough: each row, each sum and the file itself. */
	bool (*equals)(size_t batches, bool thorough, char why[WHY_MAX]);
	/* Says again all of a batch that a node would say again: nothing may change. */
	int (*repeat)(size_t batch, struct err *err);
};

extern const struct subject subject_store, subject_journal;

#endif
