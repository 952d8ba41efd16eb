/* The books: every movement of money adds up to zero, and what lines cost is what was earned. */
#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

int ledger_books_begin(struct ledger_books *books, struct sqlite *reader, struct err *err)
{
	*books = (struct ledger_books){.reader = reader};
	if (sqlite_bind(reader, STORE_READ_BOOKS_END, SQL_NONE, err) ||
	    sqlite_next(reader, STORE_READ_BOOKS_END, err) != 1)
		return -1;
	books->lines_end = sqlite_int(reader, STORE_READ_BOOKS_END, 0);
	books->entries_end = sqlite_int(reader, STORE_READ_BOOKS_END, 1);
	sqlite_reset(reader, STORE_READ_BOOKS_END);
	return 0;
}

static int books_add_lines(struct ledger_books *books, int64_t max, struct err *err)
{
	if (sqlite_bind(books->reader, STORE_READ_LINES_SUM,
			SQL(SQL_INT(books->line), SQL_INT(books->lines_end), SQL_INT(max)), err) ||
	    sqlite_next(books->reader, STORE_READ_LINES_SUM, err) != 1)
		return -1;
	int64_t last = sqlite_int(books->reader, STORE_READ_LINES_SUM, 0);
	books->lines_nano += sqlite_int(books->reader, STORE_READ_LINES_SUM, 1);
	sqlite_reset(books->reader, STORE_READ_LINES_SUM);
	books->line = last ? last : books->lines_end;
	return 0;
}

static int books_fault(struct ledger_books *books, struct err *err)
{
	books->damaged = true;
	if (books->movement_nano != 0)
		return err_set(err, "money: movement %s does not add up to zero", books->movement);
	return err_set(err, "money: lines cost %lld nano-dollars, and %lld were earned",
		       (long long)books->lines_nano, (long long)books->earned_nano);
}

/* Entries of a movement follow each other, so one sum at a time is enough. */
static int books_add_entry(struct ledger_books *books, struct err *err)
{
	struct sqlite *reader = books->reader;
	const char *movement = sqlite_text(reader, STORE_READ_ENTRIES, 1);
	int64_t amount_nano = sqlite_int(reader, STORE_READ_ENTRIES, 3);

	books->entry = sqlite_int(reader, STORE_READ_ENTRIES, 0);
	if (strcmp(movement, books->movement) != 0) {
		if (books->movement_nano != 0)
			return books_fault(books, err);
		snprintf(books->movement, sizeof(books->movement), "%s", movement);
	}
	books->movement_nano += amount_nano;
	if (sqlite_int(reader, STORE_READ_ENTRIES, 2) == STORE_ACCOUNT_REVENUE)
		books->earned_nano -= amount_nano;
	return 0;
}

static int books_add_entries(struct ledger_books *books, int64_t max, struct err *err)
{
	int64_t before = books->entry;
	int got;

	if (sqlite_bind(books->reader, STORE_READ_ENTRIES,
			SQL(SQL_INT(books->entry), SQL_INT(books->entries_end), SQL_INT(max)), err))
		return -1;
	while ((got = sqlite_next(books->reader, STORE_READ_ENTRIES, err)) == 1) {
		if (books_add_entry(books, err)) {
			sqlite_reset(books->reader, STORE_READ_ENTRIES);
			return -1;
		}
	}
	if (books->entry == before)
		books->entry = books->entries_end;
	return got;
}

int ledger_books_step(struct ledger_books *books, int64_t max, struct err *err)
{
	if (books->line < books->lines_end)
		return books_add_lines(books, max, err) ? -1 : 1;
	if (books->entry < books->entries_end)
		return books_add_entries(books, max, err) ? -1 : 1;
	if (books->movement_nano != 0 || books->lines_nano != books->earned_nano)
		return books_fault(books, err);
	return 0;
}

int ledger_check_books(struct sqlite *reader, struct err *err)
{
	struct ledger_books books;
	int got = ledger_books_begin(&books, reader, err) ? -1 : 1;

	while (got == 1)
		got = ledger_books_step(&books, LEDGER_STEP, err);
	return got;
}
