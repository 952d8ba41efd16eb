#include "common/io/nearest.h"

#include <string.h>

enum { WORD_MAX = 64 };

static size_t min_of(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Levenshtein's distance, one row at a time; words beyond WORD_MAX are near to nothing. */
static size_t distance_of(const char *a, const char *b)
{
	size_t a_n = strlen(a), b_n = strlen(b);
	size_t row[WORD_MAX + 1];

	if (a_n > WORD_MAX || b_n > WORD_MAX)
		return WORD_MAX + 1;
	for (size_t j = 0; j <= b_n; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_n; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_n; j++) {
			size_t above = row[j];
			size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);

			row[j] = min_of(change, min_of(above, row[j - 1]) + 1);
			diagonal = above;
		}
	}
	return row[b_n];
}

struct nearest nearest_begin(const char *word)
{
	/* A third of the letters may be wrong, and two always: "poool", "hlep". */
	size_t allowed = strlen(word) / 3;

	return (struct nearest){.word = word, .distance = (allowed < 2 ? 2 : allowed) + 1};
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
	size_t distance = distance_of(nearest->word, candidate);

	/* A word that shares no letter with what was typed is no suggestion. */
	if (distance < nearest->distance && distance < strlen(candidate)) {
		nearest->best = candidate;
		nearest->distance = distance;
	}
}
