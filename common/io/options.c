/* The set of a program's values: defaults, INI text, environment and flags laid over each other. */
#include "common/io/options.h"

#include "common/base/check.h"
#include "common/io/nearest.h"

#include <ini.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_N = 96 }; /* section, dash and name of an option */

static void set_origin(struct options_set *set, size_t row, enum option_source source,
		       const char *file, unsigned line)
{
	struct option_origin *origin = &set->origin[row];

	memset(origin, 0, sizeof(*origin));
	origin->source = source;
	origin->line = line;
	snprintf(origin->file, sizeof(origin->file), "%s", file);
}

void options_defaults(struct options_set *set, const struct options_program *program, void *values)
{
	CHECK(program->rows_n <= OPTIONS_MAX);
	memset(set, 0, sizeof(*set));
	memset(values, 0, program->size);
	set->program = program;
	set->values = values;
	for (size_t i = 0; i < program->rows_n; i++) {
		const struct option_spec *row = &program->rows[i];

		if (row->text)
			CHECK(option_parse(row, row->text, values, NULL) == 0);
	}
}

int options_complete(const struct options_set *set, struct err *err)
{
	const struct options_program *program = set->program;

	for (size_t i = 0; i < program->rows_n; i++) {
		const struct option_spec *row = &program->rows[i];

		if (!row->text && set->origin[i].source == OPTION_FROM_DEFAULT)
			return err_set(err, "%s%s%s must be given: %s", row->section,
				       row->section[0] ? "." : "", row->name, row->help);
	}
	return 0;
}

/* --- INI ------------------------------------------------------------------------------------- */

/* inih takes lines from a reader and gives keys to a handler; this counts the lines between. */
struct ini_run {
	struct options_set *set;
	const char *file;
	const char *at;
	const char *end;
	unsigned line;
	unsigned failed_line; /* 0: none so far */
	struct err *err;
};

static int ini_refuse(struct ini_run *run)
{
	err_wrap(run->err, "%s:%u", run->file, run->line);
	run->failed_line = run->line;
	return 0;
}

/* Lines lose their indentation, because inih would take an indented one as more of the last. */
static char *ini_next_line(char *out, int room, void *stream)
{
	struct ini_run *run = stream;
	const char *from = run->at, *newline;
	size_t n;

	if (from == run->end || run->failed_line)
		return NULL;
	run->line++;
	newline = memchr(from, '\n', (size_t)(run->end - from));
	run->at = newline ? newline + 1 : run->end;
	while (from < run->at && (*from == ' ' || *from == '\t'))
		from++;
	n = (size_t)(run->at - from);
	if (n >= (size_t)room) {
		err_set(run->err, "this line has more than %d bytes", room - 1);
		ini_refuse(run);
		return NULL;
	}
	for (size_t i = 0; i < n; i++) {
		bool ends_line = from[i] == '\r' && (i + 1 == n || from[i + 1] == '\n');
		bool is_blank = from[i] == '\t' || from[i] == '\n';

		if ((unsigned char)from[i] < ' ' && !is_blank && !ends_line) {
			err_set(run->err, "this line has a control character");
			ini_refuse(run);
			return NULL;
		}
	}
	memcpy(out, from, n);
	out[n] = 0;
	return out;
}

static bool ini_has_section(const struct options_program *program, const char *section)
{
	for (size_t i = 0; i < program->rows_n; i++)
		if (strcmp(program->rows[i].section, section) == 0)
			return true;
	return false;
}

static int ini_refuse_unknown(struct ini_run *run, const char *section, const char *name)
{
	const struct options_program *program = run->set->program;
	bool knows_section = ini_has_section(program, section);
	struct nearest near = nearest_begin(knows_section ? name : section);

	for (size_t i = 0; i < program->rows_n; i++) {
		const struct option_spec *row = &program->rows[i];

		if (!knows_section && row->section[0])
			nearest_offer(&near, row->section);
		else if (knows_section && strcmp(row->section, section) == 0)
			nearest_offer(&near, row->name);
	}
	if (knows_section)
		err_set(run->err, "unknown key \"%.64s\"%s%s%s", name, section[0] ? " in [" : "",
			section, section[0] ? "]" : "");
	else
		err_set(run->err, "unknown section [%.64s]", section);
	if (near.best) {
		struct err unknown = *run->err;

		err_set(run->err, "%s; did you mean \"%s\"?", unknown.text, near.best);
	}
	return ini_refuse(run);
}

static int ini_take(void *user, const char *section, const char *name, const char *value)
{
	struct ini_run *run = user;
	const struct options_program *program = run->set->program;

	if (run->failed_line)
		return 0;
	for (size_t i = 0; i < program->rows_n; i++) {
		const struct option_spec *row = &program->rows[i];
		const struct option_origin *origin = &run->set->origin[i];

		if (strcmp(row->section, section) != 0 || strcmp(row->name, name) != 0)
			continue;
		if (origin->source == OPTION_FROM_FILE && strcmp(origin->file, run->file) == 0) {
			err_set(run->err, "%s is given twice; first in line %u", name,
				origin->line);
			return ini_refuse(run);
		}
		/* "name =;x": inih reads a value, most people a comment, and " ;x" is one. */
		if (value[0] == ';') {
			err_set(run->err, "%s: a value cannot begin with a semicolon", name);
			return ini_refuse(run);
		}
		if (option_parse(row, value, run->set->values, run->err))
			return ini_refuse(run);
		set_origin(run->set, i, OPTION_FROM_FILE, run->file, run->line);
		return 1;
	}
	return ini_refuse_unknown(run, section, name);
}

int options_apply_ini(struct options_set *set, const char *file, const char *text, size_t text_n,
		      struct err *err)
{
	struct err local;
	struct ini_run run = {
		.set = set,
		.file = file,
		.at = text,
		.end = text + text_n,
		.err = err ? err : &local,
	};
	int bad_line;

	if (memchr(text, 0, text_n))
		return err_set(err, "%s: not a text file: it has a zero byte", file);
	bad_line = ini_parse_stream(ini_next_line, &run, ini_take, &run);
	/* inih goes on after a line that it cannot read: report whichever came first. */
	if (bad_line > 0 && (!run.failed_line || (unsigned)bad_line < run.failed_line))
		return err_set(err, "%s:%d: neither \"[section]\" nor \"name = value\"", file,
			       bad_line);
	return run.failed_line ? -1 : 0;
}

/* --- environment ----------------------------------------------------------------------------- */

static void variable_name(const struct option_spec *row, char out[NAME_MAX_N])
{
	snprintf(out, NAME_MAX_N, "FLOTILLA_%s%s%s", row->section, row->section[0] ? "_" : "",
		 row->name);
	for (char *c = out; *c; c++) {
		if (*c == '-')
			*c = '_';
		else if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - 'a' + 'A');
	}
}

int options_apply_environment(struct options_set *set, char *const *environment, struct err *err)
{
	for (size_t i = 0; i < set->program->rows_n; i++) {
		const struct option_spec *row = &set->program->rows[i];
		char name[NAME_MAX_N];
		size_t name_n;

		variable_name(row, name);
		name_n = strlen(name);
		for (char *const *entry = environment; *entry; entry++) {
			if (strncmp(*entry, name, name_n) != 0 || (*entry)[name_n] != '=')
				continue;
			if (option_parse(row, *entry + name_n + 1, set->values, err))
				return err_wrap(err, "%s", name);
			set_origin(set, i, OPTION_FROM_ENVIRONMENT, name, 0);
		}
	}
	return 0;
}

/* --- flags ----------------------------------------------------------------------------------- */

static void flag_name(const struct option_spec *row, char out[NAME_MAX_N])
{
	snprintf(out, NAME_MAX_N, "%s%s%s", row->section, row->section[0] ? "-" : "", row->name);
}

static const char *const own_flags[] = {"help", "version", "check-config", "print-config",
					"config"};

/* The row that a flag means, or rows_n: its whole name, or a name that only one option has. */
static size_t flag_find(const struct options_program *program, const char *word)
{
	size_t found = program->rows_n, found_n = 0;

	for (size_t i = 0; i < program->rows_n; i++) {
		char name[NAME_MAX_N];

		flag_name(&program->rows[i], name);
		if (strcmp(name, word) == 0)
			return i;
		if (strcmp(program->rows[i].name, word) == 0) {
			found = i;
			found_n++;
		}
	}
	return found_n == 1 ? found : program->rows_n;
}

static int flag_refuse_unknown(const struct options_program *program, const char *word,
			       struct err *err)
{
	static _Thread_local char names[OPTIONS_MAX][NAME_MAX_N];
	struct nearest near = nearest_begin(word);

	for (size_t i = 0; i < program->rows_n; i++) {
		flag_name(&program->rows[i], names[i]);
		nearest_offer(&near, names[i]);
	}
	for (size_t i = 0; i < ARRAY_N(own_flags); i++)
		nearest_offer(&near, own_flags[i]);
	if (near.best)
		return err_set(err, "unknown flag --%.64s; did you mean --%s?", word, near.best);
	return err_set(err, "unknown flag --%.64s; --help lists them", word);
}

/* The flags that every program has. 1: it was one; 0: it was not. */
static int flag_read_own(struct options_flags *flags, const char *word, const char *value,
			 struct err *err)
{
	bool *const asks[] = {&flags->help, &flags->version, &flags->check, &flags->print};

	for (size_t i = 0; i < ARRAY_N(asks); i++) {
		if (strcmp(word, own_flags[i]) != 0)
			continue;
		if (value)
			return err_set(err, "--%s takes no value", word);
		*asks[i] = true;
		return 1;
	}
	return 0;
}

/* One flag at argv[at]; returns how many words it took, or -1. */
static int flag_read(const struct options_program *program, struct options_flags *flags, int argc,
		     char **argv, int at, struct err *err)
{
	const char *value = strchr(argv[at], '=');
	size_t row;
	char word[NAME_MAX_N];
	int own;

	snprintf(word, sizeof(word), "%.*s",
		 value ? (int)(value - argv[at] - 2) : (int)strlen(argv[at] + 2), argv[at] + 2);
	value = value ? value + 1 : NULL;
	own = flag_read_own(flags, word, value, err);
	if (own)
		return own;
	row = flag_find(program, word);
	if (row < program->rows_n && program->rows[row].type == OPTION_TYPE_BOOL && !value) {
		flags->text[row] = "yes";
		return 1;
	}
	if (row == program->rows_n && strncmp(word, "no-", 3) == 0 && !value) {
		row = flag_find(program, word + 3);
		if (row < program->rows_n && program->rows[row].type == OPTION_TYPE_BOOL) {
			flags->text[row] = "no";
			return 1;
		}
		row = program->rows_n;
	}
	if (row == program->rows_n && strcmp(word, "config") != 0)
		return flag_refuse_unknown(program, word, err);
	if (!value && at + 1 == argc)
		return err_set(err, "--%s needs a value", word);
	if (row == program->rows_n)
		flags->config = value ? value : argv[at + 1];
	else
		flags->text[row] = value ? value : argv[at + 1];
	return value ? 1 : 2;
}

int options_read_flags(const struct options_program *program, int argc, char **argv,
		       struct options_flags *out_flags, struct err *err)
{
	struct options_flags flags = {.operand = argv + 1};

	for (int i = 1; i < argc;) {
		bool ends = strcmp(argv[i], "--") == 0;
		int taken;

		if (!ends && strncmp(argv[i], "--", 2) == 0) {
			taken = flag_read(program, &flags, argc, argv, i, err);
			if (taken < 0)
				return -1;
			i += taken;
			continue;
		}
		if (strcmp(argv[i], "-h") == 0) {
			flags.help = true;
			i++;
			continue;
		}
		if (argv[i][0] == '-' && argv[i][1] && !ends)
			return err_set(err, "unknown flag %.64s; flags begin with two dashes",
				       argv[i]);
		if (!ends && !program->operands)
			return err_set(err, "\"%.64s\" is not wanted here; flags begin with --",
				       argv[i]);
		/* Words move to the front, over words already read. */
		for (i += ends; i < argc; i++) {
			flags.operand[flags.operands_n++] = argv[i];
			if (!ends) {
				i++;
				break;
			}
		}
	}
	if (flags.operands_n && !program->operands)
		return err_set(err, "\"%.64s\" is not wanted here", flags.operand[0]);
	*out_flags = flags;
	return 0;
}

int options_apply_flags(struct options_set *set, const struct options_flags *flags, struct err *err)
{
	set->operand = flags->operand;
	set->operands_n = flags->operands_n;
	for (size_t i = 0; i < set->program->rows_n; i++) {
		const struct option_spec *row = &set->program->rows[i];
		char name[NAME_MAX_N], variable[NAME_MAX_N];

		if (!flags->text[i])
			continue;
		flag_name(row, name);
		variable_name(row, variable);
		if (row->flags & OPTION_SECRET)
			return err_set(err,
				       "--%s: secrets are not taken from the command line, "
				       "which others can see; use a file or %s",
				       name, variable);
		if (option_parse(row, flags->text[i], set->values, err))
			return err_wrap(err, "--%s", name);
		set_origin(set, i, OPTION_FROM_FLAG, name, 0);
	}
	return 0;
}
