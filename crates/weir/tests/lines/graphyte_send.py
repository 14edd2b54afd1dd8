"""Sends with PyPI `graphyte`. Arguments: host, port, seconds since the epoch."""

import sys

import graphyte

host, port, now = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for protocol in ["tcp", "udp"]:
    sender = graphyte.Sender(host, port=port, prefix="system." + protocol, protocol=protocol)
    sender.send("foo.bar", 42, timestamp=now)
    sender.send("foo.baz", 1.5, timestamp=now, tags={"ding": "dong", "host": "a_b"})
    sender.stop()
print("sent")
