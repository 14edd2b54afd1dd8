"""Logs three lines with PyPI `splunk-handler`, the last with a token that nobody knows.

Arguments: host, port, token.
"""

import logging
import sys

from splunk_handler import SplunkHandler

host, port, token = sys.argv[1:4]


def logger(name, token):
    handler = SplunkHandler(
        host=host, port=port, token=token, index="main", hostname="web-1", source="app",
        sourcetype="json", protocol="http", verify=False, flush_interval=0, retry_count=0,
    )
    made = logging.getLogger(name)
    made.setLevel(logging.INFO)
    made.addHandler(handler)
    return made


good = logger("good", token)
good.info("hello")
good.warning({"a": 1})
print("sent")
logger("bad", "0" * 32).info("nobody's")
