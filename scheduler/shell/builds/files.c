#include "scheduler/shell/builds/files.h"

#include "common/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int build_files_open(struct build_files *files, const char *state_dir, struct err *err)
{
	char path[PATH_MAX];

	if (snprintf(files->dir, sizeof(files->dir), "%s/builds", state_dir) >=
	    (int)sizeof(files->dir))
		return err_set(err, "builds: the path is too long");
	snprintf(path, sizeof(path), "%s/specs", files->dir);
	if (file_make_dirs(path, 0700, err))
		return -1;
	snprintf(path, sizeof(path), "%s/files", files->dir);
	return file_make_dirs(path, 0700, err);
}

void build_files_spec_path(const struct build_files *files, const char *build, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/specs/%s", files->dir, build);
}

static void tenant_path(const struct build_files *files, const struct id *tenant,
			char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/files/%s", files->dir, tenant->text);
}

void build_files_path(const struct build_files *files, const struct id *tenant, const char *hash,
		      char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/files/%s/%s", files->dir, tenant->text, hash);
}

uint64_t build_files_used(const struct build_files *files, const struct id *tenant)
{
	char path[PATH_MAX];
	struct dirent *entry;
	struct stat status;
	uint64_t used = 0;
	DIR *dir;

	tenant_path(files, tenant, path);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.' &&
		    fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
			used += (uint64_t)status.st_size;
	if (dir)
		closedir(dir);
	return used;
}

int build_files_create(const struct build_files *files, const struct id *tenant, struct err *err)
{
	char path[PATH_MAX];
	int fd;

	tenant_path(files, tenant, path);
	if (file_make_dirs(path, 0700, err))
		return -1;
	fd = open(path, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	return fd < 0 ? err_errno(err, errno, "open a file in %s", path) : fd;
}

/* A link cannot take the place of what is there: it comes in by another name. */
int build_files_name(const struct build_files *files, const struct id *tenant, const char *hash,
		     int fd, struct err *err)
{
	char from[64], path[PATH_MAX], aside[PATH_MAX];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	build_files_path(files, tenant, hash, path);
	if (linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != EEXIST)
		return err_errno(err, errno, "name %s", path);
	build_files_path(files, tenant, ".new", aside);
	unlink(aside);
	if (linkat(AT_FDCWD, from, AT_FDCWD, aside, AT_SYMLINK_FOLLOW) || rename(aside, path))
		return err_errno(err, errno, "name %s", path);
	return 0;
}

int build_files_read(const char *path, uint64_t offset, uint8_t *bytes, size_t max, size_t *out_n,
		     uint64_t *out_size, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	ssize_t n = -1;

	*out_n = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "open %s", path);
	if (fstat(fd, &status) == 0 && offset <= INT64_MAX)
		n = pread(fd, bytes, max, (off_t)offset);
	if (n < 0)
		err_errno(err, errno, "read %s", path);
	close(fd);
	if (n < 0)
		return -1;
	*out_n = (size_t)n;
	*out_size = (uint64_t)status.st_size;
	return 1;
}

static void sweep_folder(int parent, const char *name, time_t before)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	struct stat status;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    fstatat(fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW))
			continue;
		if (S_ISDIR(status.st_mode))
			sweep_folder(fd, entry->d_name, before);
		else if (status.st_mtime < before)
			unlinkat(fd, entry->d_name, 0);
	}
	closedir(dir);
}

void build_files_sweep(const struct build_files *files, uint64_t keep_ms)
{
	sweep_folder(AT_FDCWD, files->dir, time(NULL) - (time_t)(keep_ms / 1000));
}
