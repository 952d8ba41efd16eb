/* One option's value: from text into the struct, and back. */
#include "common/base/check.h"
#include "common/io/options.h"

#include <stdlib.h>
#include <string.h>

struct unit {
	const char *text;
	uint64_t factor;
};

static const struct unit duration_units[] = {
	{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};
static const struct unit size_units[] = {
	{"B", 1},
	{"KiB", 1ull << 10},
	{"MiB", 1ull << 20},
	{"GiB", 1ull << 30},
	{"TiB", 1ull << 40},
	{NULL, 0},
};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum option_type type)
{
	if (type == OPTION_TYPE_DURATION)
		return duration_units;
	return type == OPTION_TYPE_SIZE ? size_units : no_units;
}

/* Digits and a unit, over text_n characters; a bare 0 needs no unit. */
static bool number_parse(const char *text, size_t text_n, const struct unit *units, uint64_t *out)
{
	uint64_t value = 0;
	size_t i = 0;

	for (; i < text_n && text[i] >= '0' && text[i] <= '9'; i++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
			return false;
	if (i == 0)
		return false;
	if (i == text_n && value == 0) {
		*out = 0;
		return true;
	}
	for (; units->text; units++) {
		if (strlen(units->text) != text_n - i ||
		    memcmp(units->text, text + i, text_n - i) != 0)
			continue;
		return !__builtin_mul_overflow(value, units->factor, out);
	}
	return false;
}

static bool number_is_in_range(const struct option_spec *row, uint64_t value)
{
	const char *dots = strstr(row->argument, "..");
	const struct unit *units = units_of(row->type);
	uint64_t low, high;

	if (!dots || !number_parse(row->argument, (size_t)(dots - row->argument), units, &low) ||
	    !number_parse(dots + 2, strlen(dots + 2), units, &high))
		return true;
	return value >= low && value <= high;
}

static bool bool_parse(const char *text, bool *out)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

	for (size_t i = 0; i < ARRAY_N(words); i++) {
		if (strcmp(text, words[i]) == 0) {
			*out = i % 2 == 1;
			return true;
		}
	}
	return false;
}

static bool choice_is_allowed(const char *choices, const char *text)
{
	size_t n = strlen(text);

	for (const char *at = choices; n; at++) {
		size_t length = strcspn(at, "|");

		if (length == n && memcmp(at, text, n) == 0)
			return true;
		at += length;
		if (!*at)
			break;
	}
	return false;
}

/* Splits at commas; blanks around items and empty items vanish. */
static void list_parse(const char *text, struct option_list *out)
{
	size_t used = 0;

	memset(out, 0, sizeof(*out));
	while (*text) {
		size_t length = strcspn(text, ",");
		const char *from = text, *end = text + length;

		while (from < end && (*from == ' ' || *from == '\t'))
			from++;
		while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		if (end > from) {
			memcpy(out->text + used, from, (size_t)(end - from));
			used += (size_t)(end - from) + 1;
			out->n++;
		}
		text += length + (text[length] == ',');
	}
}

const char *option_list_at(const struct option_list *list, size_t i)
{
	const char *item = list->text;

	CHECK(i < list->n);
	while (i--)
		item += strlen(item) + 1;
	return item;
}

static const char *type_name(enum option_type type)
{
	switch (type) {
	case OPTION_TYPE_TEXT:
	case OPTION_TYPE_PATH:
		return "a text of at most 511 bytes";
	case OPTION_TYPE_CHOICE:
		return "one of the words allowed";
	case OPTION_TYPE_U32:
	case OPTION_TYPE_U64:
		return "a whole number";
	case OPTION_TYPE_BOOL:
		return "yes or no";
	case OPTION_TYPE_DURATION:
		return "a duration with a unit (ms, s, m, h, d)";
	case OPTION_TYPE_SIZE:
		return "a size with a unit (B, KiB, MiB, GiB, TiB)";
	case OPTION_TYPE_ADDRESS:
		return "HOST:PORT";
	case OPTION_TYPE_LIST:
		return "a list of at most 511 bytes";
	}
	return "";
}

static const char *type_example(enum option_type type)
{
	switch (type) {
	case OPTION_TYPE_TEXT:
	case OPTION_TYPE_CHOICE:
		return "text";
	case OPTION_TYPE_PATH:
		return "/path/to/file";
	case OPTION_TYPE_U32:
	case OPTION_TYPE_U64:
		return "4";
	case OPTION_TYPE_BOOL:
		return "yes";
	case OPTION_TYPE_DURATION:
		return "15m";
	case OPTION_TYPE_SIZE:
		return "512MiB";
	case OPTION_TYPE_ADDRESS:
		return "127.0.0.1:3000";
	case OPTION_TYPE_LIST:
		return "one, two";
	}
	return "";
}

/* What was wrong, what is wanted, and an example. */
static int refuse(const struct option_spec *row, const char *text, struct err *err)
{
	const char *example = row->text && row->text[0] ? row->text : type_example(row->type);
	bool lists_values = row->type == OPTION_TYPE_CHOICE || strstr(row->argument, "..");
	const char *quote = row->flags & OPTION_SECRET ? "" : "\"";

	if (row->flags & OPTION_SECRET)
		text = "its value";
	return err_set(err, "%s%s%s: %s%.64s%s is not %s%s%s%s; write it like: %s", row->section,
		       row->section[0] ? "." : "", row->name, quote, text, quote,
		       type_name(row->type), lists_values ? " (" : "",
		       lists_values ? row->argument : "", lists_values ? ")" : "", example);
}

int option_parse(const struct option_spec *row, const char *text, void *values, struct err *err)
{
	void *at = (char *)values + row->offset;
	size_t text_n = strlen(text);
	uint64_t number;
	struct address none = {0};

	switch (row->type) {
	case OPTION_TYPE_CHOICE:
		if (!choice_is_allowed(row->argument, text))
			return refuse(row, text, err);
		__attribute__((fallthrough));
	case OPTION_TYPE_TEXT:
	case OPTION_TYPE_PATH:
		if (text_n >= OPTION_TEXT_MAX)
			return refuse(row, text, err);
		memset(at, 0, OPTION_TEXT_MAX);
		memcpy(at, text, text_n);
		return 0;
	case OPTION_TYPE_U32:
	case OPTION_TYPE_U64:
	case OPTION_TYPE_DURATION:
	case OPTION_TYPE_SIZE:
		if (!number_parse(text, text_n, units_of(row->type), &number) ||
		    !number_is_in_range(row, number) ||
		    (row->type == OPTION_TYPE_U32 && number > UINT32_MAX))
			return refuse(row, text, err);
		if (row->type == OPTION_TYPE_U32)
			*(uint32_t *)at = (uint32_t)number;
		else
			*(uint64_t *)at = number;
		return 0;
	case OPTION_TYPE_BOOL:
		return bool_parse(text, at) ? 0 : refuse(row, text, err);
	case OPTION_TYPE_ADDRESS:
		if (text_n == 0)
			*(struct address *)at = none;
		else if (!address_parse(text, at))
			return refuse(row, text, err);
		return 0;
	case OPTION_TYPE_LIST:
		if (text_n >= OPTION_TEXT_MAX)
			return refuse(row, text, err);
		list_parse(text, at);
		return 0;
	}
	return refuse(row, text, err);
}

/* In the largest unit that leaves no rest. */
static void number_format(uint64_t value, const struct unit *units, char out_text[OPTION_TEXT_MAX])
{
	const struct unit *best = units;

	for (; units->text; units++)
		if (value && value % units->factor == 0)
			best = units;
	snprintf(out_text, OPTION_TEXT_MAX, "%llu%s", (unsigned long long)(value / best->factor),
		 value ? best->text : "");
}

void option_format(const struct option_spec *row, const void *values,
		   char out_text[OPTION_TEXT_MAX])
{
	const void *at = (const char *)values + row->offset;
	const struct option_list *list = at;
	const struct address *address = at;
	size_t used = 0;

	out_text[0] = 0;
	switch (row->type) {
	case OPTION_TYPE_TEXT:
	case OPTION_TYPE_PATH:
	case OPTION_TYPE_CHOICE:
		memcpy(out_text, at, OPTION_TEXT_MAX);
		return;
	case OPTION_TYPE_U32:
		snprintf(out_text, OPTION_TEXT_MAX, "%u", *(const uint32_t *)at);
		return;
	case OPTION_TYPE_U64:
	case OPTION_TYPE_DURATION:
	case OPTION_TYPE_SIZE:
		number_format(*(const uint64_t *)at, units_of(row->type), out_text);
		return;
	case OPTION_TYPE_BOOL:
		snprintf(out_text, OPTION_TEXT_MAX, "%s", *(const bool *)at ? "yes" : "no");
		return;
	case OPTION_TYPE_ADDRESS:
		if (address->host[0])
			address_format(address, out_text);
		return;
	case OPTION_TYPE_LIST:
		/* Commas take the place of the NULs: it fits where the list fitted. */
		for (size_t i = 0; i < list->n && used < OPTION_TEXT_MAX; i++)
			used += (size_t)snprintf(out_text + used, OPTION_TEXT_MAX - used, "%s%s",
						 i ? "," : "", option_list_at(list, i));
		return;
	}
}
