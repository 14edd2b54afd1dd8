"""Sends with the OpenTelemetry SDK for Python, and prints what became of each export, a line each.

Arguments: base URL for HTTP, host and port for gRPC, token. Each way of sending is a job of its own: http-none, grpc-gzip, and
with deltas http-none-delta.
"""

import sys

import grpc
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

url, target, token = sys.argv[1:]
headers = {"authorization": "Bearer " + token}

DELTA = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}


def told(exporter, what):
    """An exporter that says what became of each export."""
    export = exporter.export

    def tell(batch, *rest, **named):
        result = export(batch, *rest, **named)
        print(what, result.name, flush=True)
        return result

    exporter.export = tell
    return exporter


def exporter(kind, protocol, compression, **named):
    if protocol == "http":
        path = {"metrics": "/v1/metrics", "logs": "/v1/logs"}[kind]
        of = {"metrics": HttpMetrics, "logs": HttpLogs}[kind]
        packed = Compression.Gzip if compression == "gzip" else Compression.NoCompression
        return of(endpoint=url + path, headers=headers, compression=packed, timeout=20, **named)
    of = {"metrics": GrpcMetrics, "logs": GrpcLogs}[kind]
    packed = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
    return of(endpoint=target, insecure=True, headers=headers, compression=packed, timeout=20, **named)


def metrics(job, out):
    resource = Resource({"service.name": job, "service.instance.id": "i1", "deployment.environment": "test"})
    reader = PeriodicExportingMetricReader(told(out, job), export_interval_millis=float("inf"))
    view = View(instrument_name="shop.size", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider(metric_readers=[reader], resource=resource, views=[view], shutdown_on_exit=False)
    meter = provider.get_meter("weir.test", "1.2")
    requests = meter.create_counter("shop.requests", unit="1", description="Requests")
    opened = meter.create_up_down_counter("shop.open")
    wait = meter.create_histogram("shop.wait", unit="ms")
    size = meter.create_histogram("shop.size", unit="By")
    requests.add(3, {"path": "/a"})
    opened.add(5)
    for value in (5, 700):
        wait.record(value)
    size.record(1)
    provider.force_flush()
    requests.add(4, {"path": "/a"})
    opened.add(-2)
    for value in (2, 4):
        size.record(value)
    wait.record(6)
    provider.force_flush()
    provider.shutdown()


def logs(job, out):
    provider = LoggerProvider(resource=Resource({"service.name": job}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(told(out, job + " logs")))
    logger = provider.get_logger("weir.test")
    for body in ("first", {"second": [1, 2.5, True]}):
        logger.emit(LogRecord(severity_number=SeverityNumber.WARN, severity_text="WARN", body=body))
    provider.shutdown()


for protocol in ("http", "grpc"):
    for compression in ("none", "gzip"):
        job = protocol + "-" + compression
        metrics(job, exporter("metrics", protocol, compression))
        logs(job, exporter("logs", protocol, compression))
    job = protocol + "-none-delta"
    metrics(job, exporter("metrics", protocol, "none", preferred_temporality=DELTA))

headers = {"authorization": "Bearer wrong"}
for protocol in ("http", "grpc"):
    metrics("wrong-" + protocol, exporter("metrics", protocol, "none"))
