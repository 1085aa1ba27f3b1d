// SPDX-License-Identifier: GPL-2.0-or-later
// Goroutines that count, timers, channels, and a large map.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

func main() {
	var counts [8]atomic.Int64
	data := map[int]string{}
	asked, answered := make(chan int), make(chan int)
	good := true

	for i := 0; i < 100000; i++ {
		data[i] = fmt.Sprint(i * 31)
	}
	for i := range counts {
		go func(i int) {
			for range time.Tick(time.Millisecond) {
				counts[i].Add(1)
			}
		}(i)
	}
	go func() {
		for v := range asked {
			answered <- 2 * v
		}
	}()
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	for i := range counts {
		for before := counts[i].Load(); counts[i].Load() == before; {
			time.Sleep(time.Millisecond)
		}
	}
	asked <- 21
	good = <-answered == 42
	for i, v := range data {
		good = good && v == fmt.Sprint(i*31)
	}
	if !good {
		fmt.Println("bad")
		os.Exit(1)
	}
	fmt.Println("good")
}
