/* Compressed bodies: see zipped.h. */
#include "node-agent/guest/zipped.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/guest/guest.h"

struct zipped *zipped_open(struct conn *conn, const struct zipped_ops *ops)
{
	struct zipped *zipped = malloc(sizeof(*zipped));

	if (!zipped || !gunzip_open(&zipped->gunzip)) {
		free(zipped);
		return NULL;
	}
	zipped->conn = conn;
	zipped->ops = ops;
	zipped->is_ended = false;
	zipped->left_at = zipped->left_n = 0;
	uv_idle_init(&conn->guest->loop, &zipped->idle);
	zipped->idle.data = zipped;
	return zipped;
}

static void on_idle_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void zipped_close(struct zipped *zipped)
{
	gunzip_close(&zipped->gunzip);
	uv_close((uv_handle_t *)&zipped->idle, on_idle_closed);
}

enum slice { SLICE_DONE, SLICE_LEFT, SLICE_CLOSED };

/* Decodes from the front; *bytes and *bytes_n are what is left. */
static enum slice decode_slice(struct zipped *zipped, const char **bytes, size_t *bytes_n)
{
	for (int i = 0; i < ZIPPED_SLICE_N; i++) {
		size_t used, out_n;

		switch (gunzip_read(&zipped->gunzip, *bytes, *bytes_n, &used, zipped->out,
				    sizeof(zipped->out), &out_n)) {
		case GUNZIP_MORE:
			return SLICE_DONE;
		case GUNZIP_BAD:
			zipped->ops->on_bad(zipped->conn);
			return SLICE_CLOSED;
		case GUNZIP_DATA:
			break;
		}
		*bytes += used;
		*bytes_n -= used;
		if (!zipped->ops->on_plain(zipped->conn, zipped->out, out_n))
			return SLICE_CLOSED;
	}
	return SLICE_LEFT;
}

static void complete(struct zipped *zipped)
{
	if (zipped->gunzip.is_complete)
		zipped->ops->on_complete(zipped->conn);
	else
		zipped->ops->on_bad(zipped->conn);
}

/* Once in each round of the loop. */
static void on_idle(uv_idle_t *idle)
{
	struct zipped *zipped = idle->data;
	struct conn *conn = zipped->conn;
	const char *bytes = zipped->left + zipped->left_at;
	size_t bytes_n = zipped->left_n - zipped->left_at;

	switch (decode_slice(zipped, &bytes, &bytes_n)) {
	case SLICE_LEFT:
		zipped->left_at = zipped->left_n - bytes_n;
		return;
	case SLICE_DONE:
		uv_idle_stop(idle);
		conn_hold(conn, false);
		if (zipped->is_ended)
			complete(zipped);
		break;
	case SLICE_CLOSED:
		break;
	}
	conn_flush(conn);
}

void zipped_bytes(struct zipped *zipped, const char *bytes, size_t bytes_n)
{
	if (decode_slice(zipped, &bytes, &bytes_n) != SLICE_LEFT)
		return;
	CHECK(bytes_n <= sizeof(zipped->left));
	memcpy(zipped->left, bytes, bytes_n);
	zipped->left_at = 0;
	zipped->left_n = bytes_n;
	conn_hold(zipped->conn, true);
	uv_idle_start(&zipped->idle, on_idle);
}

void zipped_end(struct zipped *zipped)
{
	zipped->is_ended = true;
	if (!uv_is_active((uv_handle_t *)&zipped->idle))
		complete(zipped);
}
