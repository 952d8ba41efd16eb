#include "common/io/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/io/scratch.h"
#include <dirent.h>

static void a_written_file_is_read_back_whole_with_its_mode(void **unused)
{
	static char big[100000];
	struct scratch scratch;
	struct stat about;
	struct err err;
	char *text;
	size_t n;

	(void)unused;
	scratch_open(&scratch);
	memset(big, 'x', sizeof(big));
	scratch_path(&scratch, "f");
	assert_int_equal(file_write_atomic(scratch.path, "old", 3, 0644, &err), 0);
	assert_int_equal(file_write_atomic(scratch.path, big, sizeof(big), 0600, &err), 0);
	assert_int_equal(stat(scratch.path, &about), 0);
	assert_int_equal(about.st_mode & 0777, 0600);
	assert_int_equal(file_read(scratch.path, sizeof(big), &text, &n, &err), 0);
	assert_int_equal(n, sizeof(big));
	assert_memory_equal(text, big, n);
	assert_int_equal(text[n], 0);
	free(text);
	scratch_close(&scratch);
}

static void a_file_beyond_the_limit_and_a_missing_one_are_faults(void **unused)
{
	struct scratch scratch;
	struct err err;
	char *text;
	size_t n;

	(void)unused;
	scratch_open(&scratch);
	scratch_write(&scratch, "f", "12345");
	assert_int_equal(file_read(scratch.path, 4, &text, &n, &err), -1);
	assert_non_null(strstr(err.text, scratch.path));
	assert_int_equal(file_read(scratch_path(&scratch, "none"), 4, &text, &n, &err), -1);
	assert_int_equal(errno, ENOENT);
	scratch_close(&scratch);
}

static void a_failed_write_leaves_the_old_file_and_no_litter(void **unused)
{
	struct scratch scratch;
	struct dirent *entry;
	struct err err;
	int entries_n = 0;
	DIR *dir;

	(void)unused;
	scratch_open(&scratch);
	mkdir(scratch_path(&scratch, "taken"), 0700); /* a folder cannot be renamed over */
	assert_int_equal(file_write_atomic(scratch.path, "x", 1, 0644, &err), -1);
	dir = opendir(scratch.dir);
	while ((entry = readdir(dir)))
		entries_n += entry->d_name[0] != '.';
	closedir(dir);
	assert_int_equal(entries_n, 1);
	scratch_close(&scratch);
}

static void a_secret_that_others_can_read_is_refused(void **unused)
{
	struct scratch scratch;
	struct err err;
	uint8_t key[4];

	(void)unused;
	scratch_open(&scratch);
	scratch_write(&scratch, "key", "1234");
	chmod(scratch.path, 0640);
	assert_int_equal(file_read_secret(scratch.path, key, 4, &err), -1);
	assert_non_null(strstr(err.text, "chmod 600"));
	chmod(scratch.path, 0600);
	assert_int_equal(file_read_secret(scratch.path, key, 4, &err), 0);
	assert_memory_equal(key, "1234", 4);
	assert_int_equal(file_read_secret(scratch.path, key, 3, &err), -1);
	scratch_write(&scratch, "key", "123");
	assert_int_equal(file_read_secret(scratch.path, key, 4, &err), -1);
	scratch_close(&scratch);
}

static void folders_are_made_down_to_the_last_and_may_exist(void **unused)
{
	struct scratch scratch;
	struct stat about;
	struct err err;

	(void)unused;
	scratch_open(&scratch);
	scratch_path(&scratch, "a/b//c/");
	assert_int_equal(file_make_dirs(scratch.path, 0755, &err), 0);
	assert_int_equal(file_make_dirs(scratch.path, 0755, &err), 0);
	assert_int_equal(stat(scratch.path, &about), 0);
	scratch_write(&scratch, "file", "");
	assert_int_equal(file_make_dirs(scratch.path, 0755, &err), -1);
	assert_int_equal(file_make_dirs(scratch_path(&scratch, "file/x"), 0755, &err), -1);
	scratch_close(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_written_file_is_read_back_whole_with_its_mode),
		cmocka_unit_test(a_file_beyond_the_limit_and_a_missing_one_are_faults),
		cmocka_unit_test(a_failed_write_leaves_the_old_file_and_no_litter),
		cmocka_unit_test(a_secret_that_others_can_read_is_refused),
		cmocka_unit_test(folders_are_made_down_to_the_last_and_may_exist),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
