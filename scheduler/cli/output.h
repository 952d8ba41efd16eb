/*
 * Results on standard output, in the form that -o asks for: table, wide, json, jsonl, csv, name.
 * JSON always has one shape: {"kind": ..., "data": ...}, where data is an array for lists.
 */
#ifndef FLOTILLA_CLI_OUTPUT_H
#define FLOTILLA_CLI_OUTPUT_H

#include "scheduler/cli/cli.h"

#include <jansson.h>
#include <stdio.h>

enum column_kind {
	COLUMN_TEXT,  /* texts and numbers, as they are */
	COLUMN_RIGHT, /* the same, aligned to the right */
	COLUMN_PAIRS, /* an object: k=v,k=v */
	COLUMN_LIST,  /* an array: its texts, or each object's "name", joined by commas */
};

struct column {
	const char *title;
	const char *member; /* "capacity.vcpus": a member of a member */
	enum column_kind kind;
	bool is_wide; /* only with -o wide, and in csv */
};

struct listing {
	const char *kind; /* "sandboxes" */
	const char *name; /* the member that -o name prints */
	const struct column *columns;
	size_t columns_n;
};

/* rows: an array of objects; borrowed. */
void output_list(const struct cli *cli, const struct listing *listing, json_t *rows, FILE *out);

/* One object: "member: value" lines for people, members of members indented. hide: a member that
 * is only shown in JSON, or NULL. */
void output_object(const struct cli *cli, const char *kind, const char *name, json_t *object,
		   const char *hide, FILE *out);

/* A single text, such as a key or a token: alone on its line. */
void output_text(const struct cli *cli, const char *kind, const char *text, json_t *object,
		 FILE *out);

#endif
