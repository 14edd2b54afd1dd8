// Sends with npm `splunk-logging`, and prints what each call came back with, a line each.
// Arguments: folder of the client, base URL, token.
const [folder, url, token] = process.argv.slice(2);
const { Logger } = require(require("path").join(folder, "node_modules", "splunk-logging"));

function send(token, messages, then) {
  const logger = new Logger({ token, url, maxBatchCount: 0, maxRetries: 0 });
  logger.error = () => {};
  for (const message of messages) {
    logger.send({ message, severity: "info", metadata: { host: "h1", source: "chicago", index: "main" } });
  }
  logger.flush((error, response, body) => {
    console.log(response && response.statusCode, JSON.stringify(body));
    then();
  });
}

send(token, [{ temp: "70F" }, "two"], () => send("0".repeat(32), ["nobody's"], () => {}));
