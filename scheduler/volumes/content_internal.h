/* What the content server's files share. */
#ifndef FLOTILLA_VOLUMES_CONTENT_INTERNAL_H
#define FLOTILLA_VOLUMES_CONTENT_INTERNAL_H

#include <jansson.h>
#include <microhttpd.h>

#include "scheduler/volumes/content.h"

/* path: within the volume. */
json_t *content_entry_json(const char *path, const struct tree_entry *entry);

enum MHD_Result content_send(struct MHD_Connection *connection, int status, json_t *json);
enum MHD_Result content_refuse(struct MHD_Connection *connection, int status, const char *code,
			       const char *message);
enum MHD_Result content_refuse_errno(struct MHD_Connection *connection, int number,
				     const char *path);

#endif
