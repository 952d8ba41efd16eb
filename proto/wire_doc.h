/*
 * The wire's documents, written from its tables: WIRE.md for people, and wire.lock, which holds
 * every tag and number ever used and so shows a change that would break what is already out there.
 */
#ifndef FLOTILLA_PROTO_WIRE_DOC_H
#define FLOTILLA_PROTO_WIRE_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

void wire_doc_markdown(FILE *out);

/* One line a tag, kind or value: "poll 8 records list of record". */
void wire_doc_lock(FILE *out);

/*
 * True if everything in 'before' still holds in 'after', both as written by wire_doc_lock: each
 * line is still there, or has become "<message> <tag> <name> retired".  If not, *out_line is copied
 * from the first line that does not hold.
 */
bool wire_lock_holds(const char *before, const char *after, char *out_line, size_t out_line_max);

#endif
