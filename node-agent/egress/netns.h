/*
 * A network of a sandbox's own: a namespace with a tap device, which leads to the sockets here and
 * nowhere else.  There is no route, no address and no interface that it shares with the host, so
 * what is not carried over by hand (see keeper.h) does not get out; and it is gone with the last
 * of its descriptors, whoever dies how.
 */
#ifndef FLOTILLA_EGRESS_NETNS_H
#define FLOTILLA_EGRESS_NETNS_H

#include "common/base/err.h"

/* What is in the namespace, though it is held from outside. */
struct netns {
	int tap; /* for QEMU */
	int tcp; /* listens: takes every connection, its own address is where it was meant to go */
	int udp; /* gets every datagram, with IP_RECVORIGDSTADDR */
	int raw; /* sends IP packets to the sandbox as from anybody */
};

/*
 * Needs root, or a kernel that lets anybody make a user namespace, and the program nft.  Waits
 * for it: some milliseconds.  Fault: nothing is left.
 */
int netns_make(struct netns *out_netns, struct err *err);

/* As what one calls after that: nothing can be gained from here any more. */
int netns_let_go_of_rights(struct err *err);

#endif
