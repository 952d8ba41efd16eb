/* See observe.h. */
#include "node-agent/shim/shim.h"

#include "common/base/units.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { OBSERVE_ACTIVE_PER_MILLE = 3 }; /* of one processor: twice what an idle guest uses */

static int64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* All that QEMU's threads used since it was started; 0 when it is gone. */
static uint64_t qemu_cpu_ns(const struct shim *shim)
{
	struct timespec used;
	clockid_t clock;

	if (shim->emulator.pid <= 0 || clock_getcpuclockid(shim->emulator.pid, &clock) ||
	    clock_gettime(clock, &used))
		return 0;
	return (uint64_t)used.tv_sec * NS_PER_S + (uint64_t)used.tv_nsec;
}

/* Whether the sandbox did something since the last look, or the answer that came after it. */
static bool look_at_cpu(struct shim *shim)
{
	struct observer *observer = &shim->observer;
	uint64_t cpu_ns = qemu_cpu_ns(shim), used = cpu_ns - observer->cpu_ns, span;
	int64_t now = shim_mono_ns();
	uint32_t vcpus = shim->template_.shape.vcpus ? shim->template_.shape.vcpus : 1;

	if (cpu_ns < observer->cpu_ns)
		used = 0;
	span = now > observer->cpu_mono_ns ? (uint64_t)(now - observer->cpu_mono_ns) : 1;
	observer->cpu_used = (uint32_t)(used * 10000 / span / vcpus);
	if (observer->cpu_used > 10000)
		observer->cpu_used = 10000;
	observer->cpu_ns = cpu_ns;
	observer->cpu_mono_ns = now;
	return used * 1000 / span >= OBSERVE_ACTIVE_PER_MILLE;
}

static void tell(struct shim *shim, struct wire_sample *sample, const struct observe_answer *answer)
{
	const struct wire_observed observed = {
		.sandbox = shim->status.sandbox,
		.samples = sample,
		.samples_n = sample ? 1 : 0,
		.lines = answer ? (struct wire_log_line *)answer->lines : NULL,
		.lines_n = answer ? answer->lines_n : 0,
		.lost_n = answer && answer->lost_n <= INT64_MAX ? answer->lost_n : 0,
	};

	if (sample)
		shim->observer.sampled_mono_ns = shim_mono_ns();
	if (observed.samples_n || observed.lines_n || observed.lost_n)
		control_send(&shim->control, &wire_shape_observed, &observed);
}

/* As the guest said it last. */
static void tell_idle(struct shim *shim)
{
	struct wire_sample sample = shim->observer.last;

	sample.at_wall_ns = wall_ns();
	sample.cpu_used = shim->observer.cpu_used;
	tell(shim, &sample, NULL);
}

static void on_timer(uv_timer_t *timer);

static void on_answer(void *arg, const char *body, size_t body_n)
{
	static struct observe_answer answer;
	struct shim *shim = arg;
	struct observer *observer = &shim->observer;
	json_t *document;

	observer->is_asking = false;
	/* Without an agent the lines stay where they are. */
	if (shim->is_ending || !body || !control_has_agent(&shim->control) ||
	    !observe_read(body, body_n, observer->line == 0, observer->since_wall_ns, wall_ns(),
			  &answer, &document))
		return;
	answer.sample.at_wall_ns = wall_ns();
	/* The guest's first answer counts from the template's own start. */
	answer.sample.cpu_used = observer->last.at_wall_ns ? (uint32_t)(answer.cpu_used_pct * 100)
							   : observer->cpu_used;
	observer->last = answer.sample;
	observer->line = answer.next;
	tell(shim, observer->wants_sample ? &answer.sample : NULL, &answer);
	/* What the question itself cost is not the sandbox's doing. */
	look_at_cpu(shim);
	if (answer.has_more)
		uv_timer_start(&observer->timer, on_timer, OBSERVE_MORE_MS, OBSERVE_MS);
	json_decref(document);
}

static void ask(struct shim *shim, bool wants_sample)
{
	struct observer *observer = &shim->observer;
	char request[512 + OBSERVE_TOKEN_MAX];
	int n = snprintf(request, sizeof(request),
			 "GET /observations?after=%llu HTTP/1.1\r\nHost: sandbox\r\n"
			 "X-Access-Token: %s\r\nConnection: close\r\n\r\n",
			 (unsigned long long)observer->line, observer->token);

	observer->wants_sample = wants_sample;
	observer->asked_mono_ns = shim_mono_ns();
	observer->is_asking =
		channel_ask_document(&shim->channel, request, (size_t)n, on_answer, shim);
}

static void on_timer(uv_timer_t *timer)
{
	struct shim *shim = timer->data;
	struct observer *observer = &shim->observer;
	int64_t now = shim_mono_ns();
	int64_t apart_ms = (now - observer->sampled_mono_ns) / NS_PER_MS;
	bool is_early = observer->sampled_mono_ns && apart_ms < OBSERVE_MS * 9 / 10;
	bool is_active;

	if (shim->is_ending || shim->freeze != SHIM_RUNS || !control_has_agent(&shim->control))
		return;
	/* A guest that takes its time, or does not answer at all, still uses a processor. */
	if (observer->is_asking) {
		look_at_cpu(shim);
		if (observer->last.at_wall_ns && !is_early)
			tell_idle(shim);
		return;
	}
	/* Only for the lines that were left over. */
	if (is_early) {
		ask(shim, false);
		return;
	}
	is_active = look_at_cpu(shim) || observer->streams_n != shim->relay.streams_opened_n;
	observer->streams_n = shim->relay.streams_opened_n;
	if (!observer->last.at_wall_ns || is_active ||
	    now - observer->asked_mono_ns >= OBSERVE_IDLE_MS * NS_PER_MS)
		ask(shim, true);
	else
		tell_idle(shim);
}

void shim_observe_open(struct shim *shim)
{
	uv_timer_init(&shim->loop, &shim->observer.timer);
	shim->observer.timer.data = shim;
}

void shim_observe_begin(struct shim *shim)
{
	shim->observer.since_wall_ns = wall_ns();
	shim->observer.cpu_ns = qemu_cpu_ns(shim);
	shim->observer.cpu_mono_ns = shim_mono_ns();
	uv_timer_start(&shim->observer.timer, on_timer, OBSERVE_FIRST_MS, OBSERVE_MS);
}

void shim_observe_close(struct shim *shim)
{
	uv_close((uv_handle_t *)&shim->observer.timer, NULL);
}
