/* Reads all files of a template, or of what is saved, and lists what is in them. Holes are left
 * out, and pieces of zeros. */
#include "node-agent/carry/carry.h"
#include "node-agent/vm/saved.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROGRESS_EVERY = 64 << 20 };

struct gathering {
	FILE *out;
	uint64_t read_bytes, said_bytes;
	uint8_t *buffer; /* of LISTING_PIECE_MAX */
	size_t files_n;
};

static int gather_piece(struct gathering *gathering, int fd, const char *path, off_t at, size_t n,
			struct err *err)
{
	uint8_t digest[LISTING_DIGEST_N];
	char text[2 * LISTING_DIGEST_N + 1];

	for (size_t got = 0; got < n;) {
		ssize_t more = pread(fd, gathering->buffer + got, n - got, at + (off_t)got);
		if (more < 0 && errno == EINTR)
			continue;
		if (more <= 0)
			return err_errno(err, more ? errno : EIO, "%s", path);
		got += (size_t)more;
	}
	gathering->read_bytes += n;
	if (gathering->read_bytes - gathering->said_bytes >= PROGRESS_EVERY) {
		gathering->said_bytes = gathering->read_bytes;
		say_progress(gathering->read_bytes);
	}
	if (sodium_is_zero(gathering->buffer, n))
		return 0;
	digest_of(gathering->buffer, n, digest);
	fprintf(gathering->out, "%lld %zu %s\n", (long long)at, n,
		sodium_bin2hex(text, sizeof(text), digest, sizeof(digest)));
	return 0;
}

/* Pieces begin at multiples of their size, so that a hole's edge moves no other piece. */
static int gather_data(struct gathering *gathering, int fd, const char *path, off_t from, off_t to,
		       struct err *err)
{
	while (from < to) {
		off_t end = (from / LISTING_PIECE_MAX + 1) * LISTING_PIECE_MAX;
		if (end > to)
			end = to;
		if (gather_piece(gathering, fd, path, from, (size_t)(end - from), err))
			return -1;
		from = end;
	}
	return 0;
}

static int gather_open(struct gathering *gathering, int fd, const char *path, const char *listed,
		       struct err *err)
{
	struct stat stat;
	off_t from = 0, to = 0;

	if (fstat(fd, &stat) || !S_ISREG(stat.st_mode))
		return err_set(err, "%s is no file", path);
	fprintf(gathering->out, "file %s %lld %o\n", listed, (long long)stat.st_size,
		(unsigned)stat.st_mode & 0777);
	while (to < stat.st_size) {
		from = lseek(fd, to, SEEK_DATA);
		if (from < 0 && errno == ENXIO)
			break;
		to = from < 0 ? -1 : lseek(fd, from, SEEK_HOLE);
		if (to < 0)
			return err_errno(err, errno, "%s", path);
		if (gather_data(gathering, fd, path, from, to, err))
			return -1;
	}
	return 0;
}

static int gather_file(struct gathering *gathering, const char *dir, const char *listed,
		       struct err *err)
{
	char path[PATH_MAX];
	int fd, result;

	if (snprintf(path, sizeof(path), "%s/%s", dir, strrchr(listed, '/') + 1) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(err, errno, "%s", path);
	result = gather_open(gathering, fd, path, listed, err);
	close(fd);
	return result;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The files of one folder, in the order of their names; listed as FOLDER/ID/NAME. */
static int gather_folder(struct gathering *gathering, const char *dir, const char *folder,
			 const char *id, struct err *err)
{
	static char names[LISTING_FILES_MAX][LISTING_PATH_MAX];
	struct dirent *entry;
	size_t n = 0;
	DIR *opened;

	opened = opendir(dir);
	if (!opened)
		return err_errno(err, errno, "%s", dir);
	while ((entry = readdir(opened)) && n < LISTING_FILES_MAX)
		if (entry->d_name[0] != '.' &&
		    snprintf(names[n], sizeof(names[n]), "%s/%s/%s", folder, id, entry->d_name) <
			    LISTING_PATH_MAX)
			n++;
	closedir(opened);
	gathering->files_n += n;
	if (gathering->files_n > LISTING_FILES_MAX)
		return err_set(err, "%s has too many files", dir);
	qsort(names, n, sizeof(names[0]), by_name);
	for (size_t i = 0; i < n; i++)
		if (gather_file(gathering, dir, names[i], err))
			return -1;
	return 0;
}

static int gather_saved(struct gathering *gathering, const char *dir, struct err *err)
{
	struct vm_saved saved;

	if (vm_saved_read(dir, &saved, err))
		return -1;
	fprintf(gathering->out, "flotilla-listing 1 %s\n", saved.template_id);
	return gather_folder(gathering, dir, "saved", saved.template_id, err);
}

static int gather_template(struct gathering *gathering, const struct carry_order *order,
			   struct err *err)
{
	struct vm_template template_;
	char dir[PATH_MAX];

	if (snprintf(dir, sizeof(dir), "%s/snapshot/%s", order->store, order->id) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", order->store);
	if (vm_template_read(dir, &template_, err))
		return -1;
	fprintf(gathering->out, "flotilla-listing 1 %s\n", order->id);
	if (gather_folder(gathering, dir, "snapshot", order->id, err))
		return -1;
	if (snprintf(dir, sizeof(dir), "%s/rootfs/%s", order->store, template_.rootfs_id) >=
	    PATH_MAX)
		return err_set(err, "%s: the path is too long", order->store);
	return gather_folder(gathering, dir, "rootfs", template_.rootfs_id, err);
}

int gather(const struct carry_order *order, char **out_text, size_t *out_n, struct err *err)
{
	struct gathering gathering = {.buffer = malloc(LISTING_PIECE_MAX)};
	int result;

	*out_text = NULL;
	gathering.out = open_memstream(out_text, out_n);
	if (!gathering.buffer || !gathering.out) {
		free(gathering.buffer);
		return err_errno(err, ENOMEM, "a listing");
	}
	result = order->saved[0] ? gather_saved(&gathering, order->saved, err)
				 : gather_template(&gathering, order, err);
	fputs("end\n", gathering.out);
	if (fclose(gathering.out) && result == 0)
		result = err_errno(err, ENOMEM, "a listing");
	free(gathering.buffer);
	if (result) {
		free(*out_text);
		*out_text = NULL;
	}
	return result;
}
