/*
 * What pausing and going on cost, at the shim's level:
 *
 *   flotilla-vm-measure-save BIN_DIR ROUNDS [DIRTY_MIB]
 *
 * A sandbox of 512 MiB has written DIRTY_MIB (50) of its memory; it is paused, and goes on in a new
 * microVM.  Beside it, on the same machine and folder: what cannot be done without, a copy of as
 * many bytes with its fdatasync; and what is done without this, QEMU's own migration of such a
 * machine into a file.  One line each: least, median, 90th percentile, greatest.
 */
#include "common/base/check.h"
#include "node-agent/shim/identity.h"
#include "node-agent/vm/saved.h"
#include "tests/vm/rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { ROUNDS_MAX = 60, TTL_MS = 600 * 1000 };

#define TEMPLATE "flotilla-measure"

static struct rig rig;

struct series {
	double values[ROUNDS_MAX];
	size_t n;
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print_line(const char *what, struct series *series)
{
	size_t n = series->n;

	if (!n)
		return;
	qsort(series->values, n, sizeof(series->values[0]), by_value);
	printf("%-52s min %7.1f  p50 %7.1f  p90 %7.1f  max %7.1f  (%zu)\n", what, series->values[0],
	       series->values[n / 2], series->values[n * 9 / 10], series->values[n - 1], n);
}

static double now_ms(void)
{
	return (double)uv_hrtime() / 1e6;
}

static void add(struct series *series, double since_ms)
{
	series->values[series->n++] = now_ms() - since_ms;
}

static void claim(struct rig_clone *clone)
{
	rig_wait(&rig,
		 clone->has_ended || (clone->has_status && clone->status.state == WIRE_SHIM_READY));
	CHECK(!clone->has_ended);
	rig_clone_claim(clone, TTL_MS);
	rig_wait(&rig, clone->is_claimed);
	CHECK(clone->claimed.ok);
}

static void ask(struct rig_clone *clone, const char *method, const char *path, const char *body)
{
	rig_clone_request(clone, method, path, body);
	rig_wait(&rig, clone->is_answered);
	CHECK(clone->answer_n > 0);
}

static struct rig_clone *start_dirty(const char *mib)
{
	struct rig_clone *clone = rig_clone_start(&rig);

	claim(clone);
	ask(clone, "POST", "/fill", mib);
	return clone;
}

static void forget(struct rig_clone *clone)
{
	if (!clone->has_ended) {
		shim_client_kill(clone->client, CAUSE_REQUEST);
		rig_wait(&rig, clone->has_ended);
	}
	shim_dir_remove(clone->dir);
}

/* ---- the limit ---- */

static void copy_and_sync(size_t mib, struct series *times)
{
	char path[PATH_MAX + 16];
	uint8_t *bytes = malloc(mib << 20);
	double began;
	int fd;

	CHECK(bytes);
	for (size_t i = 0; i < mib << 20; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 16);
	snprintf(path, sizeof(path), "%s/plain", rig.dir);
	began = now_ms();
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write(fd, bytes, mib << 20) == (ssize_t)(mib << 20) && fdatasync(fd) == 0);
	add(times, began);
	close(fd);
	unlink(path);
	free(bytes);
}

/* ---- QEMU's own way ---- */

/* The shim's end of QEMU's control channel, while the shim stands still. */
static int borrow_qmp(pid_t shim)
{
	int pid_fd = (int)syscall(SYS_pidfd_open, shim, 0), best = -1;
	char path[300], target[64];
	struct dirent *entry;
	int lowest = 1 << 20;
	ssize_t n;
	DIR *dir;

	CHECK(pid_fd >= 0);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)shim);
	dir = opendir(path);
	CHECK(dir);
	/* Made first of the socket pairs, hence the lowest but for the control socket. */
	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)shim, fd);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		if (fd > 3 && fd < lowest && strncmp(target, "socket:", 7) == 0 &&
		    entry->d_name[0] != '.') {
			int peer = (int)syscall(SYS_pidfd_getfd, pid_fd, fd, 0);
			struct sockaddr_un address;
			socklen_t address_n = sizeof(address);

			if (getsockname(peer, (struct sockaddr *)&address, &address_n) == 0 &&
			    address.sun_family == AF_UNIX && address_n == sizeof(sa_family_t)) {
				if (best >= 0)
					close(best);
				best = peer;
				lowest = fd;
			} else {
				close(peer);
			}
		}
	}
	closedir(dir);
	close(pid_fd);
	CHECK(best >= 0);
	return best;
}

static void qmp_say(int qmp, const char *text, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec line = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr message = {.msg_iov = &line, .msg_iovlen = 1};

	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	}
	CHECK(sendmsg(qmp, &message, 0) == (ssize_t)strlen(text));
}

static void qmp_await(int qmp, const char *word)
{
	char text[64 * 1024];
	size_t used = 0;

	for (;;) {
		struct timespec pause = {0, 200 * 1000};
		ssize_t n = recv(qmp, text + used, sizeof(text) - 1 - used, MSG_DONTWAIT);

		if (n <= 0) {
			nanosleep(&pause, NULL);
			continue;
		}
		used += (size_t)n;
		text[used] = 0;
		if (strstr(text, word))
			return;
	}
}

static void migrate_and_sync(const char *mib, struct series *times, struct series *sizes)
{
	struct rig_clone *clone = start_dirty(mib);
	struct identity shim, qemu;
	char path[PATH_MAX + 16];
	struct stat stat_;
	double began;
	int qmp, fd;

	CHECK(identity_read(clone->dir, &shim, &qemu));
	snprintf(path, sizeof(path), "%s/migrated", rig.dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && kill(shim.pid, SIGSTOP) == 0);
	qmp = borrow_qmp(shim.pid);
	/* All of its memory has to go, and as fast as it can. */
	qmp_say(qmp,
		"{\"execute\":\"migrate-set-parameters\","
		"\"arguments\":{\"max-bandwidth\":10000000000},\"id\":900001}\n"
		"{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["
		"{\"capability\":\"x-ignore-shared\",\"state\":false}]},\"id\":900002}\n",
		-1);
	qmp_await(qmp, "900002");
	began = now_ms();
	qmp_say(qmp, "{\"execute\":\"stop\"}\n", -1);
	qmp_say(qmp, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"out\"}}\n", fd);
	qmp_say(qmp, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:out\"}}\n", -1);
	qmp_await(qmp, "\"completed\"");
	CHECK(fdatasync(fd) == 0);
	add(times, began);
	CHECK(fstat(fd, &stat_) == 0);
	sizes->values[sizes->n++] = (double)stat_.st_size / (1 << 20);
	close(fd);
	unlink(path);
	close(qmp);
	CHECK(identity_kill(&qemu));
	kill(shim.pid, SIGCONT);
	rig_wait(&rig, clone->has_ended);
	forget(clone);
}

/* ---- ours ---- */

struct figures {
	struct series saved, ended, ready, answered, first, bytes, snapshot, shim_pss;
};

static double shim_pss_mib(const struct rig_clone *clone)
{
	struct identity shim, qemu;
	char path[64], line[256];
	unsigned kib = 0;
	FILE *file_;

	CHECK(identity_read(clone->dir, &shim, &qemu));
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)shim.pid);
	file_ = fopen(path, "re");
	CHECK(file_);
	while (fgets(line, sizeof(line), file_) && sscanf(line, "Pss: %u kB", &kib) != 1)
		;
	fclose(file_);
	return kib / 1024.0;
}

static void pause_and_resume(const char *mib, uint64_t number, struct figures *figures)
{
	struct rig_clone *clone = start_dirty(mib), *again;
	char dir[PATH_MAX + 16];
	double began = now_ms();

	/* A snapshot first: the pause after it has the same to write. */
	shim_client_save(clone->client, 2 * number, WIRE_SAVE_SNAPSHOT);
	rig_wait(&rig, clone->is_saved);
	CHECK(clone->saved.ok);
	add(&figures->snapshot, began);
	ask(clone, "GET", "/health", "");
	clone->is_saved = false;
	began = now_ms();
	shim_client_save(clone->client, 2 * number + 1, WIRE_SAVE_PAUSE);
	rig_wait(&rig, clone->is_saved);
	CHECK(clone->saved.ok);
	add(&figures->saved, began);
	rig_wait(&rig, clone->has_ended);
	add(&figures->ended, began);
	figures->bytes.values[figures->bytes.n++] = (double)clone->saved.bytes / (1 << 20);
	snprintf(dir, sizeof(dir), "%s/" VM_DIR_SAVED, clone->dir);
	began = now_ms();
	again = rig_clone_resume(&rig, dir);
	rig_wait(&rig,
		 again->has_ended || (again->has_status && again->status.state == WIRE_SHIM_READY));
	CHECK(!again->has_ended);
	add(&figures->ready, began);
	figures->shim_pss.values[figures->shim_pss.n++] = shim_pss_mib(again);
	rig_clone_claim(again, TTL_MS);
	rig_wait(&rig, again->is_claimed);
	CHECK(again->claimed.ok);
	add(&figures->answered, began);
	ask(again, "GET", "/health", "");
	add(&figures->first, began);
	forget(again);
	forget(clone);
}

int main(int argc, char **argv)
{
	const char *mib = argc > 3 ? argv[3] : "50";
	struct series plain = {.n = 0}, migrated = {.n = 0}, sizes = {.n = 0};
	static struct figures figures;
	int rounds;

	if (argc < 3) {
		fprintf(stderr, "flotilla-vm-measure-save BIN_DIR ROUNDS [DIRTY_MIB]\n");
		return 2;
	}
	rounds = atoi(argv[2]);
	CHECK(rounds > 0 && rounds <= ROUNDS_MAX / 3);
	rig_build_sized(TEMPLATE, FLOTILLA_BIN "/flotilla-test-guest", 512);
	for (int i = 0; i < rounds; i++) {
		/* One rig for each round: it remembers all its clones. */
		rig_open(&rig, TEMPLATE, argv[1]);
		pause_and_resume(mib, (uint64_t)i + 1, &figures);
		copy_and_sync((size_t)atoi(mib), &plain);
		if (i < 5)
			migrate_and_sync(mib, &migrated, &sizes);
		rig_close(&rig);
	}
	print_line("pause: order to durable (ms)", &figures.saved);
	print_line("pause: order to ended (ms)", &figures.ended);
	print_line("snapshot: order to durable (ms)", &figures.snapshot);
	print_line("resume: start to ready (ms)", &figures.ready);
	print_line("resume: start to claimed (ms)", &figures.answered);
	print_line("resume: start to first /health via gateway (ms)", &figures.first);
	print_line("PSS of the shim of what goes on (MiB)", &figures.shim_pss);
	print_line("size on disk (MiB)", &figures.bytes);
	print_line("limit: write and fdatasync of as much (ms)", &plain);
	print_line("QEMU's migrate to a file, fdatasync (ms)", &migrated);
	print_line("its size (MiB)", &sizes);
	return 0;
}
