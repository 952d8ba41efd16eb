/* The manifest, and files by their hashes. */
#include "scheduler/shell/store/backup.h"

#include "common/base/check.h"
#include "common/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANIFEST_MAX = 8192, PIECE_N = 1 << 20, HEX_N = BACKUP_HASH_N * 2 + 1 };

const struct backup_kind_info backup_kinds[BACKUP_KINDS_N] = {
	[BACKUP_SCHEDULER] = {"scheduler",
			      "scheduler.db",
			      0x464c5331,
			      {"fleet.key", "key.pepper", "bus.key", "vault.key", "operator.key"}},
	[BACKUP_AGENT] = {"agent", "journal.db", 0x464c544a, {"node.key"}},
};

int backup_path(char out_path[BACKUP_PATH_MAX], const char *dir, const char *name, struct err *err)
{
	if (snprintf(out_path, BACKUP_PATH_MAX, "%s/%s", dir, name) >= BACKUP_PATH_MAX)
		return err_set(err, "path is too long");
	return 0;
}

static void hash_bytes(const void *data, size_t n, uint8_t out[BACKUP_HASH_N])
{
	crypto_generichash(out, BACKUP_HASH_N, data, n, NULL, 0);
}

int backup_manifest_write(const char *dir, const struct backup_manifest *manifest, struct err *err)
{
	char text[MANIFEST_MAX], path[BACKUP_PATH_MAX], hex[HEX_N];
	uint8_t hash[BACKUP_HASH_N];
	int n = snprintf(text, sizeof(text), "flotilla backup 1\nkind %s\nmade %s\n",
			 backup_kinds[manifest->kind].name, manifest->made_at);

	for (int i = 0; i < manifest->files_n; i++) {
		const struct backup_file *file = &manifest->files[i];
		sodium_bin2hex(hex, sizeof(hex), file->hash, sizeof(file->hash));
		n += snprintf(text + n, sizeof(text) - (size_t)n, "file %s %" PRId64 " %s\n",
			      file->name, file->size, hex);
	}
	/* Of what is above it: a manifest that lost its end is no manifest. */
	hash_bytes(text, (size_t)n, hash);
	sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	n += snprintf(text + n, sizeof(text) - (size_t)n, "end %s\n", hex);
	CHECK((size_t)n < sizeof(text));
	if (backup_path(path, dir, "MANIFEST", err))
		return -1;
	return file_write_atomic(path, text, (size_t)n, 0600, err);
}

static int manifest_kind(const char *name, enum backup_kind *out)
{
	for (int i = 0; i < BACKUP_KINDS_N; i++) {
		if (strcmp(backup_kinds[i].name, name) == 0) {
			*out = (enum backup_kind)i;
			return 0;
		}
	}
	return -1;
}

/* A name of ours, so that no manifest leads out of its folder. */
static bool manifest_name_is_ours(const struct backup_manifest *manifest, const char *name)
{
	const struct backup_kind_info *kind = &backup_kinds[manifest->kind];
	bool ours = strcmp(name, kind->database) == 0;

	for (int i = 0; kind->secrets[i]; i++)
		ours |= strcmp(name, kind->secrets[i]) == 0;
	for (int i = 0; i < manifest->files_n; i++)
		ours &= strcmp(name, manifest->files[i].name) != 0;
	return ours;
}

static bool hex_parse(const char *hex, uint8_t out[BACKUP_HASH_N])
{
	size_t n;

	return strlen(hex) == BACKUP_HASH_N * 2 &&
	       sodium_hex2bin(out, BACKUP_HASH_N, hex, strlen(hex), NULL, &n, NULL) == 0 &&
	       n == BACKUP_HASH_N;
}

/* One line between the first and the last. */
static int manifest_line(const char *line, struct backup_manifest *out)
{
	struct backup_file file = {0};
	char word[32], hex[HEX_N];
	int end = 0;

	if (sscanf(line, "kind %31s%n", word, &end) == 1 && !line[end])
		return manifest_kind(word, &out->kind);
	if (sscanf(line, "made %31s%n", out->made_at, &end) == 1 && !line[end])
		return 0;
	if (sscanf(line, "file %31s %" SCNd64 " %64s%n", file.name, &file.size, hex, &end) != 3 ||
	    line[end] || file.size < 0 || out->files_n == BACKUP_FILES_MAX ||
	    !hex_parse(hex, file.hash) || !manifest_name_is_ours(out, file.name))
		return -1;
	out->files[out->files_n++] = file;
	return 0;
}

/* text is cut into lines. */
static int manifest_parse(char *text, size_t n, struct backup_manifest *out, struct err *err)
{
	static const char first[] = "flotilla backup ";
	char *last = n > 70 ? text + n - 70 : NULL, *rest = text, *line;
	uint8_t hash[BACKUP_HASH_N], kept[BACKUP_HASH_N];

	memset(out, 0, sizeof(*out));
	if (strncmp(text, first, sizeof(first) - 1) != 0)
		return err_set(err, "MANIFEST: this is no copy of Flotilla's");
	if (strncmp(text, "flotilla backup 1\n", 18) != 0)
		return err_set(err, "MANIFEST: made by a newer version");
	/* "end ", 64 digits, and a newline: 69 bytes behind the newline before them. */
	if (!last || strncmp(last, "\nend ", 5) != 0 || text[n - 1] != '\n')
		return err_set(err, "MANIFEST: its end is missing");
	hash_bytes(text, (size_t)(last + 1 - text), hash);
	text[n - 1] = 0;
	if (!hex_parse(last + 5, kept) || memcmp(hash, kept, sizeof(hash)) != 0)
		return err_set(err, "MANIFEST: damaged");
	*last = 0;
	strsep(&rest, "\n");
	while ((line = strsep(&rest, "\n")))
		if (manifest_line(line, out))
			return err_set(err, "MANIFEST: cannot read '%.60s'", line);
	if (out->files_n == 0 || strcmp(out->files[0].name, backup_kinds[out->kind].database) != 0)
		return err_set(err, "MANIFEST: names no database");
	return 0;
}

int backup_manifest_read(const char *dir, struct backup_manifest *out, struct err *err)
{
	char path[BACKUP_PATH_MAX], *text;
	size_t n;

	if (backup_path(path, dir, "MANIFEST", err) ||
	    file_read(path, MANIFEST_MAX, &text, &n, err))
		return -1;
	int fault = strlen(text) == n ? manifest_parse(text, n, out, err)
				      : err_set(err, "MANIFEST: damaged");
	free(text);
	return fault;
}

/* ---- files ---- */

static void tell(const struct backup_options *options, const char *what, int64_t done, int64_t all)
{
	if (options->on_progress)
		options->on_progress(options->data, what, done, all);
}

int backup_measure(const char *dir, struct backup_file *file, const struct backup_options *options,
		   struct err *err)
{
	crypto_generichash_state state;
	char path[BACKUP_PATH_MAX];
	struct stat about;
	uint8_t *piece;
	ssize_t n;
	int fd;

	if (backup_path(path, dir, file->name, err))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &about)) {
		if (fd >= 0)
			close(fd);
		return err_errno(err, errno, "read %s", path);
	}
	piece = malloc(PIECE_N);
	CHECK(piece);
	crypto_generichash_init(&state, NULL, 0, BACKUP_HASH_N);
	file->size = 0;
	while ((n = read(fd, piece, PIECE_N)) > 0) {
		crypto_generichash_update(&state, piece, (size_t)n);
		file->size += n;
		tell(options, "hashing", file->size, about.st_size);
	}
	int fault = n < 0 ? err_errno(err, errno, "read %s", path) : 0;
	crypto_generichash_final(&state, file->hash, BACKUP_HASH_N);
	free(piece);
	close(fd);
	return fault;
}

static int copy_bytes(int in, int out, const struct backup_options *options)
{
	struct stat about;
	off_t done = 0;
	ssize_t n;

	if (fstat(in, &about))
		return -1;
	while ((n = copy_file_range(in, NULL, out, NULL, PIECE_N, 0)) > 0) {
		done += n;
		tell(options, "copying", done, about.st_size);
	}
	return n < 0 ? -1 : 0;
}

int backup_copy_file(const char *from, const char *to, const struct backup_options *options,
		     struct err *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), out;

	if (in < 0)
		return err_errno(err, errno, "read %s", from);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int fault = out < 0 || copy_bytes(in, out, options) || fsync(out)
			    ? err_errno(err, errno, "copy %s to %s", from, to)
			    : 0;
	if (out >= 0 && close(out) && !fault)
		fault = err_errno(err, errno, "write %s", to);
	close(in);
	return fault;
}

int backup_sync_dir(const char *dir, struct err *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fault = fd < 0 || fsync(fd) ? err_errno(err, errno, "flush %s", dir) : 0;

	if (fd >= 0)
		close(fd);
	return fault;
}

void backup_remove_dir(const char *dir)
{
	struct dirent *entry;
	DIR *folder = opendir(dir);

	if (!folder)
		return;
	while ((entry = readdir(folder)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(folder), entry->d_name, 0);
	closedir(folder);
	rmdir(dir);
}
