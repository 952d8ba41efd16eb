#include "common/base/err.h"

#include <stdio.h>
#include <string.h>

static void err_format(struct err *err, const char *format, va_list args)
{
	vsnprintf(err->text, sizeof(err->text), format, args);
}

static void err_append(struct err *err, const char *text)
{
	size_t used = strlen(err->text);

	snprintf(err->text + used, sizeof(err->text) - used, "%s", text);
}

int err_set(struct err *err, const char *format, ...)
{
	va_list args;

	if (!err)
		return -1;
	va_start(args, format);
	err_format(err, format, args);
	va_end(args);
	return -1;
}

int err_errno(struct err *err, int number, const char *format, ...)
{
	va_list args;

	if (!err)
		return -1;
	va_start(args, format);
	err_format(err, format, args);
	va_end(args);
	err_append(err, ": ");
	err_append(err, strerror(number));
	return -1;
}

int err_wrap(struct err *err, const char *format, ...)
{
	struct err inner;
	va_list args;

	if (!err)
		return -1;
	inner = *err;
	va_start(args, format);
	err_format(err, format, args);
	va_end(args);
	err_append(err, ": ");
	err_append(err, inner.text);
	return -1;
}
