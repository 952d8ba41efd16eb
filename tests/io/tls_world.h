/* A certificate of a test's own, and whoever includes this has cmocka too. */
#ifndef FLOTILLA_TESTS_IO_TLS_WORLD_H
#define FLOTILLA_TESTS_IO_TLS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io/tls.h"

struct tls_folder {
	char path[40], cert[64], key[64];
};

/* Signed by itself, for *.sbx.test. */
static inline void tls_folder_open(struct tls_folder *folder)
{
	char command[512];

	strcpy(folder->path, "/tmp/flotilla-tls-XXXXXX");
	assert_non_null(mkdtemp(folder->path));
	snprintf(folder->cert, sizeof(folder->cert), "%s/cert.pem", folder->path);
	snprintf(folder->key, sizeof(folder->key), "%s/key.pem", folder->path);
	snprintf(
		command, sizeof(command),
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
		"-keyout %s -out %s -subj '/CN=*.sbx.test' 2>/dev/null",
		folder->key, folder->cert);
	assert_int_equal(system(command), 0);
}

static inline void tls_folder_close(struct tls_folder *folder)
{
	unlink(folder->cert);
	unlink(folder->key);
	rmdir(folder->path);
}

#endif
