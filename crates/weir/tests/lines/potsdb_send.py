"""Sends with PyPI `potsdb`. Arguments: host, port, seconds since the epoch."""

import sys

import potsdb

host, port, now = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = potsdb.Client(host, port=port, check_host=False, host_tag=False)
client.send("potsdb.metric", 42, a="b", timestamp=now)
client.send("potsdb.metric", 1.5, a="c", timestamp=now)
client.wait()
print("sent")
