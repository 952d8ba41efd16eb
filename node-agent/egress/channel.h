/*
 * What a shim and its keeper of a network say to each other, over a SOCK_SEQPACKET socket: rules
 * one way, what became of them the other.  A packet is a number and bytes:
 *
 *   shim to keeper   a change's number, and the rules (an encoded message `egress`)
 *   keeper to shim   0 and "", with the tap's descriptor: there is a network, all denied;
 *                    a change's number and "": it is in force; or and a text: why not
 *
 * Whoever sees the other's end closed ends the network.
 */
#ifndef FLOTILLA_EGRESS_CHANNEL_H
#define FLOTILLA_EGRESS_CHANNEL_H

#include "common/base/err.h"
#include "proto/wire.h"

#include <stddef.h>
#include <stdint.h>

enum {
	EGRESS_CHANNEL_FD = 3, /* in the keeper */
	EGRESS_PACKET_MAX = WIRE_EGRESS_MAX,
};

struct egress_packet {
	uint64_t change;
	size_t n;
	uint8_t bytes[EGRESS_PACKET_MAX + 1]; /* with a NUL behind */
	int fd;                               /* that came with it, to be closed; -1: none */
};

/* passed_fd: borrowed; -1: none.  Fault: the other end is gone, or does not read. */
int egress_channel_send(int fd, uint64_t change, const void *bytes, size_t n, int passed_fd,
			struct err *err);

/* 1: a packet; 0: none for now; -1: the other end is gone, or says something else. */
int egress_channel_receive(int fd, struct egress_packet *out_packet);

#endif
