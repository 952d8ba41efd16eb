/* One thing at a time on a thread of its own, so that the loop goes on. See shim.h. */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"

static void on_thread(uv_work_t *request)
{
	struct shim *shim = request->data;

	shim->work.result = shim->work.run(shim, &shim->work.err);
}

static void on_done(uv_work_t *request, int status)
{
	struct shim *shim = request->data;
	bool is_end_due = shim->work.is_end_due;

	(void)status;
	shim->work.is_busy = shim->work.is_end_due = false;
	shim->work.done(shim, shim->work.result, &shim->work.err);
	if (is_end_due)
		shim_gone(shim);
}

void shim_work_start(struct shim *shim, int (*run)(struct shim *shim, struct err *err),
		     void (*done)(struct shim *shim, int result, const struct err *err))
{
	struct shim_work *work = &shim->work;

	CHECK(!work->is_busy);
	work->is_busy = true;
	work->run = run;
	work->done = done;
	work->request.data = shim;
	CHECK(uv_queue_work(&shim->loop, &work->request, on_thread, on_done) == 0);
}

bool shim_work_holds_up_end(struct shim *shim)
{
	if (!shim->work.is_busy)
		return false;
	shim->work.cancel = true;
	shim->work.is_end_due = true;
	return true;
}
