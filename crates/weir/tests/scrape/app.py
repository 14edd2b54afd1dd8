"""An application with prometheus_client: a counter, a gauge, a histogram and a summary; more of each for each line read."""

import sys

from prometheus_client import Counter, Gauge, Histogram, Summary, start_http_server

requests = Counter("myapp_requests_total", "Total requests", ["method", "endpoint"])
jobs = Gauge("myapp_jobs", "Jobs that wait")
latency = Histogram("myapp_request_duration_seconds", "Request latency")
size = Summary("myapp_request_size_bytes", "Request size")
server, _ = start_http_server(0, addr="127.0.0.1")


def work(rounds):
    requests.labels(method="GET", endpoint="/api").inc(5)
    jobs.set(rounds)
    latency.observe(0.02)
    latency.observe(0.3)
    size.observe(512)


rounds = 1
work(rounds)
print(server.server_port, flush=True)
for _ in sys.stdin:
    rounds += 1
    work(rounds)
    print(rounds, flush=True)
