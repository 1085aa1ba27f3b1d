/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/machine.h"

#include "tests/unit/tap.h"

/* A row that was left out is all zero: SUP_NO without a reason. */
TEST(table_is_full)
{
	for (int s = 0; s < SUP_STATE_COUNT; s++)
		for (int ev = 0; ev < SUP_EVENT_COUNT; ev++) {
			const struct sup_rule *r = sup_rule(s, ev);

			ok((r->verdict == SUP_NO) == (r->why != NULL), "%s, %s: a reason or a way",
			   sup_state_name(s), sup_event_name(ev));
			ok(r->verdict != SUP_GO || (r->next < SUP_STATE_COUNT && (int)r->next != s),
			   "%s, %s: somewhere else", sup_state_name(s), sup_event_name(ev));
		}
}

/* From each state the events that happen lead back to stopped. */
TEST(every_start_ends)
{
	static const enum sup_state alive[] = { SUP_STARTING, SUP_RUNNING, SUP_PAUSED, SUP_STOPPING };
	static const enum sup_state moving[] = { SUP_SAVING, SUP_RESTORING };

	for (size_t i = 0; i < sizeof(moving) / sizeof(*moving); i++) {
		ok(sup_rule(moving[i], SUP_EV_ENDED)->next == SUP_STOPPED, "state %d may end", (int)moving[i]);
		ok(sup_rule(moving[i], SUP_EV_SUSPENDED)->next == SUP_SUSPENDED, "or be suspended");
	}
	for (size_t i = 0; i < sizeof(alive) / sizeof(*alive); i++) {
		const struct sup_rule *r = sup_rule(alive[i], SUP_EV_ENDED);

		ok(r->verdict == SUP_GO && r->next == SUP_STOPPED, "%s ends in stopped",
		   sup_state_name(alive[i]));
		r = sup_rule(alive[i], SUP_EV_STOP);
		ok(r->verdict == SUP_JOIN || (r->verdict == SUP_GO && r->next == SUP_STOPPING),
		   "%s can be stopped", sup_state_name(alive[i]));
	}
}

/* An image is written and read only by what ends in one of two states, or goes back. */
TEST(suspended_by_an_image_alone)
{
	for (int s = 0; s < SUP_STATE_COUNT; s++) {
		const struct sup_rule *r = sup_rule(s, SUP_EV_SUSPENDED);

		ok(r->verdict != SUP_GO || r->next == SUP_SUSPENDED, "state %d", s);
		ok(s == SUP_SAVING || s == SUP_RESTORING || sup_rule(s, SUP_EV_SAVE)->verdict == SUP_NO ||
		   sup_rule(s, SUP_EV_SAVE)->next == SUP_SAVING, "state %d is saved by way of saving", s);
	}
	ok(sup_rule(SUP_SUSPENDED, SUP_EV_START)->next == SUP_RESTORING, "a start resumes");
	ok(sup_rule(SUP_SUSPENDED, SUP_EV_SESSION)->verdict == SUP_NO, "nothing runs in one");
}

TEST(destroying_takes_a_stop_first)
{
	for (int s = 0; s < SUP_STATE_COUNT; s++) {
		const struct sup_rule *r = sup_rule(s, SUP_EV_DESTROY);
		bool may = s == SUP_STOPPED || s == SUP_SUSPENDED;

		ok((r->verdict == SUP_GO) == may, "state %d", s);
	}
}

TEST(names)
{
	ok(sup_state_find("running") == SUP_RUNNING, "by name");
	ok(sup_state_find("stopped") == SUP_STOPPED, "the first of a name");
	ok(sup_state_find("creating") == -1, "inner states have no name outside");
	ok(sup_state_find("") == -1, "nothing");
	for (int i = 0; i < SUP_EVENT_COUNT; i++)
		ok(sup_event_name(i), "event %d has a name", i);
}
