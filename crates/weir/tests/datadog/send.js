// Sends with npm `@datadog/datadog-api-client`, and prints what each call came back with, a line each.
// Arguments: folder of the client, base URL, key, seconds since the epoch.
const [folder, url, key, now] = process.argv.slice(2);
const { client, v1, v2 } = require(require("path").join(folder, "node_modules", "@datadog", "datadog-api-client"));

const configuration = (apiKey) =>
  client.createConfiguration({
    authMethods: { apiKeyAuth: apiKey },
    baseServer: new client.BaseServerConfiguration(url, {}),
  });

async function tell(what, call) {
  try {
    console.log(what, "ok", JSON.stringify(await call()));
  } catch (error) {
    console.log(what, "status", error.code, JSON.stringify(error.body));
  }
}

async function send() {
  const seconds = Number(now);
  const good = configuration(key);
  await tell("validate", () => new v1.AuthenticationApi(good).validate());
  const metrics1 = new v1.MetricsApi(good);
  for (const encoding of [undefined, "deflate"]) {
    const name = "npm.v1." + (encoding || "identity");
    const series = [{ metric: name, type: "gauge", points: [[seconds, 1.5]], tags: ["a:b"], host: "h1" }];
    await tell(name, () => metrics1.submitMetrics({ body: { series }, contentEncoding: encoding }));
  }
  const metrics2 = new v2.MetricsApi(good);
  for (const encoding of [undefined, "gzip", "deflate"]) {
    const name = "npm.v2." + (encoding || "identity");
    const series = [
      {
        metric: name,
        type: 3,
        points: [{ timestamp: seconds, value: 0.7 }],
        resources: [{ name: "dummyhost", type: "host" }],
        tags: ["a:b"],
      },
    ];
    await tell(name, () => metrics2.submitMetrics({ body: { series }, contentEncoding: encoding }));
  }
  const points = { series: [{ metric: "npm.dist", points: [[seconds, [1, 2]]], tags: ["a:b"] }] };
  await tell("distribution", () => metrics1.submitDistributionPoints({ body: points }));
  const check = [{ check: "npm.ok", hostName: "h", status: 0, tags: ["e:t"] }];
  await tell("check", () => new v1.ServiceChecksApi(good).submitServiceCheck({ body: check }));
  const log = [{ message: "m", ddsource: "nginx", ddtags: "env:s", hostname: "h", service: "s" }];
  await tell("log", () => new v2.LogsApi(good).submitLog({ body: log }));
  const event = { title: "t", text: "x", tags: ["a:b"], dateHappened: seconds };
  await tell("event", async () => (await new v1.EventsApi(good).createEvent({ body: event })).event.title);
  const bad = configuration("0".repeat(32));
  await tell("wrong validate", () => new v1.AuthenticationApi(bad).validate());
  await tell("wrong metrics", () => new v1.MetricsApi(bad).submitMetrics({ body: { series: [] } }));
}

send();
