/*
 * A guest for tests of the machine and its shim: process 1 that reaches its disks, speaks the
 * multiplexer, and answers requests on port 49983 with 204, or, for some paths, with the trouble
 * that is wanted:
 *
 *   GET /mark       200 and what was last written by POST /mark, kept on the disk and in memory
 *   POST /mark      keeps the body
 *   POST /fill      fills so many MiB of memory, the same in each machine
 *   POST /child     starts a process that counts, with a file of its own that has no name
 *   GET /self       200 and the kernel's boot id, the child's number, count and file's content, and
 *                   what is found in the memory filled: "BOOT PID COUNT CONTENT SUM"
 *   POST /deaf      answers, and takes no notice of its channel for 15 s: longer than a save waits
 *   GET /garbage    breaks the protocol
 *   GET /off        switches the machine off
 *   GET /panic      panics the kernel
 *   GET /silence    never answers
 */
#include "common/base/check.h"
#include "common/mux/mux.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STREAMS_MAX = 16, REQUEST_MAX = 8192 };

struct request {
	uint32_t stream;
	char text[REQUEST_MAX];
	size_t n;
};

static struct request requests[STREAMS_MAX];
static char mark_in_memory[256];
static uint64_t *filled;
static size_t filled_n;
static bool is_deaf;
static int child_fd = -1;
static pid_t child_pid;
static int port_fd;

static void load_modules(void)
{
	FILE *list = fopen("/modules.list", "re");
	char path[256];

	CHECK(list);
	while (fgets(path, sizeof(path), list)) {
		int fd;

		path[strcspn(path, "\n")] = 0;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		CHECK(fd >= 0 && syscall(SYS_finit_module, fd, "", 0) == 0);
		close(fd);
	}
	fclose(list);
}

/* Devices appear a moment after their drivers. */
static void wait_for(const char *path)
{
	for (int i = 0; i < 1000 && access(path, F_OK); i++)
		usleep(10 * 1000);
	CHECK(access(path, F_OK) == 0);
}

static void mount_all(void)
{
	static const char *const folders[] = {"/dev", "/proc", "/sys", "/ro", "/rw"};

	for (size_t i = 0; i < ARRAY_N(folders); i++)
		mkdir(folders[i], 0755);
	CHECK(mount("dev", "/dev", "devtmpfs", 0, NULL) == 0);
	CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
	CHECK(mount("sys", "/sys", "sysfs", 0, NULL) == 0);
	load_modules();
	wait_for("/dev/vda");
	wait_for("/dev/vdb");
	CHECK(mount("/dev/vda", "/ro", "squashfs", MS_RDONLY, NULL) == 0);
	CHECK(mount("/dev/vdb", "/rw", "ext4", MS_NOATIME, NULL) == 0);
}

/* The port by its name, as /sys tells it. */
static void open_port(void)
{
	char path[512], name[64];

	for (int tries = 0; tries < 1000; tries++) {
		DIR *dir = opendir("/sys/class/virtio-ports");
		struct dirent *entry;

		while (dir && (entry = readdir(dir))) {
			FILE *file;

			snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
				 entry->d_name);
			file = fopen(path, "re");
			if (!file)
				continue;
			if (fgets(name, sizeof(name), file) &&
			    strncmp(name, "flotilla.mux", 12) == 0) {
				snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
				port_fd = open(path, O_RDWR | O_CLOEXEC);
			}
			fclose(file);
		}
		if (dir)
			closedir(dir);
		if (port_fd > 0)
			return;
		usleep(10 * 1000);
	}
	CHECK(port_fd > 0);
}

static void write_all(const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		ssize_t sent = write(port_fd, at, n);

		CHECK(sent > 0);
		at += sent;
		n -= (size_t)sent;
	}
}

static void flush(struct mux *mux)
{
	struct mux_slice slices[2];
	int slices_n;

	while ((slices_n = mux_output(mux, slices)) > 0) {
		size_t n = 0;

		for (int i = 0; i < slices_n; i++) {
			write_all(slices[i].bytes, slices[i].n);
			n += slices[i].n;
		}
		mux_output_done(mux, n);
	}
}

static void mark_write(const char *body)
{
	FILE *file = fopen("/rw/mark", "we");

	snprintf(mark_in_memory, sizeof(mark_in_memory), "%s", body);
	CHECK(file && fputs(body, file) >= 0 && fclose(file) == 0);
	sync();
}

static void mark_read(char *out, size_t out_n)
{
	FILE *file = fopen("/rw/mark", "re");
	char on_disk[256] = "";

	if (file) {
		CHECK(fgets(on_disk, sizeof(on_disk), file) || !ferror(file));
		fclose(file);
	}
	snprintf(out, out_n, "%s/%s", mark_in_memory, on_disk);
}

static void answer(struct mux *mux, struct request *request, const char *status, const char *body)
{
	char text[1024];
	int n = snprintf(text, sizeof(text),
			 "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
			 status, strlen(body), body);

	CHECK(mux_write(mux, request->stream, (const uint8_t *)text, (size_t)n) == (size_t)n);
	mux_end(mux, request->stream);
	request->stream = 0;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) > 0);
	close(fd);
}

static void fill(size_t mib)
{
	uint64_t x = 88172645463325252u;

	filled_n = (mib << 20) / sizeof(*filled);
	filled = malloc(mib << 20);
	CHECK(filled);
	for (size_t i = 0; i < filled_n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		filled[i] = x;
	}
}

static uint64_t sum_filled(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < filled_n; i++)
		sum = sum * 31 + filled[i];
	return sum;
}

/* Answers each byte with its count, and what is in a file that only it holds. */
static void child_main(int fd)
{
	int file = open("/rw/nameless", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char question, answer_[64], content[16] = "";
	int count = 0;

	CHECK(file >= 0 && unlink("/rw/nameless") == 0 && write(file, "held", 4) == 4);
	while (read(fd, &question, 1) == 1) {
		int n;

		CHECK(pread(file, content, sizeof(content) - 1, 0) == 4);
		n = snprintf(answer_, sizeof(answer_), "%d %s", ++count, content);
		CHECK(write(fd, answer_, (size_t)n) == n);
	}
	_exit(0);
}

static void start_child(void)
{
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	child_pid = fork();
	CHECK(child_pid >= 0);
	if (child_pid == 0)
		child_main(pair[1]);
	close(pair[1]);
	child_fd = pair[0];
}

static void describe_self(char *out, size_t out_n)
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	char boot[64] = "", said[64] = "none";
	ssize_t n;

	CHECK(file && fgets(boot, sizeof(boot), file));
	fclose(file);
	boot[strcspn(boot, "\n")] = 0;
	if (child_fd >= 0) {
		CHECK(write(child_fd, "?", 1) == 1);
		n = read(child_fd, said, sizeof(said) - 1);
		CHECK(n > 0);
		said[n] = 0;
	}
	snprintf(out, out_n, "%s %d %s %llx", boot, (int)child_pid, said,
		 (unsigned long long)sum_filled());
}

static void serve(struct mux *mux, struct request *request)
{
	char *body = strstr(request->text, "\r\n\r\n");
	char *length = strstr(request->text, "Content-Length: ");
	char mark[600];

	if (!body || (length && (size_t)(request->text + request->n - body - 4) <
					strtoul(length + 16, NULL, 10)))
		return;
	body += 4;
	if (strncmp(request->text, "POST /mark ", 11) == 0) {
		mark_write(body);
		answer(mux, request, "204 No Content", "");
	} else if (strncmp(request->text, "GET /mark ", 10) == 0) {
		mark_read(mark, sizeof(mark));
		answer(mux, request, "200 OK", mark);
	} else if (strncmp(request->text, "POST /fill ", 11) == 0) {
		fill(strtoul(body, NULL, 10));
		answer(mux, request, "204 No Content", "");
	} else if (strncmp(request->text, "POST /child ", 12) == 0) {
		start_child();
		answer(mux, request, "204 No Content", "");
	} else if (strncmp(request->text, "GET /self ", 10) == 0) {
		describe_self(mark, sizeof(mark));
		answer(mux, request, "200 OK", mark);
	} else if (strncmp(request->text, "POST /sync ", 11) == 0) {
		sync();
		answer(mux, request, "204 No Content", "");
	} else if (strncmp(request->text, "POST /deaf ", 11) == 0) {
		answer(mux, request, "204 No Content", "");
		is_deaf = true;
	} else if (strncmp(request->text, "GET /garbage ", 13) == 0) {
		write_all("\xff\xff\xff\xff this is no frame \xff\xff\xff\xff", 26);
	} else if (strncmp(request->text, "GET /off ", 9) == 0) {
		reboot(RB_POWER_OFF);
	} else if (strncmp(request->text, "GET /panic ", 11) == 0) {
		write_file("/proc/sysrq-trigger", "c");
	} else if (strncmp(request->text, "GET /silence ", 13) != 0) {
		answer(mux, request, "204 No Content", "");
	}
}

static void take_event(struct mux *mux, const struct mux_event *event)
{
	struct request *request = NULL;

	if (event->kind == MUX_RESTARTED)
		memset(requests, 0, sizeof(requests));
	for (size_t i = 0; i < STREAMS_MAX && !request; i++)
		if (requests[i].stream == (event->kind == MUX_OPENED ? 0 : event->stream))
			request = &requests[i];
	if (event->kind == MUX_OPENED && request) {
		memset(request, 0, sizeof(*request));
		request->stream = event->stream;
		mux_accept(mux, event->stream);
	} else if (event->kind == MUX_OPENED) {
		mux_reset(mux, event->stream, MUX_REASON_LIMIT);
	} else if (event->kind == MUX_DATA && request && event->stream) {
		size_t room = REQUEST_MAX - 1 - request->n;
		size_t n = event->data_n < room ? event->data_n : room;

		memcpy(request->text + request->n, event->data, n);
		request->n += n;
		mux_consumed(mux, event->stream, event->data_n);
		serve(mux, request);
	} else if (event->kind == MUX_RESET && request && event->stream) {
		request->stream = 0;
	}
}

int main(void)
{
	const struct mux_config config = {
		.restartable = true, .accept_max = STREAMS_MAX, .output_max = 64 * 1024};
	struct mux *mux = mux_create(&config);
	static uint8_t input[16 * 1024];
	struct mux_event event;

	CHECK(mux);
	mount_all();
	open_port();
	for (;;) {
		struct pollfd wait = {.fd = port_fd, .events = POLLIN};
		ssize_t n;

		poll(&wait, 1, -1);
		n = read(port_fd, input, sizeof(input));
		if (n <= 0) {
			usleep(10 * 1000);
			continue;
		}
		mux_feed(mux, input, (size_t)n);
		while (mux_next(mux, &event))
			take_event(mux, &event);
		flush(mux);
		if (is_deaf)
			sleep(15);
		is_deaf = false;
	}
}
