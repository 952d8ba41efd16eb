/* Real microVMs that are paused, gone on from, and forked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "node-agent/shim/identity.h"
#include "node-agent/vm/saved.h"
#include "tests/vm/rig.h"

enum { LONG_MS = 600 * 1000 };

static struct rig rig;
static uint64_t next_save = 1000; /* one that no test has used by itself */

static struct rig_clone *wait_ready(struct rig_clone *clone)
{
	rig_wait(&rig,
		 clone->has_ended || (clone->has_status && clone->status.state == WIRE_SHIM_READY));
	if (clone->has_ended)
		print_error("ended: %s\n", clone->end.detail);
	assert_false(clone->has_ended);
	return clone;
}

static struct rig_clone *claimed(struct rig_clone *clone, int64_t ttl_ms)
{
	wait_ready(clone);
	rig_clone_claim(clone, ttl_ms);
	rig_wait(&rig, clone->is_claimed || clone->has_ended);
	assert_true(clone->is_claimed && clone->claimed.ok);
	return clone;
}

static struct rig_clone *start_claimed(int64_t ttl_ms)
{
	return claimed(rig_clone_start(&rig), ttl_ms);
}

static void saved_dir(const struct rig_clone *clone, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%.3900s/" VM_DIR_SAVED, clone->dir);
}

static struct rig_clone *resume(const struct rig_clone *from)
{
	char dir[PATH_MAX];

	saved_dir(from, dir);
	return claimed(rig_clone_resume(&rig, dir), LONG_MS);
}

static const char *ask(struct rig_clone *clone, const char *method, const char *path,
		       const char *body)
{
	const char *at;

	rig_clone_request(clone, method, path, body);
	rig_wait(&rig, clone->is_answered);
	at = strstr(clone->answer, "\r\n\r\n");
	assert_non_null(at);
	return at + 4;
}

static void save(struct rig_clone *clone, uint64_t number, enum wire_save_how how)
{
	clone->is_saved = false;
	shim_client_save(clone->client, number, how);
	rig_wait(&rig, clone->is_saved || clone->has_ended);
	assert_true(clone->is_saved);
	assert_int_equal(clone->saved.save, number);
}

static void pause_it(struct rig_clone *clone, enum wire_save_how how)
{
	save(clone, next_save++, how);
	if (!clone->saved.ok)
		print_error("not saved: %s\n", clone->saved.detail);
	assert_true(clone->saved.ok);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_PAUSE);
	assert_int_equal(clone->end.saved_how, how);
	assert_int_equal(clone->end.saved_bytes, clone->saved.bytes);
	assert_true(clone->saved.bytes > 0);
	/* What stood still while it was saved is nobody's. */
	assert_true(clone->end.frozen_mono_ns > clone->end.resumed_mono_ns);
	assert_true(clone->end.frozen_mono_ns < clone->end.ended_mono_ns);
}

struct self {
	char boot[64], content[16], sum[32];
	int pid, count;
};

static struct self self_of(struct rig_clone *clone)
{
	struct self self = {0};
	const char *text = ask(clone, "GET", "/self", "");

	assert_int_equal(sscanf(text, "%63s %d %d %15s %31s", self.boot, &self.pid, &self.count,
				self.content, self.sum),
			 5);
	return self;
}

static struct rig_clone *start_busy(void)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	ask(clone, "POST", "/mark", "kept");
	ask(clone, "POST", "/fill", "20");
	ask(clone, "POST", "/child", "");
	return clone;
}

static void assert_goes_on(const struct self *before, const struct self *after)
{
	assert_string_equal(after->boot, before->boot);
	assert_int_equal(after->pid, before->pid);
	assert_int_equal(after->count, before->count + 1);
	assert_string_equal(after->content, "held");
	assert_string_equal(after->sum, before->sum);
}

static int setup(void **state)
{
	(void)state;
	rig_open(&rig, "flotilla-test", FLOTILLA_BIN);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

static void a_paused_sandbox_goes_on_where_it_was(void **state)
{
	struct rig_clone *clone = start_busy(), *again;
	struct self before = self_of(clone), after;

	(void)state;
	pause_it(clone, WIRE_SAVE_PAUSE);
	again = resume(clone);
	after = self_of(again);
	assert_goes_on(&before, &after);
	assert_string_equal(ask(again, "GET", "/mark", ""), "kept/kept");
}

static void it_can_be_paused_again_and_again(void **state)
{
	struct rig_clone *clone = start_busy();
	struct self before = self_of(clone), after;

	(void)state;
	for (int i = 0; i < 3; i++) {
		pause_it(clone, WIRE_SAVE_PAUSE);
		clone = resume(clone);
		after = self_of(clone);
		assert_goes_on(&before, &after);
		before = after;
	}
	ask(clone, "POST", "/mark", "later");
	pause_it(clone, WIRE_SAVE_PAUSE);
	clone = resume(clone);
	assert_string_equal(ask(clone, "GET", "/mark", ""), "later/later");
}

static void files_alone_survive_a_boot(void **state)
{
	struct rig_clone *clone = start_busy(), *again;
	struct self before = self_of(clone);
	char boot[64];

	(void)state;
	pause_it(clone, WIRE_SAVE_PAUSE_FILES);
	again = resume(clone);
	/* On the disk, and in the memory no more. */
	assert_string_equal(ask(again, "GET", "/mark", ""), "/kept");
	assert_int_equal(sscanf(ask(again, "GET", "/self", ""), "%63s", boot), 1);
	assert_string_not_equal(boot, before.boot);
	/* And such a one can be paused whole. */
	ask(again, "POST", "/child", "");
	before = self_of(again);
	pause_it(again, WIRE_SAVE_PAUSE);
	again = resume(again);
	assert_string_equal(self_of(again).boot, before.boot);
}

static void forks_of_a_snapshot_and_its_source_go_their_own_ways(void **state)
{
	struct rig_clone *source = start_busy(), *forks[2];
	struct self before = self_of(source), after;
	int64_t resumed = source->claimed.resumed_mono_ns;
	char dir[PATH_MAX];

	(void)state;
	save(source, 9, WIRE_SAVE_SNAPSHOT);
	assert_true(source->saved.ok);
	rig_wait(&rig, source->status.frozen_mono_ns == 0 && source->status.ran_ns > 0);
	assert_true(source->status.resumed_mono_ns > resumed + (int64_t)source->status.ran_ns);
	ask(source, "POST", "/mark", "of the source");
	snprintf(dir, sizeof(dir), "%.3900s/" VM_DIR_SNAPSHOTS "/9", source->dir);
	for (int i = 0; i < 2; i++) {
		forks[i] = claimed(rig_clone_resume(&rig, dir), LONG_MS);
		after = self_of(forks[i]);
		assert_goes_on(&before, &after);
		assert_string_equal(ask(forks[i], "GET", "/mark", ""), "kept/kept");
	}
	ask(forks[0], "POST", "/mark", "of the first");
	ask(forks[1], "POST", "/mark", "of the second");
	assert_string_equal(ask(forks[0], "GET", "/mark", ""), "of the first/of the first");
	assert_string_equal(ask(forks[1], "GET", "/mark", ""), "of the second/of the second");
	assert_string_equal(ask(source, "GET", "/mark", ""), "of the source/of the source");
	/* The order again is answered again, and not carried out again. */
	resumed = source->status.resumed_mono_ns;
	save(source, 9, WIRE_SAVE_SNAPSHOT);
	assert_true(source->saved.ok);
	source->has_status = false;
	shim_client_ask(source->client);
	rig_wait(&rig, source->has_status);
	assert_int_equal(source->status.resumed_mono_ns, resumed);
}

/* It is answered when it is durable, and goes on some moments later. */
static void a_snapshot_right_after_another_is_made(void **state)
{
	struct rig_clone *clone = start_busy();
	struct self before = self_of(clone), after;

	(void)state;
	for (uint64_t number = 1; number <= 10; number++) {
		save(clone, number, WIRE_SAVE_SNAPSHOT);
		if (!clone->saved.ok)
			print_error("not saved: %s\n", clone->saved.detail);
		assert_true(clone->saved.ok);
	}
	after = self_of(clone);
	assert_goes_on(&before, &after);
	/* And a pause. */
	save(clone, 11, WIRE_SAVE_SNAPSHOT);
	pause_it(clone, WIRE_SAVE_PAUSE);
}

/* Connections are reset, and what comes meanwhile waits. */
static void a_request_during_a_snapshot_is_answered_after_it(void **state)
{
	struct rig_clone *clone = start_busy();

	(void)state;
	rig_clone_request(clone, "GET", "/silence", "");
	shim_client_save(clone->client, 1, WIRE_SAVE_SNAPSHOT);
	rig_wait(&rig, clone->is_answered);
	assert_int_equal(clone->answer_n, 0);
	rig_clone_request(clone, "GET", "/mark", "");
	assert_false(clone->is_saved);
	rig_wait(&rig, clone->is_saved);
	assert_true(clone->saved.ok);
	rig_wait(&rig, clone->is_answered);
	assert_true(rig_clone_answer_is(clone, "200", "kept/kept"));
}

/* Not only the tests' own: the guest of every sandbox takes its part in it.  Sanitizers' runtimes
 * cannot be linked statically, so there is none of those builds that would be a process 1. */
#ifdef FLOTILLA_REAL_GUEST
static void sandboxes_with_their_own_guest_can_be_saved(void **state)
{
	struct rig_clone *clone;

	(void)state;
	rig_close(&rig);
	rig_open(&rig, "flotilla-test-real", FLOTILLA_BIN);
	clone = start_claimed(LONG_MS);
	assert_string_equal(ask(clone, "GET", "/envs", ""), "{\"A\":\"b\"}");
	save(clone, 1, WIRE_SAVE_SNAPSHOT);
	assert_true(clone->saved.ok);
	assert_string_equal(ask(clone, "GET", "/envs", ""), "{\"A\":\"b\"}");
	pause_it(clone, WIRE_SAVE_PAUSE);
	clone = resume(clone);
	assert_string_equal(ask(clone, "GET", "/envs", ""), "{\"A\":\"b\"}");
	pause_it(clone, WIRE_SAVE_PAUSE_FILES);
	clone = resume(clone);
	assert_string_equal(ask(clone, "GET", "/envs", ""), "{\"A\":\"b\"}");
	pause_it(clone, WIRE_SAVE_PAUSE);
	clone = resume(clone);
	assert_string_equal(ask(clone, "GET", "/envs", ""), "{\"A\":\"b\"}");
}

#endif

static void the_time_limit_pauses_while_no_agent_is_there(void **state)
{
	struct rig_clone *clone, *again;
	struct self before, after;

	(void)state;
	rig.on_limit = WIRE_ON_LIMIT_PAUSE;
	clone = start_busy();
	before = self_of(clone);
	shim_client_deadline(clone->client, clone->claimed.resumed_mono_ns + 1000000);
	rig_clone_leave(clone);
	rig_wait(&rig, clone->gate == NULL);
	rig_clone_adopt(clone);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_PAUSE);
	assert_int_equal(clone->end.saved_how, WIRE_SAVE_PAUSE);
	assert_int_equal(clone->end.save, 0);
	again = resume(clone);
	after = self_of(again);
	assert_goes_on(&before, &after);
}

static void a_time_limit_during_a_snapshot_pauses_after_it(void **state)
{
	struct rig_clone *clone, *again;
	struct self before, after;

	(void)state;
	rig.on_limit = WIRE_ON_LIMIT_PAUSE;
	clone = start_busy();
	before = self_of(clone);
	shim_client_save(clone->client, 1, WIRE_SAVE_SNAPSHOT);
	shim_client_deadline(clone->client, clone->claimed.resumed_mono_ns + 1000000);
	rig_wait(&rig, clone->has_ended);
	if (clone->end.cause != CAUSE_PAUSE)
		print_error("ended: %s\n", clone->end.detail);
	assert_int_equal(clone->end.cause, CAUSE_PAUSE);
	assert_true(clone->is_saved && clone->saved.ok);
	again = resume(clone);
	after = self_of(again);
	assert_goes_on(&before, &after);
}

/* Nothing but its saving goes wrong: it runs on, and only the time it stood still is not billed. */
static void assert_runs_on(struct rig_clone *clone, struct self *before, const char *why)
{
	struct self after;
	struct stat stat_;
	char path[PATH_MAX];

	assert_false(clone->saved.ok);
	if (!strstr(clone->saved.detail, why))
		print_error("said: %s\n", clone->saved.detail);
	assert_non_null(strstr(clone->saved.detail, why));
	after = self_of(clone);
	assert_goes_on(before, &after);
	*before = after;
	assert_false(clone->has_ended);
	saved_dir(clone, path);
	assert_int_equal(stat(path, &stat_), -1);
	snprintf(path, sizeof(path), "%.3900s/saving", clone->dir);
	assert_int_equal(stat(path, &stat_), -1);
	snprintf(path, sizeof(path), "%.3900s/" VM_FILE_OVERLAY, clone->dir);
	assert_int_equal(stat(path, &stat_), 0);
}

static void a_full_disk_leaves_it_running(void **state)
{
	struct rig_clone *clone;
	struct self before;

	(void)state;
	if (mount("small", rig.dir, "tmpfs", 0, "size=12m"))
		skip();
	clone = start_busy();
	before = self_of(clone);
	save(clone, 1, WIRE_SAVE_PAUSE);
	assert_runs_on(clone, &before, "No space left");
	save(clone, 2, WIRE_SAVE_SNAPSHOT);
	assert_runs_on(clone, &before, "No space left");
	/* What is in use stays there until it is closed. */
	assert_int_equal(umount2(rig.dir, MNT_DETACH), 0);
}

static void a_guest_that_does_not_come_to_rest_runs_on(void **state)
{
	struct rig_clone *clone = start_busy();
	struct self before = self_of(clone);

	(void)state;
	ask(clone, "POST", "/deaf", "");
	save(clone, 1, WIRE_SAVE_PAUSE);
	assert_runs_on(clone, &before, "rest");
	/* The same again is answered the same. */
	save(clone, 1, WIRE_SAVE_PAUSE);
	assert_false(clone->saved.ok);
	pause_it(clone, WIRE_SAVE_PAUSE);
}

static void a_pause_at_the_limit_that_fails_is_the_end(void **state)
{
	struct rig_clone *clone;

	(void)state;
	rig.on_limit = WIRE_ON_LIMIT_PAUSE;
	clone = start_claimed(LONG_MS);
	ask(clone, "POST", "/deaf", "");
	shim_client_deadline(clone->client, clone->claimed.resumed_mono_ns + 1000000);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_TIMEOUT);
	assert_non_null(strstr(clone->end.detail, "not paused"));
}

static int64_t mono_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void a_lease_that_ends_during_a_save_freezes(void **state)
{
	struct rig_clone *clone = start_busy();
	struct self before = self_of(clone);
	int64_t lease;

	(void)state;
	/* Before it stands still: the save is given up. */
	ask(clone, "POST", "/deaf", "");
	lease = mono_ns() + 100 * 1000000LL;
	shim_client_lease(clone->client, lease);
	save(clone, 1, WIRE_SAVE_PAUSE);
	assert_non_null(strstr(clone->saved.detail, "lease"));
	rig_wait(&rig, clone->status.frozen_mono_ns >= lease);
	save(clone, 2, WIRE_SAVE_PAUSE);
	assert_non_null(strstr(clone->saved.detail, "frozen"));
	shim_client_lease(clone->client, mono_ns() + LONG_MS * 1000000LL);
	rig_wait(&rig, clone->status.frozen_mono_ns == 0);
	assert_runs_on(clone, &before, "frozen");
}

/* Wherever in the snapshot the lease ends: it stands still from then on. */
static void a_snapshot_does_not_thaw_what_has_no_lease(void **state)
{
	struct rig_clone *clone = start_busy();
	struct self before = self_of(clone), after;

	(void)state;
	for (int i = 0; i < 3; i++) {
		int64_t lease = mono_ns() + (10 + 25 * i) * 1000000LL;

		shim_client_lease(clone->client, lease);
		save(clone, (uint64_t)i + 1, WIRE_SAVE_SNAPSHOT);
		rig_wait(&rig, mono_ns() > lease && clone->status.frozen_mono_ns);
		clone->has_status = false;
		shim_client_ask(clone->client);
		rig_wait(&rig, clone->has_status);
		assert_true(clone->status.frozen_mono_ns);
		shim_client_lease(clone->client, mono_ns() + LONG_MS * 1000000LL);
		rig_wait(&rig, clone->status.frozen_mono_ns == 0);
		after = self_of(clone);
		assert_goes_on(&before, &after);
		before = after;
		/* The next lease is an earlier one, which counts only after none at all. */
		shim_client_lease(clone->client, 0);
	}
}

static void a_shim_killed_in_the_middle_leaves_nothing_that_passes_for_saved(void **state)
{
	struct rig_clone *clone = start_busy();
	struct identity shim, qemu;
	struct vm_saved saved;
	char path[PATH_MAX];
	struct stat stat_;

	(void)state;
	assert_true(identity_read(clone->dir, &shim, &qemu));
	snprintf(path, sizeof(path), "%.3900s/saving/" VM_SAVED_MEMORY, clone->dir);
	shim_client_save(clone->client, 1, WIRE_SAVE_PAUSE);
	while (stat(path, &stat_))
		uv_run(&rig.loop, UV_RUN_NOWAIT);
	assert_true(identity_kill(&shim));
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_SHIM_FAULT);
	saved_dir(clone, path);
	assert_int_equal(vm_saved_read(path, &saved, NULL), -1);
}

static void a_kill_during_a_save_is_what_is_recorded(void **state)
{
	struct rig_clone *clone = start_busy();
	char path[PATH_MAX];
	struct stat stat_;

	(void)state;
	shim_client_save(clone->client, 1, WIRE_SAVE_PAUSE);
	shim_client_kill(clone->client, CAUSE_REQUEST);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_REQUEST);
	saved_dir(clone, path);
	assert_int_equal(stat(path, &stat_), -1);
}

static void change_byte(const char *dir, const char *name, off_t at)
{
	char path[PATH_MAX], byte;
	int fd;

	snprintf(path, sizeof(path), "%.3900s/%s", dir, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte = (char)(byte ^ 4);
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void assert_refused(const char *dir, const char *why)
{
	struct rig_clone *clone = rig_clone_resume(&rig, dir);

	rig_wait(&rig, clone->has_ended || clone->status.state == WIRE_SHIM_READY);
	assert_true(clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_VM_FAULT);
	if (!strstr(clone->end.detail, why))
		print_error("said: %s\n", clone->end.detail);
	assert_non_null(strstr(clone->end.detail, why));
}

/* Also: a resume that fails leaves the folder as it was. */
static void what_is_damaged_is_refused(void **state)
{
	struct rig_clone *clone = start_busy(), *again;
	struct self before = self_of(clone), after;
	char dir[PATH_MAX], path[PATH_MAX], moved[PATH_MAX];
	struct vm_saved saved;
	off_t table;

	(void)state;
	pause_it(clone, WIRE_SAVE_PAUSE);
	saved_dir(clone, dir);
	assert_int_equal(vm_saved_read(dir, &saved, NULL), 0);
	table = (off_t)(saved.memory.pages_n * VM_PAGE);
	change_byte(dir, VM_SAVED_MEMORY, 12345);
	assert_refused(dir, "damaged");
	change_byte(dir, VM_SAVED_MEMORY, 12345);
	/* Where its second run belongs. */
	change_byte(dir, VM_SAVED_MEMORY, table + 16);
	assert_refused(dir, "damaged");
	change_byte(dir, VM_SAVED_MEMORY, table + 16);
	change_byte(dir, VM_SAVED_DEVICE, 5000);
	assert_refused(dir, "damaged");
	change_byte(dir, VM_SAVED_DEVICE, 5000);
	snprintf(path, sizeof(path), "%.3900s/" VM_SAVED_DISK, dir);
	assert_int_equal(truncate(path, (off_t)saved.disk_bytes - 1), 0);
	assert_refused(dir, "damaged");
	assert_int_equal(truncate(path, (off_t)saved.disk_bytes), 0);
	snprintf(path, sizeof(path), "%.3900s/" VM_SAVED_MANIFEST, dir);
	snprintf(moved, sizeof(moved), "%.3900s/away", dir);
	assert_int_equal(rename(path, moved), 0);
	assert_refused(dir, VM_SAVED_MANIFEST);
	assert_int_equal(rename(moved, path), 0);
	again = resume(clone);
	after = self_of(again);
	assert_goes_on(&before, &after);
}

static void what_belongs_elsewhere_is_refused_by_name(void **state)
{
	struct vm_template other = rig.template_;
	struct vm_saved saved = {0};
	struct err err;

	(void)state;
	vm_saved_describe(&saved, &rig.template_);
	assert_int_equal(vm_saved_check(&saved, &other, &err), 0);
	other.id[0] ^= 1;
	assert_int_equal(vm_saved_check(&saved, &other, &err), -1);
	assert_non_null(strstr(err.text, "template"));
	other = rig.template_;
	other.machine[0] ^= 1;
	assert_int_equal(vm_saved_check(&saved, &other, &err), -1);
	assert_non_null(strstr(err.text, "machine"));
	other = rig.template_;
	other.qemu[0] ^= 1;
	assert_int_equal(vm_saved_check(&saved, &other, &err), -1);
	assert_non_null(strstr(err.text, "QEMU"));
	other = rig.template_;
	other.shape.mem_mib *= 2;
	assert_int_equal(vm_saved_check(&saved, &other, &err), -1);
	assert_non_null(strstr(err.text, "size"));
}

#define SAVE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		SAVE_TEST(a_paused_sandbox_goes_on_where_it_was),
		SAVE_TEST(it_can_be_paused_again_and_again),
		SAVE_TEST(files_alone_survive_a_boot),
		SAVE_TEST(forks_of_a_snapshot_and_its_source_go_their_own_ways),
		SAVE_TEST(a_snapshot_right_after_another_is_made),
		SAVE_TEST(a_request_during_a_snapshot_is_answered_after_it),
#ifdef FLOTILLA_REAL_GUEST
		SAVE_TEST(sandboxes_with_their_own_guest_can_be_saved),
#endif
		SAVE_TEST(the_time_limit_pauses_while_no_agent_is_there),
		SAVE_TEST(a_time_limit_during_a_snapshot_pauses_after_it),
		SAVE_TEST(a_pause_at_the_limit_that_fails_is_the_end),
		SAVE_TEST(a_full_disk_leaves_it_running),
		SAVE_TEST(a_guest_that_does_not_come_to_rest_runs_on),
		SAVE_TEST(a_lease_that_ends_during_a_save_freezes),
		SAVE_TEST(a_snapshot_does_not_thaw_what_has_no_lease),
		SAVE_TEST(a_shim_killed_in_the_middle_leaves_nothing_that_passes_for_saved),
		SAVE_TEST(a_kill_during_a_save_is_what_is_recorded),
		SAVE_TEST(what_is_damaged_is_refused),
		SAVE_TEST(what_belongs_elsewhere_is_refused_by_name),
	};

	rig_build("flotilla-test", FLOTILLA_BIN "/flotilla-test-guest");
#ifdef FLOTILLA_REAL_GUEST
	rig_build("flotilla-test-real", FLOTILLA_REAL_GUEST);
#endif
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
