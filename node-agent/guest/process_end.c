/* How the end of a process is told.  Pure. */
#include "node-agent/guest/process.h"

#include <stdio.h>
#include <sys/wait.h>

#include "common/base/check.h"

/* The words of Go's syscall package for Linux, which E2B's daemon is written with. */
static const char *const signal_names[] = {
	[1] = "hangup",
	[2] = "interrupt",
	[3] = "quit",
	[4] = "illegal instruction",
	[5] = "trace/breakpoint trap",
	[6] = "aborted",
	[7] = "bus error",
	[8] = "floating point exception",
	[9] = "killed",
	[10] = "user defined signal 1",
	[11] = "segmentation fault",
	[12] = "user defined signal 2",
	[13] = "broken pipe",
	[14] = "alarm clock",
	[15] = "terminated",
	[16] = "stack fault",
	[17] = "child exited",
	[18] = "continued",
	[19] = "stopped (signal)",
	[20] = "stopped",
	[21] = "stopped (tty input)",
	[22] = "stopped (tty output)",
	[23] = "urgent I/O condition",
	[24] = "CPU time limit exceeded",
	[25] = "file size limit exceeded",
	[26] = "virtual timer expired",
	[27] = "profiling timer expired",
	[28] = "window changed",
	[29] = "I/O possible",
	[30] = "power failure",
	[31] = "bad system call",
};

json_t *process_end_event(int status)
{
	const char *core;
	char text[64];
	int number;

	if (WIFEXITED(status)) {
		number = WEXITSTATUS(status);
		snprintf(text, sizeof(text), "exit status %d", number);
		return json_pack("{s:{s:{s:i,s:b,s:s,s:s*}}}", "event", "end", "exitCode", number,
				 "exited", 1, "status", text, "error", number ? text : NULL);
	}
	number = WTERMSIG(status);
	core = WCOREDUMP(status) ? " (core dumped)" : "";
	if (number > 0 && (size_t)number < ARRAY_N(signal_names))
		snprintf(text, sizeof(text), "signal: %s%s", signal_names[number], core);
	else
		snprintf(text, sizeof(text), "signal: signal %d%s", number, core);
	return json_pack("{s:{s:{s:i,s:b,s:s,s:s}}}", "event", "end", "exitCode", -1, "exited", 0,
			 "status", text, "error", text);
}
