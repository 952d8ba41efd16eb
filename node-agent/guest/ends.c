/* What joins a process to us: see ends.h. */
#include "node-agent/guest/ends.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static const struct ends nothing = {-1, -1, -1, -1, -1, {-1, -1, -1}};

static void end_close(int *end)
{
	if (*end >= 0)
		close(*end);
	*end = -1;
}

void ends_close_theirs(struct ends *ends)
{
	for (int i = 0; i < 3; i++)
		end_close(&ends->theirs[i]);
}

void ends_close_ours(struct ends *ends)
{
	end_close(&ends->input);
	end_close(&ends->output);
	end_close(&ends->error);
	end_close(&ends->terminal);
	end_close(&ends->held);
}

static int give_up(struct ends *ends, struct err *err, const char *purpose)
{
	int number = errno;

	ends_close_theirs(ends);
	ends_close_ours(ends);
	err_errno(err, number, "%s", purpose);
	errno = number;
	return -1;
}

/* Each end has flags of its own: theirs stays as programs expect it. */
static int pipe_open(int *out_ours, int *out_theirs, bool we_write)
{
	int both[2];

	if (pipe2(both, O_CLOEXEC))
		return -1;
	*out_ours = both[we_write];
	*out_theirs = both[!we_write];
	return fcntl(*out_ours, F_SETFL, O_NONBLOCK);
}

int ends_open_pipes(struct ends *ends, bool has_stdin, struct err *err)
{
	*ends = nothing;
	if (has_stdin ? pipe_open(&ends->input, &ends->theirs[0], true)
		      : (ends->theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
		return give_up(ends, err, "standard input");
	if (pipe_open(&ends->output, &ends->theirs[1], false) ||
	    pipe_open(&ends->error, &ends->theirs[2], false))
		return give_up(ends, err, "standard output");
	return 0;
}

int ends_open_terminal(struct ends *ends, const struct winsize *size, const struct user *user,
		       struct err *err)
{
	int locked = 0, flags = O_RDWR | O_NOCTTY | O_CLOEXEC, slave;

	*ends = nothing;
	ends->terminal = open("/dev/ptmx", flags | O_NONBLOCK);
	if (ends->terminal < 0 || ioctl(ends->terminal, TIOCSPTLCK, &locked) ||
	    ioctl(ends->terminal, TIOCSWINSZ, size))
		return give_up(ends, err, "open a terminal");
	/* The other side without its name: no /dev/pts of somebody else can come between. */
	slave = ioctl(ends->terminal, TIOCGPTPEER, flags);
	if (slave < 0)
		return give_up(ends, err, "open a terminal");
	ends->theirs[0] = slave;
	/* Programs open their terminal again by its name. */
	if (!geteuid() && fchown(slave, user->uid, (gid_t)-1))
		return give_up(ends, err, "give the terminal to its user");
	for (int i = 1; i < 3; i++)
		if ((ends->theirs[i] = fcntl(slave, F_DUPFD_CLOEXEC, 3)) < 0)
			return give_up(ends, err, "open a terminal");
	ends->held = fcntl(slave, F_DUPFD_CLOEXEC, 3);
	/* A descriptor of its own: an event loop watches each for one purpose only. */
	ends->input = fcntl(ends->terminal, F_DUPFD_CLOEXEC, 3);
	return ends->held < 0 || ends->input < 0 ? give_up(ends, err, "open a terminal") : 0;
}
