/* The host's store of templates, and a microVM's config.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io/file.h"
#include "node-agent/vm/config.h"
#include "node-agent/vm/store.h"

#define ID_A   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B   "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ROOTFS "cccccccccccccccccccccccccccccccccccccccc"

static char store[] = "/tmp/flotilla-store.XXXXXX";

static int setup(void **state)
{
	int lock;

	(void)state;
	strcpy(store + strlen(store) - 6, "XXXXXX");
	assert_non_null(mkdtemp(store));
	assert_int_equal(vm_store_lock(store, &lock, NULL), 0);
	close(lock);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_store_remove_tree(store);
	return 0;
}

static void put(const char *name, const char *id)
{
	struct vm_template template_ = {.shape = {1, 512, 1024}, .created_wall_ns = 5};
	char path[512], target[128];

	snprintf(template_.name, sizeof(template_.name), "%s", name);
	snprintf(template_.id, sizeof(template_.id), "%s", id);
	strcpy(template_.rootfs_id, ROOTFS);
	strcpy(template_.guest_hash, ID_B);
	strcpy(template_.qemu, "7.2.0");
	assert_int_equal(
		vm_machine_fingerprint(&template_.shape, VM_ACCEL_TCG, template_.machine, NULL), 0);
	snprintf(template_.dir, sizeof(template_.dir), "%s/snapshot/%s", store, id);
	mkdir(template_.dir, 0755);
	assert_int_equal(vm_template_write(&template_, NULL), 0);
	snprintf(path, sizeof(path), "%s/rootfs/%s", store, ROOTFS);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/rootfs/%s/rootfs.img", store, ROOTFS);
	assert_int_equal(file_write_atomic(path, "", 0, 0644, NULL), 0);
	snprintf(target, sizeof(target), "../snapshot/%s", id);
	snprintf(path, sizeof(path), "%s/name/%s", store, name);
	assert_int_equal(vm_store_link(target, path, NULL), 0);
}

static bool is_there(const char *folder, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s/%s", store, folder, name);
	return access(path, F_OK) == 0;
}

static void a_template_is_found_by_its_name(void **state)
{
	struct vm_template found;
	struct vm_template_files files;
	bool is_found;

	(void)state;
	put("base", ID_A);
	assert_int_equal(vm_store_find(store, "base", &found, &is_found, NULL), 0);
	assert_true(is_found);
	assert_string_equal(found.id, ID_A);
	assert_string_equal(found.rootfs_id, ROOTFS);
	assert_int_equal(found.shape.mem_mib, 512);
	assert_int_equal(found.accel, VM_ACCEL_TCG);
	assert_int_equal(vm_template_files(&found, &files, NULL), 0);
	assert_non_null(strstr(files.kernel, ROOTFS "/./vmlinux"));
}

static void a_name_that_leads_nowhere_is_not_found(void **state)
{
	struct vm_template found;
	bool is_found = true;

	(void)state;
	assert_int_equal(vm_store_find(store, "nobody", &found, &is_found, NULL), 0);
	assert_false(is_found);
	assert_int_equal(vm_store_find("/nowhere", "base", &found, &is_found, NULL), 0);
	assert_false(is_found);
	assert_int_equal(vm_store_find(store, "../etc", &found, &is_found, NULL), -1);
}

static void a_name_moves_whole_from_one_snapshot_to_the_next(void **state)
{
	struct vm_template found;
	bool is_found;

	(void)state;
	put("base", ID_A);
	put("base", ID_B);
	assert_int_equal(vm_store_find(store, "base", &found, &is_found, NULL), 0);
	assert_string_equal(found.id, ID_B);
}

static void removing_a_name_removes_only_what_no_other_name_leads_to(void **state)
{
	struct vm_template list[4];
	bool is_found;
	size_t n;

	(void)state;
	put("base", ID_A);
	put("other", ID_B);
	assert_int_equal(vm_store_remove(store, "base", &is_found, NULL), 0);
	assert_true(is_found);
	assert_false(is_there("snapshot", ID_A));
	assert_true(is_there("snapshot", ID_B));
	assert_true(is_there("rootfs", ROOTFS));
	assert_int_equal(vm_store_list(store, list, 4, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_string_equal(list[0].name, "other");
	assert_int_equal(vm_store_remove(store, "other", &is_found, NULL), 0);
	assert_false(is_there("rootfs", ROOTFS));
	assert_int_equal(vm_store_remove(store, "other", &is_found, NULL), 0);
	assert_false(is_found);
}

static void a_broken_manifest_is_a_fault_that_names_it(void **state)
{
	static const char *const broken[] = {
		"",
		"[]",
		"{\"format\": 2}",
		"{\"format\": 1, \"id\": \"../../etc\"}",
	};
	struct vm_template found;
	char path[512];
	struct err err;
	bool is_found;

	(void)state;
	put("base", ID_A);
	snprintf(path, sizeof(path), "%s/snapshot/" ID_A "/manifest.json", store);
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		assert_int_equal(file_write_atomic(path, broken[i], strlen(broken[i]), 0644, NULL),
				 0);
		assert_int_equal(vm_store_find(store, "base", &found, &is_found, &err), -1);
		assert_non_null(strstr(err.text, "manifest.json"));
	}
}

static void a_snapshot_of_another_machine_or_emulator_is_not_loaded(void **state)
{
	struct vm_template found;
	struct err err;
	bool is_found;

	(void)state;
	put("base", ID_A);
	assert_int_equal(vm_store_find(store, "base", &found, &is_found, NULL), 0);
	assert_int_equal(vm_template_check(&found, NULL, &err), 0);
	assert_int_equal(vm_template_check(&found, "7.2.0", &err), 0);
	assert_int_equal(vm_template_check(&found, "8.0.0", &err), -1);
	assert_non_null(strstr(err.text, "build it anew"));
	found.shape.vcpus = 2;
	assert_int_equal(vm_template_check(&found, NULL, &err), -1);
}

static void a_config_reads_back_as_it_was_written(void **state)
{
	struct vm_config config = {.purpose = VM_PURPOSE_CLONE, .warmth = VM_WARMTH_EXEC};
	struct vm_config back;

	(void)state;
	assert_true(id_parse("vm_1", 4, &config.vm));
	strcpy(config.template_dir, "/var/\"quoted\"/t");
	strcpy(config.gateway, "127.0.0.1:3002");
	strcpy(config.resume, "/var/saved/\"x\"");
	assert_int_equal(vm_config_write(store, &config, NULL), 0);
	assert_int_equal(vm_config_read(store, &back, NULL), 0);
	assert_true(id_equal(&config.vm, &back.vm));
	assert_int_equal(back.purpose, VM_PURPOSE_CLONE);
	assert_int_equal(back.warmth, VM_WARMTH_EXEC);
	assert_string_equal(back.template_dir, config.template_dir);
	assert_string_equal(back.gateway, config.gateway);
	assert_string_equal(back.resume, config.resume);
}

static void a_config_that_says_too_little_is_refused(void **state)
{
	static const char not_absolute[] =
		"{\"vm\":\"vm_1\",\"template\":\"/t\",\"purpose\":\"clone\","
		"\"warmth\":\"exec\",\"resume\":\"saved\"}";
	static const char *const texts[] = {
		"",
		"{}",
		"{\"vm\":\"vm_1\"}",
		"{\"vm\":\"v\",\"template\":\"t\",\"purpose\":\"clone\",\"warmth\":\"exec\"}",
		"{\"vm\":\"vm_1\",\"template\":\"/t\",\"purpose\":\"cloan\",\"warmth\":\"health\"}",
		not_absolute,
		"{\"vm\":\"vm 1\",\"template\":\"/t\",\"purpose\":\"clone\",\"warmth\":\"health\"}",
	};
	struct vm_config config;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(vm_config_parse(texts[i], strlen(texts[i]), &config, NULL), -1);
}

static void sweep(void)
{
	int lock;

	assert_int_equal(vm_store_lock(store, &lock, NULL), 0);
	assert_int_equal(vm_store_sweep(store, 0, NULL), 0);
	close(lock);
}

static void what_is_kept_for_a_saved_state_stays_until_that_is_gone(void **state)
{
	char dir[128], around[128], moved[128];
	bool is_found;

	(void)state;
	put("base", ID_A);
	snprintf(around, sizeof(around), "%s/around", store);
	snprintf(moved, sizeof(moved), "%s/moved", store);
	snprintf(dir, sizeof(dir), "%s/around/one", store);
	assert_int_equal(mkdir(around, 0755) || mkdir(dir, 0755), 0);
	assert_int_equal(vm_store_keep(store, VM_KEEP_SAVED, ID_A, "one", dir, NULL), 0);
	assert_int_equal(vm_store_remove(store, "base", &is_found, NULL), 0);
	assert_true(is_there("snapshot", ID_A));
	assert_true(is_there("rootfs", ROOTFS));
	/* The disk that it is on is away: nobody knows. */
	assert_int_equal(rename(around, moved), 0);
	sweep();
	assert_true(is_there("snapshot", ID_A));
	assert_int_equal(rename(moved, around), 0);
	assert_int_equal(rmdir(dir), 0);
	sweep();
	assert_false(is_there("snapshot", ID_A));
	assert_false(is_there("rootfs", ROOTFS));
	assert_int_equal(vm_store_keep(store, VM_KEEP_SAVED, ID_A, "two", store, NULL), -1);
	assert_false(is_there("saved", ID_A ".two"));
}

static void what_runs_keeps_its_template_until_its_folder_is_gone(void **state)
{
	char dir[128];
	bool is_found;

	(void)state;
	put("base", ID_A);
	snprintf(dir, sizeof(dir), "%s/nowhere/vm_1", store);
	assert_int_equal(vm_store_keep(store, VM_KEEP_RUNNING, ID_A, "vm_1", dir, NULL), 0);
	assert_int_equal(vm_store_keep(store, VM_KEEP_RUNNING, ID_A, "vm_2", store, NULL), 0);
	assert_int_equal(vm_store_remove(store, "base", &is_found, NULL), 0);
	assert_true(is_there("snapshot", ID_A));
	vm_store_release(store, VM_KEEP_RUNNING, ID_A, "vm_2");
	sweep();
	assert_false(is_there("snapshot", ID_A));
}

static void nothing_but_names_can_be_kept_by(void **state)
{
	(void)state;
	put("base", ID_A);
	assert_int_equal(vm_store_keep(store, VM_KEEP_SAVED, ID_A, "../x", store, NULL), -1);
	assert_int_equal(vm_store_keep(store, VM_KEEP_SAVED, ID_A, "", store, NULL), -1);
	assert_int_equal(vm_store_keep(store, VM_KEEP_SAVED, "../../x", "x", store, NULL), -1);
	assert_int_equal(vm_store_keep(store, VM_KEEP_SAVED, ID_A, "x", store, NULL), 0);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(a_template_is_found_by_its_name),
		STORE_TEST(a_name_that_leads_nowhere_is_not_found),
		STORE_TEST(a_name_moves_whole_from_one_snapshot_to_the_next),
		STORE_TEST(removing_a_name_removes_only_what_no_other_name_leads_to),
		STORE_TEST(what_is_kept_for_a_saved_state_stays_until_that_is_gone),
		STORE_TEST(what_runs_keeps_its_template_until_its_folder_is_gone),
		STORE_TEST(nothing_but_names_can_be_kept_by),
		STORE_TEST(a_broken_manifest_is_a_fault_that_names_it),
		STORE_TEST(a_snapshot_of_another_machine_or_emulator_is_not_loaded),
		STORE_TEST(a_config_reads_back_as_it_was_written),
		cmocka_unit_test(a_config_that_says_too_little_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
