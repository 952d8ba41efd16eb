/* The last boot of a template: its start command runs, its ready command has succeeded, what every
 * sandbox will run is warm; then the snapshot. */
#ifndef FLOTILLA_TEMPLATE_FINISH_H
#define FLOTILLA_TEMPLATE_FINISH_H

#include "node-agent/template/build_record.h"
#include "node-agent/vm/machine.h"

/* dir: for the machine's log.  *out_exit_code: the start command's, when that is why there is a
 * fault. */
int finish_template(struct vm_launch *launch, const char *dir, const char *state_path,
		    const struct build_record *record, int64_t limit_ms, int *out_exit_code,
		    struct err *err);

#endif
