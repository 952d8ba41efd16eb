/*
 * A fault: the world failed.  Functions that can meet one return -1 and fill in a struct err,
 * which each caller on the way up wraps with its purpose:
 * "ledger: open /var/lib/x: No such file or directory".
 */
#ifndef FLOTILLA_BASE_ERR_H
#define FLOTILLA_BASE_ERR_H

#include <stdarg.h>

enum { ERR_TEXT_MAX = 512 };

struct err {
	char text[ERR_TEXT_MAX]; /* one line, no newline; cut at the end when too long */
};

/* Sets the text and returns -1, so that a function can `return err_set(err, ...)`. err may be NULL.
 */
int err_set(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As err_set, with ": " and the text of the system's error number added. */
int err_errno(struct err *err, int number, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "purpose: " in front of what is there, and returns -1. */
int err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
