/*
 * Configuration: each option is declared once, in a daemon's options.def, and from that row come
 * the struct's field, the INI key, the environment variable, the flag, --help and --print-config.
 *
 * Later wins: defaults, /usr/lib/flotilla/NAME.conf, /etc/flotilla/NAME.conf,
 * /etc/flotilla/NAME.conf.d/ *.conf in the order of their names, FLOTILLA_SECTION_NAME from the
 * environment, flags.  --config FILE takes the place of /etc/flotilla/NAME.conf (and FILE.d that
 * of its drop-ins).  Unknown keys, bad values and keys given twice in a file are refused with
 * file:line.
 *
 * A row:
 *   OPTION(type, field, section, name, default, argument, help, flags)
 *
 *   type      field becomes               the text looks like
 *   TEXT      char [OPTION_TEXT_MAX]      anything
 *   PATH      char [OPTION_TEXT_MAX]      a file name
 *   CHOICE    char [OPTION_TEXT_MAX]      one of the words in argument: "auto|kvm|tcg"
 *   U32       uint32_t                    123
 *   U64       uint64_t                    123
 *   BOOL      bool                        yes no true false on off 1 0
 *   DURATION  uint64_t, milliseconds      500ms 10s 15m 2h 7d 0
 *   SIZE      uint64_t, bytes             4096B 64KiB 512MiB 4GiB 1TiB 0
 *   ADDRESS   struct address              127.0.0.1:3000 [::1]:3000 name:3000
 *   LIST      struct option_list          one, two, three
 *
 *   section   "" for keys above the first section (flag --name, variable FLOTILLA_NAME)
 *   default   as text; NULL: the option must be given; "" leaves TEXT, PATH, ADDRESS, LIST empty
 *   argument  the word in --help ("FILE"); for U32, U64, DURATION and SIZE also a range: "1..64",
 *             "1s..24h"
 *   flags     0, or OPTION_SECRET: masked by --print-config, refused as a flag (`ps` shows flags)
 *
 * The flag is --section-name, or --name where no other option has that name; --flag VALUE or
 * --flag=VALUE; a BOOL may stand alone or be --no-flag.  In files, " ;" begins a comment.
 *
 * A complete daemon.  node-agent/options.def:
 *
 *   OPTION(PATH, state_dir, "state", "dir", "/var/lib/flotilla/agent", "DIR", "what must last", 0)
 *   OPTION(ADDRESS, scheduler, "scheduler", "bus", "127.0.0.1:3003", "HOST:PORT", "its bus", 0)
 *   OPTION(U32, pool_floor, "pool", "floor", "2", "0..1000", "clones kept ready", 0)
 *   OPTION(DURATION, lease_ms, "lease", "length", "60s", "1s..1h", "freeze after so long", 0)
 *   #include "common/io/options_common.def"
 *
 * node-agent/main.c:
 *
 *   struct agent_options {
 *   #define OPTION OPTION_MEMBER
 *   #include "node-agent/options.def"
 *   #undef OPTION
 *   };
 *   static const struct option_spec rows[] = {
 *   #define OPTION(...) OPTION_ROW(struct agent_options, __VA_ARGS__)
 *   #include "node-agent/options.def"
 *   #undef OPTION
 *   };
 *   static const struct options_program program = {
 *           .name = "agent", .summary = "runs microVMs on this host",
 *           .rows = rows, .rows_n = ARRAY_N(rows), .size = sizeof(struct agent_options),
 *   };
 *   int main(int argc, char **argv)
 *   {
 *           static struct options_set set;
 *           static struct agent_options options;
 *           int status = options_start(&set, &program, &options, argc, argv);
 *
 *           if (status != OPTIONS_GO_ON)
 *                   return status;
 *           log_setup(options.log_level, options.log_format);
 *           ...
 */
#ifndef FLOTILLA_IO_OPTIONS_H
#define FLOTILLA_IO_OPTIONS_H

#include "common/base/err.h"
#include "common/io/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	OPTION_TEXT_MAX = 512, /* bytes of storage of a text, NUL included */
	OPTIONS_MAX = 96,      /* options of one program */
	OPTIONS_GO_ON = -1,    /* from options_start: neither --help nor a mistake */
};

enum { OPTION_SECRET = 1 };

enum option_type {
	OPTION_TYPE_TEXT,
	OPTION_TYPE_PATH,
	OPTION_TYPE_CHOICE,
	OPTION_TYPE_U32,
	OPTION_TYPE_U64,
	OPTION_TYPE_BOOL,
	OPTION_TYPE_DURATION,
	OPTION_TYPE_SIZE,
	OPTION_TYPE_ADDRESS,
	OPTION_TYPE_LIST,
};

struct option_list {
	size_t n;
	char text[OPTION_TEXT_MAX]; /* n items, each NUL-terminated, one after the other */
};

/* The i-th item, i < n. */
const char *option_list_at(const struct option_list *list, size_t i);

struct option_spec {
	enum option_type type;
	const char *field;
	const char *section;
	const char *name;
	const char *text; /* the default */
	const char *argument;
	const char *help;
	unsigned flags;
	size_t offset;
};

struct options_program {
	const char *name;     /* "agent": flotilla-agent reads agent.conf */
	const char *summary;  /* what follows "flotilla-agent: " in --help */
	const char *operands; /* "NAME..." when words without a flag are welcome; else NULL */
	const struct option_spec *rows;
	size_t rows_n;
	size_t size; /* of the struct that the rows describe */
};

enum option_source {
	OPTION_FROM_DEFAULT,
	OPTION_FROM_FILE,
	OPTION_FROM_ENVIRONMENT,
	OPTION_FROM_FLAG,
};

struct option_origin {
	enum option_source source;
	unsigned line;              /* of file, when from one */
	char file[OPTION_TEXT_MAX]; /* likewise */
};

/* The values of one program and where each came from. Large: keep it static. */
struct options_set {
	const struct options_program *program;
	void *values;
	struct option_origin origin[OPTIONS_MAX];
	char **operand; /* borrowed from argv */
	int operands_n;
};

/*
 * All of it, for main(): reads files, environment and flags into values (program->size bytes) and
 * answers --help, --version, --check-config and --print-config.  Returns OPTIONS_GO_ON, or the
 * status to exit with (0, or 2 after a message on standard error).  argv is reordered.
 */
int options_start(struct options_set *set, const struct options_program *program, void *values,
		  int argc, char **argv);

/* The parts of it, pure.  A value that cannot be read leaves the struct as it was. */

void options_defaults(struct options_set *set, const struct options_program *program, void *values);

/* text: the contents of file, which is only named in messages and origins. */
int options_apply_ini(struct options_set *set, const char *file, const char *text, size_t text_n,
		      struct err *err);

/* environ-like, NULL at the end. */
int options_apply_environment(struct options_set *set, char *const *environment, struct err *err);

/* The command line, read but not yet applied: flags come last, --config must be known first. */
struct options_flags {
	const char *text[OPTIONS_MAX]; /* by row; NULL: not given. Borrowed from argv */
	const char *config;            /* --config, or NULL */
	bool help;
	bool version;
	bool check;
	bool print;
	char **operand; /* argv, reordered: words without a flag */
	int operands_n;
};

int options_read_flags(const struct options_program *program, int argc, char **argv,
		       struct options_flags *out_flags, struct err *err);
int options_apply_flags(struct options_set *set, const struct options_flags *flags,
			struct err *err);

/* A fault when an option without a default was not given. */
int options_complete(const struct options_set *set, struct err *err);

/* Not pure: the files, in their order. config: --config or NULL. The folders are
 * "/usr/lib/flotilla" and "/etc/flotilla", save in tests. */
int options_read_files(struct options_set *set, const char *vendor_dir, const char *etc_dir,
		       const char *config, struct err *err);

/* One value into the struct, and back to text in the form that it is read in. */
int option_parse(const struct option_spec *row, const char *text, void *values, struct err *err);
void option_format(const struct option_spec *row, const void *values,
		   char out_text[OPTION_TEXT_MAX]);

void options_print_help(const struct options_program *program, FILE *out);
void options_print_values(const struct options_set *set, FILE *out);

#define OPTION_MEMBER(type, field, section, name, text, argument, help, flags)                     \
	OPTION_C_##type(field);
#define OPTION_C_TEXT(field)     char field[OPTION_TEXT_MAX]
#define OPTION_C_PATH(field)     char field[OPTION_TEXT_MAX]
#define OPTION_C_CHOICE(field)   char field[OPTION_TEXT_MAX]
#define OPTION_C_U32(field)      uint32_t field
#define OPTION_C_U64(field)      uint64_t field
#define OPTION_C_BOOL(field)     bool field
#define OPTION_C_DURATION(field) uint64_t field
#define OPTION_C_SIZE(field)     uint64_t field
#define OPTION_C_ADDRESS(field)  struct address field
#define OPTION_C_LIST(field)     struct option_list field

#define OPTION_ROW(owner, type, field, section, name, text, argument, help, flags)                 \
	{OPTION_TYPE_##type,    #field, section, name, text, argument, help, flags,                \
	 offsetof(owner, field)},

#endif
