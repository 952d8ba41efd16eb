/* Work beside the event loop: see job.h. */
#include "node-agent/guest/job.h"

#include "common/base/check.h"
#include "node-agent/guest/guest.h"

static void on_gone(struct conn *conn)
{
	struct job *job = conn->work;

	job->conn = NULL;
	atomic_store_explicit(&job->is_abandoned, true, memory_order_relaxed);
}

static const struct work_ops ops = {.on_gone = on_gone};

static void on_thread(uv_work_t *request)
{
	struct job *job = request->data;

	job->run(job);
}

static void on_done(uv_work_t *request, int status)
{
	struct job *job = request->data;
	struct conn *conn = job->conn;

	CHECK(!status); /* nobody cancels one */
	if (conn)
		conn->work_ops = NULL;
	job->done(job);
	if (conn)
		conn_flush(conn);
}

void job_start(struct job *job, struct conn *conn)
{
	job->request.data = job;
	job->conn = conn;
	atomic_init(&job->is_abandoned, false);
	conn->work = job;
	conn->work_ops = &ops;
	CHECK(!uv_queue_work(&conn->guest->loop, &job->request, on_thread, on_done));
}
