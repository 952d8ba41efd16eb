/* Real etcd for tests: members on free ports of this machine, in a folder of their own, to be
 * killed, frozen and started again. Include after cmocka.h. */
#ifndef FLOTILLA_TESTS_IO_ETCD_RIG_H
#define FLOTILLA_TESTS_IO_ETCD_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { ETCD_RIG_MEMBERS_MAX = 3, ETCD_RIG_EXTRA_MAX = 8 };

struct etcd_rig {
	char dir[64];
	int members_n;
	uint16_t client_port[ETCD_RIG_MEMBERS_MAX], peer_port[ETCD_RIG_MEMBERS_MAX];
	pid_t pid[ETCD_RIG_MEMBERS_MAX]; /* 0: does not run */
	char endpoints[256];
	const char *scheme; /* "http" */
	const char *extra[ETCD_RIG_EXTRA_MAX];
};

/* extra: more arguments for each member, NULL at the end; or NULL. */
void etcd_rig_open(struct etcd_rig *rig, int members_n, const char *const *extra);
/* The same with TLS for clients: a certificate for 127.0.0.1 that signs itself, at DIR/tls.crt. */
void etcd_rig_open_tls(struct etcd_rig *rig);
void etcd_rig_close(struct etcd_rig *rig);

void etcd_rig_signal(struct etcd_rig *rig, int member, int signal_number);
/* Kills it and waits for its end. */
void etcd_rig_kill(struct etcd_rig *rig, int member);
/* Starts it again, with what it had written, and waits until it answers. */
void etcd_rig_start(struct etcd_rig *rig, int member);
/* All it had written is gone. While it does not run. */
void etcd_rig_wipe(struct etcd_rig *rig, int member);

#endif
