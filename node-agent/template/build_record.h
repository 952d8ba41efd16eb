/*
 * build.json in a snapshot's folder: what it was built with beside its manifest, so that another
 * template can be built upon it.  Not there: the template is its root filesystem and nothing else.
 */
#ifndef FLOTILLA_TEMPLATE_BUILD_RECORD_H
#define FLOTILLA_TEMPLATE_BUILD_RECORD_H

#include "node-agent/template/layer.h"

struct build_record {
	char layer[VM_ARTEFACT_ID_MAX]; /* the topmost */
	bool is_whole;                  /* see struct layer */
	struct build_context context;   /* of its sandboxes */
	char *start_cmd, *ready_cmd;    /* NULL: none */
};

/* Fault: it cannot be read, or is not there. */
int build_record_read(const char *dir, struct build_record *out_record, struct err *err);
int build_record_write(const char *dir, const struct build_record *record, struct err *err);
void build_record_free(struct build_record *record);

#endif
