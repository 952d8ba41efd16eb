/*
 * The sandbox's processes: started as users, their output carried to any number of subscribers,
 * their input from anybody, their end kept for a while for those who ask late.
 *
 * Back-pressure: output is read only when every subscriber has room for it, and goes straight into
 * the subscribers' answers; so a slow client slows the process down and costs no memory.  Without
 * subscribers output is read and dropped.  A client that takes nothing at all is broken off after a
 * while, sooner when others listen too.
 */
#ifndef FLOTILLA_GUEST_PROCESS_H
#define FLOTILLA_GUEST_PROCESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "node-agent/guest/conn.h"
#include "node-agent/guest/ends.h"

enum {
	PROCESSES_MAX = 1024,             /* running or kept */
	PROCESS_OUTPUT_MAX = 32 * 1024,   /* bytes of output in one event */
	PROCESS_TERMINAL_MAX = 16 * 1024, /* the same of a terminal's */
	PROCESS_ROOM_MIN = 2 * 1024,      /* rather wait than send crumbs */
	PROCESS_LATE_MAX = 128 * 1024,    /* what a cut process can have left in its pipe */
	PROCESS_KEPT_MS = 30 * 1000,      /* an end is remembered */
	PROCESS_TERM_WAIT_MS = 200,       /* an answer to SIGTERM waits that long for the end */
	PROCESS_KILL_WAIT_MS = 5 * 1000,  /* one to SIGKILL, which nothing but the kernel delays */
	PROCESS_KEEPALIVE_S = 90,         /* unless the client asks for another interval */
	PROCESS_STALL_MS = 15 * 1000,     /* one who takes nothing holds up the others so long */
	PROCESS_STALL_ALONE_MS = 300 * 1000, /* and the process, when nobody else listens */
};

struct guest;
struct process;

/* The input is written, or nobody reads it any more: refusal says so then, else it is NULL. */
typedef void process_input_fn(struct conn *conn, void *user, const char *refusal);

struct process_table {
	struct guest *guest;
	struct process *first;
	size_t n;
	uint64_t numbers_n;
	uv_signal_t child_signal;
};

enum process_state {
	PROCESS_RUNNING,
	PROCESS_DRAINING, /* it has ended, its output has not */
	PROCESS_ENDED,    /* kept for those who ask late */
};

enum process_output_kind { PROCESS_STDOUT, PROCESS_STDERR, PROCESS_PTY, PROCESS_OUTPUTS_N };

struct process_output {
	struct process *process;
	uv_poll_t poll;
	int fd; /* -1: closed, or not of this process */
	bool is_polled;
	size_t late_n; /* read since the process ended and is cut */
};

/* A client that listens. */
struct subscriber {
	struct process *process;
	struct conn *conn;
	struct subscriber *next;
	uv_timer_t timer;
	uint64_t keepalive_ms;
	uint64_t sent_at_ms;     /* when something was sent last */
	uint64_t deadline_at_ms; /* of this call alone; 0: none */
	uint64_t stalled_at_ms;  /* since when output waits for its room; 0: none does */
	bool is_owner;           /* its call started the process */
	bool is_unflushed;       /* something was written for it and not yet handed on */
};

/* A client that waits: for its input to be written, or for the end after its signal. */
struct process_wait {
	struct process *process;
	struct conn *conn;
	struct process_wait *next;
	char *input; /* owned; NULL for a wait for the end */
	size_t input_at, input_n;
	process_input_fn *on_written; /* of input */
	void *user;                   /* on_written's; freed when the client leaves before */
};

struct process {
	struct process_table *table;
	struct process *next;
	enum process_state state;
	pid_t pid;
	uint64_t number; /* never given twice, as pids are */
	int status;      /* of waitpid; once it has ended */
	bool is_cut;     /* it was signalled: who else holds its pipes is not waited for */
	bool is_listed;  /* in the table */
	bool has_terminal;
	json_t *config;          /* as List tells it */
	char *tag;               /* NULL: none */
	unsigned handles_n;      /* libuv handles not yet closed */
	uv_timer_t timer;        /* running: the deadline; ended: how long it is kept */
	uv_timer_t signal_timer; /* how long those who sent a signal wait */
	bool signal_wait_is_kill;
	int held_fd; /* ends.held */
	struct process_output outputs[PROCESS_OUTPUTS_N];
	int input_fd; /* -1: closed */
	uv_poll_t input_poll;
	bool input_is_closing;       /* as soon as what waits has been written */
	struct process_wait *inputs; /* in order */
	struct process_wait *signals;
	struct subscriber *subscribers;
};

/* What Start asks for; everything is borrowed from the request. */
struct process_request {
	const char *cmd;
	json_t *args; /* array of strings, or NULL */
	json_t *envs; /* object of strings, or NULL */
	const char *cwd;
	const char *tag; /* NULL: none */
	bool has_stdin;
	bool has_pty;
	struct winsize size; /* of the pty */
};

/* Pure. NULL, or what is wrong (static text). */
const char *process_request_read(json_t *request, struct process_request *out);

/* "process":{"pid":…} or {"tag":…}; NULL or what is wrong.  *out_pid is -1 and *out_tag NULL when
 * they are not there; a number that no process can have is given as 0. Pure. */
const char *process_selector_read(json_t *request, pid_t *out_pid, const char **out_tag);

/* "pty":{"size":{"cols":…,"rows":…}}; NULL or what is wrong. *out_has: there is one. Pure. */
const char *process_pty_read(json_t *request, bool *out_has, struct winsize *out_size);

/* "input":{"stdin":base64} or {"pty":base64}: which of them, and its text; NULL when there is
 * neither or another type. Pure. */
json_t *process_input_read(json_t *holder, bool *out_is_pty);

/* SIGNAL_SIGKILL, SIGNAL_SIGTERM or their numbers; 0 for anything else. Pure. */
int process_signal_read(json_t *request);

/* {"event":{"end":…}} for a status of waitpid. Pure. */
json_t *process_end_event(int status);

int process_table_open(struct process_table *table, struct guest *guest);
/* Kills everything that still runs. */
void process_table_close(struct process_table *table);

/* Takes over our ends and config, copies tag.  NULL: too many processes or no memory; nothing was
 * taken. */
struct process *process_add(struct process_table *table, pid_t pid, const struct ends *ends,
			    json_t *config, const char *tag, uint64_t deadline_ms);

/* Room for one more, if need be by forgetting the oldest end that is kept; false when all run. */
bool process_table_has_room(struct process_table *table);

/* The running one is preferred to an ended one of the same number. NULL: none. */
struct process *process_find(struct process_table *table, pid_t pid, const char *tag);
struct process *process_find_number(struct process_table *table, uint64_t number);

/* The process that the request selects; NULL when the call has been refused. */
struct process *process_select(struct conn *conn, json_t *request);
/* The same, but one that has ended is not found. */
struct process *process_select_living(struct conn *conn, json_t *request);

/* Begins the stream of the connection and attaches it. */
void process_subscribe(struct process *process, struct conn *conn, bool is_owner,
		       uint64_t keepalive_ms, uint64_t deadline_ms);

/* -- Between the files of this part ----------------------------------------------------------- */

void process_output_open(struct process *process, enum process_output_kind kind, int fd);
void process_output_close(struct process_output *output);
/* Lets everything flow that was held back. */
void process_output_resume(struct process *process);
/* Both outputs are over, or the process ended and is cut: tells subscribers the end. */
void process_settle(struct process *process);
/* Sends the end to those who have room for it. */
void process_subscribers_end(struct process *process);
void process_subscribers_expire(struct process *process);
/* Bytes of output that all subscribers have room for; PROCESS_OUTPUT_MAX without any. */
size_t process_subscribers_room(const struct process *process);
/* Output waits: from now on those who have no room for it are timed. */
void process_subscribers_stall(struct process *process);
/* Breaks off all who are left. */
void process_subscribers_drop(struct process *process);
void process_subscribers_send(struct process *process, enum process_output_kind kind,
			      const char *bytes, size_t bytes_n);

void process_input_open(struct process *process, int fd);
/* NULL, or why this process takes no input of that kind (static text). */
const char *process_input_refusal(const struct process *process, bool is_pty);
/* Decodes the base64 text and queues it; leaves its work with the connection until on_written is
 * called, which may be at once.  NULL, or why not (static text): nothing is left then. */
const char *process_input_add(struct process *process, struct conn *conn, json_t *text,
			      process_input_fn *on_written, void *user);
void process_input_end(struct process *process);
/* Nobody reads any more: closes, and answers those who wait. */
void process_input_close(struct process *process);

void process_signal(struct process *process, int number, struct conn *conn);
void process_signal_answer(struct process *process);
void process_handle_closed(uv_handle_t *handle); /* handle->data: the process */

#endif
