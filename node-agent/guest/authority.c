/* See authority.h. */
#include "node-agent/guest/authority.h"

#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BEGIN "# Flotilla egress: begin\n"
#define END   "# Flotilla egress: end\n"

/* OpenSSL finds a certificate in a folder by a number made of its name, which is the same for all
 * (scheduler/shell/egress/authority.c); `openssl x509 -subject_hash` tells it. */
#define HASHED "/etc/ssl/certs/05a23925.0"

enum { BUNDLE_MAX = 4 * 1024 * 1024 };

/* Debian's and Alpine's, and Fedora's. */
static const char *const bundles[] = {
	AUTHORITY_BUNDLE,
	"/etc/pki/tls/certs/ca-bundle.crt",
};

const struct authority_variable authority_variables[] = {
	{"NODE_EXTRA_CA_CERTS", AUTHORITY_FILE},
	{"REQUESTS_CA_BUNDLE", AUTHORITY_BUNDLE},
	{"SSL_CERT_FILE", AUTHORITY_BUNDLE},
	{"AWS_CA_BUNDLE", AUTHORITY_BUNDLE},
};
const unsigned authority_variables_n = ARRAY_N(authority_variables);

/* To be freed; "" for one that is not there. NULL: it is none of ours to read, or there is no
 * memory. What a sandbox's root may have put there is not waited for. */
static char *read_whole(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat stat;
	char *text = NULL;

	if (fd < 0)
		return errno == ENOENT ? strdup("") : NULL;
	if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size <= BUNDLE_MAX)
		text = calloc(1, (size_t)stat.st_size + 1);
	if (text && read(fd, text, (size_t)stat.st_size) != stat.st_size) {
		free(text);
		text = NULL;
	}
	close(fd);
	return text;
}

/* All at once: who reads it meanwhile sees the one or the other. */
static bool write_whole(const char *path, const char *before, size_t before_n, const char *text)
{
	char fresh[PATH_MAX];
	size_t n = strlen(text);
	bool is_good;
	int fd;

	if (snprintf(fresh, sizeof(fresh), "%s.flotilla", path) >= (int)sizeof(fresh))
		return false;
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return false;
	is_good = write(fd, before, before_n) == (ssize_t)before_n &&
		  write(fd, text, n) == (ssize_t)n && fchmod(fd, 0644) == 0;
	is_good = close(fd) == 0 && is_good && rename(fresh, path) == 0;
	if (!is_good)
		unlink(fresh);
	return is_good;
}

static bool make_folders(const char *path)
{
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%s", path);
	for (char *at = strchr(folder + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		if (mkdir(folder, 0755) && errno != EEXIST)
			return false;
		*at = '/';
	}
	return true;
}

static bool put_file(const char *path, const char *certificate)
{
	char *there = read_whole(path);
	bool is_same = there && strcmp(there, certificate) == 0;

	free(there);
	return is_same || (make_folders(path) && write_whole(path, "", 0, certificate));
}

/* Behind all that is there, but for the one before. */
static bool put_into_bundle(const char *path, const char *certificate)
{
	char target[PATH_MAX], *block, *there, *begin, *end;
	bool is_good;

	if (!realpath(path, target))
		return errno == ENOENT;
	there = read_whole(target);
	if (!there || asprintf(&block, "%s%s%s", BEGIN, certificate, END) < 0) {
		free(there);
		return false;
	}
	is_good = strstr(there, block) != NULL;
	if (!is_good) {
		begin = strstr(there, BEGIN);
		end = begin ? strstr(begin, END) : NULL;
		if (end)
			memmove(begin, end + strlen(END), strlen(end + strlen(END)) + 1);
		is_good = write_whole(target, there, strlen(there), block);
	}
	free(block);
	free(there);
	return is_good;
}

bool authority_install(const char *root, const char *certificate)
{
	char path[PATH_MAX];
	bool is_good;

	snprintf(path, sizeof(path), "%s%s", root, AUTHORITY_FILE);
	is_good = put_file(path, certificate);
	snprintf(path, sizeof(path), "%s%s", root, HASHED);
	is_good = put_file(path, certificate) && is_good;
	/* A system that believes nobody yet shall believe this one. */
	snprintf(path, sizeof(path), "%s%s", root, AUTHORITY_BUNDLE);
	if (access(path, F_OK))
		is_good = put_file(path, BEGIN END) && is_good;
	for (size_t i = 0; i < ARRAY_N(bundles); i++) {
		snprintf(path, sizeof(path), "%s%s", root, bundles[i]);
		is_good = put_into_bundle(path, certificate) && is_good;
	}
	return is_good;
}
