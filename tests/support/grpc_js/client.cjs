// Node's gRPC client against a test's server: node client.cjs MODULES ADDRESS SCENARIO
//
// Prints one JSON object: what the client saw.
"use strict";

const [modules, address, scenario] = process.argv.slice(2);
const grpc = require(require.resolve("@grpc/grpc-js", { paths: [modules] }));
const http2 = require("node:http2");

const bytes = (value) => Buffer.from(value);
const options = scenario === "compressed" ? { "grpc.default_compression_algorithm": 2 } : {};
const client = new grpc.Client(address, grpc.credentials.createInsecure(), options);

const within = (seconds) => ({ deadline: Date.now() + seconds * 1000 });

function unary(path, request, call = within(20)) {
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, bytes, (data) => data, request, call, (error, answer) => {
      const details = error && error.metadata.get("grpc-status-details-bin")[0];
      resolve({
        answer: answer ? answer.toString("base64") : null,
        code: error ? error.code : 0,
        message: error ? error.details : "",
        details: details ? details.toString("base64") : null,
      });
    });
  });
}

// All messages of a server stream, and how it ended.
function stream(path, request, onMessage = () => {}, call = within(20)) {
  return new Promise((resolve) => {
    const reading = client.makeServerStreamRequest(path, bytes, (data) => data, request, call);
    let count = 0;
    let total = 0;
    reading.on("data", (message) => {
      count += 1;
      total += message.length;
      onMessage(reading, count);
    });
    reading.on("error", () => {});
    reading.on("status", ({ code, details }) => resolve({ count, total, code, message: details }));
  });
}

// Sends messages of these sizes, and has each back.
function echo(path, sizes) {
  return new Promise((resolve) => {
    const call = client.makeBidiStreamRequest(path, bytes, (data) => data, within(20));
    const got = [];
    call.on("data", (message) => got.push(message.length));
    call.on("error", () => {});
    call.on("status", ({ code }) => resolve({ got, code }));
    for (const size of sizes) call.write(Buffer.alloc(size, 7));
    call.end();
  });
}

// A call as Node's own HTTP/2 client makes it: with what no gRPC client would send.
function raw(headers) {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`http://${address}`);
    session.on("error", reject);
    const request = session.request({
      ":method": "POST",
      ":path": "/test.Test/Reverse",
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    let answered = {};
    request.on("response", (fields) => (answered = { ...fields }));
    request.on("trailers", (fields) => (answered = { ...answered, ...fields }));
    request.on("close", () => {
      session.close();
      resolve(answered);
    });
    request.resume();
    request.end(Buffer.from([0, 0, 0, 0, 1, 65]));
  });
}

const scenarios = {
  unary: () => unary("/test.Test/Reverse", "abc"),
  compressed: () => unary("/test.Test/Reverse", "abc".repeat(10_000)),
  large: () => echo("/test.Test/Echo", [0, 1, 16_384, 65_535, 200_000]),
  small: () => echo("/test.Test/Echo", new Array(5_000).fill(40)),
  stream: () => stream("/test.Test/Count", "3000"),
  cancelled: () => stream("/test.Test/Count", "1000000", (call, count) => count === 5 && call.cancel()),
  deadline: () => unary("/test.Test/Silent", "x", within(0.3)),
  refused: () => unary("/test.Test/Full", "x"),
  unknown: () => unary("/test.Test/Nothing", "x"),
  encoding: () => raw({ "grpc-encoding": "br" }),
};

scenarios[scenario]().then((seen) => {
  console.log(JSON.stringify(seen));
  client.close();
});
