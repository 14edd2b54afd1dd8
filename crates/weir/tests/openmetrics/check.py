"""Runs the Datadog Agent's OpenMetrics check without an Agent on the instances of a pasted file, and prints what it would
have submitted: `metric type value tags`, sorted, then the service checks, then what went wrong."""

import sys

import yaml
from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.stubs import aggregator

KINDS = {getattr(aggregator, name.upper(), None): name for name in ("gauge", "rate", "count", "monotonic_count")}

with open(sys.argv[1], encoding="utf-8") as file:
    instances = yaml.safe_load(file)["instances"]
for instance in instances:
    aggregator.reset()
    check = OpenMetricsBaseCheckV2("openmetrics", {}, [instance])
    error = check.run()
    for name in sorted(aggregator.metric_names):
        for metric in sorted(aggregator.metrics(name), key=lambda metric: metric.tags):
            tags = [tag for tag in metric.tags if not tag.startswith("endpoint:")]
            print(name, KINDS.get(metric.type, metric.type), metric.value, ",".join(sorted(tags)))
    for name in sorted(aggregator.service_check_names):
        for check in aggregator.service_checks(name):
            print("check", name, check.status, check.message)
    print("error", error or "none")
