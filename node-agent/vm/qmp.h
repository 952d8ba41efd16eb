/*
 * A client of QEMU's control channel on the caller's libuv loop.  Commands may be sent at any time:
 * before QEMU has greeted they wait.  Each gets exactly one answer, in order of sending; when the
 * channel closes, those still open are answered by a fault, then on_closed comes.
 */
#ifndef FLOTILLA_VM_QMP_H
#define FLOTILLA_VM_QMP_H

#include "node-agent/vm/qmp_message.h"

#include <stdbool.h>
#include <uv.h>

enum { QMP_PENDING_MAX = 16 };

/* err is NULL when the command was carried out. */
typedef void (*qmp_answer_cb)(void *arg, const struct qmp_message *answer, const struct err *err);

struct qmp_callbacks {
	void (*on_event)(void *arg, const struct qmp_message *event);
	void (*on_closed)(void *arg, const struct err *why); /* once; not after qmp_close */
	void *arg;
};

struct qmp_pending {
	uint32_t id;
	qmp_answer_cb answer;
	void *arg;
};

struct qmp {
	struct qmp_callbacks callbacks;
	uv_pipe_t *pipe; /* NULL once closed */
	uint32_t next_id;
	struct qmp_pending pending[QMP_PENDING_MAX]; /* oldest first */
	size_t pending_n;
	bool is_held;
	char input[QMP_LINE_MAX];
	size_t input_n;
};

/* fd: a connected stream socket; taken over, even on a fault. */
int qmp_open(struct qmp *qmp, uv_loop_t *loop, int fd, const struct qmp_callbacks *callbacks,
	     struct err *err);

/* arguments: JSON of an object, or NULL. At most QMP_PENDING_MAX at a time (a broken promise). */
void qmp_send(struct qmp *qmp, const char *command, const char *arguments, qmp_answer_cb answer,
	      void *arg);

/*
 * QEMU reads its control channel byte by byte, some 15 us each.  A command that must act at once
 * can be laid there beforehand, all but its last byte; qmp_release sends that.  In between nothing
 * else can be sent (a broken promise).
 */
void qmp_hold(struct qmp *qmp, const char *command);
void qmp_release(struct qmp *qmp, qmp_answer_cb answer, void *arg);

/* As qmp_send of a command that takes a descriptor along (getfd, add-fd). fd is borrowed. */
int qmp_send_fd(struct qmp *qmp, const char *command, const char *arguments, int fd,
		qmp_answer_cb answer, void *arg, struct err *err);

/* No callback follows; open commands are dropped. */
void qmp_close(struct qmp *qmp);

#endif
