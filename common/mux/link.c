/* One write at a time; see link.h. */
#include "common/mux/link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum { KEEPALIVE_S = 30, SILENCE_MS = 20000 };

static void on_written(uv_write_t *request, int status)
{
	struct mux_link *link = request->data;

	link->is_writing = false;
	if (status == UV_ECANCELED || uv_is_closing((uv_handle_t *)link->stream))
		return;
	if (status == 0) {
		mux_output_done(link->mux, link->lent_n);
		status = mux_link_flush(link);
	}
	if (status < 0)
		link->on_fault(link, status);
	else if (!link->is_writing)
		link->on_room(link);
}

int mux_link_flush(struct mux_link *link)
{
	struct mux_slice slices[2];
	int slices_n;

	while (!link->is_writing && (slices_n = mux_output(link->mux, slices))) {
		uv_buf_t buffers[2];
		int sent_n;

		link->lent_n = 0;
		for (int at = 0; at < slices_n; at++) {
			buffers[at] = uv_buf_init((char *)slices[at].bytes, (unsigned)slices[at].n);
			link->lent_n += slices[at].n;
		}
		sent_n = uv_try_write(link->stream, buffers, (unsigned)slices_n);
		if (sent_n >= 0) {
			mux_output_done(link->mux, (size_t)sent_n);
			continue;
		}
		if (sent_n != UV_EAGAIN)
			return sent_n;
		link->request.data = link;
		sent_n = uv_write(&link->request, link->stream, buffers, (unsigned)slices_n,
				  on_written);
		if (sent_n < 0)
			return sent_n;
		link->is_writing = true;
	}
	return 0;
}

void mux_link_tune(uv_tcp_t *tcp)
{
	unsigned silence_ms = SILENCE_MS;
	uv_os_fd_t fd;

	uv_tcp_nodelay(tcp, 1);
	uv_tcp_keepalive(tcp, 1, KEEPALIVE_S);
	/* Best effort: without it a dead peer is noticed later. */
	if (uv_fileno((uv_handle_t *)tcp, &fd) == 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms,
				 sizeof(silence_ms));
}
