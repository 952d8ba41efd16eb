/* See egress.h. */
#include "node-agent/shell/egress.h"

#include "common/io/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Sticky: what does not fit is told by the parser, since the text then ends in the middle. */
static void text_add(char text[EGRESS_HOST_TEXT_MAX], const char *before, const char *what)
{
	size_t n = strlen(text);

	snprintf(text + n, EGRESS_HOST_TEXT_MAX - n, "%s%s", before, what);
}

static size_t add_list(char text[EGRESS_HOST_TEXT_MAX], const char *key,
		       const struct option_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		text_add(text, i ? "," : key, option_list_at(list, i));
	return list->n;
}

/* The host's own servers of names, as far as they are IPv4. */
static size_t add_resolvers(char text[EGRESS_HOST_TEXT_MAX])
{
	FILE *file = fopen("/etc/resolv.conf", "re");
	char line[256], word[64];
	struct egress_range server;
	size_t n = 0;

	while (file && n < EGRESS_SERVERS_MAX && fgets(line, sizeof(line), file)) {
		if (sscanf(line, " nameserver %63s", word) == 1 && !strchr(word, '/') &&
		    egress_range_parse(word, &server))
			text_add(text, n++ ? "," : ";dns=", word);
	}
	if (file)
		fclose(file);
	return n;
}

/* Says itself what is wrong. */
static int try_keeper(const char *shim, struct err *err)
{
	char path[PATH_MAX], said[256] = "";
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	snprintf(path, sizeof(path), "%.*s/flotilla-egress", (int)(strrchr(shim, '/') - shim),
		 shim);
	if (access(path, X_OK))
		return err_set(err, "--egress on: no program %s", path);
	if (pipe(fds))
		return err_errno(err, errno, "pipe");
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execl(path, "flotilla-egress", "--check", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	n = pid > 0 ? read(fds[0], said, sizeof(said) - 1) : 0;
	close(fds[0]);
	said[n > 0 ? n : 0] = 0;
	said[strcspn(said, "\n")] = 0;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return err_errno(err, errno, "--egress on: %s", path);
	return status ? err_set(err, "--egress on: %s", said) : 0;
}

int egress_settings(const struct agent_options *options, const char *shim,
		    char out_text[EGRESS_HOST_TEXT_MAX], struct err *err)
{
	struct egress_host host;

	out_text[0] = 0;
	if (strcmp(options->egress, "on") != 0)
		return 0;
	if (strlen(options->egress_ca) >= EGRESS_PATH_MAX || strpbrk(options->egress_ca, ";"))
		return err_set(err, "--egress-ca: too long, or with a ';'");
	snprintf(out_text, EGRESS_HOST_TEXT_MAX, "connections=%u", options->egress_connections);
	if (!add_list(out_text, ";dns=", &options->egress_dns) && !add_resolvers(out_text))
		log_warn("agent", "no name server is known: sandboxes will know no names");
	add_list(out_text, ";open=", &options->egress_open);
	text_add(out_text, ";ca=", options->egress_ca);
	if (strlen(out_text) == EGRESS_HOST_TEXT_MAX - 1)
		return err_set(err, "--egress-open: too many networks");
	return egress_host_parse(out_text, &host, err) || try_keeper(shim, err) ? -1 : 0;
}
