/* The command line of the one machine: what clone and template share, and what sets them apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "node-agent/vm/machine.h"

static struct vm_launch launch_of(const char *overlay)
{
	return (struct vm_launch){
		.name = "vm_1",
		.shape = {2, 512, 1024},
		.accel = VM_ACCEL_TCG,
		.kernel = "/k",
		.initrd = "/i",
		.rootfs = "/r",
		.disk = "/d",
		.mem = "/m",
		.overlay = overlay,
		.qmp_fd = 3,
		.mux_fd = 4,
		.console_fd = 5,
		.kernel_fd = 6,
	};
}

static bool has_word(const struct vm_argv *argv, const char *word)
{
	for (size_t i = 0; i < argv->words_n; i++)
		if (strcmp(argv->words[i], word) == 0)
			return true;
	return false;
}

/* All words behind an option of this name, joined. */
static void collect(const struct vm_argv *argv, const char *option, char *out, size_t out_n)
{
	size_t used = 0;

	out[0] = 0;
	for (size_t i = 0; i + 1 < argv->words_n; i++)
		if (strcmp(argv->words[i], option) == 0) {
			size_t n = strlen(argv->words[i + 1]);

			assert_true(used + n + 2 < out_n);
			memcpy(out + used, argv->words[i + 1], n);
			out[used + n] = '\n';
			out[used += n + 1] = 0;
		}
}

static void a_clone_has_the_devices_of_its_template_and_no_others(void **state)
{
	static struct vm_argv boot, clone;
	static const char *const same[] = {"-device", "-machine", "-cpu",     "-smp",
					   "-m",      "-accel",   "-chardev", "-netdev"};
	struct vm_launch launch = launch_of(NULL);
	char a[4096], b[4096];

	(void)state;
	assert_int_equal(vm_argv_build(&launch, &boot, NULL), 0);
	launch = launch_of("/o");
	assert_int_equal(vm_argv_build(&launch, &clone, NULL), 0);
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		collect(&boot, same[i], a, sizeof(a));
		collect(&clone, same[i], b, sizeof(b));
		assert_string_equal(a, b);
		assert_true(a[0]);
	}
}

static void a_clones_memory_is_its_own_and_its_template_is_only_read(void **state)
{
	static struct vm_argv argv;
	struct vm_launch launch = launch_of("/o");
	char text[4096];

	(void)state;
	assert_int_equal(vm_argv_build(&launch, &argv, NULL), 0);
	assert_true(has_word(&argv, "memory-backend-file,id=ram,size=512M,mem-path=/m,share=off"));
	assert_true(has_word(&argv, "-incoming"));
	collect(&argv, "-blockdev", text, sizeof(text));
	assert_non_null(strstr(text, "node-name=base-file,read-only=on"));
	assert_non_null(strstr(text, "node-name=root-file,read-only=on"));
	assert_non_null(strstr(text, "filename=/o"));

	launch = launch_of(NULL);
	assert_int_equal(vm_argv_build(&launch, &argv, NULL), 0);
	assert_true(has_word(&argv, "memory-backend-file,id=ram,size=512M,mem-path=/m,share=on"));
	assert_false(has_word(&argv, "-incoming"));
}

static void a_path_that_qemu_would_take_apart_is_refused(void **state)
{
	static struct vm_argv argv;
	struct vm_launch launch = launch_of("/o,readonly=off");
	struct err err;

	(void)state;
	assert_int_equal(vm_argv_build(&launch, &argv, &err), -1);
	assert_non_null(strstr(err.text, "comma"));
}

static void a_path_that_is_too_long_is_refused(void **state)
{
	static struct vm_argv argv;
	static char path[VM_ARGV_TEXT_MAX + 1];
	struct vm_launch launch = launch_of(path);

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	assert_int_equal(vm_argv_build(&launch, &argv, NULL), -1);
}

static void shapes_out_of_range_are_refused(void **state)
{
	static const struct {
		struct vm_shape shape;
		int result;
	} rows[] = {
		{{1, 128, 64}, 0},
		{{0, 512, 1024}, -1},
		{{65, 512, 1024}, -1},
		{{1, 127, 1024}, -1},
		{{1, 512, 63}, -1},
		{{64, 512 * 1024, 16 * 1024 * 1024}, 0},
		{{1, 512 * 1024 + 1, 1024}, -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(vm_shape_check(&rows[i].shape, NULL), rows[i].result);
}

static void emulated_devices_have_no_event_descriptors_and_real_ones_do(void **state)
{
	static struct vm_argv argv;
	struct vm_launch launch = launch_of("/o");
	char text[4096];

	(void)state;
	assert_int_equal(vm_argv_build(&launch, &argv, NULL), 0);
	collect(&argv, "-device", text, sizeof(text));
	assert_null(strstr(text, "ioeventfd=on"));
	launch.accel = VM_ACCEL_KVM;
	assert_int_equal(vm_argv_build(&launch, &argv, NULL), 0);
	collect(&argv, "-device", text, sizeof(text));
	assert_null(strstr(text, "ioeventfd=off"));
	assert_true(has_word(&argv, "host"));
}

/* What goes on from what was saved is the same machine; only what it waits for differs. */
static void what_goes_on_is_the_machine_that_was_saved(void **state)
{
	static const char *const same[] = {"-device", "-machine", "-object", "-blockdev",
					   "-netdev"};
	static struct vm_argv clone, difference, cold;
	struct vm_launch launch = launch_of("/o");
	char a[4096], b[4096], c[4096];

	(void)state;
	assert_int_equal(vm_argv_build(&launch, &clone, NULL), 0);
	launch.is_difference = true;
	assert_int_equal(vm_argv_build(&launch, &difference, NULL), 0);
	launch.is_difference = false;
	launch.is_cold = true;
	assert_int_equal(vm_argv_build(&launch, &cold, NULL), 0);
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		collect(&clone, same[i], a, sizeof(a));
		collect(&difference, same[i], b, sizeof(b));
		collect(&cold, same[i], c, sizeof(c));
		assert_string_equal(a, b);
		assert_string_equal(a, c);
	}
	assert_true(has_word(&clone, "-incoming") && has_word(&difference, "-incoming"));
	assert_false(has_word(&cold, "-incoming"));
	assert_true(has_word(&difference, "migration.send-configuration=off"));
	assert_false(has_word(&clone, "migration.send-configuration=off"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_on_is_the_machine_that_was_saved),
		cmocka_unit_test(a_clone_has_the_devices_of_its_template_and_no_others),
		cmocka_unit_test(a_clones_memory_is_its_own_and_its_template_is_only_read),
		cmocka_unit_test(a_path_that_qemu_would_take_apart_is_refused),
		cmocka_unit_test(a_path_that_is_too_long_is_refused),
		cmocka_unit_test(shapes_out_of_range_are_refused),
		cmocka_unit_test(emulated_devices_have_no_event_descriptors_and_real_ones_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
