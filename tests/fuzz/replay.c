/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Runs a fuzzer's function on each file of its corpus, and on each file cut short at every length
 * up to 256 bytes: half an input is what a killed writer or a hostile peer gives. TAP, one line a
 * file; what a file does wrong is told by the sanitizers, which end the program.
 */

#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (1U << 20)

/* A copy of exactly that size, so that a read past its end is seen. */
static void run_exact(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	if (len)
		memcpy(copy, data, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static int replay(const char *dir, const char *name)
{
	static uint8_t buf[INPUT_MAX];
	char path[4096];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f) {
		printf("# %s: %s\n", path, strerror(errno));
		return -errno;
	}
	len = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	run_exact(buf, len);
	for (size_t i = 0; i < len && i < 256; i++)
		run_exact(buf, i);
	return 0;
}

int main(int argc, char **argv)
{
	struct dirent **list;
	int failed = 0, count = 0, n;

	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
		return 2;
	}
	n = scandir(argv[1], &list, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.') {
			int r = replay(argv[1], list[i]->d_name);

			printf("%sok %d - %s\n", r < 0 ? "not " : "", ++count, list[i]->d_name);
			fflush(stdout);
			failed |= r < 0;
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	if (count == 0) /* a corpus that went missing must not pass */
		printf("not ok %d - %s holds no input\n", ++count, argv[1]);
	printf("1..%d\n", count);
	return failed || n <= 0;
}
