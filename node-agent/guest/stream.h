/*
 * A connection as the HTTP server sees it, whatever carries it: a TCP socket on a plain host, or a
 * stream of the multiplexer inside a microVM.
 *
 * Flow control is by credit in both: at most STREAM_WINDOW bytes are delivered that the user has
 * not yet declared consumed, so a user with that much room can always take what comes.
 */
#ifndef FLOTILLA_GUEST_STREAM_H
#define FLOTILLA_GUEST_STREAM_H

#include <stdbool.h>
#include <stddef.h>

enum { STREAM_WINDOW = 64 * 1024 };

struct stream;

/* What a transport can do. */
struct stream_ops {
	/* Takes as much as fits and returns how much that was; when it falls short, on_writable
	 * comes once there is room again. */
	size_t (*write)(struct stream *stream, const char *bytes, size_t bytes_n);
	void (*consumed)(struct stream *stream, size_t bytes_n);
	/* What was taken is still sent, unless 'abort'. No event follows; the stream is gone. */
	void (*close)(struct stream *stream, bool abort);
};

/* What it tells its user.  The user may close the stream inside any of them. */
struct stream_events {
	void (*on_data)(void *user, const char *bytes, size_t bytes_n);
	void (*on_end)(void *user); /* the peer will send no more */
	void (*on_writable)(void *user);
	void (*on_gone)(void *user); /* broken or reset: the stream must not be touched again */
};

struct stream {
	const struct stream_ops *ops;
	const struct stream_events *events; /* set by whoever takes the stream */
	void *user;
};

/*
 * Offered a new stream; true when somebody took it (events and user are set).  False: the
 * transport refuses the peer.
 */
typedef bool stream_accept_fn(void *context, struct stream *stream);

#endif
