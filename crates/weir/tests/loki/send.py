"""Sends with PyPI `python-logging-loki` in both of its forms, and prints what became of each record, a line each.

Arguments: base URL, token.
"""

import logging
import sys

import logging_loki

url, token = sys.argv[1:]


def send(what, path, version, password):
    handler = logging_loki.LokiHandler(
        url=url + path, tags={"application": "my-app"}, auth=("weir", password), version=version
    )
    failures = []
    handler.handleError = lambda record: failures.append(str(sys.exc_info()[1]))
    logger = logging.Logger(what)
    logger.addHandler(handler)
    logger.error("Something happened", extra={"tags": {"service": "my-service"}})
    logger.info("multi\nline café")
    for failure in failures:
        print(what, failure)
    print(what, 2 - len(failures), "of 2")


send("older", "/api/prom/push", "0", token)
send("newer", "/loki/api/v1/push", "1", token)
send("hosted", "/api/v1/logs/push", "1", token)
send("wrong", "/loki/api/v1/push", "1", "0123")
