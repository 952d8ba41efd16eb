/*
 * One line of QEMU's control channel (QMP) as a value.  Pure.  QEMU is only half trusted, because a
 * guest that breaks out of the emulator speaks with its voice: any bytes give a message or a fault.
 */
#ifndef FLOTILLA_VM_QMP_MESSAGE_H
#define FLOTILLA_VM_QMP_MESSAGE_H

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
	QMP_LINE_MAX = 16 * 1024,
	QMP_WORD_MAX = 48,
	QMP_TEXT_MAX = 160,
};

enum qmp_kind {
	QMP_GREETING,
	QMP_RETURN,
	QMP_ERROR,
	QMP_EVENT,
	QMP_OTHER, /* well-formed, and nothing to us */
};

enum qmp_event {
#define EVENT(name) QMP_EVENT_##name,
#include "node-agent/vm/qmp_events.def"
#undef EVENT
	QMP_EVENT_UNKNOWN,
};

struct qmp_message {
	enum qmp_kind kind;
	uint32_t id;               /* RETURN, ERROR: of the command; 0 when there is none */
	enum qmp_event event;      /* EVENT */
	char status[QMP_WORD_MAX]; /* RETURN, EVENT: the member `status`, or empty */
	char reason[QMP_WORD_MAX]; /* EVENT: the member `reason`, or empty */
	char text[QMP_TEXT_MAX];   /* ERROR: what QEMU says about it, cut; RETURN: `error-desc` */
};

/* line: without its line end; at most QMP_LINE_MAX. */
int qmp_message_parse(const char *line, size_t line_n, struct qmp_message *out_message,
		      struct err *err);

#endif
