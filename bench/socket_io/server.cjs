// Socket.IO as the fan-out benchmark's peer: node _socket_io.cjs MODULES PORT CONTROL_PORT
//
// Every client is in one room. A line on the control port is emitted to the room, and who comes is sent the
// newest. Set as its guide to performance has it: WebSocket only, no compression, no request kept; and no
// pings during a run.
"use strict";

const [modules, port, controlPort] = process.argv.slice(2);
const { Server } = require(require.resolve("socket.io", { paths: [modules] }));
const http = require("node:http").createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  pingInterval: 600_000,
});
let newest = "";

io.engine.on("connection", (raw) => {
  raw.request = null;
});
io.on("connection", (socket) => {
  socket.join("game");
  if (newest) socket.emit("frame", newest);
});

const control = require("node:net").createServer((connection) => {
  let rest = "";
  connection.setEncoding("latin1");
  connection.on("data", (data) => {
    const lines = (rest + data).split("\n");
    rest = lines.pop();
    for (newest of lines) io.to("game").emit("frame", newest);
  });
});
control.listen(Number(controlPort), "127.0.0.1", () => {
  http.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
});
