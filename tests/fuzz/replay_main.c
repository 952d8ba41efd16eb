/* Replays every file of a corpus folder through a fuzz target, so that what was once found stays
 * found. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *folder, const char *name)
{
	char path[4096];
	uint8_t *data = NULL;
	FILE *file;
	long size;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0)
		return -1;
	rewind(file);
	/* Exactly as large as the input: the sanitizer then sees a read past its end. */
	data = malloc((size_t)size ? (size_t)size : 1);
	if (!data || fread(data, 1, (size_t)size, file) != (size_t)size)
		return -1;
	LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
	fclose(file);
	return 0;
}

int main(int argc, char **argv)
{
	struct dirent *entry;
	int replayed_n = 0;
	DIR *folder;

	if (argc != 2 || !(folder = opendir(argv[1]))) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		if (replay_file(argv[1], entry->d_name)) {
			fprintf(stderr, "cannot read %s/%s\n", argv[1], entry->d_name);
			return 1;
		}
		replayed_n++;
	}
	closedir(folder);
	printf("%d inputs replayed\n", replayed_n);
	return replayed_n > 0 ? 0 : 1; /* an empty corpus proves nothing */
}
