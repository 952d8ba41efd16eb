/* Listings: what is accepted stays inside a store, and inside its files. */
#include "node-agent/carry/listing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ID     "0123456789abcdef0123456789abcdef01234567"
#define OTHER  "ffffffffffffffffffffffffffffffffffffffff"
#define DIGEST "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define BEGIN  "flotilla-listing 1 " ID "\n"
#define MEM    "file snapshot/" ID "/mem 3000000 644\n"

static void a_listing_is_read(void **state)
{
	static const char text[] =
		BEGIN MEM "0 1048576 " DIGEST "\n2000000 1000000 " DIGEST "\nfile rootfs/" OTHER
			  "/rootfs.img 5 444\n"
			  "0 5 " DIGEST "\nfile snapshot/" ID "/disk.img 0 644\nend\n";
	struct listing listing;
	char id[LISTING_ID_N + 1];
	struct err err;

	(void)state;
	assert_int_equal(listing_parse(text, sizeof(text) - 1, &listing, &err), 0);
	assert_string_equal(listing.id, ID);
	assert_int_equal(listing.files_n, 3);
	assert_int_equal(listing.pieces_n, 3);
	assert_int_equal(listing.bytes, 1048576 + 1000000 + 5);
	assert_int_equal(listing.files[1].first_piece, 2);
	assert_int_equal(listing.files[1].mode, 0444);
	assert_int_equal(listing.pieces[1].offset, 2000000);
	assert_int_equal(listing.pieces[0].digest[31], 31);
	assert_true(listing_is_snapshot(&listing.files[0]));
	listing_folder_id(&listing.files[1], id);
	assert_string_equal(id, OTHER);
	listing_free(&listing);
}

static void what_is_saved_is_listed_alone(void **state)
{
	static const char text[] = BEGIN "file saved/" ID "/memory 5 600\n0 5 " DIGEST
					 "\nfile saved/" ID "/manifest.json 0 600\nend\n";
	struct listing listing;
	struct err err;

	(void)state;
	assert_int_equal(listing_parse(text, sizeof(text) - 1, &listing, &err), 0);
	assert_true(listing_is_saved(&listing.files[1]));
	assert_false(listing_is_snapshot(&listing.files[1]));
	listing_free(&listing);
}

static void anything_else_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"flotilla-listing 2 " ID "\n" MEM "end\n",
		BEGIN "end\n",
		BEGIN MEM,
		BEGIN MEM "end\nmore",
		BEGIN "0 5 " DIGEST "\n" MEM "end\n",
		/* paths */
		BEGIN "file snapshot/" OTHER "/mem 5 644\nend\n",
		BEGIN "file snapshot/" ID "/../mem 5 644\nend\n",
		BEGIN "file snapshot/" ID "/.mem 5 644\nend\n",
		BEGIN "file snapshot/" ID "/a/b 5 644\nend\n",
		BEGIN "file snapshot/" ID "/ 5 644\nend\n",
		BEGIN "file name/base 5 644\nend\n",
		BEGIN "file /etc/passwd 5 644\nend\n",
		BEGIN MEM MEM "end\n",
		BEGIN "file rootfs/" OTHER "/a 5 644\nfile rootfs/" ID "/b 5 644\nend\n",
		BEGIN "file saved/" OTHER "/memory 5 600\nend\n",
		BEGIN "file saved/" ID "/../memory 5 600\nend\n",
		BEGIN "file saved/" ID "/memory 5 600\n" MEM "end\n",
		BEGIN MEM "file saved/" ID "/memory 5 600\nend\n",
		BEGIN "file rootfs/" OTHER "/a 5 644\nfile saved/" ID "/memory 5 600\nend\n",
		/* numbers */
		BEGIN "file snapshot/" ID "/mem 99999999999999999999 644\nend\n",
		BEGIN "file snapshot/" ID "/mem 18446744073709551621 644\nend\n",
		BEGIN "file snapshot/" ID "/mem 05 644\nend\n",
		BEGIN "file snapshot/" ID "/mem -5 644\nend\n",
		BEGIN "file snapshot/" ID "/mem 5 4755\nend\n",
		BEGIN "file snapshot/" ID "/mem 5 689\nend\n",
		/* pieces */
		BEGIN MEM "0 0 " DIGEST "\nend\n",
		BEGIN MEM "0 1048577 " DIGEST "\nend\n",
		BEGIN MEM "2999999 2 " DIGEST "\nend\n",
		BEGIN MEM "3000001 1 " DIGEST "\nend\n",
		BEGIN MEM "0 5 " DIGEST "\n4 5 " DIGEST "\nend\n",
		BEGIN MEM "5 5 " DIGEST "\n0 5 " DIGEST "\nend\n",
		BEGIN MEM "0 5 00\nend\n",
		BEGIN MEM "0 5 " DIGEST "0\nend\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct listing listing;
		struct err err;
		if (listing_parse(texts[i], strlen(texts[i]), &listing, &err) == 0)
			fail_msg("accepted: %s", texts[i]);
	}
}

static void a_listing_has_few_files(void **state)
{
	char text[LISTING_FILES_MAX * 128 + 512];
	struct listing listing;
	struct err err;

	(void)state;
	for (int files = LISTING_FILES_MAX; files <= LISTING_FILES_MAX + 1; files++) {
		int n = sprintf(text, BEGIN);
		for (int i = 0; i < files; i++)
			n += sprintf(text + n, "file snapshot/" ID "/f%d 0 644\n", i);
		n += sprintf(text + n, "end\n");
		assert_int_equal(listing_parse(text, (size_t)n, &listing, &err),
				 files == LISTING_FILES_MAX ? 0 : -1);
		if (files == LISTING_FILES_MAX)
			listing_free(&listing);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listing_is_read),
		cmocka_unit_test(what_is_saved_is_listed_alone),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(a_listing_has_few_files),
	};

	return cmocka_run_group_tests_name("carry.listing", tests, NULL, NULL);
}
