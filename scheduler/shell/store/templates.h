/*
 * Templates of tenants, as the store has them.  A template is a name in its tenant's namespace; its
 * content is in builds, and a tag says which build is meant.  A build's id is also the name under
 * which nodes offer what it made, and so the name of a template to the core: nobody else can have
 * one that looks like it.
 *
 * Operators' templates are not here: nodes have them, and that is all there is to know.
 */
#ifndef FLOTILLA_SHELL_STORE_TEMPLATES_H
#define FLOTILLA_SHELL_STORE_TEMPLATES_H

#include "common/base/ids.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	STORE_BUILD_ID_MAX = 37, /* a UUID and NUL */
	STORE_TAGS_MAX = 512,    /* joined by commas */
	STORE_REASON_MAX = 1024,
	STORE_STEP_MAX = 64,
};

#define STORE_TAG_DEFAULT "default"

/* On disk, and in etcd: never renumbered. */
enum store_build_kind {
	STORE_BUILD_TEMPLATE = 0, /* made step by step */
	STORE_BUILD_SNAPSHOT = 1, /* of a sandbox that ran */
};

enum store_build_status {
	STORE_BUILD_WAITING = 0,  /* for what is to be built */
	STORE_BUILD_BUILDING = 1, /* it is known, and a node is at it or will be */
	STORE_BUILD_READY = 2,
	STORE_BUILD_ERROR = 3,
};

struct store_build {
	char id[STORE_BUILD_ID_MAX];
	struct id template_;
	int64_t life; /* of its template: a template that was deleted and made again has another */
	int64_t kind, status;
	int64_t vcpus, mem_mib, disk_mib; /* 0: not known yet */
	char tags[STORE_TAGS_MAX];        /* that it gets by becoming ready */
	char reason[STORE_REASON_MAX];    /* of an error: one line, for people */
	char step[STORE_STEP_MAX];        /* in which it happened; empty: in none */
	int64_t created_at, finished_at;  /* wall ns; 0: not yet */
	bool gone;                        /* its template was deleted since; only when read */
};

struct store_own_template {
	struct id id, tenant;
	char name[TEMPLATE_NAME_MAX]; /* empty: a snapshot without one */
	bool is_public, deleted;
	int64_t life;
	int64_t created_at, updated_at; /* wall ns */
};

/* The next tag of a list joined by commas; false: no more. */
bool store_tags_next(const char **at, char out_tag[TEMPLATE_NAME_MAX]);

/* waiting, building, ready, error: as E2B calls them. */
const char *store_build_status_name(int64_t status);

#endif
