/* flotilla-agent's options as a struct; declared in options.def. */
#ifndef FLOTILLA_NODE_OPTIONS_H
#define FLOTILLA_NODE_OPTIONS_H

#include "common/io/options.h"

struct agent_options {
#define OPTION OPTION_MEMBER
#include "node-agent/shell/options.def"
#undef OPTION
};

#endif
