/*
 * What every daemon does around its loop: lock its state, say that it is ready and where, hear
 * signals.
 */
#ifndef FLOTILLA_IO_DAEMON_H
#define FLOTILLA_IO_DAEMON_H

#include "common/base/err.h"
#include "common/io/address.h"

#include <stddef.h>
#include <uv.h>

/* Takes DIR/lock for the life of the process; *out_fd stays open (and closes on exec). Another
 * holder is a fault that names its pid. The folder must exist. */
int daemon_lock(const char *dir, int *out_fd, struct err *err);

struct daemon_endpoint {
	const char *name; /* "api", "bus" */
	struct address address;
};

/*
 * Says "ready": a line "ready api=127.0.0.1:3000 bus=..." on standard output, READY=1 to systemd,
 * and, when ready_file is not NULL or empty, that file, written whole, with a line name=address
 * for each endpoint.  Call it when connections are accepted.
 */
int daemon_ready(const char *ready_file, const struct daemon_endpoint *endpoints, size_t n,
		 struct err *err);

/* One sd_notify message ("STOPPING=1"); nothing without NOTIFY_SOCKET. Best effort. */
void daemon_notify(const char *state);

struct daemon_signals;
typedef void (*daemon_signal_cb)(struct daemon_signals *signals);

struct daemon_signals {
	void *data;                 /* the caller's */
	daemon_signal_cb on_stop;   /* TERM, INT: once. A second one ends the process at once */
	daemon_signal_cb on_reload; /* HUP; NULL: ignored */
	/* private */
	uv_signal_t handle[3];
	int stops_n;
};

/* SIGPIPE is ignored from here on. The handles do not keep the loop alive. */
int daemon_signals_start(struct daemon_signals *signals, uv_loop_t *loop, struct err *err);
void daemon_signals_stop(struct daemon_signals *signals);

/* Open files: soft limit up to the hard one. Returns the limit now in force. */
size_t daemon_raise_files(void);

#endif
