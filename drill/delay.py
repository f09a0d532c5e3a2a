"""delay DEVICE SECONDS JITTER: holds each packet that is routed to a new TUN device for a while, and sends it on.

Not every kernel has netem; every one has TUN.
"""
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

device, delay, jitter = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
# https://docs.kernel.org/networking/tuntap.html
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
print("ready", flush=True)
held = []
while True:
    wait = max(0, held[0][0] - time.monotonic()) if held else None
    if select.select([tun], [], [], wait)[0]:
        packet = os.read(tun, 65536)
        due = time.monotonic() + delay + random.uniform(-jitter, jitter)
        heapq.heappush(held, (due, packet))
    while held and held[0][0] <= time.monotonic():
        os.write(tun, heapq.heappop(held)[1])
