#include "node-agent/shell/enrolment.h"

#include "common/io/file.h"

#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void enrolment_path(const char *state_dir, const char *name, char out_path[PATH_MAX])
{
	snprintf(out_path, PATH_MAX, "%.*s/%s", PATH_MAX - 32, state_dir, name);
}

static int enrolment_load_key(const char *state_dir, struct enrolment *out, struct err *err)
{
	uint8_t seed[IDENTITY_SEED_N];
	char path[PATH_MAX];

	enrolment_path(state_dir, "node.key", path);
	if (access(path, F_OK)) {
		randombytes_buf(seed, sizeof(seed));
		if (file_write_atomic(path, seed, sizeof(seed), 0600, err))
			return -1;
	} else if (file_read_secret(path, seed, sizeof(seed), err)) {
		return -1;
	}
	identity_make(seed, &out->self);
	sodium_memzero(seed, sizeof(seed));
	return 0;
}

int enrolment_load(const char *state_dir, struct enrolment *out_enrolment, struct err *err)
{
	char path[PATH_MAX], node[ID_MAX], key[2 * IDENTITY_PUBLIC_N + 1], *text = NULL;
	size_t text_n, key_n;

	memset(out_enrolment, 0, sizeof(*out_enrolment));
	if (enrolment_load_key(state_dir, out_enrolment, err))
		return -1;
	enrolment_path(state_dir, "enrolment", path);
	if (file_read(path, 1024, &text, &text_n, err))
		return errno == ENOENT ? 0 : -1;
	if (sscanf(text, "node=%31s\nscheduler_public_key=%64s", node, key) != 2 ||
	    !id_parse(node, strlen(node), &out_enrolment->node) ||
	    sodium_hex2bin(out_enrolment->scheduler_public_key, IDENTITY_PUBLIC_N, key, strlen(key),
			   NULL, &key_n, NULL) ||
	    key_n != IDENTITY_PUBLIC_N) {
		free(text);
		return err_set(err, "%s is not as this agent wrote it", path);
	}
	free(text);
	out_enrolment->is_done = true;
	return 0;
}

int enrolment_keep(const char *state_dir, struct enrolment *enrolment,
		   const struct wire_enrol_reply *reply, struct err *err)
{
	char path[PATH_MAX], key[2 * IDENTITY_PUBLIC_N + 1], text[256];

	sodium_bin2hex(key, sizeof(key), reply->scheduler_public_key, IDENTITY_PUBLIC_N);
	snprintf(text, sizeof(text), "node=%s\nscheduler_public_key=%s\n", reply->node.text, key);
	enrolment_path(state_dir, "enrolment", path);
	if (file_write_atomic(path, text, strlen(text), 0600, err))
		return -1;
	enrolment->node = reply->node;
	memcpy(enrolment->scheduler_public_key, reply->scheduler_public_key, IDENTITY_PUBLIC_N);
	enrolment->is_done = true;
	return 0;
}

int enrolment_request(const struct enrolment *enrolment, const char *token_file,
		      const char *node_name, struct wire_enrol_request *out_request,
		      struct err *err)
{
	char *text;
	size_t text_n;

	memset(out_request, 0, sizeof(*out_request));
	if (!token_file[0])
		return err_set(err, "this node is not enrolled: give --enrol-token-file (made by "
				    "`flotilla node token`)");
	if (file_read(token_file, 256, &text, &text_n, err))
		return err_wrap(err, "enrolment token");
	snprintf(out_request->token, sizeof(out_request->token), "%.*s",
		 (int)strcspn(text, " \t\r\n"), text);
	free(text);
	if (!out_request->token[0])
		return err_set(err, "%s is empty", token_file);
	memcpy(out_request->node_public_key, enrolment->self.public_key, IDENTITY_PUBLIC_N);
	if (node_name[0])
		snprintf(out_request->host_name, sizeof(out_request->host_name), "%s", node_name);
	else
		gethostname(out_request->host_name, sizeof(out_request->host_name) - 1);
	snprintf(out_request->version, sizeof(out_request->version), "%s", FLOTILLA_VERSION);
	return 0;
}
