"""Sends to Better Stack's API what its documentation shows, with requests and msgpack, and prints each answer.

Usage: send.py URL TOKEN NOW_S
"""

import datetime
import gzip
import json
import sys

import msgpack
import requests

URL, TOKEN, NOW_S = sys.argv[1], sys.argv[2], int(sys.argv[3])

HISTOGRAM = {
    "name": "http_request_duration_seconds",
    "histogram": {
        "count": 140,
        "sum": 75.5,
        "buckets": [
            {"upper_limit": 0.1, "count": 15},
            {"upper_limit": 0.2, "count": 30},
            {"upper_limit": 0.5, "count": 45},
            {"upper_limit": 1.0, "count": 50},
        ],
    },
}
SUMMARY = {
    "name": "http_response_size_bytes",
    "summary": {
        "count": 100,
        "sum": 25000,
        "quantiles": [
            {"quantile": 0.5, "value": 200},
            {"quantile": 0.9, "value": 450},
            {"quantile": 0.99, "value": 600},
        ],
    },
}
GAUGE = {
    "name": "node_cpu_temperature_celsius",
    "gauge": {"value": 63.5},
    "tags": {"host": "server_1", "region": "us-east", "environment": "production"},
}
COUNTER = {"name": "http_requests_total", "counter": {"value": 42}}


def send(what, body, media, path="/metrics", token=TOKEN, **headers):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": media, **headers}
    answer = requests.post(URL + path, data=body, headers=headers, timeout=30)
    told = answer.headers.get("X-Weir-Accepted"), answer.headers.get("X-Weir-Rejected")
    print(what, answer.status_code, repr(answer.text), *told)


def packed(what, metric):
    send(what, msgpack.packb(metric, datetime=True), "application/msgpack")


send("documented", json.dumps([HISTOGRAM, SUMMARY, GAUGE, COUNTER]), "application/json")
packed("packed", [HISTOGRAM, SUMMARY, GAUGE, COUNTER])

now = datetime.datetime.fromtimestamp(NOW_S, datetime.timezone.utc)
TIMES = {
    "s": NOW_S,
    "ms": NOW_S * 1000,
    "us": NOW_S * 1_000_000,
    "ns": NOW_S * 1_000_000_000,
    "float": float(NOW_S),
    "digits": str(NOW_S),
    "rfc3339": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "space": (now + datetime.timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S.000000+02:00"),
    "basic": now.strftime("%Y%m%dT%H%M%SZ"),
}


def dated(times, prefix=""):
    return [{"name": "dated", "gauge": {"value": 1}, "tags": {"form": prefix + form}, "dt": dt} for form, dt in times.items()]


send("times", json.dumps(dated(TIMES)), "application/json")
EXTENSIONS = {
    "timestamp": msgpack.Timestamp(NOW_S, 0),
    "timestamp64": msgpack.Timestamp(NOW_S, 5),
    "datetime": now,
}
packed("times", dated(EXTENSIONS))
packed("times", dated(TIMES, "packed "))
send("unparsed", json.dumps({"name": "dt_unparsed", "gauge": {"value": 1}, "dt": "not a date"}), "application/json")

lines = "\n".join(json.dumps({"name": f"line_{n}", "gauge": {"value": n}}) for n in range(3))
send("gzip", gzip.compress(lines.encode()), "application/x-ndjson", **{"Content-Encoding": "gzip"})
send("chunked", (part.encode() for part in ['{"name":"chunked",', '"gauge":{"value":1}}']), "application/json")
send("log", msgpack.packb([{"dt": NOW_S, "level": "info", "message": "hello"}]), "application/msgpack", path="/")

send("wrong token", "{}", "application/json", token="0123")
send("wrong body", '{"name":', "application/json")
send("wrong packing", b"\x81\xa4name", "application/msgpack")
send("too big", b" " * (20 * 1024 * 1024 + 1), "application/json")
