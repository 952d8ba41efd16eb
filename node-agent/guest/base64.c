/* Standard base64: see base64.h. */
#include "node-agent/guest/base64.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_encode(const char *bytes, size_t bytes_n, char *out)
{
	const unsigned char *in = (const unsigned char *)bytes;
	char *at = out;

	for (; bytes_n >= 3; in += 3, bytes_n -= 3) {
		uint32_t group = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];

		*at++ = alphabet[group >> 18];
		*at++ = alphabet[group >> 12 & 63];
		*at++ = alphabet[group >> 6 & 63];
		*at++ = alphabet[group & 63];
	}
	if (bytes_n) {
		uint32_t group = (uint32_t)in[0] << 16 | (bytes_n > 1 ? (uint32_t)in[1] << 8 : 0);

		*at++ = alphabet[group >> 18];
		*at++ = alphabet[group >> 12 & 63];
		*at++ = bytes_n > 1 ? alphabet[group >> 6 & 63] : '=';
		*at++ = '=';
	}
	return (size_t)(at - out);
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

bool base64_decode(struct http_text text, char *out, size_t *out_n)
{
	uint32_t group = 0;
	size_t digits_n = 0, n = 0;

	for (size_t pad = 0; pad < 2 && text.n && text.at[text.n - 1] == '='; pad++)
		text.n--;
	for (size_t i = 0; i < text.n; i++) {
		int value = digit(text.at[i]);

		if (value < 0)
			return false;
		group = group << 6 | (uint32_t)value;
		if (++digits_n % 4)
			continue;
		out[n++] = (char)(group >> 16);
		out[n++] = (char)(group >> 8);
		out[n++] = (char)group;
	}
	switch (digits_n % 4) {
	case 1:
		return false;
	case 2:
		out[n++] = (char)(group >> 4);
		break;
	case 3:
		out[n++] = (char)(group >> 10);
		out[n++] = (char)(group >> 2);
		break;
	}
	*out_n = n;
	return true;
}
