/* The gateway's end of a tunnel, for tests: binds whoever dials, makes one request at a time. */
#ifndef FLOTILLA_TESTS_VM_GATE_H
#define FLOTILLA_TESTS_VM_GATE_H

#include "tests/vm/rig.h"

/* On a free port of the loopback interface; sets rig->gateway. */
void gate_listen(struct rig *rig);

void gate_request(struct gate *gate, const char *text, size_t text_n);
void gate_close(struct gate *gate);

#endif
