/*
 * Figures of microVMs at the shim's level, without agent or scheduler:
 *
 *   flotilla-vm-measure TEMPLATE BIN_DIR CLONES [none|health|exec]
 *
 * from a start to ready; from a claim to its answer, and to the guest's first answer through the
 * gateway's tunnel; memory (PSS) of a paused clone, its shim included.  One line each, in
 * milliseconds and MiB: least, median, 95th percentile, greatest.
 */
#include "common/base/check.h"
#include "tests/vm/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print_line(const char *what, double *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_value);
	printf("%-44s min %7.2f  p50 %7.2f  p95 %7.2f  max %7.2f  (%zu)\n", what, values[0],
	       values[n / 2], values[n * 95 / 100], values[n - 1], n);
	fflush(stdout);
}

static double now_ms(void)
{
	return (double)uv_hrtime() / 1e6;
}

/* Summed proportional set size of a process. */
static double pss_mib(uint32_t pid)
{
	char path[64], line[256];
	double mib = 0;
	unsigned kib;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%u/smaps_rollup", pid);
	file = fopen(path, "re");
	CHECK(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Pss: %u kB", &kib) == 1)
			mib = kib / 1024.0;
	fclose(file);
	return mib;
}

static uint32_t parent_of(uint32_t pid)
{
	char path[64];
	unsigned parent = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	file = fopen(path, "re");
	CHECK(file && fscanf(file, "%*d %*s %*c %u", &parent) == 1);
	fclose(file);
	return parent;
}

int main(int argc, char **argv)
{
	static struct rig rig;
	double start[RIG_CLONES_MAX], answered[RIG_CLONES_MAX], first[RIG_CLONES_MAX];
	double qemu[RIG_CLONES_MAX], shim[RIG_CLONES_MAX], second[RIG_CLONES_MAX];
	size_t n;

	if (argc < 4) {
		fprintf(stderr, "flotilla-vm-measure TEMPLATE BIN_DIR CLONES [none|health|exec]\n");
		return 2;
	}
	n = (size_t)atoi(argv[3]);
	CHECK(n > 0 && n <= RIG_CLONES_MAX);
	rig_open(&rig, argv[1], argv[2]);
	rig.warmth = VM_WARMTH_HEALTH;
	if (argc > 4)
		rig.warmth = strcmp(argv[4], "exec") == 0   ? VM_WARMTH_EXEC
			     : strcmp(argv[4], "none") == 0 ? VM_WARMTH_NONE
							    : VM_WARMTH_HEALTH;
	for (size_t i = 0; i < n; i++) {
		double began = now_ms();
		struct rig_clone *clone = rig_clone_start(&rig);

		rig_wait(&rig, clone->has_status && clone->status.state == WIRE_SHIM_READY);
		start[i] = now_ms() - began;
	}
	for (size_t i = 0; i < n; i++) {
		qemu[i] = pss_mib(rig.clones[i].status.qemu_pid);
		shim[i] = pss_mib(parent_of(rig.clones[i].status.qemu_pid));
	}
	for (size_t i = 0; i < n; i++) {
		struct rig_clone *clone = &rig.clones[i];
		double began = now_ms();

		rig_clone_claim(clone, 600 * 1000);
		rig_wait(&rig, clone->is_claimed);
		CHECK(clone->claimed.ok);
		answered[i] = now_ms() - began;
		rig_clone_request(clone, "GET", "/health", "");
		rig_wait(&rig, clone->is_answered);
		first[i] = now_ms() - began;
		began = now_ms();
		rig_clone_request(clone, "GET", "/health", "");
		rig_wait(&rig, clone->is_answered);
		second[i] = now_ms() - began;
		shim_client_kill(clone->client, CAUSE_REQUEST);
		rig_wait(&rig, clone->has_ended);
	}
	print_line("start to ready (ms)", start, n);
	print_line("claim to its answer (ms)", answered, n);
	print_line("claim to first /health via gateway (ms)", first, n);
	print_line("second /health via gateway (ms)", second, n);
	print_line("PSS of a paused QEMU (MiB)", qemu, n);
	print_line("PSS of its shim (MiB)", shim, n);
	rig_close(&rig);
	return 0;
}
