/*
 * The authority by which the sandbox believes the keeper of its network to be the hosts that its
 * tenant has rules for: put where programs look for whom to believe.
 */
#ifndef FLOTILLA_GUEST_AUTHORITY_H
#define FLOTILLA_GUEST_AUTHORITY_H

#include <stdbool.h>

/* Debian's folder for what is believed besides what comes with the system, and a file in it. */
#define AUTHORITY_FILE   "/usr/local/share/ca-certificates/flotilla-egress.crt"
#define AUTHORITY_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

/* Variables that programs with a list of their own read, with what they are to be. */
struct authority_variable {
	const char *name, *value;
};

extern const struct authority_variable authority_variables[];
extern const unsigned authority_variables_n;

/*
 * certificate: PEM.  root: before every path, "" for the system.  In place of the one that was put
 * there before; the same again writes nothing.  False: some place could not be written, say on a
 * full disk.
 */
bool authority_install(const char *root, const char *certificate);

#endif
