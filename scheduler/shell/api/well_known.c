/* What whoever is shown a sandbox's identity token verifies it by. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "scheduler/shell/egress/identity.h"

#include <stdlib.h>
#include <string.h>

/* Takes over the reference. */
static void answer_document(struct api_call *call, json_t *document)
{
	char *text = json_dumps(document, JSON_COMPACT);

	CHECK(text);
	json_decref(document);
	http_add_header(call->request, "Cache-Control", "public, max-age=300");
	api_answer_text(call, 200, "application/json", text, strlen(text));
}

/* False: the call is ended. */
static bool issues_tokens(struct api_call *call)
{
	if (call->api->options.issuer[0])
		return true;
	api_fail(call, 404, "not_found", "", "This fleet issues no identity tokens");
	return false;
}

void api_identity_discovery(struct api_call *call)
{
	if (issues_tokens(call))
		answer_document(call, identity_discovery(call->api->options.issuer));
}

void api_identity_keys(struct api_call *call)
{
	if (issues_tokens(call))
		answer_document(call, identity_keys(call->api->options.secrets));
}
