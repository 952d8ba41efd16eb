/* Rows back out of the store, on the loop's connection. */
#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

static struct id store_id(struct store *store, enum store_read statement, int column)
{
	struct id id = {0};

	snprintf(id.text, sizeof(id.text), "%s",
		 sqlite_text(store_reader(store), statement, column));
	return id;
}

static uint32_t store_u32(struct store *store, enum store_read statement, int column)
{
	return (uint32_t)sqlite_int(store_reader(store), statement, column);
}

void store_tenant_row(struct store *store, enum store_read statement, struct store_tenant *out)
{
	struct sqlite *reader = store_reader(store);

	*out = (struct store_tenant){
		.id = store_id(store, statement, 0),
		.concurrent_max = store_u32(store, statement, 3),
		.session_max_s = store_u32(store, statement, 4),
		.credit_left_nano = sqlite_int(reader, statement, 5),
		.prepaid = sqlite_int(reader, statement, 6) != 0,
		.price_version = store_u32(store, statement, 7),
	};
	snprintf(out->name, sizeof(out->name), "%s", sqlite_text(reader, statement, 1));
	snprintf(out->plan, sizeof(out->plan), "%s", sqlite_text(reader, statement, 2));
}

void store_node_row(struct store *store, enum store_read statement, struct store_node *out)
{
	struct sqlite *reader = store_reader(store);
	size_t n;

	*out = (struct store_node){
		.row =
			{
				.id = store_id(store, statement, 0),
				.cordoned = sqlite_int(reader, statement, 2) != 0,
				.capacity =
					{
						.vcpus = store_u32(store, statement, 3),
						.mem_mib =
							(uint64_t)sqlite_int(reader, statement, 4),
						.disk_mib =
							(uint64_t)sqlite_int(reader, statement, 5),
						.sandboxes = store_u32(store, statement, 6),
					},
				.next_seq = (uint64_t)sqlite_int(reader, statement, 7),
				.lost_below = (uint64_t)sqlite_int(reader, statement, 9),
			},
		.lost_at_ns = sqlite_int(reader, statement, 10),
	};
	snprintf(out->row.name, sizeof(out->row.name), "%s", sqlite_text(reader, statement, 1));
	const void *key = sqlite_blob(reader, statement, 8, &n);
	if (n == STORE_PUBLIC_KEY_N)
		memcpy(out->public_key, key, n);
}

void store_sandbox_row(struct store *store, enum store_read statement, struct store_sandbox *out)
{
	struct sqlite *reader = store_reader(store);

	*out = (struct store_sandbox){
		.row =
			{
				.id = store_id(store, statement, 0),
				.tenant = store_id(store, statement, 1),
				.node = store_id(store, statement, 2),
				.vcpus = store_u32(store, statement, 4),
				.mem_mib = store_u32(store, statement, 5),
				.disk_mib = store_u32(store, statement, 6),
				.state = (enum sandbox_state)sqlite_int(reader, statement, 7),
				.refusal = (enum refusal)sqlite_int(reader, statement, 8),
				.cause = (enum cause)sqlite_int(reader, statement, 9),
				.attempt = (uint64_t)sqlite_int(reader, statement, 10),
				.tries = store_u32(store, statement, 11),
				.deadline_version = (uint64_t)sqlite_int(reader, statement, 12),
				.deadline_known = (uint64_t)sqlite_int(reader, statement, 13),
				.created_at = {sqlite_int(reader, statement, 14)},
				.started_at = {sqlite_int(reader, statement, 15)},
				.end_at = {sqlite_int(reader, statement, 16)},
				.ended_at = {sqlite_int(reader, statement, 17)},
				.price_version = store_u32(store, statement, 20),
				.timeout_s = store_u32(store, statement, 21),
				.incarnation = store_u32(store, statement, 22),
				.saved_attempt = (uint64_t)sqlite_int(reader, statement, 23),
				.save = (uint64_t)sqlite_int(reader, statement, 24),
				.how = (enum wire_save_how)sqlite_int(reader, statement, 25),
				.saved_mib = (uint64_t)sqlite_int(reader, statement, 26),
				.on_limit = (enum wire_on_limit)sqlite_int(reader, statement, 27),
				.life_at = {sqlite_int(reader, statement, 28)},
				.source = store_id(store, statement, 30),
				.source_attempt = (uint64_t)sqlite_int(reader, statement, 31),
				.transient = sqlite_int(reader, statement, 32) != 0,
				.from_attempt = (uint64_t)sqlite_int(reader, statement, 33),
			},
		.auto_resume = sqlite_int(reader, statement, 29) != 0,
		.metadata = sqlite_text(reader, statement, 18),
	};
	snprintf(out->row.plan, sizeof(out->row.plan), "%s", sqlite_text(reader, statement, 19));
	snprintf(out->row.template_, sizeof(out->row.template_), "%s",
		 sqlite_text(reader, statement, 3));
}

void store_volume_row(struct store *store, enum store_read statement, struct store_volume *out)
{
	struct sqlite *reader = store_reader(store);

	snprintf(out->id.text, sizeof(out->id.text), "%s", sqlite_text(reader, statement, 0));
	snprintf(out->tenant.text, sizeof(out->tenant.text), "%s",
		 sqlite_text(reader, statement, 1));
	snprintf(out->name, sizeof(out->name), "%s", sqlite_text(reader, statement, 2));
	out->deleted_at_ns = sqlite_int(reader, statement, 3);
}

int store_tenant_find(struct store *store, const struct id *id, struct store_tenant *out,
		      struct err *err)
{
	struct sqlite *reader = store_reader(store);

	if (sqlite_bind(reader, STORE_READ_TENANT, SQL(SQL_TEXT(id->text)), err))
		return -1;
	int got = sqlite_next(reader, STORE_READ_TENANT, err);
	if (got == 1) {
		store_tenant_row(store, STORE_READ_TENANT, out);
		sqlite_reset(reader, STORE_READ_TENANT);
	}
	return got;
}

int store_node_find(struct store *store, const struct id *id, struct store_node *out,
		    struct err *err)
{
	struct sqlite *reader = store_reader(store);

	if (sqlite_bind(reader, STORE_READ_NODE, SQL(SQL_TEXT(id->text)), err))
		return -1;
	int got = sqlite_next(reader, STORE_READ_NODE, err);
	if (got == 1) {
		store_node_row(store, STORE_READ_NODE, out);
		sqlite_reset(reader, STORE_READ_NODE);
	}
	return got;
}

int store_volume_find(struct store *store, const struct id *id, struct store_volume *out,
		      struct err *err)
{
	struct sqlite *reader = store_reader(store);

	if (sqlite_bind(reader, STORE_READ_VOLUME, SQL(SQL_TEXT(id->text)), err))
		return -1;
	int got = sqlite_next(reader, STORE_READ_VOLUME, err);
	if (got == 1) {
		store_volume_row(store, STORE_READ_VOLUME, out);
		sqlite_reset(reader, STORE_READ_VOLUME);
	}
	return got;
}

int store_meta(struct store *store, const char *name, int64_t *out_value, struct err *err)
{
	return sqlite_get_int(store_reader(store), STORE_READ_META, SQL(SQL_TEXT(name)), 0,
			      out_value, err);
}

void store_tenant_core(const struct store_tenant *tenant, struct core_tenant *out)
{
	*out = (struct core_tenant){
		.id = tenant->id,
		.price_version = tenant->price_version,
		.concurrent_max = tenant->concurrent_max,
		.vcpus_max = UINT32_MAX,
		.mem_mib_max = UINT64_MAX,
		.session_max_s = tenant->session_max_s,
		.credit_exhausted = tenant->prepaid && tenant->credit_left_nano <= 0,
	};
	snprintf(out->plan, sizeof(out->plan), "%s", tenant->plan);
}

/* ---- everything, for a rebuild ---- */

static void store_load_row(struct store *store, enum store_read statement, struct core_event *event)
{
	struct sqlite *reader = store_reader(store);
	struct store_tenant tenant;
	struct store_node node;
	struct store_sandbox sandbox;

	*event = (struct core_event){0};
	if (statement == STORE_READ_TENANTS) {
		event->kind = CORE_EVENT_LOAD_TENANT;
		store_tenant_row(store, statement, &tenant);
		store_tenant_core(&tenant, &event->tenant);
	} else if (statement == STORE_READ_NODES) {
		event->kind = CORE_EVENT_LOAD_NODE;
		store_node_row(store, statement, &node);
		event->node = node.row;
	} else if (statement == STORE_READ_TEMPLATES) {
		event->kind = CORE_EVENT_LOAD_TEMPLATE;
		snprintf(event->template_.name, sizeof(event->template_.name), "%s",
			 sqlite_text(reader, statement, 0));
		event->template_.vcpus = store_u32(store, statement, 1);
		event->template_.mem_mib = store_u32(store, statement, 2);
		event->template_.disk_mib = store_u32(store, statement, 3);
	} else {
		event->kind = CORE_EVENT_LOAD_SANDBOX;
		store_sandbox_row(store, statement, &sandbox);
		event->sandbox = sandbox.row;
	}
}

int store_load(struct store *store, store_load_cb on_event, void *data, struct err *err)
{
	static const enum store_read statements[] = {STORE_READ_TENANTS, STORE_READ_NODES,
						     STORE_READ_TEMPLATES,
						     STORE_READ_SANDBOXES_OPEN};
	struct sqlite *reader = store_reader(store);

	for (size_t i = 0; i < ARRAY_N(statements); i++) {
		int got;
		if (sqlite_bind(reader, statements[i], SQL_NONE, err))
			return err_wrap(err, "load");
		while ((got = sqlite_next(reader, statements[i], err)) == 1) {
			struct core_event event;
			store_load_row(store, statements[i], &event);
			on_event(data, &event);
		}
		if (got < 0)
			return err_wrap(err, "load");
	}
	return 0;
}

void store_secret_row(struct store *store, enum store_read statement, struct store_secret *out)
{
	struct sqlite *reader = store_reader(store);

	*out = (struct store_secret){
		.tenant = store_id(store, statement, 0),
		.id = store_id(store, statement, 1),
		.version = sqlite_int(reader, statement, 3),
		.created_at_ns = sqlite_int(reader, statement, 4),
		.updated_at_ns = sqlite_int(reader, statement, 5),
		.metadata = (char *)sqlite_text(reader, statement, 6),
		.sealed = (char *)sqlite_text(reader, statement, 7),
	};
	snprintf(out->name, sizeof(out->name), "%s", sqlite_text(reader, statement, 2));
}
