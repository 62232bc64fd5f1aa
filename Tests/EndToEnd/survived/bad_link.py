"""A bad link between two network namespaces: packets are lost, delayed, overtake each other, or vanish altogether.

What tc's netem does, as a program: kernels of build machines often come without netem, and every kernel has TUN devices
(Documentation/networking/tuntap.rst). Each end of the link is one, and this program carries the packets between them.

    bad_link.py NAMESPACE ADDRESS NAMESPACE ADDRESS

reads lines such as `loss=0.02 delay=0.02 jitter=0.01 reorder=0.25` (seconds, and probabilities of each packet) and answers
each with the numbers of packets that it carried, lost and sent ahead until then. `loss=1` is a cut cable that nobody is told
of. It goes with the end of its input.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# Packets under way in each direction; more are dropped, as a router does.
QUEUE = 1000


def tun(name, namespace, address, peer):
    """A TUN device in `namespace`: its descriptor stays here, wherever the device goes."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", name, "netns", namespace], check=True)
    subprocess.run(["ip", "-n", namespace, "address", "add", address, "peer", peer, "dev", name], check=True)
    subprocess.run(["ip", "-n", namespace, "link", "set", name, "up"], check=True)
    return descriptor


class Link:
    def __init__(self, ends):
        self.ends = ends
        self.loss = self.delay = self.jitter = self.reorder = 0.0
        self.waiting, self.number = [], 0
        self.carried = self.lost = self.ahead = 0

    def take(self, end):
        """All packets that wait at one end; the end of the run when the namespace has gone, and the device with it."""
        while True:
            try:
                packet = os.read(self.ends[end], 65536)
            except BlockingIOError:
                return
            except OSError:
                sys.exit(0)
            if random.random() < self.loss or len(self.waiting) >= 2 * QUEUE:
                self.lost += 1
                continue
            wait = max(0.0, self.delay + random.uniform(-self.jitter, self.jitter))
            if random.random() < self.reorder:
                # As netem's: it goes at once, and so overtakes those that wait.
                wait = 0.0
                self.ahead += 1
            self.number += 1
            heapq.heappush(self.waiting, (time.monotonic() + wait, self.number, self.ends[1 - end], packet))

    def give(self):
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, _, end, packet = heapq.heappop(self.waiting)
            try:
                os.write(end, packet)
                self.carried += 1
            except OSError:
                # The other end has no room, or its namespace goes.
                self.lost += 1

    def run(self):
        commands = b""
        while True:
            timeout = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            ready, _, _ = select.select([0, *self.ends], [], [], timeout)
            for end in (0, 1):
                if self.ends[end] in ready:
                    self.take(end)
            self.give()
            if 0 in ready:
                data = os.read(0, 4096)
                if not data:
                    return
                *lines, commands = (commands + data).split(b"\n")
                for line in lines:
                    for word in line.decode().split():
                        name, value = word.split("=")
                        assert hasattr(self, name), name
                        setattr(self, name, float(value))
                    self.tell()

    def tell(self):
        print(self.carried, self.lost, self.ahead, flush=True)


if __name__ == "__main__":
    (one, here), (other, there) = sys.argv[1:3], sys.argv[3:5]
    link = Link([tun(f"fa{os.getpid()}", one, here, there), tun(f"fb{os.getpid()}", other, there, here)])
    link.tell()
    link.run()
