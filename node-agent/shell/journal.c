#include "node-agent/shell/journal.h"

#include "common/base/check.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOURNAL_APPLICATION_ID = 0x464c544a }; /* "FLTJ" */

enum {
#define STATEMENT(name, sql) JOURNAL_##name,
#include "node-agent/shell/journal_statements.def"
	JOURNAL_STATEMENT_N,
};

enum {
#define READER_STATEMENT(name, sql) JOURNAL_READ_##name,
#include "node-agent/shell/journal_statements.def"
	JOURNAL_READER_STATEMENT_N,
};

static const char *const statements[] = {
#define STATEMENT(name, sql) sql,
#include "node-agent/shell/journal_statements.def"
};

static const char *const reader_statements[] = {
#define READER_STATEMENT(name, sql) sql,
#include "node-agent/shell/journal_statements.def"
};

/* The n-th script brings the file to version n+1; a script that was released never changes. */
static const char *const migrations[] = {
	"CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), acked_seq INTEGER NOT NULL,"
	" epoch INTEGER NOT NULL, attempt_floor INTEGER NOT NULL) STRICT;"
	"CREATE TABLE attempt (answered INTEGER PRIMARY KEY AUTOINCREMENT,"
	" attempt INTEGER NOT NULL UNIQUE) STRICT;"
	"CREATE TABLE sandbox (attempt INTEGER PRIMARY KEY, id TEXT NOT NULL, tenant TEXT NOT NULL,"
	" incarnation INTEGER NOT NULL, plan TEXT NOT NULL, price_version INTEGER NOT NULL,"
	" template TEXT NOT NULL, vcpus INTEGER NOT NULL, mem_mib INTEGER NOT NULL,"
	" disk_mib INTEGER NOT NULL, vm INTEGER NOT NULL, boot_id TEXT NOT NULL,"
	" resumed_mono_ns INTEGER NOT NULL, resumed_wall_ns INTEGER NOT NULL,"
	" metered_ms INTEGER NOT NULL, deadline_version INTEGER NOT NULL,"
	" end_mono_ns INTEGER NOT NULL, end_wall_ns INTEGER NOT NULL) STRICT;"
	"CREATE TABLE record (seq INTEGER PRIMARY KEY, at_wall_ns INTEGER NOT NULL,"
	" body BLOB NOT NULL) STRICT;"
	"CREATE TRIGGER record_never_changes BEFORE UPDATE ON record"
	" BEGIN SELECT RAISE(ABORT, 'a record never changes'); END;",
	/* 2: paused sandboxes. */
	"ALTER TABLE sandbox ADD COLUMN save_answered INTEGER NOT NULL DEFAULT 0;"
	"CREATE TABLE saved (attempt INTEGER PRIMARY KEY, id TEXT NOT NULL, tenant TEXT NOT NULL,"
	" incarnation INTEGER NOT NULL, template TEXT NOT NULL, vcpus INTEGER NOT NULL,"
	" mem_mib INTEGER NOT NULL, disk_mib INTEGER NOT NULL, how INTEGER NOT NULL,"
	" mib INTEGER NOT NULL, vm INTEGER NOT NULL) STRICT;",
};

int journal_open(struct journal *journal, const char *state_dir, struct err *err)
{
	char path[PATH_MAX];
	struct sqlite_options options = {
		.path = path,
		.application_id = JOURNAL_APPLICATION_ID,
		.migrations = migrations,
		.migrations_n = ARRAY_N(migrations),
		.statements = statements,
		.statements_n = ARRAY_N(statements),
	};

	memset(journal, 0, sizeof(*journal));
	snprintf(path, sizeof(path), "%s/journal.db", state_dir);
	if (sqlite_open(&journal->writer, &options, err))
		goto fail;
	/* What is billed is read from here, so none of a damaged file is believed. */
	if (sqlite_check(&journal->writer, err)) {
		err_wrap(err,
			 "%s: nothing of it was loaded; repair it, or move it away and enrol this "
			 "node anew",
			 path);
		goto fail;
	}
	options.read_only = true;
	options.statements = reader_statements;
	options.statements_n = ARRAY_N(reader_statements);
	if (sqlite_open(&journal->reader, &options, err))
		goto fail;
	return 0;
fail:
	journal_close(journal);
	return err_wrap(err, "journal");
}

void journal_close(struct journal *journal)
{
	sqlite_close(&journal->reader);
	sqlite_close(&journal->writer);
	free(journal->notes);
	journal->notes = NULL;
}

/* ---- load ---- */

static int journal_load_meta(struct journal *journal, struct node_event *event, bool *out_found,
			     struct err *err)
{
	struct sqlite *db = &journal->writer;
	int64_t next_seq;
	int got;

	if (sqlite_bind(db, JOURNAL_META_READ, SQL_NONE, err))
		return -1;
	got = sqlite_next(db, JOURNAL_META_READ, err);
	if (got < 0)
		return -1;
	*out_found = got == 1;
	*event = (struct node_event){.kind = NODE_EVENT_LOAD_META};
	if (got == 1) {
		event->meta.acked_seq = (uint64_t)sqlite_int(db, JOURNAL_META_READ, 0);
		event->meta.epoch = (uint64_t)sqlite_int(db, JOURNAL_META_READ, 1);
		event->meta.attempt_floor = (uint64_t)sqlite_int(db, JOURNAL_META_READ, 2);
	}
	sqlite_reset(db, JOURNAL_META_READ);
	/* The newest record is never trimmed, so this is right for any journal. */
	if (sqlite_get_int(db, JOURNAL_NEXT_SEQ, SQL_NONE, 1, &next_seq, err))
		return -1;
	event->meta.next_seq = (uint64_t)next_seq;
	if (next_seq > 1)
		*out_found = true;
	return 0;
}

int journal_meta(struct journal *journal, struct node_meta *out_meta, struct err *err)
{
	struct node_event event;
	bool found;

	if (journal_load_meta(journal, &event, &found, err))
		return -1;
	*out_meta = event.meta;
	return 0;
}

static void column_text(struct sqlite *db, size_t statement, int column, char *out, size_t out_n)
{
	snprintf(out, out_n, "%s", sqlite_text(db, statement, column));
}

static void journal_read_sandbox(struct sqlite *db, struct node_sandbox *out)
{
	int64_t numbers[19];

	for (int i = 0; i < 19; i++)
		numbers[i] = sqlite_int(db, JOURNAL_SANDBOXES, i);
	*out = (struct node_sandbox){
		.attempt = (uint64_t)numbers[0],
		.incarnation = (uint32_t)numbers[3],
		.price_version = (uint32_t)numbers[5],
		.vcpus = (uint32_t)numbers[7],
		.mem_mib = (uint32_t)numbers[8],
		.disk_mib = (uint32_t)numbers[9],
		.vm = (uint64_t)numbers[10],
		.resumed_mono = {numbers[12]},
		.resumed_wall = {numbers[13]},
		.metered_ms = (uint64_t)numbers[14],
		.deadline_version = (uint64_t)numbers[15],
		.end_mono = {numbers[16]},
		.end_wall = {numbers[17]},
		.save_answered = (uint64_t)numbers[18],
	};
	column_text(db, JOURNAL_SANDBOXES, 1, out->id.text, sizeof(out->id.text));
	column_text(db, JOURNAL_SANDBOXES, 2, out->tenant.text, sizeof(out->tenant.text));
	column_text(db, JOURNAL_SANDBOXES, 4, out->plan, sizeof(out->plan));
	column_text(db, JOURNAL_SANDBOXES, 6, out->template_, sizeof(out->template_));
	column_text(db, JOURNAL_SANDBOXES, 11, out->boot_id, sizeof(out->boot_id));
}

static void journal_read_saved(struct sqlite *db, struct node_saved *out)
{
	int64_t numbers[11];

	for (int i = 0; i < 11; i++)
		numbers[i] = sqlite_int(db, JOURNAL_SAVED, i);
	*out = (struct node_saved){
		.attempt = (uint64_t)numbers[0],
		.incarnation = (uint32_t)numbers[3],
		.vcpus = (uint32_t)numbers[5],
		.mem_mib = (uint32_t)numbers[6],
		.disk_mib = (uint32_t)numbers[7],
		.how = (enum wire_save_how)numbers[8],
		.mib = (uint64_t)numbers[9],
		.vm = (uint64_t)numbers[10],
	};
	column_text(db, JOURNAL_SAVED, 1, out->id.text, sizeof(out->id.text));
	column_text(db, JOURNAL_SAVED, 2, out->tenant.text, sizeof(out->tenant.text));
	column_text(db, JOURNAL_SAVED, 4, out->template_, sizeof(out->template_));
}

int journal_load(struct journal *journal, void (*on_event)(void *arg, struct node_event *event),
		 void *arg, struct err *err)
{
	struct sqlite *db = &journal->writer;
	struct node_event event;
	bool found;
	int got;

	if (journal_load_meta(journal, &event, &found, err))
		goto fail;
	if (found)
		on_event(arg, &event);
	if (sqlite_bind(db, JOURNAL_SANDBOXES, SQL_NONE, err))
		goto fail;
	while ((got = sqlite_next(db, JOURNAL_SANDBOXES, err)) == 1) {
		event = (struct node_event){.kind = NODE_EVENT_LOAD_SANDBOX};
		journal_read_sandbox(db, &event.sandbox);
		on_event(arg, &event);
	}
	if (got < 0 || sqlite_bind(db, JOURNAL_SAVED, SQL_NONE, err))
		goto fail;
	while ((got = sqlite_next(db, JOURNAL_SAVED, err)) == 1) {
		event = (struct node_event){.kind = NODE_EVENT_LOAD_SAVED};
		journal_read_saved(db, &event.saved);
		on_event(arg, &event);
	}
	if (got < 0 || sqlite_bind(db, JOURNAL_ATTEMPTS, SQL_NONE, err))
		goto fail;
	while ((got = sqlite_next(db, JOURNAL_ATTEMPTS, err)) == 1) {
		event = (struct node_event){.kind = NODE_EVENT_LOAD_ATTEMPT};
		event.attempt = (uint64_t)sqlite_int(db, JOURNAL_ATTEMPTS, 0);
		on_event(arg, &event);
	}
	if (got < 0)
		goto fail;
	return 0;
fail:
	return err_wrap(err, "journal: load");
}

/* ---- commit ---- */

static int journal_write_sandbox(struct sqlite *db, const struct node_sandbox *sandbox,
				 struct err *err)
{
	return sqlite_run(db, JOURNAL_SANDBOX_WRITE,
			  SQL(SQL_INT((int64_t)sandbox->attempt), SQL_TEXT(sandbox->id.text),
			      SQL_TEXT(sandbox->tenant.text), SQL_INT(sandbox->incarnation),
			      SQL_TEXT(sandbox->plan), SQL_INT(sandbox->price_version),
			      SQL_TEXT(sandbox->template_), SQL_INT(sandbox->vcpus),
			      SQL_INT(sandbox->mem_mib), SQL_INT(sandbox->disk_mib),
			      SQL_INT((int64_t)sandbox->vm), SQL_TEXT(sandbox->boot_id),
			      SQL_INT(sandbox->resumed_mono.ns), SQL_INT(sandbox->resumed_wall.ns),
			      SQL_INT((int64_t)sandbox->metered_ms),
			      SQL_INT((int64_t)sandbox->deadline_version),
			      SQL_INT(sandbox->end_mono.ns), SQL_INT(sandbox->end_wall.ns),
			      SQL_INT((int64_t)sandbox->save_answered)),
			  err);
}

static int journal_write_saved(struct sqlite *db, const struct node_saved *saved, struct err *err)
{
	return sqlite_run(db, JOURNAL_SAVED_ADD,
			  SQL(SQL_INT((int64_t)saved->attempt), SQL_TEXT(saved->id.text),
			      SQL_TEXT(saved->tenant.text), SQL_INT(saved->incarnation),
			      SQL_TEXT(saved->template_), SQL_INT(saved->vcpus),
			      SQL_INT(saved->mem_mib), SQL_INT(saved->disk_mib),
			      SQL_INT(saved->how), SQL_INT((int64_t)saved->mib),
			      SQL_INT((int64_t)saved->vm)),
			  err);
}

static int journal_write_record(struct sqlite *db, const struct wire_record *record,
				struct err *err)
{
	uint8_t body[4096 + WIRE_NOTE_MAX];
	size_t body_n;

	if (wire_record_encode(record, body, sizeof(body), &body_n, err))
		return -1;
	return sqlite_run(db, JOURNAL_RECORD_ADD,
			  SQL(SQL_INT((int64_t)record->seq), SQL_INT(record->at_wall_ns),
			      SQL_BLOB(body, body_n)),
			  err);
}

static int journal_write(struct sqlite *db, const struct node_effect *effect, struct err *err)
{
	switch (effect->kind) {
	case NODE_EFFECT_JOURNAL_META:
		return sqlite_run(db, JOURNAL_META_WRITE,
				  SQL(SQL_INT((int64_t)effect->meta.acked_seq),
				      SQL_INT((int64_t)effect->meta.epoch),
				      SQL_INT((int64_t)effect->meta.attempt_floor)),
				  err);
	case NODE_EFFECT_JOURNAL_ATTEMPT:
		return sqlite_run(db, JOURNAL_ATTEMPT_ADD, SQL(SQL_INT((int64_t)effect->attempt)),
				  err);
	case NODE_EFFECT_JOURNAL_ATTEMPT_GONE:
		return sqlite_run(db, JOURNAL_ATTEMPT_DROP, SQL(SQL_INT((int64_t)effect->attempt)),
				  err);
	case NODE_EFFECT_JOURNAL_SANDBOX:
		return journal_write_sandbox(db, &effect->sandbox, err);
	case NODE_EFFECT_JOURNAL_SANDBOX_GONE:
		return sqlite_run(db, JOURNAL_SANDBOX_DROP, SQL(SQL_INT((int64_t)effect->attempt)),
				  err);
	case NODE_EFFECT_JOURNAL_SAVED:
		return journal_write_saved(db, &effect->saved, err);
	case NODE_EFFECT_JOURNAL_SAVED_GONE:
		return sqlite_run(db, JOURNAL_SAVED_DROP, SQL(SQL_INT((int64_t)effect->attempt)),
				  err);
	case NODE_EFFECT_JOURNAL_RECORD:
		return journal_write_record(db, &effect->record, err);
	case NODE_EFFECT_JOURNAL_TRIM:
		return sqlite_run(db, JOURNAL_RECORD_TRIM,
				  SQL(SQL_INT((int64_t)effect->trim.below_seq),
				      SQL_INT(effect->trim.before_wall.ns)),
				  err);
	case NODE_EFFECT_VM_START:
	case NODE_EFFECT_VM_CLAIM:
	case NODE_EFFECT_LEASE:
	case NODE_EFFECT_EPOCH:
	case NODE_EFFECT_VM_DEADLINE:
	case NODE_EFFECT_VM_NETWORK:
	case NODE_EFFECT_VM_METER:
	case NODE_EFFECT_VM_SAVE:
	case NODE_EFFECT_VM_KILL:
	case NODE_EFFECT_VM_FORGET:
	case NODE_EFFECT_CARRY_SEND:
	case NODE_EFFECT_CARRY_FETCH:
	case NODE_EFFECT_CARRY_INSTALL:
	case NODE_EFFECT_CARRY_DROP:
	case NODE_EFFECT_PAYLOAD_DROP:
	case NODE_EFFECT_RECORDS:
	case NODE_EFFECT_NEWS:
	case NODE_EFFECT_N:
		break;
	}
	CHECK(false && "not a durable effect");
	return -1;
}

int journal_commit(struct journal *journal, const struct node_effect *effects, size_t n,
		   struct err *err)
{
	struct sqlite *db = &journal->writer;

	if (sqlite_begin(db, err))
		return err_wrap(err, "journal: begin");
	for (size_t i = 0; i < n; i++) {
		if (journal_write(db, &effects[i], err)) {
			sqlite_rollback(db);
			return err_wrap(err, "journal: %s", node_effect_name(effects[i].kind));
		}
	}
	if (sqlite_commit(db, err))
		return err_wrap(err, "journal: commit");
	return 0;
}

int journal_probe(struct journal *journal, struct err *err)
{
	struct sqlite *db = &journal->writer;
	char same[64];

	/* Written in any case, the same or not. */
	snprintf(same, sizeof(same), "PRAGMA user_version=%zu", ARRAY_N(migrations));
	if (sqlite_begin(db, err))
		return err_wrap(err, "journal: begin");
	if (sqlite_script(db, same, err)) {
		sqlite_rollback(db);
		return err_wrap(err, "journal: probe");
	}
	if (sqlite_commit(db, err))
		return err_wrap(err, "journal: commit");
	return 0;
}

/* Keeps the record's note beyond the row that it was read from; false: no room is left. */
static bool journal_keep_note(struct journal *journal, struct wire_bytes *note, size_t *used)
{
	if (note->n == 0)
		return true;
	if (!journal->notes) {
		journal->notes = malloc(JOURNAL_NOTES_MAX);
		CHECK(journal->notes);
	}
	if (note->n > JOURNAL_NOTES_MAX - *used)
		return false;
	memcpy(journal->notes + *used, note->data, note->n);
	note->data = journal->notes + *used;
	*used += note->n;
	return true;
}

int journal_records(struct journal *journal, uint64_t first_seq, struct wire_record *out_records,
		    size_t max, size_t *out_n, struct err *err)
{
	struct sqlite *db = &journal->reader;
	size_t n = 0, notes_n = 0;
	int got = 0;

	if (sqlite_bind(db, JOURNAL_READ_RECORDS,
			SQL(SQL_INT((int64_t)first_seq), SQL_INT((int64_t)max)), err))
		goto fail;
	while (n < max && (got = sqlite_next(db, JOURNAL_READ_RECORDS, err)) == 1) {
		struct wire_arena arena = {0}; /* records hold no lists */
		size_t body_n;
		const void *body = sqlite_blob(db, JOURNAL_READ_RECORDS, 0, &body_n);
		if (wire_record_decode(body, body_n, &arena, &out_records[n], err)) {
			sqlite_reset(db, JOURNAL_READ_RECORDS);
			goto fail;
		}
		if (!journal_keep_note(journal, &out_records[n].note, &notes_n))
			break;
		n++;
	}
	sqlite_reset(db, JOURNAL_READ_RECORDS);
	if (got < 0)
		goto fail;
	*out_n = n;
	return 0;
fail:
	return err_wrap(err, "journal: records");
}
