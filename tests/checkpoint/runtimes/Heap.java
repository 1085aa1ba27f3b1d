// SPDX-License-Identifier: GPL-2.0-or-later
// Threads that make garbage, a scheduler, a large map, and a collection of it all afterwards.
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Heap {
	static volatile boolean stop;

	static void make(AtomicLong count) {
		while (!stop) {
			count.addAndGet(new byte[10000].length);
			try {
				Thread.sleep(1);
			} catch (InterruptedException e) {
				return;
			}
		}
	}

	public static void main(String[] args) throws Exception {
		ConcurrentHashMap<Integer, String> map = new ConcurrentHashMap<>();
		AtomicLong made = new AtomicLong(), ticks = new AtomicLong();
		ScheduledExecutorService timer = Executors.newScheduledThreadPool(2);
		boolean good = true;

		for (int i = 0; i < 100000; i++)
			map.put(i, Integer.toHexString(i * 31));
		for (int i = 0; i < 4; i++)
			new Thread(() -> make(made)).start();
		timer.scheduleAtFixedRate(ticks::incrementAndGet, 1, 1, TimeUnit.MILLISECONDS);
		System.out.println("ready");
		System.in.read();
		for (long m = made.get(), t = ticks.get(); made.get() == m || ticks.get() == t;)
			Thread.sleep(5);
		System.gc();
		for (int i = 0; i < 100000; i++)
			good &= map.get(i).equals(Integer.toHexString(i * 31));
		stop = true;
		System.out.println(good ? "good" : "bad");
		System.exit(good ? 0 : 1);
	}
}
