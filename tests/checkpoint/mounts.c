/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/checkpoint/guest.h"
int main(void) { return done(); }
