// Writes with npm `influx` and `@influxdata/influxdb-client`, and prints what each call came back with, a line each.
// Arguments: folder of `influx`, folder of the other, base URL, token, seconds since the epoch.
const [folder1, folder2, url, token, now] = process.argv.slice(2);
const at = (folder, ...name) => require(require("path").join(folder, "node_modules", ...name));
const { InfluxDB: Influx1 } = at(folder1, "influx");
const { InfluxDB: Influx2, Point } = at(folder2, "@influxdata", "influxdb-client");

async function tell(what, call) {
  try {
    console.log(what, "ok", JSON.stringify((await call()) ?? null));
  } catch (error) {
    const said = error.body ?? error.message ?? "";
    console.log(what, "status", error.statusCode ?? error.res?.statusCode, JSON.stringify(said));
  }
}

function client1(password) {
  const { hostname: host, port } = new URL(url);
  return new Influx1({ host, port: Number(port), username: "any", password, database: "mydb" });
}

function points(measurement) {
  const timestamp = new Date(Number(now) * 1000);
  return [{ measurement, tags: { host: "a b" }, fields: { value: 0.5, on: true, name: "x" }, timestamp }];
}

async function write2(itsToken, measurement) {
  const options = { maxRetries: 0 };
  const api = new Influx2({ url, token: itsToken }).getWriteApi("my-org", "bkt", "s", options);
  const point = new Point(measurement).tag("loc", "a b").floatField("f", 1.5).intField("i", 2);
  api.writePoint(point.timestamp(Number(now)));
  await api.close();
}

async function send() {
  const one = client1(token);
  await tell("v1 create", () => one.createDatabase("mydb"));
  await tell("v1 list", () => one.getDatabaseNames());
  await tell("v1 write", () => one.writePoints(points("npm1")));
  await tell("v1 bad", () => one.writePoints(points("npm 1")));
  await tell("v1 wrong", () => client1("0123").writePoints(points("wrong")));
  await tell("v2 write", () => write2(token, "npm2"));
  await tell("v2 wrong", () => write2("0123", "wrong"));
}

send();
