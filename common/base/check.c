#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_broken(const char *promise, const char *file, int line)
{
	fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, promise);
	abort();
}
