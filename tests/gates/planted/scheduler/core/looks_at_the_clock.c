/* Planted: a core that is not pure and does not keep to its layer, to prove that the gates see it.
 */
#include "common/io/log.h"

#include <time.h>

time_t planted_look_at_the_clock(void);

time_t planted_look_at_the_clock(void)
{
	return time(NULL);
}
