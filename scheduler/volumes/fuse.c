/* Requests to operations, and their results to answers.  See fuse.h. */
#include "scheduler/volumes/fuse_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"

/* ---- reading ---- */

const void *ask_take(struct ask *ask, size_t n)
{
	const uint8_t *at = ask->at;

	if (n > ask->left)
		return NULL;
	ask->at += n;
	ask->left -= n;
	return at;
}

const char *ask_text(struct ask *ask)
{
	const uint8_t *end = memchr(ask->at, 0, ask->left);

	return end ? ask_take(ask, (size_t)(end - ask->at) + 1) : NULL;
}

const char *ask_name(struct ask *ask)
{
	const char *name = ask_text(ask);

	errno = name && strlen(name) > NAME_MAX ? ENAMETOOLONG : EINVAL;
	if (!name || !name[0] || strlen(name) > NAME_MAX || strchr(name, '/') ||
	    !strcmp(name, ".") || !strcmp(name, ".."))
		return NULL;
	return name;
}

void *ask_answer(struct ask *ask, size_t n)
{
	uint8_t *at = ask->out + ask->out_n;

	memset(at, 0, n);
	ask->out_n += n;
	return at;
}

/* ---- what is no file's ---- */

static int op_init(struct ask *ask)
{
	const uint32_t wanted = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES |
				FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_AUTO_INVAL_DATA;
	const struct fuse_init_in *in;
	struct fuse_init_out *out;

	/* Older kernels than any that sandboxes have know less than this. */
	if (ask->left < offsetof(struct fuse_init_in, flags2))
		return EBADMSG;
	in = (const struct fuse_init_in *)ask->at;
	if (in->major != FUSE_KERNEL_VERSION || in->minor < 28)
		return EPROTO;
	out = ask_answer(ask, sizeof(*out));
	out->major = FUSE_KERNEL_VERSION;
	out->minor = 31;
	out->max_readahead = in->max_readahead;
	out->flags = in->flags & wanted;
	out->max_background = 16;
	out->congestion_threshold = 12;
	out->max_write = FUSE_DATA_MAX;
	out->time_gran = 1;
	out->max_pages = FUSE_DATA_MAX / 4096;
	return 0;
}

static void forget_batch(struct ask *ask)
{
	const struct fuse_batch_forget_in *in = ASK_TAKE(ask, struct fuse_batch_forget_in);
	const struct fuse_forget_one *one;

	for (uint32_t i = 0; in && i < in->count; i++) {
		one = ASK_TAKE(ask, struct fuse_forget_one);
		if (!one)
			return;
		node_forget(ask->session, one->nodeid, one->nlookup);
	}
}

/* True: it was one of those that nobody answers. */
static bool serve_silent(struct ask *ask)
{
	const struct fuse_forget_in *forget;

	switch (ask->in->opcode) {
	case FUSE_FORGET:
		forget = ASK_TAKE(ask, struct fuse_forget_in);
		if (forget)
			node_forget(ask->session, ask->in->nodeid, forget->nlookup);
		return true;
	case FUSE_BATCH_FORGET:
		forget_batch(ask);
		return true;
	case FUSE_INTERRUPT: /* nothing here waits for anything but the disk */
		return true;
	default:
		return false;
	}
}

static int serve(struct ask *ask)
{
	switch (ask->in->opcode) {
#define OP(code, function)                                                                         \
	case FUSE_##code:                                                                          \
		return function(ask);
#include "scheduler/volumes/fuse_ops.def"
#undef OP
	case FUSE_DESTROY:
		return 0;
	default:
		return ENOSYS; /* the kernel does without, for good */
	}
}

/* ---- answers ---- */

static const struct kept_answer *find_kept(const struct fuse_session *session, uint64_t unique)
{
	for (size_t i = 0; i < KEPT_ANSWERS; i++)
		if (session->kept[i].unique == unique)
			return &session->kept[i];
	return NULL;
}

static void keep(struct fuse_session *session, uint64_t unique, const uint8_t *bytes, size_t n)
{
	struct kept_answer *to = &session->kept[session->kept_at];

	if (n > KEPT_ANSWER_MAX)
		return;
	session->kept_at = (session->kept_at + 1) % KEPT_ANSWERS;
	to->unique = unique;
	to->n = (uint32_t)n;
	memcpy(to->bytes, bytes, n);
}

size_t fuse_request_length(const uint8_t *bytes, size_t n)
{
	uint32_t length;

	if (n < sizeof(struct fuse_in_header))
		return 0;
	memcpy(&length, bytes, sizeof(length));
	return length >= sizeof(struct fuse_in_header) && length <= FUSE_REQUEST_MAX ? length : 0;
}

ssize_t fuse_session_serve(struct fuse_session *session, const uint8_t *request, size_t n,
			   uint8_t out[FUSE_ANSWER_MAX])
{
	struct fuse_in_header in;
	struct fuse_out_header answer = {.len = sizeof(answer)};
	struct ask ask = {.session = session,
			  .in = &in,
			  .at = request + sizeof(in),
			  .left = n - sizeof(in),
			  .out = out + sizeof(answer)};
	const struct kept_answer *kept;
	int number;

	if (fuse_request_length(request, n) != n)
		return -1;
	memcpy(&in, request, sizeof(in));
	if (serve_silent(&ask))
		return 0;
	if (!in.unique)
		return -1;
	kept = find_kept(session, in.unique);
	if (kept) {
		memcpy(out, kept->bytes, kept->n);
		return kept->n;
	}
	number = in.opcode == FUSE_INIT ? op_init(&ask) : serve(&ask);
	if (number == EBADMSG)
		return -1;
	CHECK(ask.out_n <= FUSE_ANSWER_MAX - sizeof(answer));
	answer.unique = in.unique;
	answer.error = -number;
	answer.len += number ? 0 : (uint32_t)ask.out_n;
	memcpy(out, &answer, sizeof(answer));
	keep(session, in.unique, out, answer.len);
	return answer.len;
}

/* ---- open and close ---- */

struct fuse_session *fuse_session_open(struct tree *tree)
{
	struct fuse_session *session = calloc(1, sizeof(*session));
	struct timespec now;

	if (!session)
		return NULL;
	session->tree = tree;
	/* A kernel that outlived us may ask by numbers of the time before: they must be nobody's.
	 */
	clock_gettime(CLOCK_REALTIME, &now);
	session->next_id = (uint64_t)now.tv_sec << 28 | (uint64_t)(now.tv_nsec >> 10) << 8;
	return session;
}

void fuse_session_restart(struct fuse_session *session)
{
	handles_close(session);
	nodes_clear(session);
	memset(session->kept, 0, sizeof(session->kept));
}

void fuse_session_close(struct fuse_session *session)
{
	if (!session)
		return;
	fuse_session_restart(session);
	free(session);
}
