#!/usr/bin/node
// SPDX-License-Identifier: GPL-2.0-or-later
// The event loop with a timer, a worker thread that answers, and a large map.
const { Worker } = require('worker_threads');
const crypto = require('crypto');

const hash = (i) => crypto.createHash('sha1').update(String(i)).digest('hex');
const map = new Map();
let ticks = 0, answers = 0, before = null;

for (let i = 0; i < 50000; i++)
	map.set(i, hash(i));
const worker = new Worker(`
	const { parentPort } = require('worker_threads');
	parentPort.on('message', (m) => parentPort.postMessage(m * 2));
`, { eval: true });

function verify() {
	if (!before || ticks === before[0] || answers === before[1])
		return;
	const good = [...map].every(([k, v]) => k % 11 || v === hash(k));
	console.log(good ? 'good' : 'bad');
	process.exit(good ? 0 : 1);
}

worker.on('message', () => answers++);
worker.on('online', () => console.log('ready'));
process.stdin.on('data', () => { before = [ticks, answers]; });
setInterval(() => { worker.postMessage(++ticks); verify(); }, 5);
