/* The difference of a memory, without machines: processes that map a file as QEMU maps RAM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/rng.h"
#include "node-agent/vm/saved.h"

enum { PAGES_N = 3000, BYTES_N = PAGES_N * VM_PAGE };

static char dir[] = "/tmp/flotilla-saved.XXXXXX";
static char mem[64], file[64];
static const atomic_bool go_on;

/* What a page of the template has: every third is a hole of zeros. */
static uint8_t template_byte(size_t page)
{
	return page % 3 == 0 ? 0 : (uint8_t)(page * 7 + 1);
}

static int setup(void **state)
{
	uint8_t page[VM_PAGE];
	int fd;

	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(mem, sizeof(mem), "%s/mem", dir);
	snprintf(file, sizeof(file), "%s/memory", dir);
	fd = open(mem, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && ftruncate(fd, BYTES_N) == 0);
	for (size_t i = 0; i < PAGES_N; i++) {
		memset(page, template_byte(i), sizeof(page));
		if (template_byte(i))
			assert_int_equal(pwrite(fd, page, sizeof(page), (off_t)(i * VM_PAGE)),
					 VM_PAGE);
	}
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_store_remove_tree(dir);
	return 0;
}

/* Which pages a process has written, and with what. */
struct writes {
	bool is_written[PAGES_N];
	uint8_t byte[PAGES_N];
};

static uint8_t expected(const struct writes *writes, size_t page)
{
	return writes->is_written[page] ? writes->byte[page] : template_byte(page);
}

struct machine {
	pid_t pid;
	int ask, answer;
};

static bool read_whole(int fd, void *to, size_t n)
{
	for (char *at = to; n;) {
		ssize_t got = read(fd, at, n);

		if (got <= 0)
			return false;
		at += got;
		n -= (size_t)got;
	}
	return true;
}

/* Compares its whole memory with what it is asked for. */
static void machine_main(const struct writes *writes, int ask, int answer)
{
	int fd = open(mem, O_RDWR | O_CLOEXEC);
	uint8_t *ram = mmap(NULL, BYTES_N, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	static struct writes wanted;
	uint8_t page[VM_PAGE];
	char ready = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; writes && i < PAGES_N; i++)
		if (writes->is_written[i])
			memset(ram + i * VM_PAGE, writes->byte[i], VM_PAGE);
	if (write(answer, &ready, 1) != 1)
		_exit(1);
	while (read_whole(ask, &wanted, sizeof(wanted))) {
		char is_same = 1;

		for (size_t i = 0; i < PAGES_N; i++) {
			memset(page, expected(&wanted, i), sizeof(page));
			if (memcmp(ram + i * VM_PAGE, page, VM_PAGE) != 0)
				is_same = 0;
		}
		if (write(answer, &is_same, 1) != 1)
			break;
	}
	_exit(0);
}

static struct machine start(const struct writes *writes)
{
	struct machine machine;
	int ask[2], answer[2];
	char ready;

	assert_int_equal(pipe(ask) || pipe(answer), 0);
	machine.pid = fork();
	assert_true(machine.pid >= 0);
	if (machine.pid == 0) {
		close(ask[1]);
		close(answer[0]);
		machine_main(writes, ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	machine.ask = ask[1];
	machine.answer = answer[0];
	assert_int_equal(read(machine.answer, &ready, 1), 1);
	return machine;
}

static bool machine_has(const struct machine *machine, const struct writes *writes)
{
	char is_same;

	assert_int_equal(write(machine->ask, writes, sizeof(*writes)), sizeof(*writes));
	assert_int_equal(read(machine->answer, &is_same, 1), 1);
	return is_same;
}

static void end(const struct machine *machine)
{
	close(machine->ask);
	close(machine->answer);
	assert_int_equal(waitpid(machine->pid, NULL, 0), machine->pid);
}

static struct vm_memory_figures save(const struct writes *writes)
{
	struct machine machine = start(writes);
	struct vm_memory_figures figures;
	struct err err = {""};
	struct stat stat_;

	unlink(file);
	if (vm_memory_save(machine.pid, mem, file, &go_on, &figures, &err))
		fail_msg("%s", err.text);
	assert_int_equal(stat(file, &stat_), 0);
	assert_int_equal(stat_.st_size, vm_memory_file_bytes(&figures));
	end(&machine);
	return figures;
}

static void assert_restores(const struct vm_memory_figures *figures, const struct writes *writes)
{
	struct machine machine = start(NULL);
	struct err err = {""};

	if (vm_memory_restore(machine.pid, mem, file, figures, &go_on, &err))
		fail_msg("%s", err.text);
	assert_true(machine_has(&machine, writes));
	end(&machine);
}

static void what_nobody_has_written_takes_nothing(void **state)
{
	static const struct writes none;
	struct vm_memory_figures figures = save(&none);

	(void)state;
	assert_int_equal(figures.pages_n, 0);
	assert_int_equal(figures.runs_n, 0);
	assert_restores(&figures, &none);
}

static void any_pages_come_back_as_they_were(void **state)
{
	static struct writes writes;
	struct rng rng;

	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct vm_memory_figures figures;
		uint64_t density, page = 0, written_n = 0;

		rng = (struct rng){seed};
		memset(&writes, 0, sizeof(writes));
		density = 1 + rng_below(&rng, 60);
		while (page < PAGES_N) {
			uint64_t run = 1 + rng_below(&rng, density);
			bool is_written = rng_below(&rng, 2);
			bool is_zero = rng_below(&rng, 4) == 0;

			for (; run && page < PAGES_N; run--, page++) {
				writes.is_written[page] = is_written;
				writes.byte[page] =
					is_zero ? 0 : (uint8_t)(1 + rng_below(&rng, 255));
				written_n += is_written && !is_zero;
			}
		}
		figures = save(&writes);
		assert_int_equal(figures.pages_n, written_n);
		assert_restores(&figures, &writes);
	}
}

static void all_of_it_can_be_written(void **state)
{
	static struct writes writes;
	struct vm_memory_figures figures;

	(void)state;
	memset(writes.is_written, true, sizeof(writes.is_written));
	memset(writes.byte, 0x5a, sizeof(writes.byte));
	figures = save(&writes);
	assert_int_equal(figures.pages_n, PAGES_N);
	assert_int_equal(figures.runs_n, 1);
	assert_restores(&figures, &writes);
}

static void any_changed_byte_is_noticed(void **state)
{
	static struct writes writes;
	struct vm_memory_figures figures;
	uint64_t length;
	struct rng rng;
	int fd;

	(void)state;
	for (size_t i = 0; i < PAGES_N; i += 2) {
		writes.is_written[i] = true;
		writes.byte[i] = (uint8_t)i;
	}
	figures = save(&writes);
	length = vm_memory_file_bytes(&figures);
	rng = (struct rng){5};
	fd = open(file, O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 40; i++) {
		/* Half of them in the table. */
		uint64_t at =
			i % 2 ? rng_below(&rng, length)
			      : figures.pages_n * VM_PAGE + rng_below(&rng, figures.runs_n * 16);
		struct machine machine = start(NULL);
		uint8_t byte, changed;
		struct err err;

		assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
		changed = (uint8_t)(byte ^ (1u << rng_below(&rng, 8)));
		assert_int_equal(pwrite(fd, &changed, 1, (off_t)at), 1);
		assert_int_equal(vm_memory_restore(machine.pid, mem, file, &figures, &go_on, &err),
				 -1);
		assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
		end(&machine);
	}
	close(fd);
	assert_restores(&figures, &writes);
}

static void what_is_given_up_says_so(void **state)
{
	static struct writes writes;
	static const atomic_bool cancel = true;
	struct vm_memory_figures figures;
	struct machine machine;
	struct err err;

	(void)state;
	memset(writes.is_written, true, sizeof(writes.is_written));
	memset(writes.byte, 1, sizeof(writes.byte));
	machine = start(&writes);
	assert_int_equal(vm_memory_save(machine.pid, mem, file, &cancel, &figures, &err), -1);
	assert_string_equal(err.text, "given up");
	end(&machine);
	figures = save(&writes);
	machine = start(NULL);
	assert_int_equal(vm_memory_restore(machine.pid, mem, file, &figures, &cancel, &err), -1);
	assert_string_equal(err.text, "given up");
	end(&machine);
}

static void a_process_that_maps_another_file_is_refused(void **state)
{
	struct vm_memory_figures figures;
	char other[64];
	struct machine machine = start(NULL);
	struct err err;

	(void)state;
	snprintf(other, sizeof(other), "%s/other", dir);
	close(open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(vm_memory_save(machine.pid, other, file, &go_on, &figures, &err), -1);
	assert_non_null(strstr(err.text, "has not mapped"));
	end(&machine);
}

static void a_disk_is_copied_with_its_holes(void **state)
{
	char from[64], to[64], bytes[8192], read_back[8192];
	struct stat before, after;
	int fd;

	(void)state;
	snprintf(from, sizeof(from), "%s/from", dir);
	snprintf(to, sizeof(to), "%s/to", dir);
	fd = open(from, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 40 << 20), sizeof(bytes));
	assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_int_equal(ftruncate(fd, 64 << 20), 0);
	assert_int_equal(fsync(fd) || fstat(fd, &before), 0);
	close(fd);
	assert_int_equal(vm_saved_copy_disk(from, to, NULL), 0);
	fd = open(to, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fsync(fd) || fstat(fd, &after), 0);
	assert_int_equal(after.st_size, before.st_size);
	assert_true(after.st_blocks <= before.st_blocks + 64);
	assert_int_equal(pread(fd, read_back, sizeof(read_back), 40 << 20), sizeof(read_back));
	assert_memory_equal(read_back, bytes, sizeof(bytes));
	close(fd);
	/* And never over something that is there. */
	assert_int_equal(vm_saved_copy_disk(from, to, NULL), -1);
}

#define SAVED_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SAVED_TEST(what_nobody_has_written_takes_nothing),
		SAVED_TEST(any_pages_come_back_as_they_were),
		SAVED_TEST(all_of_it_can_be_written),
		SAVED_TEST(any_changed_byte_is_noticed),
		SAVED_TEST(what_is_given_up_says_so),
		SAVED_TEST(a_process_that_maps_another_file_is_refused),
		SAVED_TEST(a_disk_is_copied_with_its_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
