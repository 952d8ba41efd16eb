/* The parts of configuration that touch the world: files, and what is printed for people. */
#include "common/base/check.h"
#include "common/io/file.h"
#include "common/io/options.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	CONFIG_FILE_MAX = 1 << 20,
	HELP_COLUMN = 34, /* where the explanations of flags begin */
};

/* --- files ----------------------------------------------------------------------------------- */

static int read_file(struct options_set *set, const char *path, bool may_be_missing,
		     struct err *err)
{
	char *text;
	size_t text_n;
	int failed;

	if (file_read(path, CONFIG_FILE_MAX, &text, &text_n, err))
		return may_be_missing && errno == ENOENT ? 0 : -1;
	failed = options_apply_ini(set, path, text, text_n, err);
	free(text);
	return failed;
}

static int is_drop_in(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return n > 5 && entry->d_name[0] != '.' && strcmp(entry->d_name + n - 5, ".conf") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_drop_ins(struct options_set *set, const char *folder, struct err *err)
{
	struct dirent **entries;
	int n = scandir(folder, &entries, is_drop_in, by_name), failed = 0;
	char path[PATH_MAX + NAME_MAX + 2];

	if (n < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "read %s", folder);
	for (int i = 0; i < n; i++) {
		if (!failed) {
			snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
			failed = read_file(set, path, false, err);
		}
		free(entries[i]);
	}
	free(entries);
	return failed;
}

int options_read_files(struct options_set *set, const char *vendor_dir, const char *etc_dir,
		       const char *config, struct err *err)
{
	char path[PATH_MAX], folder[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s.conf", vendor_dir, set->program->name);
	if (read_file(set, path, true, err))
		return -1;
	if (config)
		snprintf(path, sizeof(path), "%s", config);
	else
		snprintf(path, sizeof(path), "%s/%s.conf", etc_dir, set->program->name);
	if (read_file(set, path, !config, err))
		return -1;
	if (snprintf(folder, sizeof(folder), "%s.d", path) >= (int)sizeof(folder))
		return err_errno(err, ENAMETOOLONG, "read %s", path);
	return read_drop_ins(set, folder, err);
}

/* --- for people ------------------------------------------------------------------------------ */

static void print_flag(const char *flag, const char *argument, const char *help,
		       const char *standard, FILE *out)
{
	char left[160];
	int n = snprintf(left, sizeof(left), "  --%s%s%s", flag, argument[0] ? " " : "", argument);

	if (n < HELP_COLUMN - 1)
		fprintf(out, "%-*s%s", HELP_COLUMN, left, help);
	else
		fprintf(out, "%s\n%-*s%s", left, HELP_COLUMN, "", help);
	if (standard && standard[0])
		fprintf(out, " [%s]", standard);
	fputc('\n', out);
}

void options_print_help(const struct options_program *program, FILE *out)
{
	fprintf(out, "flotilla-%s: %s\n\n", program->name, program->summary);
	fprintf(out, "Usage: flotilla-%s [flags]%s%s\n\n", program->name,
		program->operands ? " " : "", program->operands ? program->operands : "");
	for (size_t i = 0; i < program->rows_n; i++) {
		const struct option_spec *row = &program->rows[i];
		char name[96];

		snprintf(name, sizeof(name), "%s%s%s", row->section, row->section[0] ? "-" : "",
			 row->name);
		print_flag(name, row->type == OPTION_TYPE_BOOL ? "" : row->argument, row->help,
			   row->text ? row->text : "must be given", out);
	}
	fputc('\n', out);
	print_flag("config", "FILE", "read this instead of the file below", "", out);
	print_flag("check-config", "", "say whether the configuration is good, and stop", "", out);
	print_flag("print-config", "", "print every value and where it is from, and stop", "", out);
	print_flag("version", "", "print the version, and stop", "", out);
	print_flag("help", "", "print this, and stop", "", out);
	fprintf(out,
		"\nThe same settings are read from /etc/flotilla/%s.conf, then from the files of\n"
		"/etc/flotilla/%s.conf.d, as keys in sections (--log-level is \"level\" in "
		"[log]),\n"
		"and from the environment (FLOTILLA_LOG_LEVEL). Flags win, then the environment.\n",
		program->name, program->name);
}

static void print_origin(const struct option_origin *origin, FILE *out)
{
	switch (origin->source) {
	case OPTION_FROM_DEFAULT:
		fprintf(out, " ; default\n");
		return;
	case OPTION_FROM_FILE:
		fprintf(out, " ; %s:%u\n", origin->file, origin->line);
		return;
	case OPTION_FROM_ENVIRONMENT:
		fprintf(out, " ; environment %s\n", origin->file);
		return;
	case OPTION_FROM_FLAG:
		fprintf(out, " ; flag --%s\n", origin->file);
		return;
	}
}

/* The keys without a section come first: only there can a file have them. */
void options_print_values(const struct options_set *set, FILE *out)
{
	const struct option_spec *rows = set->program->rows;
	bool printed[OPTIONS_MAX] = {false};

	for (size_t first = 0; first <= set->program->rows_n; first++) {
		const char *section = first == 0 ? "" : rows[first - 1].section;
		bool has_heading = section[0] == 0;

		for (size_t i = 0; i < set->program->rows_n; i++) {
			char text[OPTION_TEXT_MAX];

			if (printed[i] || strcmp(rows[i].section, section) != 0)
				continue;
			if (!has_heading)
				fprintf(out, "\n[%s]\n", section);
			has_heading = true;
			printed[i] = true;
			option_format(&rows[i], set->values, text);
			if (rows[i].flags & OPTION_SECRET && text[0])
				snprintf(text, sizeof(text), "********");
			fprintf(out, "%s = %s", rows[i].name, text);
			print_origin(&set->origin[i], out);
		}
	}
}

int options_start(struct options_set *set, const struct options_program *program, void *values,
		  int argc, char **argv)
{
	struct options_flags flags;
	struct err err = {""};

	if (options_read_flags(program, argc, argv, &flags, &err))
		goto fail;
	if (flags.help) {
		options_print_help(program, stdout);
		return 0;
	}
	if (flags.version) {
		printf("flotilla-%s %s\n", program->name, FLOTILLA_VERSION);
		return 0;
	}
	options_defaults(set, program, values);
	if (options_read_files(set, "/usr/lib/flotilla", "/etc/flotilla", flags.config, &err) ||
	    options_apply_environment(set, environ, &err) ||
	    options_apply_flags(set, &flags, &err) || options_complete(set, &err))
		goto fail;
	if (flags.print)
		options_print_values(set, stdout);
	else if (flags.check)
		printf("flotilla-%s: the configuration is good\n", program->name);
	return flags.print || flags.check ? 0 : OPTIONS_GO_ON;
fail:
	fprintf(stderr, "flotilla-%s: %s\n", program->name, err.text);
	return 2;
}
