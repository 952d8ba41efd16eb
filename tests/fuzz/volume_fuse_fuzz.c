/*
 * What a sandbox's kernel asks of a volume, from a kernel that is a tenant's.  The input is a list
 * of requests: opcode, node, handle (a byte each: one that was told before), length (2), the rest.
 *
 * Whatever is asked, answers are well-formed, nothing is outside the volume's folder, and what the
 * volume is said to hold is what a count of its files gives, once all is closed.
 */
#include <linux/fuse.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "scheduler/volumes/fuse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KNOWN_MAX = 64, REQUESTS_MAX = 200, ROOM = 4 << 20 };

static char outer[] = "/tmp/flotilla-fuzz-XXXXXX", dir[64], witness[64];
static _Alignas(8) uint8_t request[FUSE_REQUEST_MAX], answer[FUSE_ANSWER_MAX];
static uint64_t nodes[KNOWN_MAX], handles[KNOWN_MAX];
static size_t nodes_n, handles_n;

static void clean_up(void)
{
	tree_destroy(dir);
	CHECK(unlink(witness) == 0 && rmdir(outer) == 0);
}

static void set_up(void)
{
	FILE *file;

	if (dir[0])
		return;
	CHECK(sodium_init() >= 0 && mkdtemp(outer));
	snprintf(dir, sizeof(dir), "%s/volume", outer);
	snprintf(witness, sizeof(witness), "%s/witness", outer);
	file = fopen(witness, "w");
	CHECK(file && fputs("untouched", file) > 0 && !fclose(file));
	atexit(clean_up);
}

static void learn(uint64_t *known, size_t *n, const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	if (value && *n < KNOWN_MAX)
		known[(*n)++] = value;
}

static void learn_from(uint32_t opcode, const uint8_t *bytes, size_t n)
{
	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_MKDIR:
	case FUSE_MKNOD:
	case FUSE_SYMLINK:
	case FUSE_LINK:
		CHECK(n == sizeof(struct fuse_entry_out));
		learn(nodes, &nodes_n, bytes);
		break;
	case FUSE_CREATE:
		CHECK(n == sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
		learn(nodes, &nodes_n, bytes);
		learn(handles, &handles_n, bytes + sizeof(struct fuse_entry_out));
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		CHECK(n == sizeof(struct fuse_open_out));
		learn(handles, &handles_n, bytes);
		break;
	default:
		break;
	}
}

/* Where a request names a handle, or another node; n: none. */
static void name_known(uint32_t opcode, uint8_t which, uint8_t *bytes, size_t n)
{
	size_t at = opcode == FUSE_SETATTR || opcode == FUSE_GETATTR ? 8 : 0;
	bool is_node = opcode == FUSE_RENAME || opcode == FUSE_RENAME2 || opcode == FUSE_LINK;
	uint64_t value = is_node     ? nodes[which % nodes_n]
			 : handles_n ? handles[which % handles_n]
				     : 0;

	if (which < 128 && at + 8 <= n)
		memcpy(bytes + at, &value, sizeof(value));
}

/* How much of the input it was; 0: no more. */
static size_t one(struct fuse_session *session, uint64_t unique, const uint8_t *data, size_t size)
{
	struct fuse_in_header in = {.unique = unique, .uid = 1000, .gid = 1000};
	struct fuse_out_header out;
	size_t n;
	ssize_t answer_n;

	if (size < 5)
		return 0;
	n = (size_t)(data[3] | data[4] << 8);
	n = n < size - 5 ? n : size - 5;
	n = n < sizeof(request) - sizeof(in) ? n : sizeof(request) - sizeof(in);
	in.opcode = data[0];
	in.nodeid = data[1] < 250 ? nodes[data[1] % nodes_n] : (uint64_t)data[1] << 32;
	in.len = (uint32_t)(sizeof(in) + n);
	memcpy(request, &in, sizeof(in));
	memcpy(request + sizeof(in), data + 5, n);
	name_known(in.opcode, data[2], request + sizeof(in), n);
	CHECK(fuse_request_length(request, in.len) == in.len);
	answer_n = fuse_session_serve(session, request, in.len, answer);
	if (answer_n > 0) {
		CHECK((size_t)answer_n >= sizeof(out));
		memcpy(&out, answer, sizeof(out));
		CHECK(out.len == (size_t)answer_n && out.unique == unique && out.error <= 0);
		CHECK(!out.error || out.len == sizeof(out));
		if (!out.error)
			learn_from(in.opcode, answer + sizeof(out), out.len - sizeof(out));
		/* Asked again, it is the same answer, and nothing is done twice. */
		if (answer_n <= 256) {
			uint8_t again[256];

			memcpy(again, answer, (size_t)answer_n);
			CHECK(fuse_session_serve(session, request, in.len, answer) == answer_n);
			CHECK(!memcmp(again, answer, (size_t)answer_n));
		}
	}
	return 5 + n;
}

static void check_sum(uint64_t used)
{
	struct tree tree;

	CHECK(tree_open(&tree, dir, 0) == 0);
	/* A count gives files with several names a part for each, rounded. */
	CHECK(tree.used <= used && used - tree.used < TREE_ENTRY_BYTES);
	tree_close(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuse_session *session;
	struct stat status;
	struct tree tree;
	uint64_t used;
	size_t n;

	set_up();
	CHECK(tree_open(&tree, dir, 0) == 0);
	tree.used_max = ROOM;
	session = fuse_session_open(&tree);
	CHECK(session);
	nodes[0] = FUSE_ROOT_ID;
	nodes_n = 1;
	handles_n = 0;
	for (uint64_t i = 1; i < REQUESTS_MAX && (n = one(session, i, data, size)); i++) {
		data += n;
		size -= n;
	}
	fuse_session_close(session);
	used = tree.used;
	CHECK(used <= ROOM);
	tree_close(&tree);
	check_sum(used);
	CHECK(!stat(witness, &status) && status.st_size == 9 && status.st_nlink == 1);
	CHECK(tree_destroy(dir) == 0);
	return 0;
}
