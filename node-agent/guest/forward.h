/* Streams of the channel to the ports that programs of the sandbox listen on. */
#ifndef FLOTILLA_GUEST_FORWARD_H
#define FLOTILLA_GUEST_FORWARD_H

#include <stdint.h>

#include "node-agent/guest/channel.h"

/* Connects to 127.0.0.1, then to ::1; accepts the stream then, or resets it as refused. */
void forward_open(struct channel *channel, uint32_t stream, uint16_t port);

#endif
