/*
 * Broken promises of our own.  CHECK is always compiled in: a state that must not exist is
 * better stopped than carried on from, and every program here can be restarted without loss.
 */
#ifndef FLOTILLA_BASE_CHECK_H
#define FLOTILLA_BASE_CHECK_H

#define CHECK(promise) ((promise) ? (void)0 : check_broken(#promise, __FILE__, __LINE__))

/* Prints one line to standard error and aborts. */
_Noreturn void check_broken(const char *promise, const char *file, int line);

#define ARRAY_N(array) (sizeof(array) / sizeof((array)[0]))

#endif
