/* Signing heads, with the events that they are of. */
#include "scheduler/shell/store/internal.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <sodium.h>
#include <string.h>

static const char head_domain[] = "flotilla ledger head 1";

enum { HEAD_TEXT_N = sizeof(head_domain) + 8 + 8 + STORE_HASH_N };

/* What is signed: never the bytes of anything else that the identity signs. */
static void head_text(int64_t event, int64_t at_wall, const uint8_t hash[STORE_HASH_N],
		      uint8_t out[HEAD_TEXT_N])
{
	memcpy(out, head_domain, sizeof(head_domain));
	out += sizeof(head_domain);
	for (int i = 0; i < 8; i++) {
		out[i] = (uint8_t)((uint64_t)event >> (56 - 8 * i));
		out[8 + i] = (uint8_t)((uint64_t)at_wall >> (56 - 8 * i));
	}
	memcpy(out + 16, hash, STORE_HASH_N);
}

bool store_head_is_signed(const struct store_head *head, const uint8_t public_key[])
{
	uint8_t text[HEAD_TEXT_N];

	if (head->hash_n != STORE_HASH_N || head->signature_n != LEDGER_SIGNATURE_N)
		return false;
	head_text(head->event, head->at_wall, head->hash, text);
	return crypto_sign_verify_detached(head->signature, text, sizeof(text), public_key) == 0;
}

/* The last head's event and time; 0 and 0 when there is none. */
static int head_last(struct sqlite *writer, int64_t *out_event, int64_t *out_at, struct err *err)
{
	*out_event = *out_at = 0;
	if (sqlite_bind(writer, STORE_WRITE_HEAD_LAST, SQL_NONE, err))
		return -1;
	int got = sqlite_next(writer, STORE_WRITE_HEAD_LAST, err);
	if (got == 1) {
		*out_event = sqlite_int(writer, STORE_WRITE_HEAD_LAST, 0);
		*out_at = sqlite_int(writer, STORE_WRITE_HEAD_LAST, 1);
		sqlite_reset(writer, STORE_WRITE_HEAD_LAST);
	}
	return got < 0 ? -1 : 0;
}

int store_head_write(struct sqlite *writer, const struct identity *signer, int64_t at_wall,
		     bool is_due, struct err *err)
{
	uint8_t hash[STORE_HASH_N], text[HEAD_TEXT_N], signature[LEDGER_SIGNATURE_N];
	int64_t event, last_event, last_at;

	if (store_chain_end(writer, &event, hash, err) ||
	    head_last(writer, &last_event, &last_at, err))
		return -1;
	if (event == last_event)
		return 0;
	if (!is_due && event - last_event < LEDGER_HEAD_EVENTS &&
	    at_wall - last_at < LEDGER_HEAD_S * NS_PER_S)
		return 0;
	head_text(event, at_wall, hash, text);
	crypto_sign_detached(signature, NULL, text, sizeof(text), signer->secret_key);
	return sqlite_run(writer, STORE_WRITE_HEAD_ADD,
			  SQL(SQL_INT(event), SQL_BLOB(hash, sizeof(hash)), SQL_INT(at_wall),
			      SQL_BLOB(signature, sizeof(signature))),
			  err);
}
