"""A TCP connection with faults in it, between two programs that cannot tell it from a bad network.

It ends each connection and begins another behind it, so the faults are those that a user of TCP sees: resets, ends, silence,
bytes that come late, or are others. A lost segment is one that comes after the time-out that makes TCP send it again.
"""

import asyncio
import random
import socket
import struct
import threading

# Seconds: the delay of "200 ms delay", and Linux's shortest retransmission time-out (TCP_RTO_MIN).
DELAY = RETRANSMISSION = 0.2
SEGMENT = 1448
FAULTS = ["RST", "FIN", "black hole", "200 ms delay", "1 % loss", "1 KB/s", "corrupt byte", "duplicate connect"]
# They befall what is there and are over; the others last.
MOMENTARY = ["RST", "FIN", "corrupt byte", "duplicate connect"]


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def end(self):
        self.run(self.cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    async def cancel_all(self):
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Pipe:
    """One connection and the one behind it."""

    def __init__(self):
        self.writers, self.is_silent, self.is_broken, self.to_corrupt = [], False, False, set()

    def end(self, with_reset):
        self.is_broken = True
        for writer in self.writers:
            if with_reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


class Relay:
    def __init__(self, loop, target, context=None):
        """To port `target`; `context`: ends TLS here, as a server."""
        self.loop, self.target, self.context = loop, target, context
        self.pipes, self.fault, self.next_fault, self.struck = set(), None, None, 0
        self.server = loop.run(asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context))
        self.port = self.server.sockets[0].getsockname()[1]

    # Faults

    def strike(self, fault):
        """What is momentary befalls all connections there are and the next one; what lasts does, and all others, until `heal`."""
        self.loop.run(self._strike(fault))

    async def _strike(self, fault):
        self.struck = 0
        if fault in MOMENTARY:
            self.next_fault = fault
        else:
            self.fault = fault
        for pipe in list(self.pipes):
            self.befall(pipe, fault)

    def befall(self, pipe, fault):
        self.struck += 1
        if fault == "black hole":
            pipe.is_silent = True
        elif fault == "corrupt byte":
            pipe.to_corrupt = {0, 1}
        elif fault in ("RST", "FIN"):
            pipe.end(with_reset=fault == "RST")

    def heal(self):
        """Connections that went silent stay so."""
        self.loop.run(self._heal())

    async def _heal(self):
        self.fault = self.next_fault = None

    # Carrying

    async def serve(self, reader, writer):
        pipe = Pipe()
        self.pipes.add(pipe)
        if self.fault:
            self.befall(pipe, self.fault)
        try:
            behind = await asyncio.open_connection("127.0.0.1", self.target)
            pipe.writers = [writer, behind[1]]
            await asyncio.gather(self.carry(pipe, 0, reader, behind[1]), self.carry(pipe, 1, behind[0], writer))
        except OSError:
            # Resets of either side, made here or there, and TLS that was broken on purpose.
            pass
        finally:
            self.pipes.discard(pipe)
            for each in [writer, *pipe.writers]:
                each.close()

    async def carry(self, pipe, direction, reader, writer):
        while not pipe.is_broken and (data := await reader.read(16384)):
            if self.next_fault:
                fault, self.next_fault = self.next_fault, None
                self.befall(pipe, fault)
            if direction in pipe.to_corrupt:
                pipe.to_corrupt.discard(direction)
                data = data[:-1] + bytes([data[-1] ^ 0x20])
            if self.fault == "200 ms delay":
                await asyncio.sleep(DELAY)
            elif self.fault == "1 % loss":
                for _ in range(0, len(data), SEGMENT):
                    if random.random() < 0.01:
                        await asyncio.sleep(RETRANSMISSION)
            while self.fault == "1 KB/s" and len(data) > 100:
                writer.write(data[:100])
                data = data[100:]
                await asyncio.sleep(0.1)
            if pipe.is_silent:
                await asyncio.Event().wait()
            if pipe.is_broken:
                return
            writer.write(data)
            await writer.drain()
        if not pipe.is_broken and not pipe.is_silent and writer.can_write_eof():
            writer.write_eof()
        elif self.context or not writer.can_write_eof():
            writer.close()
