/* OpenAPI 3.1, from routes.def and schemas.def.  Pure. */
#ifndef FLOTILLA_API_OPENAPI_H
#define FLOTILLA_API_OPENAPI_H

#include <jansson.h>

/* The whole document; the caller's reference. */
json_t *openapi_make(const char *version);

#endif
