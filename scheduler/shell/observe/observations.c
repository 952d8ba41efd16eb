#include "scheduler/shell/observe/observations.h"

#include "common/base/check.h"
#include "common/base/units.h"
#include "common/io/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	APPLICATION_ID = 0x464c4f31, /* "FLO1" */
	QUEUE_BYTES_MAX = 8 * 1024 * 1024,
	GATHER_MS = 250,  /* so that a busy fleet is written in batches */
	TRIM_ROWS = 5000, /* in one transaction */
	TRIM_PARTS = 16,
	TRIM_EVERY_S = 30,
	IDLE_S = 300, /* so that what is too old goes, though nothing new comes */
	FAULT_LOG_EVERY_S = 60,
};

enum writer_statement {
#define STATEMENT(name, sql) WRITE_##name,
#include "scheduler/shell/observe/writer.def"
#undef STATEMENT
};

static const char *const writer_sql[] = {
#define STATEMENT(name, sql) sql,
#include "scheduler/shell/observe/writer.def"
#undef STATEMENT
};

static const char *const reader_sql[] = {
#define STATEMENT(name, sql) sql,
#include "scheduler/shell/observe/reader.def"
#undef STATEMENT
};

extern const char observe_migration_0001[];
static const char *const migrations[] = {observe_migration_0001};

enum row_kind { ROW_SAMPLE, ROW_LINE, ROW_CHANGE };

struct row {
	struct row *next;
	enum row_kind kind;
	struct id sandbox;
	union {
		struct wire_sample sample;
		struct {
			int64_t at_wall_ns;
			int event;
			uint32_t pid;
		} line;
		struct observed_change change;
	};
	char text[]; /* of a line; a change's template */
};

struct observations {
	struct observations_options options;
	struct sqlite writer; /* the thread's */
	struct sqlite reader; /* the loop's */
	pthread_t thread;
	time_t trimmed_at, complained_at; /* the thread's */

	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t wake;
	struct row *first, **end;
	size_t bytes_n;
	bool is_stopping;
};

/* ---- the loop's side ---- */

static struct row *row_make(enum row_kind kind, const void *text, size_t text_n)
{
	struct row *row = calloc(1, sizeof(*row) + text_n + 1);

	CHECK(row);
	row->kind = kind;
	memcpy(row->text, text, text_n);
	return row;
}

/* Takes the row over. */
static void row_add(struct observations *observations, struct row *row)
{
	size_t n = sizeof(*row) + strlen(row->text);
	bool is_full;

	pthread_mutex_lock(&observations->lock);
	is_full = observations->bytes_n + n > QUEUE_BYTES_MAX;
	if (!is_full) {
		*observations->end = row;
		observations->end = &row->next;
		observations->bytes_n += n;
		pthread_cond_signal(&observations->wake);
	}
	pthread_mutex_unlock(&observations->lock);
	if (is_full) {
		++*observations->options.dropped;
		free(row);
	}
}

static int64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* A node's clock may be ahead; what is of the future would be kept for ever. */
static int64_t not_later(int64_t at_wall_ns)
{
	int64_t now_ns = wall_ns();

	return at_wall_ns < now_ns ? at_wall_ns : now_ns;
}

static void add_line(struct observations *observations, const struct id *sandbox,
		     int64_t at_wall_ns, int event, uint32_t pid, const void *text, size_t text_n)
{
	struct row *row = row_make(ROW_LINE, text, text_n);

	row->sandbox = *sandbox;
	row->line.at_wall_ns = not_later(at_wall_ns);
	row->line.event = event;
	row->line.pid = pid;
	row_add(observations, row);
}

/* Where lines are missing stands a line that says so. */
static void add_lost(struct observations *observations, const struct wire_observed *observed)
{
	int64_t at_ns = observed->lines_n ? observed->lines[0].at_wall_ns : wall_ns();
	char text[64];
	int n = snprintf(text, sizeof(text), "%llu lines were lost",
			 (unsigned long long)observed->lost_n);

	add_line(observations, &observed->sandbox, at_ns, 0, 0, text, (size_t)n);
}

void observations_add(struct observations *observations, const struct wire_observed *observed)
{
	if (!observations)
		return;
	for (size_t i = 0; i < observed->samples_n; i++) {
		struct row *row = row_make(ROW_SAMPLE, "", 0);
		row->sandbox = observed->sandbox;
		row->sample = observed->samples[i];
		row->sample.at_wall_ns = not_later(row->sample.at_wall_ns);
		row_add(observations, row);
	}
	if (observed->lost_n)
		add_lost(observations, observed);
	for (size_t i = 0; i < observed->lines_n; i++) {
		const struct wire_log_line *line = &observed->lines[i];
		add_line(observations, &observed->sandbox, line->at_wall_ns, (int)line->event,
			 line->pid, line->text.data, line->text.n);
	}
}

void observations_add_change(struct observations *observations,
			     const struct observed_change *change)
{
	struct row *row;

	if (!observations)
		return;
	row = row_make(ROW_CHANGE, change->template_, strlen(change->template_));
	row->change = *change;
	row->change.template_ = NULL; /* it is the row's text */
	row_add(observations, row);
}

struct sqlite *observations_reader(struct observations *observations)
{
	return &observations->reader;
}

/* ---- the thread's side ---- */

static int row_write(struct sqlite *db, const struct row *row, struct err *err)
{
	const struct wire_sample *sample = &row->sample;
	const struct observed_change *change = &row->change;

	switch (row->kind) {
	case ROW_SAMPLE:
		return sqlite_run(
			db, WRITE_SAMPLE,
			SQL(SQL_TEXT(row->sandbox.text), SQL_INT(sample->at_wall_ns / NS_PER_MS),
			    SQL_INT(sample->vcpus), SQL_INT(sample->cpu_used),
			    SQL_INT((int64_t)sample->mem_used), SQL_INT((int64_t)sample->mem_total),
			    SQL_INT((int64_t)sample->mem_cache),
			    SQL_INT((int64_t)sample->disk_used),
			    SQL_INT((int64_t)sample->disk_total)),
			err);
	case ROW_LINE:
		return sqlite_run(
			db, WRITE_LINE,
			SQL(SQL_TEXT(row->sandbox.text), SQL_INT(row->line.at_wall_ns / NS_PER_MS),
			    SQL_INT(row->line.event), SQL_INT(row->line.pid), SQL_TEXT(row->text)),
			err);
	case ROW_CHANGE:
		return sqlite_run(db, WRITE_EVENT,
				  SQL(SQL_TEXT(change->node.text), SQL_INT((int64_t)change->seq),
				      SQL_INT(change->type), SQL_TEXT(change->sandbox.text),
				      SQL_TEXT(change->tenant.text), SQL_TEXT(row->text),
				      SQL_INT(change->incarnation),
				      SQL_INT(change->at_wall_ns / NS_PER_MS),
				      SQL_INT(change->until_wall_ns / NS_PER_MS)),
				  err);
	}
	return 0;
}

static int write_all(struct observations *observations, const struct row *first, struct err *err)
{
	if (sqlite_begin(&observations->writer, err))
		return -1;
	for (const struct row *row = first; row; row = row->next) {
		if (row_write(&observations->writer, row, err)) {
			sqlite_rollback(&observations->writer);
			return -1;
		}
	}
	return sqlite_commit(&observations->writer, err);
}

/* Removes what is older. */
static int trim_before(struct observations *observations, int64_t at_ms, struct err *err)
{
	static const enum writer_statement statements[] = {WRITE_TRIM_SAMPLES, WRITE_TRIM_LINES,
							   WRITE_TRIM_EVENTS};

	for (size_t i = 0; i < ARRAY_N(statements); i++) {
		do {
			if (sqlite_run(&observations->writer, statements[i],
				       SQL(SQL_INT(TRIM_ROWS), SQL_INT(at_ms)), err))
				return -1;
		} while (sqlite_changes(&observations->writer) == TRIM_ROWS);
	}
	return 0;
}

/* What is too old; and then, as long as the file is too large, one part of the time after the
 * other, the oldest first. */
static int trim(struct observations *observations, struct err *err)
{
	int64_t now_ms = (int64_t)time(NULL) * 1000, oldest_ms, size;
	struct sqlite *db = &observations->writer;

	if (trim_before(observations, now_ms - (int64_t)observations->options.retention_ms, err) ||
	    sqlite_get_int(db, WRITE_OLDEST, SQL_NONE, now_ms, &oldest_ms, err))
		return -1;
	for (int part = 1;; part++) {
		bool is_last = part > TRIM_PARTS;
		if (sqlite_get_int(db, WRITE_SIZE, SQL_NONE, 0, &size, err))
			return -1;
		if (size <= (int64_t)observations->options.size_max)
			return 0;
		if (trim_before(observations,
				is_last ? INT64_MAX
					: oldest_ms + (now_ms - oldest_ms) / TRIM_PARTS * part,
				err))
			return -1;
		if (is_last)
			return 0; /* an empty file is as small as it gets */
	}
}

static void work(struct observations *observations, const struct row *first)
{
	time_t now = time(NULL);
	int fault = 0;
	struct err err;

	if (first)
		fault = write_all(observations, first, &err);
	if (!fault && now - observations->trimmed_at >= TRIM_EVERY_S) {
		observations->trimmed_at = now;
		fault = trim(observations, &err);
	}
	if (fault && now - observations->complained_at >= FAULT_LOG_EVERY_S) {
		observations->complained_at = now;
		log_warn("observations", "cannot be written, and are lost", LOG_ERR(&err));
	}
}

static void rows_free(struct row *row)
{
	while (row) {
		struct row *next = row->next;
		free(row);
		row = next;
	}
}

static void *observations_work(void *arg)
{
	const struct timespec pause = {0, GATHER_MS * NS_PER_MS};
	struct observations *observations = arg;
	bool is_stopping;

	do {
		struct timespec until = {.tv_sec = time(NULL) + IDLE_S};
		struct row *first;
		int late = 0;
		pthread_mutex_lock(&observations->lock);
		while (!observations->first && !observations->is_stopping && !late)
			late = pthread_cond_timedwait(&observations->wake, &observations->lock,
						      &until);
		first = observations->first;
		observations->first = NULL;
		observations->end = &observations->first;
		observations->bytes_n = 0;
		is_stopping = observations->is_stopping;
		pthread_mutex_unlock(&observations->lock);
		work(observations, first);
		rows_free(first);
		if (!is_stopping)
			nanosleep(&pause, NULL);
	} while (!is_stopping);
	return NULL;
}

/* ---- life ---- */

static int open_file(struct observations *observations, struct err *err)
{
	char path[4096];
	struct sqlite_options options = {
		.path = path,
		.application_id = APPLICATION_ID,
		.migrations = migrations,
		.migrations_n = ARRAY_N(migrations),
		.statements = writer_sql,
		.statements_n = ARRAY_N(writer_sql),
	};

	if (snprintf(path, sizeof(path), "%s/observations.db", observations->options.dir) >=
	    (int)sizeof(path))
		return err_set(err, "path is too long");
	/* A crash of the host may cost the newest rows, and nobody waits for a disk. */
	if (sqlite_open(&observations->writer, &options, err) ||
	    sqlite_script(&observations->writer, "PRAGMA synchronous = NORMAL", err))
		return -1;
	options.read_only = true;
	options.statements = reader_sql;
	options.statements_n = ARRAY_N(reader_sql);
	return sqlite_open(&observations->reader, &options, err);
}

int observations_open(struct observations **out_observations,
		      const struct observations_options *options, struct err *err)
{
	struct observations *observations = calloc(1, sizeof(*observations));

	CHECK(observations);
	observations->options = *options;
	observations->end = &observations->first;
	if (open_file(observations, err)) {
		sqlite_close(&observations->reader);
		sqlite_close(&observations->writer);
		free(observations);
		return err_wrap(err, "observations");
	}
	pthread_mutex_init(&observations->lock, NULL);
	pthread_cond_init(&observations->wake, NULL);
	CHECK(pthread_create(&observations->thread, NULL, observations_work, observations) == 0);
	*out_observations = observations;
	return 0;
}

void observations_close(struct observations *observations)
{
	if (!observations)
		return;
	pthread_mutex_lock(&observations->lock);
	observations->is_stopping = true;
	pthread_cond_signal(&observations->wake);
	pthread_mutex_unlock(&observations->lock);
	pthread_join(observations->thread, NULL);
	/* Added while it was writing the last ones. */
	rows_free(observations->first);
	pthread_cond_destroy(&observations->wake);
	pthread_mutex_destroy(&observations->lock);
	sqlite_close(&observations->reader);
	sqlite_close(&observations->writer);
	free(observations);
}
