"""Reads pages as their readers do and prints the families: `type name unit|`, then `name{labels} value` each.

argv: url token reader; the reader is `open` (asks for OpenMetrics, strict), `text` (asks for text) or `go`: a request as Go's
client and Splunk's monitor send it, without Accept, whose answer's Content-Type picks the parser."""

import gzip
import sys
import urllib.request

from prometheus_client import parser as text
from prometheus_client.openmetrics import parser as openmetrics

url, token, reader = sys.argv[1:4]
request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
if reader == "open":
    request.add_header("Accept", "application/openmetrics-text;version=1.0.0")
elif reader == "text":
    request.add_header("Accept", "text/plain")
else:
    request.add_header("User-Agent", "Go-http-client/1.1")
    request.add_header("Accept-Encoding", "gzip")
with urllib.request.urlopen(request) as answer:
    page, kind = answer.read(), answer.headers["Content-Type"]
    if answer.headers["Content-Encoding"] == "gzip":
        page = gzip.decompress(page)
print(kind)
parse = openmetrics if kind.startswith("application/openmetrics-text") else text
for family in parse.text_string_to_metric_families(page.decode()):
    print(family.type, family.name, family.unit)
    for sample in family.samples:
        labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
        print(f"  {sample.name}{{{labels}}} {float(sample.value)}")
