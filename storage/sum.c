/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libcrypto has a type of this name; ours is a status of base/err.h. */
#define ERR_STATE openssl_err_state
#include <openssl/evp.h>
#undef ERR_STATE

#include "storage/sum.h"

#include "base/macro.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define LIBRARY "libcrypto.so." TEXT(OPENSSL_SHLIB_VERSION)

/* Functions of the library, of the types that its header gives them. */
static struct {
	__typeof__(&EVP_MD_CTX_new) new;
	__typeof__(&EVP_MD_CTX_free) free;
	__typeof__(&EVP_sha256) sha256;
	__typeof__(&EVP_DigestInit_ex) init;
	__typeof__(&EVP_DigestUpdate) update;
	__typeof__(&EVP_DigestFinal_ex) final;
} evp;

struct storage_sum {
	EVP_MD_CTX *ctx;
	bool bad;
};

static int link_library(struct err *e)
{
	const struct {
		void *at; /* a pointer to a function, which ISO C does not let a void * be */
		const char *name;
	} wanted[] = {
		{ &evp.free, "EVP_MD_CTX_free" },     { &evp.sha256, "EVP_sha256" },
		{ &evp.init, "EVP_DigestInit_ex" },   { &evp.update, "EVP_DigestUpdate" },
		{ &evp.final, "EVP_DigestFinal_ex" }, { &evp.new, "EVP_MD_CTX_new" },
	};
	void *library;

	if (evp.new) /* the last of them */
		return 0;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		void *f = library ? dlsym(library, wanted[i].name) : NULL;

		if (!f)
			return err_set(e, ERR_UNSUPPORTED, "link " LIBRARY ": %s", dlerror());
		memcpy(wanted[i].at, &f, sizeof(f));
	}
	return 0;
}

int storage_sum_new(struct storage_sum **ret, struct err *e)
{
	struct storage_sum *s;
	int r = link_library(e);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (s)
		s->ctx = evp.new();
	if (!s || !s->ctx || evp.init(s->ctx, evp.sha256(), NULL) != 1) {
		storage_sum_free(s);
		return err_code(e, -ENOMEM, "begin a digest");
	}
	*ret = s;
	return 0;
}

void storage_sum_add(struct storage_sum *s, const void *data, size_t len)
{
	s->bad = evp.update(s->ctx, data, len) != 1 || s->bad;
}

int storage_sum_end(struct storage_sum *s, unsigned char ret[32], struct err *e)
{
	if (s->bad || evp.final(s->ctx, ret, NULL) != 1)
		return err_code(e, -EIO, "make a digest");
	return 0;
}

void storage_sum_free(struct storage_sum *s)
{
	if (s)
		evp.free(s->ctx);
	free(s);
}
