"""Sends with PyPI `datadog` and `datadog-api-client`, and prints what each call came back with, a line each.

Arguments: base URL, key, seconds since the epoch.
"""

import sys

import datadog
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.events_api import EventsApi
from datadog_api_client.v1.api.metrics_api import MetricsApi as MetricsV1
from datadog_api_client.v1.api.service_checks_api import ServiceChecksApi
from datadog_api_client.v1.model.distribution_point import DistributionPoint
from datadog_api_client.v1.model.distribution_points_payload import DistributionPointsPayload
from datadog_api_client.v1.model.distribution_points_series import DistributionPointsSeries
from datadog_api_client.v1.model.event_create_request import EventCreateRequest
from datadog_api_client.v1.model.metrics_payload import MetricsPayload
from datadog_api_client.v1.model.point import Point
from datadog_api_client.v1.model.series import Series
from datadog_api_client.v1.model.service_check import ServiceCheck
from datadog_api_client.v1.model.service_check_status import ServiceCheckStatus
from datadog_api_client.v1.model.service_checks import ServiceChecks
from datadog_api_client.v2.api.logs_api import LogsApi
from datadog_api_client.v2.api.metrics_api import MetricsApi as MetricsV2
from datadog_api_client.v2.model.http_log import HTTPLog
from datadog_api_client.v2.model.http_log_item import HTTPLogItem
from datadog_api_client.v2.model.metric_content_encoding import MetricContentEncoding
from datadog_api_client.v2.model.metric_intake_type import MetricIntakeType
from datadog_api_client.v2.model.metric_payload import MetricPayload
from datadog_api_client.v2.model.metric_point import MetricPoint
from datadog_api_client.v2.model.metric_resource import MetricResource
from datadog_api_client.v2.model.metric_series import MetricSeries

url, key, now = sys.argv[1], sys.argv[2], int(sys.argv[3])


def tell(what, call):
    try:
        result = call()
        result = result.to_dict() if hasattr(result, "to_dict") else result
        print(what, "ok", result)
    except ApiException as error:
        print(what, "status", error.status)
    except Exception as error:
        print(what, type(error).__name__, error)


datadog.initialize(api_key=key, app_key="f" * 40, api_host=url, host_name="host-a", mute=False)
metric = datadog.api.Metric
tell("py metric", lambda: metric.send(metric="page.views", points=1000))
points = [(now - 10, 15), (now, 16.5)]
tags = ["version:1", "bare", "k8s:a:b:c"]
tell(
    "py count",
    lambda: metric.send(metric="my.series", points=points, type="count", interval=10, host="h.example", tags=tags),
)
many = [
    {"metric": "my.1.gauge-x", "points": (now, 1), "type": "gauge", "host": "h1", "tags": ["a:1", "a:2"]},
    {"metric": "my.2.rate", "points": [(now, 2), (now - 10, 3)], "type": "rate", "interval": 10, "device": "sda"},
]
tell("py many", lambda: metric.send(metrics=many))
tell("py compressed", lambda: metric.send(metric="my.zipped", points=(now, 1), compress_payload=True))
tell(
    "py distribution",
    lambda: datadog.api.Distribution.send(
        distributions=[{"metric": "my.dist", "points": [(now, [1.0, 2.0, 4.0])], "host": "h1", "tags": ["env:prod"]}]
    ),
)
tell(
    "py check",
    lambda: datadog.api.ServiceCheck.check(
        check="app.ok", host_name="app1", status=1, timestamp=now, message="slow", tags=["redis:6379", "bare"]
    ),
)
event = datadog.api.Event.create(title="Something big happened!", text="line 1\nline 2", tags=["a:b"], alert_type="error")
print("py event", event["status"], event["event"]["title"], type(event["event"]["id"]).__name__)

configuration = Configuration(host=url, api_key={"apiKeyAuth": key, "appKeyAuth": "f" * 40})
with ApiClient(configuration) as client:
    tell("api validate", lambda: AuthenticationApi(client).validate())
    for encoding in (None, "deflate", "gzip"):
        name = "api.v1." + (encoding or "identity")
        series = Series(metric=name, type="gauge", points=[Point([float(now), 1.1])], tags=["t:E", "bare"], host="h1")
        extra = {"content_encoding": encoding} if encoding else {}
        tell(name, lambda: MetricsV1(client).submit_metrics(body=MetricsPayload(series=[series]), **extra))
    for encoding in ("identity", "deflate", "gzip", "zstd1"):
        name = "api.v2." + encoding
        series = MetricSeries(
            metric=name,
            type=MetricIntakeType(2),
            interval=10,
            unit="request",
            points=[MetricPoint(timestamp=now, value=3.5)],
            resources=[MetricResource(name="h1", type="host"), MetricResource(name="sda", type="device")],
            tags=["k:v", "k:w"],
        )
        extra = {} if encoding == "identity" else {"content_encoding": MetricContentEncoding(encoding)}
        tell(name, lambda: MetricsV2(client).submit_metrics(body=MetricPayload(series=[series]), **extra))
    distribution = DistributionPointsSeries(
        metric="api.dist", points=[DistributionPoint([float(now), [8.0, 16.0]])], host="h1", tags=["a:b"]
    )
    tell(
        "api distribution",
        lambda: MetricsV1(client).submit_distribution_points(body=DistributionPointsPayload(series=[distribution])),
    )
    check = ServiceCheck(
        check="api.ok", host_name="h", status=ServiceCheckStatus(0), timestamp=now, message="m", tags=["e:t"]
    )
    tell("api check", lambda: ServiceChecksApi(client).submit_service_check(body=ServiceChecks([check])))
    request = EventCreateRequest(title="Example", text="A text.", tags=["test:e"], date_happened=now)
    answer = EventsApi(client).create_event(body=request)
    print("api event", answer.status, answer.event.title, answer.event.date_happened == now, answer.event.tags)
    log = HTTPLogItem(message="hello", ddsource="nginx", ddtags="env:staging,bare", hostname="i-0", service="payment")
    tell("api log", lambda: LogsApi(client).submit_log(body=HTTPLog([log])))

wrong = "0" * 32
datadog.initialize(api_key=wrong, api_host=url, host_name="host-a", mute=False)
tell("wrong py", lambda: metric.send(metric="wrong", points=1))
with ApiClient(Configuration(host=url, api_key={"apiKeyAuth": wrong})) as client:
    tell("wrong validate", lambda: AuthenticationApi(client).validate())
    tell("wrong api", lambda: MetricsV1(client).submit_metrics(body=MetricsPayload(series=[])))
