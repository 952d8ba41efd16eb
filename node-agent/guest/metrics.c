/* GET /metrics: see metrics.h. */
#include "node-agent/guest/metrics.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "node-agent/guest/guest.h"
#include "node-agent/guest/routes.h"

#define MIB (1024 * 1024)

static bool file_read(const char *path, char *out, size_t out_max)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, out, out_max - 1);
	close(fd);
	out[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* user nice system idle iowait irq softirq steal: the fourth and fifth are rest. */
static void processor_times(struct metrics_ticks *out)
{
	char text[512], *at = text + 3;

	*out = (struct metrics_ticks){0};
	if (!file_read("/proc/stat", text, sizeof(text)) || strncmp(text, "cpu ", 4))
		return;
	for (int i = 0; i < 8; i++) {
		uint64_t ticks = strtoull(at, &at, 10);

		out->total += ticks;
		out->busy += i == 3 || i == 4 ? 0 : ticks;
	}
}

void metrics_init(struct metrics *metrics)
{
	processor_times(&metrics->base);
	metrics->latest = metrics->base;
}

static json_int_t memory_bytes(const char *meminfo, const char *name)
{
	const char *line = strstr(meminfo, name);

	return line ? strtoll(line + strlen(name), NULL, 10) * 1024 : 0;
}

double metrics_used_percent(struct metrics *metrics, struct metrics_ticks now, uint64_t a_second)
{
	uint64_t busy, total;

	if (now.total - metrics->latest.total >= a_second) {
		metrics->base = metrics->latest;
		metrics->latest = now;
	}
	busy = now.busy - metrics->base.busy;
	total = now.total - metrics->base.total;
	return total ? round(10000.0 * (double)busy / (double)total) / 100 : 0;
}

json_t *metrics_json(struct metrics *before)
{
	char meminfo[4096] = "";
	struct statvfs disk = {0};
	json_int_t total, cache, used, disk_total, disk_free;
	long processors_n = sysconf(_SC_NPROCESSORS_ONLN);
	struct metrics_ticks now;

	processor_times(&now);
	file_read("/proc/meminfo", meminfo, sizeof(meminfo));
	total = memory_bytes(meminfo, "MemTotal:");
	cache = memory_bytes(meminfo, "\nCached:");
	used = total - memory_bytes(meminfo, "MemAvailable:");
	statvfs("/", &disk);
	disk_total = (json_int_t)(disk.f_blocks * disk.f_frsize);
	disk_free = (json_int_t)(disk.f_bavail * disk.f_frsize);
	return json_pack(
		"{s:I,s:i,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "ts", (json_int_t)time(NULL),
		"cpu_count", (int)processors_n, "cpu_used_pct",
		metrics_used_percent(before, now, (uint64_t)(processors_n * sysconf(_SC_CLK_TCK))),
		"mem_total", total, "mem_used", used, "mem_cache", cache, "mem_total_mib",
		total / MIB, "mem_used_mib", used / MIB, "disk_used", disk_total - disk_free,
		"disk_total", disk_total);
}

void metrics_get(struct conn *conn, json_t *request)
{
	(void)request;
	conn_answer_json(conn, 200, metrics_json(&conn->guest->metrics));
}
