#include "tests/io/options_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/io/scratch.h"
#include <sys/wait.h>
#include <unistd.h>

static struct options_set set;
static struct test_options options;
static struct err err;

static void begin(void)
{
	memset(&err, 0, sizeof(err));
	options_defaults(&set, &test_program, &options);
}

static int ini(const char *text)
{
	return options_apply_ini(&set, "/etc/test.conf", text, strlen(text), &err);
}

static int flags(int n, const char *const words[])
{
	struct options_flags read;
	char *argv[16] = {(char *)"test"};

	memcpy(argv + 1, words, (size_t)n * sizeof(argv[0]));
	if (options_read_flags(&test_program, n + 1, argv, &read, &err))
		return -1;
	return options_apply_flags(&set, &read, &err);
}
#define FLAGS(...)                                                                                 \
	flags((int)ARRAY_N(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void defaults_come_from_the_table(void **unused)
{
	(void)unused;
	begin();
	assert_string_equal(options.state_dir, "/var/lib/x");
	assert_int_equal(options.pool_floor, 2);
	assert_true(options.pool_bytes == UINT64_MAX);
	assert_false(options.pool_eager);
	assert_int_equal(options.lease_ms, 60000);
	assert_true(options.cache_bytes == 4ull << 30);
	assert_int_equal(options.listen.port, 3003);
	assert_int_equal(options.templates.n, 1);
}

static void a_file_sets_every_type(void **unused)
{
	(void)unused;
	begin();
	assert_int_equal(ini("\xef\xbb\xbf; a comment\n# another\n"
			     "title = a = b\n"
			     "[state]\n dir=/srv/x ; why\n\n"
			     "[pool]\r\n\tfloor: 7\r\n\tcount = 0\r\neager = yes\r\n"
			     "templates = base, , code ,x\n"
			     "[lease]\nlength = 500ms\n"),
			 -1); /* below the range */
	assert_non_null(strstr(err.text, "/etc/test.conf:13: lease.length"));
	begin();
	assert_int_equal(ini("title = a = b\n[state]\n dir=/srv/x ; why\n[vm]\naccel=tcg\n"
			     "[pool]\r\n\tfloor: 7\r\n\tcount = 0\r\neager = yes\r\n"
			     "templates = base, , code ,x\n[cache]\nsize = 1TiB\n"
			     "[lease]\nlength = 1500ms\n[bus]\nlisten=[::]:0"),
			 0);
	assert_string_equal(options.title, "a = b");
	assert_string_equal(options.state_dir, "/srv/x");
	assert_string_equal(options.accel, "tcg");
	assert_int_equal(options.pool_floor, 7);
	assert_true(options.pool_eager);
	assert_int_equal(options.lease_ms, 1500);
	assert_true(options.cache_bytes == 1ull << 40);
	assert_string_equal(options.listen.host, "::");
	assert_int_equal(options.templates.n, 3);
	assert_string_equal(option_list_at(&options.templates, 1), "code");
	assert_string_equal(option_list_at(&options.templates, 2), "x");
}

static void a_bad_file_is_refused_with_line_reason_and_advice(void **unused)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"[pool]\nflor = 1", "/etc/test.conf:2: unknown key \"flor\" in [pool]; did you "
				     "mean \"floor\"?"},
		{"[poool]\nfloor = 1", "/etc/test.conf:2: unknown section [poool]; did you mean "
				       "\"pool\"?"},
		{"xyzzyxyzzy = 1", "/etc/test.conf:1: unknown key \"xyzzyxyzzy\""},
		{"[pool]\nfloor = many", "/etc/test.conf:2: pool.floor: \"many\" is not a whole "
					 "number (0..1000); write it like: 2"},
		{"[pool]\nfloor = 1001", "(0..1000)"},
		{"[pool]\nfloor = -1", "pool.floor"},
		{"[pool]\nfloor =", "pool.floor"},
		{"[pool]\ncount = 18446744073709551616", "pool.count"},
		{"[lease]\nlength = 15", "a duration with a unit (ms, s, m, h, d) (1s..1h); write "
					 "it like: 60s"},
		{"[lease]\nlength = 2h", "lease.length"},
		{"[lease]\nlength = 1 m", "lease.length"},
		{"[cache]\nsize = 4GB", "write it like: 4GiB"},
		{"[cache]\nsize = 99999999999TiB", "cache.size"},
		{"[vm]\naccel = hvf", "(auto|kvm|tcg)"},
		{"[vm]\naccel = kvm|tcg", "(auto|kvm|tcg)"},
		{"[vm]\naccel = ", "(auto|kvm|tcg)"},
		{"[bus]\nlisten = 3003", "HOST:PORT; write it like: 127.0.0.1:3003"},
		{"[pool]\neager = maybe", "yes or no"},
		{"[pool]\n\nfloor = 1\nfloor = 2", ":4: floor is given twice; first in line 3"},
		{"[pool\nfloor = 1", "/etc/test.conf:1: neither"},
		{"floor", "/etc/test.conf:1: neither"},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		begin();
		assert_int_equal(ini(rows[i].text), -1);
		if (!strstr(err.text, rows[i].says))
			fail_msg("\"%s\" says \"%s\", not \"%s\"", rows[i].text, err.text,
				 rows[i].says);
	}
}

static void a_zero_byte_and_an_endless_line_are_refused(void **unused)
{
	char text[1000];

	(void)unused;
	begin();
	assert_int_equal(options_apply_ini(&set, "f", "a\0b", 3, &err), -1);
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	assert_int_equal(ini(text), -1);
	assert_non_null(strstr(err.text, "/etc/test.conf:1: this line has more than"));
}

static void later_sources_win_and_the_origin_is_remembered(void **unused)
{
	char *environment[] = {(char *)"PATH=/bin", (char *)"FLOTILLA_POOL_FLOOR=9",
			       (char *)"FLOTILLA_TITLE=from env", (char *)"FLOTILLA_OTHER=x", NULL};
	char *text = NULL;
	size_t text_n;
	FILE *out;

	(void)unused;
	begin();
	assert_int_equal(ini("[pool]\nfloor = 7\neager = yes\n[enrol]\ntoken = hush"), 0);
	assert_int_equal(options_apply_environment(&set, environment, &err), 0);
	assert_int_equal(options.pool_floor, 9);
	assert_int_equal(FLAGS("--pool-floor=11", "--no-pool-eager", "--level", "warn"), 0);
	assert_int_equal(options.pool_floor, 11);
	out = open_memstream(&text, &text_n);
	options_print_values(&set, out);
	fclose(out);
	assert_non_null(strstr(text, "title = from env ; environment FLOTILLA_TITLE\n"));
	assert_non_null(strstr(text, "\n[pool]\nfloor = 11 ; flag --pool-floor\n"));
	assert_non_null(strstr(text, "eager = no ; flag --pool-eager\n"));
	assert_non_null(strstr(text, "dir = /var/lib/x ; default\n"));
	assert_non_null(strstr(text, "token = ******** ; /etc/test.conf:5\n"));
	assert_null(strstr(text, "hush"));
	/* What is printed can be read again. */
	begin();
	assert_int_equal(ini(text), 0);
	assert_int_equal(options.pool_floor, 11);
	assert_true(options.cache_bytes == 4ull << 30);
	free(text);
}

static void a_bad_variable_is_named(void **unused)
{
	char *environment[] = {(char *)"FLOTILLA_LEASE_LENGTH=forever", NULL};

	(void)unused;
	begin();
	assert_int_equal(options_apply_environment(&set, environment, &err), -1);
	assert_ptr_equal(strstr(err.text, "FLOTILLA_LEASE_LENGTH: lease.length: \"forever\""),
			 err.text);
}

static void bad_flags_are_refused(void **unused)
{
	(void)unused;
	begin();
	assert_int_equal(FLAGS("--pool-flor", "3"), -1);
	assert_non_null(strstr(err.text, "did you mean --pool-floor?"));
	assert_int_equal(FLAGS("--pool-floor"), -1);
	assert_non_null(strstr(err.text, "needs a value"));
	assert_int_equal(FLAGS("--no-pool-floor"), -1);
	assert_int_equal(FLAGS("--help=yes"), -1);
	assert_int_equal(FLAGS("-x"), -1);
	assert_int_equal(FLAGS("word"), -1);
	assert_int_equal(FLAGS("--", "word"), -1);
	/* "dir" is one option's name alone; "size" too, but "name" is none's. */
	assert_int_equal(FLAGS("--dir", "/x"), 0);
	assert_int_equal(FLAGS("--name", "/x"), -1);
	assert_int_equal(FLAGS("--enrol-token", "hush"), -1);
	assert_non_null(strstr(err.text, "FLOTILLA_ENROL_TOKEN"));
	assert_null(strstr(err.text, "hush"));
}

static void words_without_flags_are_kept_where_they_are_welcome(void **unused)
{
	struct options_program program = test_program;
	char *argv[] = {(char *)"test", (char *)"one",    (char *)"--dir", (char *)"/x",
			(char *)"two",  (char *)"--help", (char *)"--",    (char *)"--three"};
	struct options_flags read;

	(void)unused;
	program.operands = "NAME...";
	assert_int_equal(options_read_flags(&program, 8, argv, &read, &err), 0);
	assert_true(read.help);
	assert_int_equal(read.operands_n, 3);
	assert_string_equal(read.operand[0], "one");
	assert_string_equal(read.operand[1], "two");
	assert_string_equal(read.operand[2], "--three");
}

static void an_option_without_a_default_must_be_given(void **unused)
{
	static const struct option_spec rows[] = {
		{OPTION_TYPE_PATH, "key", "fleet", "key", NULL, "FILE", "the fleet's key", 0, 0}};
	static const struct options_program program = {"p", "s", NULL, rows, 1, OPTION_TEXT_MAX};
	char key[OPTION_TEXT_MAX];

	(void)unused;
	options_defaults(&set, &program, key);
	assert_int_equal(options_complete(&set, &err), -1);
	assert_string_equal(err.text, "fleet.key must be given: the fleet's key");
	assert_int_equal(ini("[fleet]\nkey=/k"), 0);
	assert_int_equal(options_complete(&set, &err), 0);
}

static void files_are_read_in_their_order(void **unused)
{
	struct scratch scratch;

	(void)unused;
	scratch_open(&scratch);
	mkdir(scratch_path(&scratch, "lib"), 0700);
	mkdir(scratch_path(&scratch, "etc"), 0700);
	mkdir(scratch_path(&scratch, "etc/test.conf.d"), 0700);
	scratch_write(&scratch, "lib/test.conf", "title = vendor\n[pool]\nfloor = 1\n");
	scratch_write(&scratch, "etc/test.conf", "title = etc\n[vm]\naccel = kvm\n");
	scratch_write(&scratch, "etc/test.conf.d/20.conf", "[vm]\naccel = tcg\n");
	scratch_write(&scratch, "etc/test.conf.d/10.conf", "[vm]\naccel = auto\n");
	scratch_write(&scratch, "etc/test.conf.d/30.conf.bak", "nonsense\n");
	scratch_write(&scratch, "own.conf", "[state]\ndir = /own\n");
	char lib[600], etc[600], own[600];
	snprintf(lib, sizeof(lib), "%s/lib", scratch.dir);
	snprintf(etc, sizeof(etc), "%s/etc", scratch.dir);
	snprintf(own, sizeof(own), "%s/own.conf", scratch.dir);

	begin();
	assert_int_equal(options_read_files(&set, lib, etc, NULL, &err), 0);
	assert_string_equal(options.title, "etc");
	assert_int_equal(options.pool_floor, 1);
	assert_string_equal(options.accel, "tcg");
	begin();
	assert_int_equal(options_read_files(&set, lib, etc, own, &err), 0);
	assert_string_equal(options.title, "vendor");
	assert_string_equal(options.state_dir, "/own");
	assert_string_equal(options.accel, "auto");
	strcat(own, ".missing");
	assert_int_equal(options_read_files(&set, lib, etc, own, &err), -1);
	scratch_close(&scratch);
}

static void every_value_survives_being_written_and_read(void **unused)
{
	char text[OPTION_TEXT_MAX], again[OPTION_TEXT_MAX];
	struct test_options copy;

	(void)unused;
	begin();
	options.lease_ms = 90000;
	options.cache_bytes = 3ull << 19;
	memset(&copy, 0, sizeof(copy));
	for (size_t i = 0; i < test_program.rows_n; i++) {
		option_format(&test_rows[i], &options, text);
		assert_int_equal(option_parse(&test_rows[i], text, &copy, &err), 0);
		option_format(&test_rows[i], &copy, again);
		assert_string_equal(text, again);
	}
	assert_int_equal(copy.lease_ms, 90000);
}

static void help_names_every_option_and_ends_with_status_0(void **unused)
{
	static char text[1 << 16];
	int ends[2], status;
	ssize_t got, n = 0;
	pid_t child;

	(void)unused;
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		char *argv[] = {(char *)"test", (char *)"--help", NULL};

		dup2(ends[1], 1);
		exit(options_start(&set, &test_program, &options, 2, argv));
	}
	close(ends[1]);
	while ((got = read(ends[0], text + n, sizeof(text) - 1 - (size_t)n)) > 0)
		n += got;
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_non_null(
		strstr(text, "  --lease-length 1s..1h           freeze after so long [60s]"));
	for (size_t i = 0; i < test_program.rows_n; i++)
		assert_non_null(strstr(text, test_rows[i].help));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_come_from_the_table),
		cmocka_unit_test(a_file_sets_every_type),
		cmocka_unit_test(a_bad_file_is_refused_with_line_reason_and_advice),
		cmocka_unit_test(a_zero_byte_and_an_endless_line_are_refused),
		cmocka_unit_test(later_sources_win_and_the_origin_is_remembered),
		cmocka_unit_test(a_bad_variable_is_named),
		cmocka_unit_test(bad_flags_are_refused),
		cmocka_unit_test(words_without_flags_are_kept_where_they_are_welcome),
		cmocka_unit_test(an_option_without_a_default_must_be_given),
		cmocka_unit_test(files_are_read_in_their_order),
		cmocka_unit_test(every_value_survives_being_written_and_read),
		cmocka_unit_test(help_names_every_option_and_ends_with_status_0),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
