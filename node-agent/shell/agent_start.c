/*
 * How an agent comes to its core, at its start and after its journal could not be written: opens
 * what is not open, proves that the journal can be written, and loads.  See trouble.h.
 */
#include "node-agent/shell/agent.h"

#include "common/base/check.h"
#include "common/io/daemon.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "node-agent/shell/report.h"

#include <string.h>
#include <sys/mman.h>

enum {
	AGENT_RETRY_MS = 1000,
	AGENT_LEASE_MAX_MS = 1 << 30, /* of a lease that is carried without a core: twelve days */
};

static int agent_open_folders(struct agent *agent, struct err *err)
{
	const struct agent_options *options = agent->options;

	if (agent->has_folders)
		return 0;
	if (file_make_dirs(options->state_dir, 0700, err) ||
	    file_make_dirs(options->run_dir, 0700, err) ||
	    file_make_dirs(agent->vms.dir, 0700, err) || agent_set_limits(agent, err) ||
	    daemon_lock(options->state_dir, &agent->lock_fd, err))
		return -1;
	agent->core_memory_n = node_core_size(&agent->limits);
	agent->core_memory = mmap(NULL, agent->core_memory_n, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(agent->core_memory != MAP_FAILED);
	agent->has_folders = true;
	return 0;
}

static int agent_open_links(struct agent *agent, struct err *err)
{
	if (agent->has_links)
		return 0;
	if (links_open(&agent->links, agent, err))
		return -1;
	agent->has_links = true;
	return 0;
}

static int agent_open_journal(struct agent *agent, struct err *err)
{
	if (agent->has_journal)
		return 0;
	if (journal_open(&agent->journal, agent->options->state_dir, err))
		return -1;
	agent->has_journal = true;
	return 0;
}

int agent_start(struct agent *agent, struct err *err)
{
	if (agent_open_folders(agent, err) || agent_open_links(agent, err) ||
	    agent_open_journal(agent, err))
		return -1;
	rounds_probe(&agent->rounds);
	return 0;
}

/* ---- loading ---- */

static void agent_on_loaded(void *arg, struct node_event *event)
{
	agent_step(arg, event);
}

static int agent_load(struct agent *agent, struct err *err)
{
	struct node_event boot = {.kind = NODE_EVENT_BOOT};

	uint64_t disk_mib = agent->limits.capacity.disk_mib;

	vms_close(&agent->vms);
	/* When it was looked at first the disk may have been full. */
	if (agent_set_limits(agent, err))
		return -1;
	if (agent->limits.capacity.disk_mib < disk_mib)
		agent->limits.capacity.disk_mib = disk_mib;
	memset(agent->core_memory, 0, agent->core_memory_n);
	agent->core = node_core_init(agent->core_memory, &agent->limits);
	if (journal_load(&agent->journal, agent_on_loaded, agent, err))
		return -1;
	memcpy(boot.boot.boot_id, agent->boot_id, sizeof(boot.boot.boot_id));
	agent_step(agent, &boot);
	templates_forget(&agent->templates);
	templates_look(&agent->templates, agent);
	vms_adopt(&agent->vms);
	return 0;
}

void agent_ready(struct agent *agent)
{
	struct node_meta meta = node_core_meta(agent->core);

	agent->is_loaded = true;
	links_begin(&agent->links, &meta);
	/* What gathered while loading is the proof that trouble is over; else a probe is. */
	if (agent->trouble.text[0])
		uv_timer_start(&agent->retry, agent_on_retry, AGENT_RETRY_MS, 0);
	if (!agent->was_ready && agent->callbacks.on_ready)
		agent->callbacks.on_ready(agent->callbacks.arg);
	agent->was_ready = true;
}

void agent_on_committed(void *arg)
{
	struct agent *agent = arg;
	struct err err;

	if (agent->is_closing)
		return;
	if (!agent->core) {
		if (agent_load(agent, &err))
			agent_on_lost(agent, &err);
	} else if (agent->is_loaded && agent->trouble.text[0]) {
		trouble_end(&agent->trouble);
		uv_timer_stop(&agent->retry);
		links_news(&agent->links, false);
	}
}

/* ---- trouble ---- */

/* Those who give leases are to hear of us, and those who need them to be there. */
static void agent_go_on_without_core(struct agent *agent, bool is_new)
{
	struct node_meta meta = {0};
	struct err err;

	if (!agent->vms.first)
		vms_adopt(&agent->vms);
	if (agent->links.may_speak) {
		if (is_new)
			links_news(&agent->links, true);
		return;
	}
	if (agent->has_journal && journal_meta(&agent->journal, &meta, &err))
		log_error("agent", "cannot read the journal", LOG_ERR(&err));
	links_begin(&agent->links, &meta);
}

void agent_on_lost(void *arg, const struct err *err)
{
	struct agent *agent = arg;
	bool is_new;

	if (agent->is_closing)
		return;
	if (agent->is_loaded)
		report_keep(agent);
	agent->is_loaded = false;
	agent->core = NULL;
	payloads_drop_all(&agent->payloads);
	carries_drop_all(&agent->carries);
	rounds_drop(&agent->rounds);
	uv_timer_stop(&agent->tick); /* timers run before the next look at the core */
	is_new = trouble_begin(&agent->trouble, err);
	if (agent->has_links)
		agent_go_on_without_core(agent, is_new);
	uv_timer_start(&agent->retry, agent_on_retry, AGENT_RETRY_MS, 0);
}

void agent_on_retry(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	struct err err;

	if (agent_start(agent, &err))
		agent_on_lost(agent, &err);
}

void agent_keep_leases(struct agent *agent, const struct wire_answer *answer, struct mono sent_at)
{
	struct trouble *trouble = &agent->trouble;
	uint64_t ms = answer->lease_ms < AGENT_LEASE_MAX_MS ? answer->lease_ms : AGENT_LEASE_MAX_MS;
	struct mono until = {0};

	if (answer->epoch < trouble->epoch || answer->epoch < agent->links.epoch ||
	    (ms && !sent_at.ns))
		return;
	trouble->epoch = answer->epoch;
	if (ms)
		until = mono_add_ms(sent_at, (int64_t)ms);
	vms_lease(&agent->vms, until, answer->lost_below);
}
