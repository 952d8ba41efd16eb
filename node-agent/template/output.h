/*
 * What a guest sends while a command of a build runs: the stream of process.Process/Start, messages
 * of JSON in envelopes of Connect (one byte of flags, four of length, big-endian).  The guest is
 * hostile: a message is bounded, its output is cut into bounded lines that are fit to be shown, and
 * so many of them altogether.  Pure.
 */
#ifndef FLOTILLA_TEMPLATE_OUTPUT_H
#define FLOTILLA_TEMPLATE_OUTPUT_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	OUTPUT_MESSAGE_MAX = 256 * 1024,
	OUTPUT_LINE_MAX = 2048,
	OUTPUT_LINES_MAX = 20 * 1000, /* of one command; what comes later is dropped, and said so */
};

struct output_line {
	char text[OUTPUT_LINE_MAX];
	size_t n;
};

struct output {
	/* A line, without its end, UTF-8 without control characters. */
	void (*on_line)(void *arg, bool is_error, const char *line);
	void *arg;
	bool is_kept;    /* the beginning of standard output is wanted as it is */
	bool has_ended;  /* exit_code is known */
	bool is_refused; /* the guest did not start it: problem */
	int exit_code;   /* -1: it was ended by a signal */
	char problem[256];
	char kept[32 * 1024];
	size_t kept_n;
	/* private */
	struct output_line
		lines[2]; /* of standard output and standard error, as far as they are there */
	size_t lines_n;
	uint8_t head[5];
	size_t head_n;
	char *message;
	size_t message_n, message_at;
};

/* All zero but on_line, arg and is_kept is the beginning. */
int output_feed(struct output *output, const char *bytes, size_t bytes_n, struct err *err);

/* The lines that have no end get one; frees what feeding took. */
void output_finish(struct output *output);

#endif
