// An application with prom-client: a counter, a gauge, a histogram and a summary with quantiles; more of each for each
// line read. A gauge of nothing is written as `Nan`.
const { createRequire } = require('module');
const client = createRequire(`${process.argv[2]}/`)('prom-client');
const register = new client.Registry();
client.collectDefaultMetrics({ register });
const registers = [register];
const requests = new client.Counter({
  name: 'myapp_requests_total', help: 'Total HTTP requests', labelNames: ['method', 'status'], registers,
});
const jobs = new client.Gauge({ name: 'myapp_jobs', help: 'Jobs that wait', registers });
const nothing = new client.Gauge({ name: 'myapp_nothing', help: 'Nothing', registers });
const latency = new client.Histogram({
  name: 'myapp_request_duration_seconds', help: 'Request latency', buckets: [0.1, 1, 10], registers,
});
const size = new client.Summary({
  name: 'myapp_request_size_bytes', help: 'Request size', percentiles: [0.5, 1], registers,
});
nothing.set(NaN);
let rounds = 0;
const work = () => {
  rounds += 1;
  requests.inc({ method: 'GET', status: '200' }, 5);
  jobs.set(rounds);
  latency.observe(0.02);
  latency.observe(0.3);
  size.observe(512);
};
work();
const server = require('http').createServer(async (request, response) => {
  response.setHeader('Content-Type', register.contentType);
  response.end(await register.metrics());
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
require('readline').createInterface({ input: process.stdin }).on('line', () => {
  work();
  console.log(rounds);
}).on('close', () => process.exit(0));
