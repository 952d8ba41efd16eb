/* Users, paths, settings, and what is told of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/check.h"
#include "node-agent/guest/authority.h"
#include "node-agent/guest/caller.h"
#include "node-agent/guest/entry.h"
#include "node-agent/guest/env.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/settings.h"
#include "node-agent/guest/users.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/bash\n"
			     "broken line\n"
			     "bad:x:notanumber:0::/:/bin/sh\n"
			     "user:x:1000:1001:,,,:/home/user:/bin/bash\n"
			     "last:x:7:8::/:/bin/sh";
static const char group[] = "root:x:0:\n"
			    "sudo:x:27:other,user\n"
			    "user:x:1001:user\n"
			    "docker:x:999:user,user\n"
			    "users:x:100:userx\n";

static void users_are_found_in_passwd(void **state)
{
	char name[USER_NAME_MAX];
	struct user user;

	(void)state;
	assert_true(passwd_find_name(http_text_of(passwd), "user", &user));
	assert_int_equal(user.uid, 1000);
	assert_int_equal(user.gid, 1001);
	assert_string_equal(user.home, "/home/user");
	assert_true(passwd_find_name(http_text_of(passwd), "last", &user));
	assert_false(passwd_find_name(http_text_of(passwd), "bad", &user));
	assert_false(passwd_find_name(http_text_of(passwd), "use", &user));
	assert_false(passwd_find_name(http_text_of(""), "user", &user));
	assert_true(passwd_find_uid(http_text_of(passwd), 1000, name));
	assert_string_equal(name, "user");
	assert_true(group_find_gid(http_text_of(group), 27, name));
	assert_string_equal(name, "sudo");
	assert_false(group_find_gid(http_text_of(group), 28, name));
}

static void a_user_has_all_groups_once(void **state)
{
	struct user user;

	(void)state;
	assert_true(passwd_find_name(http_text_of(passwd), "user", &user));
	group_add_memberships(http_text_of(group), &user);
	assert_int_equal(user.groups_n, 3);
	assert_int_equal(user.groups[0], 1001);
	assert_int_equal(user.groups[1], 27);
	assert_int_equal(user.groups[2], 999);
}

static void paths_start_where_users_expect(void **state)
{
	static const struct {
		const char *path, *resolved; /* NULL: refused */
	} rows[] = {
		{"", "/work"},
		{"a", "/home/user/a"},
		{"./a/../b//c/", "/home/user/b/c"},
		{"../../../..", "/"},
		{"/", "/"},
		{"//etc/./passwd", "/etc/passwd"},
		{"/..", "/"},
		{"~", "/home/user"},
		{"~/x", "/home/user/x"},
		{"~root/x", NULL},
		{"a~", "/home/user/a~"},
		{"...", "/home/user/..."},
		{"/a/b/../../..", "/"},
	};
	char out[PATH_MAX], longest[PATH_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		const char *problem = path_resolve(rows[i].path, "/home/user", "/work", out);

		assert_int_equal(problem == NULL, rows[i].resolved != NULL);
		if (!problem)
			assert_string_equal(out, rows[i].resolved);
	}
	memset(longest, 'a', PATH_MAX);
	longest[PATH_MAX] = 0;
	assert_non_null(path_resolve(longest, "/home/user", "/", out));
	assert_non_null(path_resolve("x", "relative", "/", out));
	assert_string_equal(path_name("/a/b"), "b");
	assert_string_equal(path_name("/"), "/");
}

static void basic_authorization_names_the_user(void **state)
{
	char name[USER_NAME_MAX];

	(void)state;
	assert_true(caller_basic_user(http_text_of("Basic dXNlcjo="), name));
	assert_string_equal(name, "user");
	assert_true(caller_basic_user(http_text_of("basic cm9vdDpwdw=="), name));
	assert_string_equal(name, "root");
	assert_false(caller_basic_user(http_text_of("Basic dXNlcg=="), name));
	assert_false(caller_basic_user(http_text_of("Basic !"), name));
	assert_false(caller_basic_user(http_text_of("Bearer dXNlcjo="), name));
	assert_false(caller_basic_user(http_text_of(""), name));
}

static const char *update(struct settings *settings, const char *text)
{
	json_t *document = json_loads(text, 0, NULL);
	const char *problem;

	assert_non_null(document);
	problem = settings_update(settings, document);
	json_decref(document);
	return problem;
}

static void settings_change_whole_or_not_at_all(void **state)
{
	struct settings settings;

	(void)state;
	settings_init(&settings);
	assert_null(update(&settings, "{\"accessToken\":\"t\",\"envVars\":{\"A\":\"b\"},"
				      "\"defaultUser\":\"root\",\"unknown\":[1]}"));
	assert_string_equal(settings.token, "t");
	assert_string_equal(settings.default_user, "root");
	assert_int_equal(json_object_size(settings.env), 1);
	assert_non_null(update(&settings, "{\"accessToken\":\"u\",\"envVars\":{\"A\":1}}"));
	assert_non_null(update(&settings, "{\"accessToken\":\"u\",\"envVars\":{\"A=\":\"1\"}}"));
	assert_non_null(update(&settings, "{\"accessToken\":\"u\",\"defaultUser\":1}"));
	assert_string_equal(settings.token, "t");
	assert_string_equal(json_string_value(json_object_get(settings.env, "A")), "b");
	assert_null(update(&settings, "{\"accessToken\":null}"));
	assert_string_equal(settings.token, "t");
	settings_close(&settings);
}

static void instants_are_read(void **state)
{
	static const char *const bad[] = {
		"",
		"2026-11-22",
		"2026-11-22T22:30:00",
		"2026-11-22T22:30:00.Z",
		"x",
		"2026-11-22T22:30:00Zx",
		"2026-11-22T22:30:00+1",
		"1960-01-01T00:00:00Z",
		"2026-11-22T22:30:00+02:00x",
	};
	int64_t ns;

	(void)state;
	assert_true(settings_time_parse("1970-01-01T00:00:01Z", &ns));
	assert_int_equal(ns, 1000000000);
	assert_true(settings_time_parse("1970-01-02T00:00:00.123456789Z", &ns));
	assert_int_equal(ns, 86400123456789);
	assert_true(settings_time_parse("1970-01-01T02:00:00.5+02:00", &ns));
	assert_int_equal(ns, 500000000);
	for (size_t i = 0; i < ARRAY_N(bad); i++)
		assert_false(settings_time_parse(bad[i], &ns));
}

static void the_request_wins_over_the_sandbox_over_the_login(void **state)
{
	struct user user = {.name = "user", .home = "/home/user"};
	json_t *sandbox = json_pack("{s:s,s:s}", "A", "sandbox", "HOME", "/other");
	json_t *request = json_pack("{s:s}", "A", "request");
	json_t *env = env_merge(&user, true, sandbox, request);
	char **list = env_list(env);
	int n = 0;

	(void)state;
	assert_string_equal(json_string_value(json_object_get(env, "A")), "request");
	assert_string_equal(json_string_value(json_object_get(env, "HOME")), "/other");
	assert_string_equal(json_string_value(json_object_get(env, "LOGNAME")), "user");
	while (list[n])
		n++;
	assert_int_equal(n, 5 + (int)authority_variables_n);
	free(list);
	json_decref(env);
	json_decref(sandbox);
	json_decref(request);
}

static void assert_file(const char *root, const char *path, const char *text)
{
	char name[256], got[512] = "";
	FILE *file;

	snprintf(name, sizeof(name), "%s%s", root, path);
	file = fopen(name, "r");
	assert_non_null(file);
	assert_true(fread(got, 1, sizeof(got) - 1, file) > 0);
	fclose(file);
	assert_string_equal(got, text);
}

static void an_authority_takes_the_place_of_the_one_before(void **state)
{
	char root[] = "/tmp/flotilla-authority-XXXXXX", command[512];

	(void)state;
	assert_non_null(mkdtemp(root));
	assert_true(authority_install(root, "one\n"));
	assert_file(root, AUTHORITY_FILE, "one\n");
	assert_file(root, AUTHORITY_BUNDLE,
		    "# Flotilla egress: begin\none\n# Flotilla egress: end\n");
	snprintf(command, sizeof(command),
		 "cd %s/etc/ssl/certs && printf 'others\\n' > b && cat ca-certificates.crt >> b && "
		 "echo more >> b && mv b ca-certificates.crt && touch -d @1 *",
		 root);
	assert_int_equal(system(command), 0);
	assert_true(authority_install(root, "two\n"));
	assert_file(root, AUTHORITY_FILE, "two\n");
	assert_file(root, AUTHORITY_BUNDLE,
		    "others\nmore\n# Flotilla egress: begin\ntwo\n# Flotilla egress: end\n");
	snprintf(command, sizeof(command),
		 "cd %s/etc/ssl/certs && touch -d @1 * && ! ls *.flotilla 2>/dev/null", root);
	assert_int_equal(system(command), 0);
	assert_true(authority_install(root, "two\n"));
	snprintf(command, sizeof(command), "test $(stat -c %%Y %s" AUTHORITY_BUNDLE ") = 1", root);
	assert_int_equal(system(command), 0);
	/* What is no file is neither waited for nor written to. */
	snprintf(command, sizeof(command),
		 "cd %s/etc/ssl/certs && rm ca-certificates.crt && mkfifo ca-certificates.crt",
		 root);
	assert_int_equal(system(command), 0);
	assert_false(authority_install(root, "three\n"));
	snprintf(command, sizeof(command), "rm -rf %s", root);
	assert_int_equal(system(command), 0);
}

static void modes_are_told_as_go_tells_them(void **state)
{
	static const struct {
		mode_t mode;
		const char *text;
	} rows[] = {
		{S_IFREG | 0644, "-rw-r--r--"},  {S_IFDIR | 0755, "drwxr-xr-x"},
		{S_IFLNK | 0777, "Lrwxrwxrwx"},  {S_IFDIR | 01777, "dtrwxrwxrwx"},
		{S_IFREG | 04755, "urwxr-xr-x"}, {S_IFCHR | 0600, "Dcrw-------"},
		{S_IFBLK | 0660, "Drw-rw----"},  {S_IFIFO | 0, "p---------"},
		{S_IFSOCK | 0111, "S--x--x--x"},
	};
	char text[ENTRY_MODE_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		entry_mode_text(rows[i].mode, text);
		assert_string_equal(text, rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_are_found_in_passwd),
		cmocka_unit_test(a_user_has_all_groups_once),
		cmocka_unit_test(paths_start_where_users_expect),
		cmocka_unit_test(basic_authorization_names_the_user),
		cmocka_unit_test(settings_change_whole_or_not_at_all),
		cmocka_unit_test(instants_are_read),
		cmocka_unit_test(the_request_wins_over_the_sandbox_over_the_login),
		cmocka_unit_test(an_authority_takes_the_place_of_the_one_before),
		cmocka_unit_test(modes_are_told_as_go_tells_them),
	};

	return cmocka_run_group_tests_name("guest.identity", tests, NULL, NULL);
}
