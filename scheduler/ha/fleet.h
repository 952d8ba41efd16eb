/*
 * The fleet's own key: which secrets it has, and where epochs and positions begin.  Written once,
 * by `flotilla ha init`; and the names of all keys.
 */
#ifndef FLOTILLA_HA_FLEET_H
#define FLOTILLA_HA_FLEET_H

#include "common/io/etcd.h"
#include "scheduler/ha/ha.h"

#define HA_PREFIX      "/flotilla/"
#define HA_KEY_LEADER  HA_PREFIX "leader"
#define HA_KEY_FLEET   HA_PREFIX "fleet"
#define HA_KEY_REPLICA HA_PREFIX "replica/" /* and a name */

enum { HA_GENERATION_MAX = 0x7fff, HA_REVISION_BITS = 48 };

struct fleet {
	uint8_t fingerprint[HA_FINGERPRINT_N];
	uint64_t epoch_base; /* the last epoch before there were several */
	/* Of this fleet key, at random: a position in one etcd is none in the next. */
	uint64_t generation; /* 1..HA_GENERATION_MAX */
};

char *fleet_encode(const struct fleet *fleet); /* to be freed */
int fleet_decode(const struct etcd_kv *kv, struct fleet *out, struct err *err);

char *fleet_peer_encode(const struct ha_peer *peer); /* to be freed */
int fleet_peer_decode(const struct etcd_kv *kv, struct ha_peer *out, struct err *err);

/* A position: a revision of one etcd. 0: nowhere. */
uint64_t fleet_position(const struct fleet *fleet, int64_t revision);
/* 0: it is in another etcd, or nowhere. */
int64_t fleet_revision(const struct fleet *fleet, uint64_t position);

/* This replica may be part of it. kv NULL: there is no such key. */
int fleet_check(const struct etcd_kv *kv, const uint8_t fingerprint[HA_FINGERPRINT_N],
		struct fleet *out, struct err *err);

/* Asks, on a loop of its own; -1: it is not our fleet. An etcd that does not answer is no fault. */
int fleet_check_now(const struct ha_options *options, struct err *err);

#endif
