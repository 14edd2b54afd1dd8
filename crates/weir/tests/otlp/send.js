// Sends with the OpenTelemetry SDK for Node, and prints what became of each export, a line each.
// Arguments: folder of npm `@opentelemetry/sdk-node`, base URL for HTTP, host and port for gRPC, token.
const { join } = require("path");
const [folder, url, target, token] = process.argv.slice(2);
const of = (name) => require(join(folder, "node_modules", "@opentelemetry", name));
const { AggregationTemporality, AggregationType, MeterProvider, PeriodicExportingMetricReader } = of("sdk-metrics");
const { LoggerProvider, SimpleLogRecordProcessor } = of("sdk-logs");
const { resourceFromAttributes } = of("resources");
const { CompressionAlgorithm } = of("otlp-exporter-base");
const { Metadata, credentials } = require(join(folder, "node_modules", "@grpc", "grpc-js"));

const headers = { authorization: "Bearer " + token };
const metadata = new Metadata();
metadata.set("authorization", "Bearer " + token);
const grpc = { url: "http://" + target, metadata, credentials: credentials.createInsecure() };

// An exporter that says what became of each export.
function told(exporter, what) {
  const send = exporter.export.bind(exporter);
  exporter.export = (batch, done) =>
    send(batch, (result) => {
      console.log(what, result.code === 0 ? "SUCCESS" : "FAILURE " + result.error);
      done(result);
    });
  return exporter;
}

async function metrics(job, exporter) {
  const resource = resourceFromAttributes({ "service.name": job, "service.instance.id": "i1" });
  const reader = new PeriodicExportingMetricReader({ exporter: told(exporter, job), exportIntervalMillis: 3600000 });
  const views = [{ instrumentName: "shop.size", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }];
  const provider = new MeterProvider({ resource, readers: [reader], views });
  const meter = provider.getMeter("weir.test");
  const requests = meter.createCounter("shop.requests", { unit: "1" });
  const opened = meter.createUpDownCounter("shop.open");
  const wait = meter.createHistogram("shop.wait", { unit: "ms" });
  const size = meter.createHistogram("shop.size", { unit: "By" });
  requests.add(3, { path: "/a" });
  opened.add(5);
  [5, 700].forEach((value) => wait.record(value));
  size.record(1);
  await provider.forceFlush();
  requests.add(4, { path: "/a" });
  opened.add(-2);
  wait.record(6);
  [2, 4].forEach((value) => size.record(value));
  await provider.forceFlush();
  await provider.shutdown();
}

async function logs(job, exporter) {
  const resource = resourceFromAttributes({ "service.name": job });
  const processors = [new SimpleLogRecordProcessor({ exporter: told(exporter, job + " logs") })];
  const provider = new LoggerProvider({ resource, processors });
  const logger = provider.getLogger("weir.test");
  logger.emit({ severityNumber: 13, severityText: "WARN", body: "first" });
  logger.emit({ body: { second: [1, 2.5, true] } });
  await provider.forceFlush();
  await provider.shutdown();
}

async function send() {
  const packings = { none: CompressionAlgorithm.NONE, gzip: CompressionAlgorithm.GZIP };
  for (const [name, compression] of Object.entries(packings)) {
    for (const encoding of ["http", "proto", "grpc"]) {
      const job = "node-" + encoding + "-" + name;
      const over = (signal) =>
        encoding === "grpc"
          ? { ...grpc, compression }
          : { url: url + "/v1/" + signal, headers, compression };
      const exporter = of("exporter-metrics-otlp-" + encoding).OTLPMetricExporter;
      await metrics(job, new exporter(over("metrics")));
      const lines = of("exporter-logs-otlp-" + encoding).OTLPLogExporter;
      await logs(job, new lines(over("logs")));
      if (name === "none") {
        const delta = { ...over("metrics"), temporalityPreference: AggregationTemporality.DELTA };
        await metrics(job + "-delta", new exporter(delta));
      }
    }
  }
}

send();
