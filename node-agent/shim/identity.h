/*
 * Which processes a microVM's folder belongs to, so that another with a recycled number is never
 * taken for one of them: number, start time and boot.  Written by the shim, read by agents.
 */
#ifndef FLOTILLA_SHIM_IDENTITY_H
#define FLOTILLA_SHIM_IDENTITY_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define IDENTITY_FILE "processes"

struct identity {
	pid_t pid;      /* 0: none */
	uint64_t start; /* clock ticks since the boot */
};

/* False: there is no such process, or only what waits to be reaped. */
bool identity_of(pid_t pid, struct identity *out);

int identity_write(const char *dir, const struct identity *shim, const struct identity *qemu,
		   struct err *err);

/* False: nothing readable, or of another boot of the host: they are dead then. */
bool identity_read(const char *dir, struct identity *out_shim, struct identity *out_qemu);

/* SIGKILL, to this very process and no other with its number, stopped or not.  False: it is dead.
 */
bool identity_kill(const struct identity *identity);

#endif
