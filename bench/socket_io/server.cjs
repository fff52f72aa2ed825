// Socket.IO as a peer of the benchmarks: node server.cjs MODULES PORT CONTROL_PORT
//
// A client is in the room of the game that its URL names. A line on the control port, `GAME TEXT`, is emitted
// to the room, and who comes is sent the newest. Set as its guide to performance has it: WebSocket only, no compression, no request kept; and no
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
const newest = new Map();

io.engine.on("connection", (raw) => {
  raw.game = raw.request._query.game;
  raw.request = null;
});
io.on("connection", (socket) => {
  const { game } = socket.conn;
  socket.join(game);
  if (newest.has(game)) socket.emit("frame", newest.get(game));
});

const control = require("node:net").createServer((connection) => {
  let rest = "";
  connection.setEncoding("latin1");
  connection.on("data", (data) => {
    const lines = (rest + data).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const at = line.indexOf(" ");
      const game = line.slice(0, at);
      const text = line.slice(at + 1);
      newest.set(game, text);
      io.to(game).emit("frame", text);
    }
  });
});
control.listen(Number(controlPort), "127.0.0.1", () => {
  http.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
});
