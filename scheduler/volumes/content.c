/* See content.h. */
#include "scheduler/volumes/content_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/io/log.h"

enum {
	CONTENT_BODY_MAX = 8192,              /* of what is no file */
	CONTENT_ENTRIES_MAX = 20000,          /* of a list */
	CONTENT_DRAIN_MAX = 16 * 1024 * 1024, /* read of what is refused, before it is cut off */
	CONTENT_IDLE_S = 300,
	CONTENT_MEMORY = 32 * 1024, /* for a connection's heads and pieces */
	CONTENT_BACKLOG = 256,
};

struct content {
	struct content_options options;
	struct MHD_Daemon *daemon;
	struct address address;
};

struct request;
typedef enum MHD_Result handler(struct request *request, struct MHD_Connection *connection);

struct request {
	struct content *content;
	struct id sandbox;     /* whose mounts are asked for */
	struct volume *volume; /* NULL: not let in */
	handler *handle;       /* NULL: refused at its head, which is told behind its body */
	int refused_status;
	const char *refused_code;
	char refused_message[PATH_MAX + 64];
	char path[PATH_MAX];
	struct tree_attributes attributes;
	int64_t depth;
	int force; /* -1: not said */
	/* PUT file */
	bool is_upload;
	struct tree_upload upload;
	int number; /* what went wrong with it */
	uint64_t drained_n;
	/* PATCH */
	char body[CONTENT_BODY_MAX];
	size_t body_n;
};

/* ---- what is asked ---- */

/* The parameter's text; NULL: it is not there, or has a NUL in it. */
static const char *parameter(struct MHD_Connection *connection, const char *name)
{
	const char *value = NULL;
	size_t n = 0;

	if (MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, name, strlen(name),
					  &value, &n) != MHD_YES ||
	    !value || strlen(value) != n)
		return NULL;
	return value;
}

/* False: it is there, and no number of 0..max. */
static bool number_parameter(struct MHD_Connection *connection, const char *name, int64_t max,
			     int64_t *out)
{
	const char *text = parameter(connection, name);
	char *end;

	if (!text)
		return true;
	errno = 0;
	*out = strtoll(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && !*end && !errno && *out <= max;
}

static const char *read_parameters(struct request *request, struct MHD_Connection *connection)
{
	const char *path = parameter(connection, "path");
	const char *force = parameter(connection, "force");

	request->attributes = (struct tree_attributes){-1, -1, -1};
	request->depth = 1;
	request->force = -1;
	if (!path)
		return "path: is required";
	if (!tree_path(path, request->path))
		return "path: is too long";
	if (!number_parameter(connection, "uid", UINT32_MAX - 1, &request->attributes.uid))
		return "uid: should be a number";
	if (!number_parameter(connection, "gid", UINT32_MAX - 1, &request->attributes.gid))
		return "gid: should be a number";
	if (!number_parameter(connection, "mode", 0177777, &request->attributes.mode))
		return "mode: should be a number";
	if (!number_parameter(connection, "depth", UINT32_MAX, &request->depth) || !request->depth)
		return "depth: should be a number above 0";
	if (force && strcasecmp(force, "true") && strcasecmp(force, "false"))
		return "force: should be true or false";
	if (force)
		request->force = !strcasecmp(force, "true");
	return NULL;
}

/* ---- the operations ---- */

static enum MHD_Result answer_entry(struct request *request, struct MHD_Connection *connection,
				    int status)
{
	struct tree_entry entry;
	int number = tree_stat(&request->volume->tree, request->path, &entry);

	if (number)
		return content_refuse_errno(connection, number, request->path);
	return content_send(connection, status, content_entry_json(request->path, &entry));
}

static enum MHD_Result get_path(struct request *request, struct MHD_Connection *connection)
{
	return answer_entry(request, connection, 200);
}

static enum MHD_Result delete_path(struct request *request, struct MHD_Connection *connection)
{
	int number = tree_remove(&request->volume->tree, request->path);

	if (number)
		return content_refuse_errno(connection, number, request->path);
	return content_send(connection, 204, NULL);
}

/* Absent and null: as it is. False: something else than a number of 0..max. */
static bool take_attribute(const json_t *json, const char *name, int64_t max, int64_t *out)
{
	const json_t *value = json_object_get(json, name);

	*out = -1;
	if (!value || json_is_null(value))
		return true;
	*out = json_integer_value(value);
	return json_is_integer(value) && *out >= 0 && *out <= max;
}

static enum MHD_Result patch_path(struct request *request, struct MHD_Connection *connection)
{
	json_t *json = request->body_n > sizeof(request->body)
			       ? NULL
			       : json_loadb(request->body, request->body_n, 0, NULL);
	struct tree_attributes *to = &request->attributes;
	bool is_good = json_is_object(json) &&
		       take_attribute(json, "uid", UINT32_MAX - 1, &to->uid) &&
		       take_attribute(json, "gid", UINT32_MAX - 1, &to->gid) &&
		       take_attribute(json, "mode", 0177777, &to->mode);
	int number;

	json_decref(json);
	if (!is_good)
		return content_refuse(connection, 400, "invalid_request",
				      "uid, gid and mode should be numbers");
	number = tree_set(&request->volume->tree, request->path, to);
	if (number)
		return content_refuse_errno(connection, number, request->path);
	return answer_entry(request, connection, 200);
}

static int list_visit(void *data, const char *path, const struct tree_entry *entry)
{
	json_t *list = data;

	if (json_array_size(list) == CONTENT_ENTRIES_MAX)
		return E2BIG;
	json_array_append_new(list, content_entry_json(path, entry));
	return 0;
}

static enum MHD_Result get_dir(struct request *request, struct MHD_Connection *connection)
{
	json_t *list = json_array();
	int number = tree_list(&request->volume->tree, request->path, (unsigned)request->depth,
			       list_visit, list);

	if (!number)
		return content_send(connection, 200, list);
	json_decref(list);
	return content_refuse_errno(connection, number, request->path);
}

static enum MHD_Result post_dir(struct request *request, struct MHD_Connection *connection)
{
	int number = tree_make_folder(&request->volume->tree, request->path, &request->attributes,
				      request->force == 1);

	if (number)
		return content_refuse_errno(connection, number, request->path);
	return answer_entry(request, connection, 201);
}

static enum MHD_Result get_file(struct request *request, struct MHD_Connection *connection)
{
	struct MHD_Response *response;
	enum MHD_Result result;
	uint64_t size;
	int fd, number = tree_read(&request->volume->tree, request->path, &fd, &size);

	if (number)
		return content_refuse_errno(connection, number, request->path);
	response = MHD_create_response_from_fd64(size, fd);
	if (!response) {
		close(fd);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type", "application/octet-stream");
	result = MHD_queue_response(connection, 200, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result put_file(struct request *request, struct MHD_Connection *connection)
{
	if (!request->number)
		request->number =
			tree_upload_end(&request->upload, request->path, &request->attributes,
					request->force == 1, request->force != 0);
	if (request->number)
		return content_refuse_errno(connection, request->number, request->path);
	return answer_entry(request, connection, 201);
}

/* One after the other: the first that fails is told, and the sandbox is not worth having then. */
static enum MHD_Result post_mounts(struct request *request, struct MHD_Connection *connection)
{
	json_t *json = request->body_n > sizeof(request->body)
			       ? NULL
			       : json_loadb(request->body, request->body_n, 0, NULL);
	char problem[MOUNT_PROBLEM_MAX] = "volumeID and path are wanted of each";
	json_t *list = json_object_get(json, "mounts"), *one;
	int status = json_is_array(list) ? 200 : 400;
	size_t i;

	json_array_foreach(list, i, one)
	{
		const char *id = json_string_value(json_object_get(one, "volumeID"));
		const char *path = json_string_value(json_object_get(one, "path"));
		struct id volume;

		if (status == 200 && (!id || !path || !id_parse(id, strlen(id), &volume) ||
				      !mount_path_is_good(path)))
			status = 400;
		if (status == 200)
			status = mounts_ensure(request->content->options.mounts, &request->sandbox,
					       &volume, path, problem);
	}
	json_decref(json);
	if (status != 200)
		return content_refuse(connection, status, "not_mounted", problem);
	return content_send(connection, 200, json_object());
}

static const struct operation {
	const char *what, *method;
	handler *handle;
} operations[] = {
	{"dir", "GET", get_dir},       {"dir", "POST", post_dir},       {"path", "GET", get_path},
	{"path", "PATCH", patch_path}, {"path", "DELETE", delete_path}, {"file", "GET", get_file},
	{"file", "PUT", put_file},
};

/* ---- letting in ---- */

/* "/volumecontent/ID/WHAT"; false: another path. */
static bool split(const char *url, struct id *out_id, const char **out_what)
{
	static const char prefix[] = "/volumecontent/";
	size_t n;

	if (strncmp(url, prefix, sizeof(prefix) - 1) != 0)
		return false;
	url += sizeof(prefix) - 1;
	n = strcspn(url, "/");
	*out_what = url + n + (url[n] == '/');
	return id_parse(url, n, out_id) && url[n] == '/';
}

static bool is_token(const struct content *content, const struct id *id,
		     struct MHD_Connection *connection)
{
	const char *given =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
	char right[ENVD_TOKEN_TEXT_MAX];
	bool is_right;

	if (!given || strncasecmp(given, "Bearer ", 7) || strlen(given + 7) != sizeof(right) - 1)
		return false;
	fleet_key_volume_token(content->options.key, id, right);
	is_right = !sodium_memcmp(given + 7, right, sizeof(right) - 1);
	sodium_memzero(right, sizeof(right));
	return is_right;
}

static enum MHD_Result refuse(struct request *request, int status, const char *code,
			      const char *message)
{
	request->refused_status = status;
	request->refused_code = code;
	snprintf(request->refused_message, sizeof(request->refused_message), "%s", message);
	return MHD_YES;
}

/* NULL: it was refused. */
static const struct operation *find_operation(struct request *request, const char *what,
					      const char *method)
{
	bool is_known = false;

	for (size_t i = 0; i < ARRAY_N(operations); i++) {
		if (strcmp(operations[i].what, what) != 0)
			continue;
		if (!strcmp(operations[i].method, method))
			return &operations[i];
		is_known = true;
	}
	if (is_known)
		refuse(request, 405, "method_not_allowed", "this method is not possible here");
	else
		refuse(request, 404, "not_found", "there is no such path");
	return NULL;
}

static enum MHD_Result refuse_volume(struct request *request, int status, const struct id *id)
{
	char message[128];

	if (status == 404 || status == 410) {
		snprintf(message, sizeof(message), "Volume %s not found", id->text);
		return refuse(request, 404, "not_found", message);
	}
	return refuse(request, status, status == 503 ? "unavailable" : "internal",
		      "the volume cannot be reached now");
}

static bool is_scheduler(const struct content *content, const struct id *sandbox,
			 struct MHD_Connection *connection)
{
	const char *given =
		MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Wake-Token");
	char right[ENVD_TOKEN_TEXT_MAX];

	if (!given || strlen(given) != sizeof(right) - 1)
		return false;
	fleet_key_wake_token(content->options.key, sandbox, right);
	return !sodium_memcmp(given, right, sizeof(right) - 1);
}

static enum MHD_Result begin_mounts(struct content *content, struct request *request,
				    struct MHD_Connection *connection, const char *id,
				    const char *method)
{
	if (!id_parse(id, strlen(id), &request->sandbox))
		return refuse(request, 404, "not_found", "there is no such path");
	if (!is_scheduler(content, &request->sandbox, connection))
		return refuse(request, 401, "unauthorized", "this is for the fleet's scheduler");
	if (strcmp(method, "POST") != 0)
		return refuse(request, 405, "method_not_allowed",
			      "this method is not possible here");
	request->handle = post_mounts;
	return MHD_YES;
}

static enum MHD_Result begin(struct content *content, struct request *request,
			     struct MHD_Connection *connection, const char *url, const char *method)
{
	const struct operation *operation;
	const char *what, *problem;
	struct id id;
	int status;

	request->content = content;
	if (!strncmp(url, "/mounts/", 8))
		return begin_mounts(content, request, connection, url + 8, method);
	if (!split(url, &id, &what))
		return refuse(request, 404, "not_found", "there is no such path");
	if (!is_token(content, &id, connection))
		return refuse(request, 401, "unauthorized", "this is not the volume's token");
	operation = find_operation(request, what, method);
	if (!operation)
		return MHD_YES;
	problem = read_parameters(request, connection);
	if (problem)
		return refuse(request, 400, "invalid_request", problem);
	status = volumes_get(content->options.volumes, &id, &request->volume);
	if (status != 200)
		return refuse_volume(request, status, &id);
	request->is_upload = operation->handle == put_file;
	if (request->is_upload)
		request->number = tree_upload_begin(&request->volume->tree, &request->upload);
	request->handle = operation->handle;
	return MHD_YES;
}

/* A refused body is read to its end, as clients do not look for an answer before; but not for ever.
 */
static enum MHD_Result take(struct request *request, const char *bytes, size_t *n)
{
	size_t taken_n = *n;

	*n = 0;
	if (request->is_upload && !request->number) {
		request->number = tree_upload_write(&request->upload, bytes, taken_n);
		if (request->number)
			tree_upload_drop(&request->upload);
		return MHD_YES;
	}
	if (!request->is_upload && request->body_n + taken_n <= sizeof(request->body)) {
		memcpy(request->body + request->body_n, bytes, taken_n);
		request->body_n += taken_n;
		return MHD_YES;
	}
	if (!request->is_upload)
		request->body_n = sizeof(request->body) + 1;
	request->drained_n += taken_n;
	return request->drained_n <= CONTENT_DRAIN_MAX ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *url,
				 const char *method, const char *version, const char *upload_data,
				 size_t *upload_data_n, void **request_cls)
{
	struct request *request = *request_cls;

	(void)version;
	if (!request) {
		*request_cls = request = calloc(1, sizeof(*request));
		return request ? begin(cls, request, connection, url, method) : MHD_NO;
	}
	if (*upload_data_n)
		return take(request, upload_data, upload_data_n);
	if (!request->handle)
		return content_refuse(connection, request->refused_status, request->refused_code,
				      request->refused_message);
	return request->handle(request, connection);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request_cls,
			 enum MHD_RequestTerminationCode code)
{
	struct content *content = cls;
	struct request *request = *request_cls;

	(void)connection;
	(void)code;
	if (!request)
		return;
	tree_upload_drop(&request->upload);
	if (request->volume)
		volumes_put(content->options.volumes, request->volume);
	free(request);
	*request_cls = NULL;
}

/* ---- open and close ---- */

static int listen_on(struct content *content, int *out_fd, struct err *err)
{
	struct sockaddr_storage at;
	socklen_t at_n = sizeof(at);
	int yes = 1, fd;

	if (!address_to_sockaddr(&content->options.listen, &at))
		return err_set(err, "not a numeric address: %s", content->options.listen.host);
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(fd, (struct sockaddr *)&at,
		 at.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					  : sizeof(struct sockaddr_in)) ||
	    listen(fd, CONTENT_BACKLOG) || getsockname(fd, (struct sockaddr *)&at, &at_n) ||
	    !address_from_sockaddr((struct sockaddr *)&at, &content->address)) {
		err_errno(err, errno, "listen");
		close(fd);
		return -1;
	}
	*out_fd = fd;
	return 0;
}

int content_open(struct content **out, const struct content_options *options, struct err *err)
{
	struct content *content = calloc(1, sizeof(*content));
	int fd = -1;

	CHECK(content);
	content->options = *options;
	if (listen_on(content, &fd, err)) {
		free(content);
		return -1;
	}
	/* poll and not epoll: with that, Debian's 0.9.75 can miss the end of a connection in the
	 * midst of a body, and what was uploaded by then would lie there until its time is over. */
	content->daemon =
		MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD, 0, NULL, NULL, on_access, content,
				 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE,
				 options->threads, MHD_OPTION_CONNECTION_LIMIT,
				 options->connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
				 (unsigned)CONTENT_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				 (size_t)CONTENT_MEMORY, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
				 content, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	if (!content->daemon) {
		close(fd);
		free(content);
		return err_set(err, "libmicrohttpd does not start");
	}
	*out = content;
	return 0;
}

void content_close(struct content *content)
{
	if (!content)
		return;
	MHD_stop_daemon(content->daemon);
	free(content);
}

struct address content_address(const struct content *content)
{
	return content->address;
}
