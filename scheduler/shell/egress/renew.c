/* See renew.h. */
#include "scheduler/shell/egress/renew.h"

#include "common/base/check.h"
#include "common/base/units.h"
#include "common/io/log.h"
#include "scheduler/shell/egress/hidden.h"
#include "scheduler/shell/egress/identity.h"
#include "scheduler/shell/egress/placeholders.h"

#include <stdlib.h>
#include <string.h>

/* Each sandbox has its turn by its name, so that they do not come all at once, and every leader
 * knows whose turn it is.  Secrets are told again then, too: who led when one was changed may have
 * died before all had heard of it. */
enum { TURN_S = 10, TURNS_N = IDENTITY_REFRESH_S / TURN_S };

/* A secret whose new value some sandboxes are still to get. */
struct changed {
	struct changed *next;
	struct id tenant;
	char name[STORE_SECRET_NAME_MAX];
};

struct renewals {
	struct renewals_options options;
	struct changed *changed;
	uv_timer_t timer;
	int64_t turn; /* that was done last, counted since 1970 */
};

/* One whose rules are to be told again. */
struct due {
	struct due *next;
	struct id sandbox, tenant;
	char *network;
};

typedef bool (*rules_cb)(const json_t *rules, const struct due *due, const void *arg);

static bool is_due(const struct renewals_options *options, const struct due *due, rules_cb is_meant,
		   const void *arg)
{
	json_t *network = json_loads(due->network, 0, NULL);
	struct err err;
	bool is_it = hidden_open(options->secrets, &due->tenant, network, &err) == 0 &&
		     is_meant(json_object_get(network, "rules"), due, arg);

	json_decref(network);
	return is_it;
}

/* tenant: "" for all. What is asked first, so that the rounds do not come in between. */
static struct due *find_due(const struct renewals_options *options, const char *tenant,
			    rules_cb is_meant, const void *arg)
{
	struct sqlite *reader = store_reader(engine_store(options->engine));
	struct due *all = NULL, *due;
	struct err err;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_NETWORKS_SEALED, SQL(SQL_TEXT(tenant)), &err) == 0) {
		while ((got = sqlite_next(reader, STORE_READ_NETWORKS_SEALED, &err)) == 1) {
			due = calloc(1, sizeof(*due));
			CHECK(due);
			snprintf(due->sandbox.text, sizeof(due->sandbox.text), "%s",
				 sqlite_text(reader, STORE_READ_NETWORKS_SEALED, 0));
			snprintf(due->tenant.text, sizeof(due->tenant.text), "%s",
				 sqlite_text(reader, STORE_READ_NETWORKS_SEALED, 1));
			due->network = strdup(sqlite_text(reader, STORE_READ_NETWORKS_SEALED, 2));
			CHECK(due->network);
			due->next = all;
			all = due;
		}
	}
	if (got < 0)
		log_error("store", "cannot read what sandboxes may reach", LOG_ERR(&err));
	for (struct due **at = &all; *at;) {
		due = *at;
		if (is_due(options, due, is_meant, arg)) {
			at = &due->next;
			continue;
		}
		*at = due->next;
		free(due->network);
		free(due);
	}
	return all;
}

/* Whether what is stored is what its node was told last: not while a change is under way. */
static bool is_settled(const struct renewals_options *options, const struct id *sandbox)
{
	const struct core_sandbox *row = core_sandbox_find(engine_core(options->engine), sandbox);

	return row && row->deadline_known == row->deadline_version;
}

/* Nobody waits for it; what does not run any more is told with its next start. False: some were not
 * settled, and were left out. */
static bool tell_again(const struct renewals_options *options, struct due *due)
{
	bool is_all = true;

	while (due) {
		struct due *next = due->next;
		struct core_event event = {.kind = CORE_EVENT_SET_NETWORK};

		event.timeout.sandbox = due->sandbox;
		event.timeout.tenant = due->tenant;
		if (is_settled(options, &due->sandbox)) {
			engine_network(options->engine, &event, due->network);
		} else {
			is_all = false;
			free(due->network);
		}
		free(due);
		due = next;
	}
	return is_all;
}

static bool leads(const struct renewals_options *options)
{
	return engine_is_available(options->engine) &&
	       core_role(engine_core(options->engine)) != CORE_STANDBY;
}

/* ---- secrets ---- */

static bool names_secret(const json_t *rules, const struct due *due, const void *arg)
{
	(void)due;
	return placeholders_name_secret(rules, arg);
}

static bool renew_now(const struct renewals *renewals, const struct changed *changed)
{
	return leads(&renewals->options) &&
	       tell_again(&renewals->options, find_due(&renewals->options, changed->tenant.text,
						       names_secret, changed->name));
}

void renewals_secret(struct renewals *renewals, const struct id *tenant, const char *name)
{
	struct changed *changed = calloc(1, sizeof(*changed));

	CHECK(changed);
	changed->tenant = *tenant;
	snprintf(changed->name, sizeof(changed->name), "%s", name);
	if (renew_now(renewals, changed)) {
		free(changed);
		return;
	}
	changed->next = renewals->changed;
	renewals->changed = changed;
}

/* A replica that does not lead any more leaves it to the tokens' turns of who does. */
static void renew_changed(struct renewals *renewals)
{
	struct changed *again = renewals->changed, *next;

	renewals->changed = NULL;
	for (; again; again = next) {
		next = again->next;
		if (leads(&renewals->options))
			renewals_secret(renewals, &again->tenant, again->name);
		free(again);
	}
}

/* ---- tokens ---- */

/* FNV-1a: any spread will do. */
static int64_t turn_of(const struct id *sandbox)
{
	uint32_t hash = 2166136261u;

	for (const char *at = sandbox->text; *at; at++)
		hash = (hash ^ (unsigned char)*at) * 16777619u;
	return hash % TURNS_N;
}

struct turns {
	int64_t from, to; /* these, and all between */
};

static bool has_turn(const json_t *rules, const struct due *due, const void *arg)
{
	const struct turns *turns = arg;
	int64_t since_n = (turn_of(&due->sandbox) - turns->from % TURNS_N + TURNS_N) % TURNS_N;

	return since_n <= turns->to - turns->from && placeholders_name_any(rules);
}

static void on_turn(uv_timer_t *timer)
{
	struct renewals *renewals = timer->data;
	struct turns turns = {renewals->turn + 1, engine_wall().ns / NS_PER_S / TURN_S};

	/* A clock that was set back, or far ahead. */
	if (turns.from > turns.to || turns.to - turns.from >= TURNS_N)
		turns.from = turns.to;
	renewals->turn = turns.to;
	renew_changed(renewals);
	if (leads(&renewals->options))
		(void)tell_again(&renewals->options,
				 find_due(&renewals->options, "", has_turn, &turns));
}

void renewals_open(struct renewals **out_renewals, uv_loop_t *loop,
		   const struct renewals_options *options)
{
	struct renewals *renewals = calloc(1, sizeof(*renewals));

	CHECK(renewals);
	renewals->options = *options;
	renewals->turn = engine_wall().ns / NS_PER_S / TURN_S;
	uv_timer_init(loop, &renewals->timer);
	renewals->timer.data = renewals;
	uv_timer_start(&renewals->timer, on_turn, TURN_S * 1000, TURN_S * 1000);
	*out_renewals = renewals;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void renewals_close(struct renewals *renewals)
{
	struct changed *next;

	if (!renewals)
		return;
	for (struct changed *at = renewals->changed; at; at = next) {
		next = at->next;
		free(at);
	}
	uv_close((uv_handle_t *)&renewals->timer, on_closed);
}
