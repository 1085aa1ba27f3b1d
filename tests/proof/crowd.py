#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Many connections, each of which asks now and then and must get its own answer.

usage: crowd.py READY-FILE STOP-FILE ADDRESS PORT CONNECTIONS
       crowd.py serve PORT             sends back what it gets
"""

import asyncio
import sys
import time

from load import Load, Longest


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve(port):
    server = await asyncio.start_server(echo, "", port, backlog=4096)
    await server.serve_forever()


class Crowd:
    def __init__(self, load, connections):
        self.load, self.connections = load, connections
        self.at_work, self.asked, self.wait = 0, 0, Longest()

    async def one(self, address, port, name):
        reader, writer = await asyncio.open_connection(address, port)
        number = 0
        while not self.load.over():
            before = time.monotonic()
            line = f"{name} {number} {'x' * (number % 500)}\n".encode()
            writer.write(line)
            answer = await reader.readline()
            self.wait.note(before)
            if answer != line:
                sys.exit(f"connection {name}: got {answer[:80]!r} for {line[:80]!r}")
            self.asked += 1
            number += 1
            if number == 1:
                self.at_work += 1
                if self.at_work == self.connections:
                    self.load.ready()
            await asyncio.sleep(0.2 + 0.8 * (name % 10) / 10)
        writer.close()
        await writer.wait_closed()

    async def run(self, address, port):
        await asyncio.gather(*(self.one(address, port, n) for n in range(self.connections)))
        print(f"{self.connections} connections, {self.asked} answers, all right; the longest wait {self.wait}")


def main():
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
        return
    load = Load()
    address, port, connections = load.args
    asyncio.run(Crowd(load, int(connections)).run(address, int(port)))


main()
