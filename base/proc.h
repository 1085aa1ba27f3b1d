/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_PROC_H
#define BASE_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Leaves: they return a negative errno value and fill no error. */

/*
 * When a process started, in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)). With
 * the pid it names one process for the life of the boot, which the pid alone does not.
 */
int proc_start_time(pid_t pid, uint64_t *ret);

/* A pidfd (pidfd_open(2), Linux 5.3) of the process with this pid and start time; -ESRCH when it
 * has ended, also if the pid has been given to another. */
int proc_open(pid_t pid, uint64_t start_time);

/* The boot's id, 36 characters and a NUL (random(4)): run-time records of another boot are void. */
int proc_boot_id(char buf[37]);

/* A random UUID (version 4, RFC 9562), 36 characters and a NUL. */
int proc_random_uuid(char buf[37]);

int pidfd_open_pid(pid_t pid);
/* Of a process or of any of its threads (PIDFD_THREAD, Linux 6.9). */
int pidfd_open_task(pid_t tid);
int pidfd_signal(int pidfd, int sig);

/* The letter that proc_pid_stat(5) has for it: 'X' for one that is gone, too. */
char proc_state(pid_t tid);
bool proc_is_zombie(pid_t tid);
/* The first thread of a process that lives. Mostly that is the process's first, `pid`; when it has ended before the others
 * (pthread_exit(3) in main()), nothing can be reached by /proc/PID or a pidfd of the process any more but by theirs. */
pid_t proc_live_tid(pid_t pid);

/* Gives the kernel back what this thread needs no longer: free memory of the heap, and the pages of the
 * main thread's stack below its caller, which keep what was there. */
void proc_slim(void);

/* Now on CLOCK_MONOTONIC, CLOCK_BOOTTIME and CLOCK_REALTIME, in microseconds. */
uint64_t now_monotonic_us(void);
uint64_t now_boottime_us(void);
uint64_t now_realtime_us(void);

/*
 * How long somebody is waited for who is looked at again and again, by one thread. What goes by between two looks counts for
 * `most_us`, what is slept in between and some more, and for as long as the looks took: where a machine stands still, as
 * virtual ones do for seconds, so does who is waited for, and a clock that has run on says nothing about him.
 */
struct wait_limit {
	uint64_t left_us, last_us, ran_us;
};
struct wait_limit wait_limit(uint64_t us);
bool wait_limit_is_over(struct wait_limit *l, uint64_t most_us); /* asked after each look */

#endif
