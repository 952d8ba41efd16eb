/* See init.c. */
#ifndef FLOTILLA_HA_INIT_ROWS_H
#define FLOTILLA_HA_INIT_ROWS_H

#include "scheduler/shell/store/store.h"

/* The current row of a statement DECIDED_..., into the op that its kind says. */
void init_row(struct sqlite *reader, enum store_read at, struct store_op *op);

#endif
