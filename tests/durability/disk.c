#include "tests/durability/disk.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- files, in chunks that images share ---- */

static void chunk_drop(struct disk_chunk *chunk)
{
	if (chunk && --chunk->refs == 0)
		free(chunk);
}

static void file_grow(struct disk_file *file, size_t chunks_n)
{
	if (chunks_n <= file->chunks_n)
		return;
	file->chunks = realloc(file->chunks, chunks_n * sizeof(*file->chunks));
	CHECK(file->chunks);
	memset(file->chunks + file->chunks_n, 0,
	       (chunks_n - file->chunks_n) * sizeof(*file->chunks));
	file->chunks_n = chunks_n;
}

static struct disk_chunk *chunk_own(struct disk_file *file, size_t i)
{
	struct disk_chunk *old = file->chunks[i], *chunk = old;

	if (old && old->refs == 1)
		return old;
	chunk = calloc(1, sizeof(*chunk));
	CHECK(chunk);
	chunk->refs = 1;
	if (old)
		memcpy(chunk->bytes, old->bytes, DISK_CHUNK);
	chunk_drop(old);
	file->chunks[i] = chunk;
	return chunk;
}

void disk_file_write(struct disk_file *file, uint64_t at, const uint8_t *data, size_t n)
{
	file->exists = true;
	if (at + n > file->size)
		file->size = at + n;
	file_grow(file, (size_t)((file->size + DISK_CHUNK - 1) / DISK_CHUNK));
	while (n > 0) {
		size_t in = (size_t)(at % DISK_CHUNK);
		size_t part = n < DISK_CHUNK - in ? n : DISK_CHUNK - in;
		memcpy(chunk_own(file, (size_t)(at / DISK_CHUNK))->bytes + in, data, part);
		at += part;
		data += part;
		n -= part;
	}
}

void disk_file_read(const struct disk_file *file, uint64_t at, uint8_t *out, size_t n)
{
	while (n > 0) {
		size_t in = (size_t)(at % DISK_CHUNK), i = (size_t)(at / DISK_CHUNK);
		size_t part = n < DISK_CHUNK - in ? n : DISK_CHUNK - in;
		const struct disk_chunk *chunk = i < file->chunks_n ? file->chunks[i] : NULL;
		if (chunk)
			memcpy(out, chunk->bytes + in, part);
		else
			memset(out, 0, part);
		at += part;
		out += part;
		n -= part;
	}
}

void disk_file_truncate(struct disk_file *file, uint64_t size)
{
	size_t keep = (size_t)((size + DISK_CHUNK - 1) / DISK_CHUNK);

	file->exists = true;
	for (size_t i = keep; i < file->chunks_n; i++) {
		chunk_drop(file->chunks[i]);
		file->chunks[i] = NULL;
	}
	if (file->chunks_n > keep)
		file->chunks_n = keep;
	/* What is behind the end reads as zeros when the file grows again. */
	if (size % DISK_CHUNK && size < file->size && keep <= file->chunks_n &&
	    file->chunks[keep - 1])
		memset(chunk_own(file, keep - 1)->bytes + size % DISK_CHUNK, 0,
		       DISK_CHUNK - (size_t)(size % DISK_CHUNK));
	file->size = size;
	file_grow(file, keep);
}

struct disk_file *disk_file(struct disk *disk, const char *name)
{
	for (size_t i = 0; i < DISK_FILES_MAX; i++) {
		struct disk_file *file = &disk->files[i];
		if (!file->name[0])
			snprintf(file->name, sizeof(file->name), "%s", name);
		if (strcmp(file->name, name) == 0)
			return file;
	}
	check_broken("more files than a disk of the tests has", __FILE__, __LINE__);
}

void disk_free(struct disk *disk)
{
	for (size_t i = 0; i < DISK_FILES_MAX; i++) {
		struct disk_file *file = &disk->files[i];
		for (size_t j = 0; j < file->chunks_n; j++)
			chunk_drop(file->chunks[j]);
		free(file->chunks);
		for (size_t j = 0; j < DISK_SHM_MAX; j++)
			free(file->shm[j]);
	}
	memset(disk, 0, sizeof(*disk));
}

/* ---- the log ---- */

void disk_log_add(struct disk *disk, enum disk_op_kind kind, const struct disk_file *file,
		  uint64_t at, const void *data, size_t n)
{
	struct disk_log *log = disk->log;

	if (!log)
		return;
	if (log->n == log->cap) {
		log->cap = log->cap ? log->cap * 2 : 4096;
		log->ops = realloc(log->ops, log->cap * sizeof(*log->ops));
		CHECK(log->ops);
	}
	struct disk_op *op = &log->ops[log->n++];
	*op = (struct disk_op){.kind = kind, .at = at, .n = n};
	if (file)
		op->file = (uint8_t)(file - disk->files);
	if (n) {
		op->data = malloc(n);
		CHECK(op->data);
		memcpy(op->data, data, n);
	}
}

void disk_mark(struct disk *disk, uint64_t number)
{
	disk_log_add(disk, DISK_MARK, NULL, number, NULL, 0);
}

void disk_log_free(struct disk_log *log)
{
	for (size_t i = 0; i < log->n; i++)
		free(log->ops[i].data);
	free(log->ops);
	*log = (struct disk_log){0};
}

/* ---- crashes ---- */

void disk_replay_begin(struct disk_replay *replay, const struct disk_log *log,
		       const struct disk *names)
{
	*replay = (struct disk_replay){.log = log};
	for (size_t i = 0; i < DISK_FILES_MAX; i++)
		memcpy(replay->durable.files[i].name, names->files[i].name,
		       sizeof(names->files[i].name));
}

static void op_apply(struct disk *disk, const struct disk_op *op)
{
	struct disk_file *file = &disk->files[op->file];

	if (op->kind == DISK_WRITE)
		disk_file_write(file, op->at, op->data, op->n);
	else if (op->kind == DISK_TRUNCATE)
		disk_file_truncate(file, op->at);
}

static void op_remove(struct disk *disk, const struct disk_op *op)
{
	disk_file_truncate(&disk->files[op->file], 0);
	disk->files[op->file].exists = false;
}

/* Makes durable (or, for a removed file, forgets) what is pending of a file. */
static bool replay_settle(struct disk_replay *replay, uint8_t file, bool applies)
{
	size_t kept_n = 0;

	for (size_t i = 0; i < replay->pending_n; i++) {
		const struct disk_op *op = &replay->log->ops[replay->pending[i]];
		if (op->file != file)
			replay->pending[kept_n++] = replay->pending[i];
		else if (applies)
			op_apply(&replay->durable, op);
	}
	bool changed = kept_n != replay->pending_n;
	replay->pending_n = kept_n;
	return changed;
}

bool disk_replay_step(struct disk_replay *replay)
{
	const struct disk_op *op = &replay->log->ops[replay->at];

	CHECK(replay->at < replay->log->n);
	switch (op->kind) {
	case DISK_WRITE:
	case DISK_TRUNCATE:
		if (replay->pending_n == replay->pending_cap) {
			replay->pending_cap = replay->pending_cap ? replay->pending_cap * 2 : 256;
			replay->pending = realloc(replay->pending,
						  replay->pending_cap * sizeof(*replay->pending));
			CHECK(replay->pending);
		}
		replay->pending[replay->pending_n++] = replay->at++;
		return false;
	case DISK_SYNC:
		replay->at++;
		return replay_settle(replay, op->file, true);
	case DISK_DELETE:
		replay->at++;
		replay_settle(replay, op->file, false);
		op_remove(&replay->durable, op);
		return true;
	case DISK_MARK:
		replay->at++;
		return false;
	}
	return false;
}

static void disk_copy(const struct disk *from, struct disk *out)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < DISK_FILES_MAX; i++) {
		const struct disk_file *file = &from->files[i];
		struct disk_file *copy = &out->files[i];
		memcpy(copy->name, file->name, sizeof(copy->name));
		copy->exists = file->exists;
		copy->size = file->size;
		file_grow(copy, file->chunks_n);
		for (size_t j = 0; j < file->chunks_n; j++) {
			copy->chunks[j] = file->chunks[j];
			if (copy->chunks[j])
				copy->chunks[j]->refs++;
		}
	}
}

/* Some sectors of a write; a truncation happens or does not. */
static void op_tear(struct disk *disk, const struct disk_op *op, struct rng *rng)
{
	if (op->kind != DISK_WRITE) {
		if (rng_one_in(rng, 2))
			op_apply(disk, op);
		return;
	}
	for (size_t done = 0; done < op->n;) {
		size_t part = DISK_SECTOR - (size_t)((op->at + done) % DISK_SECTOR);
		if (part > op->n - done)
			part = op->n - done;
		if (rng_one_in(rng, 2))
			disk_file_write(&disk->files[op->file], op->at + done, op->data + done,
					part);
		done += part;
	}
}

void disk_replay_crash(const struct disk_replay *replay, enum disk_crash crash, struct rng *rng,
		       struct disk *out)
{
	size_t head_n = replay->pending_n ? rng_below(rng, replay->pending_n + 1) : 0;

	disk_copy(&replay->durable, out);
	for (size_t i = 0; i < replay->pending_n; i++) {
		const struct disk_op *op = &replay->log->ops[replay->pending[i]];
		switch (crash) {
		case DISK_CRASH_DROPS_ALL:
			break;
		case DISK_CRASH_KEEPS_ALL:
			op_apply(out, op);
			break;
		case DISK_CRASH_KEEPS_HEAD:
			if (i < head_n)
				op_apply(out, op);
			else if (i == head_n)
				op_tear(out, op, rng);
			break;
		case DISK_CRASH_TEARS:
			/* A third whole, a third in parts, a third not at all. */
			switch (rng_below(rng, 3)) {
			case 0:
				op_apply(out, op);
				break;
			case 1:
				op_tear(out, op, rng);
				break;
			}
			break;
		}
	}
}

void disk_replay_end(struct disk_replay *replay)
{
	disk_free(&replay->durable);
	free(replay->pending);
	*replay = (struct disk_replay){0};
}
