/*
 * Work that may take long, done beside the event loop: on one of libuv's few threads, so that a
 * removal of a hundred thousand files holds up nobody else's answer.
 */
#ifndef FLOTILLA_GUEST_JOB_H
#define FLOTILLA_GUEST_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "node-agent/guest/conn.h"

/* The first member of a larger structure, which is the job's from job_start to 'done'. */
struct job {
	/* On a thread: touches nothing but the job, and looks at is_abandoned now and then. */
	void (*run)(struct job *job);
	/* In the loop again, once, whatever happened: answers when there still is a 'conn', and
	 * releases the job. */
	void (*done)(struct job *job);

	uv_work_t request;
	struct conn *conn; /* NULL: the client has left */
	atomic_bool is_abandoned;
};

/* run and done are set.  The connection waits for its answer until 'done' has given it. */
void job_start(struct job *job, struct conn *conn);

#endif
