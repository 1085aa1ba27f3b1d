/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/history.h"

#include "base/macro.h"

bool history_add(struct history *h, const char *data, size_t len)
{
	char *bigger;

	if (!h->open || h->len + len > MIB(16))
		return false;
	bigger = realloc(h->text, h->len + len);
	if (!bigger)
		return false;
	h->text = bigger;
	memcpy(h->text + h->len, data, len);
	h->len += len;
	return true;
}

char *history_close(struct history *h, size_t *ret_len)
{
	long lines = h->lines;
	size_t at = h->len;

	h->open = false;
	if (at > 0 && h->text[at - 1] == '\n')
		at--;
	for (; at > 0; at--)
		if (h->text[at - 1] == '\n' && --lines <= 0)
			break;
	*ret_len = h->lines > 0 ? h->len - at : 0;
	return h->text ? h->text + at : NULL;
}

void history_done(struct history *h)
{
	free(h->text);
	*h = (struct history){ 0 };
}
