/*
 * Records of nodes into the core, and what only their notes tell: how a sandbox that no row is here
 * of was asked for, and by which idempotency key.
 */
#include "scheduler/shell/bus/internal.h"

#include "common/io/log.h"

#include <stdio.h>

/* The other sandbox of the tenant that has this key, if there is one that has not ended. */
static bool records_find_holder(struct nodes *nodes, const struct wire_record *record,
				const struct wire_sandbox_note *note, struct core_sandbox *out_row)
{
	struct store *store = engine_store(nodes->engine);
	struct sqlite *reader = store_reader(store);
	struct store_sandbox holder;
	bool found = false;
	struct err err;

	if (!note->idempotency_key[0] ||
	    sqlite_bind(reader, STORE_READ_SANDBOX_BY_IDEMPOTENCY,
			SQL(SQL_TEXT(record->tenant.text), SQL_TEXT(note->idempotency_key)), &err))
		return false;
	if (sqlite_next(reader, STORE_READ_SANDBOX_BY_IDEMPOTENCY, &err) == 1) {
		store_sandbox_row(store, STORE_READ_SANDBOX_BY_IDEMPOTENCY, &holder);
		*out_row = holder.row;
		found = !id_equal(&holder.row.id, &record->sandbox);
		sqlite_reset(reader, STORE_READ_SANDBOX_BY_IDEMPOTENCY);
	}
	return found;
}

/* Only a leader's core does it. */
static void records_end_sandbox(struct nodes *nodes, const struct id *sandbox)
{
	struct core_event kill = {.kind = CORE_EVENT_KILL,
				  .kill = {.sandbox = *sandbox, .cause = CAUSE_PLATFORM}};

	engine_step(nodes->engine, &kill);
}

void nodes_on_admitting(struct nodes *nodes)
{
	struct sqlite *reader = store_reader(engine_store(nodes->engine));
	struct id id = {{0}};
	struct err err;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_SANDBOXES_GIVEN_UP, SQL_NONE, &err) == 0)
		while ((got = sqlite_next(reader, STORE_READ_SANDBOXES_GIVEN_UP, &err)) == 1) {
			snprintf(id.text, sizeof(id.text), "%s",
				 sqlite_text(reader, STORE_READ_SANDBOXES_GIVEN_UP, 0));
			records_end_sandbox(nodes, &id);
		}
	if (got < 0)
		log_error("store", "cannot read sandboxes", LOG_ERR(&err));
}

void records_take(struct nodes *nodes, struct node *node, const struct wire_record *record)
{
	struct core_event event = {.kind = CORE_EVENT_RECORD,
				   .record = {.node = node->id, .record = record}};
	struct core_sandbox holder;
	struct wire_arena none = {0};
	struct wire_sandbox_note note;
	struct err err;
	bool is_known = core_sandbox_find(engine_core(nodes->engine), &record->sandbox) != NULL;

	nodes_observe_record(nodes, node, record);
	if (record->note.n == 0) {
		engine_record(nodes->engine, &event, NULL);
		return;
	}
	if (wire_sandbox_note_decode(record->note.data, record->note.n, &none, &note, &err)) {
		log_warn("bus", "a note that no scheduler wrote", LOG_TEXT("node", node->id.text),
			 LOG_ERR(&err));
		engine_record(nodes->engine, &event, NULL);
		return;
	}
	if (is_known || !records_find_holder(nodes, record, &note, &holder)) {
		engine_record(nodes->engine, &event, &note);
		return;
	}
	/*
	 * Of two with one key the later attempt has it: whoever used it again was never told of the
	 * other.  Alone, what is here was told by us; and attempts of an older copy tell nothing.
	 */
	bool is_alone = !nodes->options.leads;
	if (is_alone)
		note.idempotency_key[0] = 0;
	engine_record(nodes->engine, &event, &note);
	if (is_alone || holder.attempt > record->attempt)
		records_end_sandbox(nodes, &record->sandbox);
	else if (holder.state != SANDBOX_ENDED)
		records_end_sandbox(nodes, &holder.id);
}
