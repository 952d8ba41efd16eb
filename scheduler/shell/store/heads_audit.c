/* The audit: the whole chain, in small steps, on a thread and a connection of its own. */
#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	AUDIT_STEP = 256,      /* events; no snapshot is held between steps, so the WAL can go on */
	AUDIT_PAUSE_MS = 20,   /* between steps: 13,000 events a second at the most */
	AUDIT_AGAIN_S = 86400, /* between two audits */
	AUDIT_RETRY_S = 60,    /* after one that could not read */
};

struct ledger_audit {
	char *dir;
	struct sqlite reader; /* the thread's, open during an audit: it is not worth its memory */
	uint8_t public_key[IDENTITY_PUBLIC_N];
	ledger_audit_cb on_end;
	void *data;
	uv_async_t *ended; /* freed by its own close callback */
	pthread_t thread;
	bool started;
	bool told; /* the loop's */

	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t wake;
	bool stopping;
	struct ledger_audit_status status;
};

/* True when it is time to stop. */
static bool audit_pause(struct ledger_audit *audit, int64_t ms)
{
	struct timespec until;
	bool stopping;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&audit->lock);
	while (!audit->stopping && pthread_cond_timedwait(&audit->wake, &audit->lock, &until) == 0)
		;
	stopping = audit->stopping;
	pthread_mutex_unlock(&audit->lock);
	return stopping;
}

/* Where the chain ends now; only to say how far the audit is. */
static int64_t audit_end_of_chain(struct ledger_audit *audit)
{
	int64_t end;

	if (sqlite_get_int(&audit->reader, STORE_READ_EVENTS_N, SQL_NONE, 0, &end, NULL))
		return 0;
	return end;
}

static void audit_note(struct ledger_audit *audit, const struct ledger_audit_status *status)
{
	pthread_mutex_lock(&audit->lock);
	audit->status = *status;
	pthread_mutex_unlock(&audit->lock);
}

enum audit_end { AUDIT_PASSED, AUDIT_DAMAGED, AUDIT_UNREADABLE, AUDIT_STOPPED };

/* A disk that cannot be read just now has said nothing against the ledger. */
static enum audit_end audit_fault(struct ledger_audit *audit, bool damaged)
{
	int code = sqlite3_errcode(audit->reader.db);

	return damaged || code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? AUDIT_DAMAGED
									  : AUDIT_UNREADABLE;
}

static enum audit_end audit_chain(struct ledger_audit *audit, struct ledger_audit_status *status)
{
	struct ledger_walk walk;
	int got;

	ledger_walk_begin(&walk, &audit->reader, audit->public_key);
	do {
		got = ledger_walk_step(&walk, AUDIT_STEP, &status->err);
		status->events_n = walk.events_n;
		enum audit_end fault = audit_fault(audit, walk.damaged);
		status->of_n = got == 0 ? walk.events_n : audit_end_of_chain(audit);
		if (got < 0)
			return fault;
		audit_note(audit, status);
		if (got == 1 && audit_pause(audit, AUDIT_PAUSE_MS))
			return AUDIT_STOPPED;
	} while (got == 1);
	return AUDIT_PASSED;
}

static enum audit_end audit_books(struct ledger_audit *audit, struct err *err)
{
	struct ledger_books books;
	int got = ledger_books_begin(&books, &audit->reader, err) ? -1 : 1;

	while (got == 1) {
		got = ledger_books_step(&books, AUDIT_STEP * 4, err);
		if (got == 1 && audit_pause(audit, AUDIT_PAUSE_MS))
			return AUDIT_STOPPED;
	}
	return got < 0 ? audit_fault(audit, books.damaged) : AUDIT_PASSED;
}

static enum audit_end audit_once(struct ledger_audit *audit)
{
	struct ledger_audit_status status = {.state = LEDGER_AUDIT_RUNS};
	enum audit_end end = AUDIT_UNREADABLE;

	if (ledger_open(&audit->reader, audit->dir, &status.err) == 0)
		end = audit_chain(audit, &status);
	if (end == AUDIT_PASSED)
		end = audit_books(audit, &status.err);
	sqlite_close(&audit->reader);
	if (end == AUDIT_STOPPED)
		return end;
	if (end == AUDIT_PASSED)
		status.state = LEDGER_AUDIT_PASSED;
	if (end == AUDIT_DAMAGED)
		status.state = LEDGER_AUDIT_DAMAGED;
	audit_note(audit, &status);
	if (end != AUDIT_UNREADABLE)
		uv_async_send(audit->ended);
	return end;
}

static void *audit_work(void *arg)
{
	struct ledger_audit *audit = arg;

	for (;;) {
		enum audit_end end = audit_once(audit);
		int64_t pause_s = end == AUDIT_PASSED ? AUDIT_AGAIN_S : AUDIT_RETRY_S;
		if (end == AUDIT_DAMAGED || end == AUDIT_STOPPED ||
		    audit_pause(audit, pause_s * 1000))
			return NULL;
	}
}

static void audit_on_ended(uv_async_t *ended)
{
	struct ledger_audit *audit = ended->data;
	struct ledger_audit_status status;

	ledger_audit_status(audit, &status);
	/* A clean audit is told once; damage always, and there is one at the most. */
	if (status.state == LEDGER_AUDIT_DAMAGED || !audit->told)
		audit->on_end(audit->data, &status);
	audit->told = true;
}

static void audit_free_handle(uv_handle_t *handle)
{
	free(handle);
}

int ledger_audit_open(struct ledger_audit **out_audit, uv_loop_t *loop, const char *dir,
		      const uint8_t public_key[IDENTITY_PUBLIC_N], ledger_audit_cb on_end,
		      void *data, struct err *err)
{
	struct ledger_audit *audit = calloc(1, sizeof(*audit));
	pthread_condattr_t clock;

	CHECK(audit);
	audit->reader.lock_fd = -1;
	audit->on_end = on_end;
	audit->data = data;
	memcpy(audit->public_key, public_key, IDENTITY_PUBLIC_N);
	pthread_mutex_init(&audit->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&audit->wake, &clock);
	pthread_condattr_destroy(&clock);
	audit->dir = strdup(dir);
	CHECK(audit->dir);
	audit->ended = calloc(1, sizeof(*audit->ended));
	CHECK(audit->ended && uv_async_init(loop, audit->ended, audit_on_ended) == 0);
	audit->ended->data = audit;
	uv_unref((uv_handle_t *)audit->ended);
	if (pthread_create(&audit->thread, NULL, audit_work, audit) != 0) {
		err_set(err, "cannot start the thread that audits");
		goto fail;
	}
	audit->started = true;
	*out_audit = audit;
	return 0;
fail:
	ledger_audit_close(audit);
	return err_wrap(err, "audit");
}

void ledger_audit_status(struct ledger_audit *audit, struct ledger_audit_status *out)
{
	pthread_mutex_lock(&audit->lock);
	*out = audit->status;
	pthread_mutex_unlock(&audit->lock);
}

void ledger_audit_close(struct ledger_audit *audit)
{
	if (!audit)
		return;
	if (audit->started) {
		pthread_mutex_lock(&audit->lock);
		audit->stopping = true;
		pthread_cond_signal(&audit->wake);
		pthread_mutex_unlock(&audit->lock);
		pthread_join(audit->thread, NULL);
	}
	if (audit->ended)
		uv_close((uv_handle_t *)audit->ended, audit_free_handle);
	pthread_cond_destroy(&audit->wake);
	pthread_mutex_destroy(&audit->lock);
	free(audit->dir);
	free(audit);
}
