/*
 * flotilla-wire-doc: writes WIRE.md and wire.lock into a folder (`write FOLDER`), or checks that
 * those there are what the tables say (`check FOLDER`).  Neither lets a tag change its meaning.
 */
#include "proto/wire_doc.h"

#include <stdlib.h>
#include <string.h>

static char *print_to_memory(void (*print)(FILE *))
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	if (!out)
		abort();
	print(out);
	if (fclose(out))
		abort();
	return text;
}

/* The file as text; empty if there is none. */
static char *read_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = NULL;
	size_t room = 0;

	if (!file || getdelim(&text, &room, 0, file) < 0) {
		free(text);
		text = calloc(1, 1);
	}
	if (file)
		fclose(file);
	if (!text)
		abort();
	return text;
}

static int write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	int failed = !file || fputs(text, file) < 0;

	if (file && fclose(file))
		failed = 1;
	if (failed)
		perror(path);
	return failed;
}

static int settle(const char *path, const char *text, int is_check)
{
	char *there;
	int failed;

	if (!is_check)
		return write_file(path, text);
	there = read_file(path);
	failed = strcmp(there, text) != 0;
	if (failed)
		fprintf(stderr, "%s is stale: run flotilla-wire-doc write\n", path);
	free(there);
	return failed;
}

int main(int argc, char **argv)
{
	char doc_path[4096], lock_path[4096], line[256];
	char *doc, *lock, *before;
	int is_check, failed;

	if (argc != 3 || (strcmp(argv[1], "write") != 0 && strcmp(argv[1], "check") != 0)) {
		fprintf(stderr, "usage: flotilla-wire-doc write|check FOLDER\n");
		return 2;
	}
	is_check = strcmp(argv[1], "check") == 0;
	snprintf(doc_path, sizeof(doc_path), "%s/WIRE.md", argv[2]);
	snprintf(lock_path, sizeof(lock_path), "%s/wire.lock", argv[2]);
	doc = print_to_memory(wire_doc_markdown);
	lock = print_to_memory(wire_doc_lock);
	before = read_file(lock_path);
	failed = !wire_lock_holds(before, lock, line, sizeof(line));
	if (failed)
		fprintf(stderr, "wire.lock: '%s' was promised for ever\n", line);
	else
		failed = settle(doc_path, doc, is_check) | settle(lock_path, lock, is_check);
	free(doc);
	free(lock);
	free(before);
	return failed;
}
