/* RFC 3339 dates, with the proleptic Gregorian calendar done by hand: timegm would take "Feb 31".
 */
#include "scheduler/shell/api/schema.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NS_PER_SECOND 1000000000LL

/* Days since 1970 of a date; years 1..9999. */
static int64_t time_days(int64_t year, int64_t month, int64_t day)
{
	year -= month <= 2;
	int64_t era = year / 400;
	int64_t of_era = year - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int time_days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* Exactly n digits. */
static bool time_number(const char **text, int n, int low, int high, int *out)
{
	int value = 0;

	for (int i = 0; i < n; i++) {
		if (!isdigit((unsigned char)(*text)[i]))
			return false;
		value = value * 10 + ((*text)[i] - '0');
	}
	*text += n;
	*out = value;
	return value >= low && value <= high;
}

static bool time_skip(const char **text, const char *any_of)
{
	if (**text == 0 || !strchr(any_of, **text))
		return false;
	(*text)++;
	return true;
}

/* ".123456789…" to nanoseconds; what is beyond them is dropped. */
static bool time_fraction(const char **text, int64_t *out_ns)
{
	int64_t unit = NS_PER_SECOND;

	*out_ns = 0;
	if (!time_skip(text, "."))
		return true;
	if (!isdigit((unsigned char)**text))
		return false;
	while (isdigit((unsigned char)**text)) {
		unit /= 10;
		*out_ns += unit * (**text - '0');
		(*text)++;
	}
	return true;
}

static bool time_zone(const char **text, int64_t *out_s)
{
	int hours, minutes;
	char sign = **text;

	*out_s = 0;
	if (time_skip(text, "Zz"))
		return true;
	if (!time_skip(text, "+-") || !time_number(text, 2, 0, 23, &hours) ||
	    !time_skip(text, ":") || !time_number(text, 2, 0, 59, &minutes))
		return false;
	*out_s = (hours * 60 + minutes) * 60;
	if (sign == '-')
		*out_s = -*out_s;
	return true;
}

bool time_parse(const char *text, int64_t *out_ns)
{
	int year, month, day, hour, minute, second;
	int64_t fraction, zone_s;

	/* Beyond these years nanoseconds do not fit. */
	if (!time_number(&text, 4, 1700, 2250, &year) || !time_skip(&text, "-") ||
	    !time_number(&text, 2, 1, 12, &month) || !time_skip(&text, "-") ||
	    !time_number(&text, 2, 1, time_days_in(year, month), &day) ||
	    !time_skip(&text, "Tt ") || !time_number(&text, 2, 0, 23, &hour) ||
	    !time_skip(&text, ":") || !time_number(&text, 2, 0, 59, &minute) ||
	    !time_skip(&text, ":") || !time_number(&text, 2, 0, 60, &second) ||
	    !time_fraction(&text, &fraction) || !time_zone(&text, &zone_s) || *text != 0)
		return false;
	*out_ns = (time_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second -
		   zone_s) *
			  NS_PER_SECOND +
		  fraction;
	return true;
}

void time_format(int64_t ns, char out_text[TIME_TEXT_MAX])
{
	time_t seconds = (time_t)(ns / NS_PER_SECOND);
	int64_t rest = ns % NS_PER_SECOND;
	struct tm tm;
	size_t n;

	if (rest < 0) {
		rest += NS_PER_SECOND;
		seconds--;
	}
	gmtime_r(&seconds, &tm);
	n = strftime(out_text, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out_text + n, TIME_TEXT_MAX - n, ".%03dZ", (int)(rest / 1000000));
}
