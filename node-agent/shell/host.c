#include "node-agent/shell/host.h"

#include "common/io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum {
	HOST_VCPUS_PER_CPU = 8, /* sandboxes idle most of the time */
	HOST_DISK_OVERCOMMIT = 8,
	HOST_SANDBOXES_MAX = 4096,
};

struct mono host_mono(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (struct mono){now.tv_sec * NS_PER_S + now.tv_nsec};
}

struct wall host_wall(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (struct wall){now.tv_sec * NS_PER_S + now.tv_nsec};
}

int host_boot_id(char out_boot_id[NODE_BOOT_ID_MAX], struct err *err)
{
	char *text;
	size_t text_n;

	if (file_read("/proc/sys/kernel/random/boot_id", 64, &text, &text_n, err))
		return -1;
	snprintf(out_boot_id, NODE_BOOT_ID_MAX, "%.*s", (int)strcspn(text, "\n"), text);
	free(text);
	return 0;
}

int host_capacity(const struct agent_options *options, struct wire_room *out_capacity,
		  struct err *err)
{
	uint64_t mem_mib =
		(uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
	struct statvfs disk;

	if (statvfs(options->run_dir, &disk))
		return err_set(err, "cannot tell the free disk of %s", options->run_dir);
	*out_capacity = (struct wire_room){
		.vcpus = options->capacity_vcpus,
		.mem_mib = options->capacity_mem >> 20,
		.disk_mib = options->capacity_disk >> 20,
		.sandboxes = options->capacity_sandboxes,
	};
	if (!out_capacity->vcpus)
		out_capacity->vcpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN) * HOST_VCPUS_PER_CPU;
	if (!out_capacity->mem_mib)
		out_capacity->mem_mib = mem_mib - mem_mib / 8;
	if (!out_capacity->disk_mib)
		out_capacity->disk_mib =
			HOST_DISK_OVERCOMMIT * ((uint64_t)disk.f_bavail * disk.f_frsize >> 20);
	if (!out_capacity->sandboxes)
		out_capacity->sandboxes = HOST_SANDBOXES_MAX;
	return 0;
}
