/* Between conn.c (requests in) and conn_answer.c (answers out). */
#ifndef FLOTILLA_GUEST_CONN_INTERNAL_H
#define FLOTILLA_GUEST_CONN_INTERNAL_H

#include "node-agent/guest/conn.h"

/* Goes on with whatever can go on; the connection may be gone (CONN_FREE) afterwards. */
void conn_run(struct conn *conn);

/* Ends it: tells the work, closes the stream if it is still there. */
void conn_drop(struct conn *conn, bool abort);

/* Sends what can be sent, asks the work for more.  Answers may have been completed by it. */
void conn_pump(struct conn *conn);

/* To a client that waits for leave to send its body. */
void conn_say_continue(struct conn *conn);

/* All of the answer has been handed to the stream. */
bool conn_is_answered(const struct conn *conn);

/* The answer is decided without the work that was left: tells it so. */
void conn_work_release(struct conn *conn);

/* Forgets what stands first in the gathered body. */
void conn_body_cut(struct conn *conn, size_t bytes_n);

/* Frees what a request held. */
void conn_body_release(struct conn *conn);
void conn_tail_release(struct conn *conn);

#endif
