// A game server in node that votes for its players, and resumes whatever breaks: nothing is lost or counted twice.
//
//     npm install @grpc/grpc-js @grpc/proto-loader
//     GRANDSTAND_TOKEN=$(./grandstand token --role producer) node examples/native_client.mjs POLL OPTION COUNT [HOST:PORT]
//
// Written from the comments of protos/grandstand/ingest/v1/ingest.proto alone.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(`${process.cwd()}/`);
const grpc = require("@grpc/grpc-js");
const protos = fileURLToPath(new URL("../protos", import.meta.url));
const definition = require("@grpc/proto-loader").loadSync("grandstand/ingest/v1/ingest.proto", {
  includeDirs: [protos], longs: Number, defaults: true, oneofs: true,
});
const { IngestService } = grpc.loadPackageDefinition(definition).grandstand.ingest.v1;

const [poll, option, count, edge = "127.0.0.1:8080"] = process.argv.slice(2);
// A service asks its platform here: it is called for each stream.
const token = () => process.env.GRANDSTAND_TOKEN;
const client = new IngestService(edge, grpc.credentials.createInsecure());
const { status } = grpc;
const again = [status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.RESOURCE_EXHAUSTED, status.INTERNAL, status.UNKNOWN];
const ms = (duration) => (duration?.seconds ?? 0) * 1000 + (duration?.nanos ?? 0) / 1e6;

const waiting = Array.from({ length: Number(count) }, (_, n) => ({
  gameId: "demo", actorId: `player-${n + 1}`, vote: { pollId: poll, optionIds: [option] },
}));
const sent = new Map(); // The events that are not settled, by their numbers, in order.
let origin = "", next = 1, later = 0, failures = 0, acked = 0, refused = 0, streams = 0;

function open() {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token()}`);
  const call = client.Publish(metadata);
  const frontier = sent.keys().next().value ?? next;
  let cursor = frontier, credit = 0, batchMax = 1, interval = 3_000, reconnect = null, ended = false, beat, silence;
  streams += 1;

  const say = (message) => { if (!ended) call.write(message); };
  const finish = (after) => { if (!ended) { ended = true; reconnect = after; call.end(); } };
  const send = () => {
    while (!ended) {
      while (waiting.length && sent.size < credit) sent.set(next++, { event: waiting.shift(), streams: 0 });
      const events = [];
      for (; cursor < next && cursor < (sent.keys().next().value ?? next) + credit && events.length < batchMax; cursor++) {
        const { event, refused } = sent.get(cursor);
        sent.get(cursor).streams += 1;
        // Numbers have no gaps: one that was refused goes without a body, to be refused again.
        events.push(refused ? { originSeq: cursor } : { ...event, originSeq: cursor });
      }
      if (!events.length) break;
      say({ events: { events } });
    }
    if (!sent.size && !waiting.length && !later) finish(null);
  };
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => call.cancel(), 3 * interval);
  };

  call.on("data", (response) => {
    heard();
    const { welcome, ack, reject, drain } = response;
    switch (response.message) {
      case "welcome":
        ({ originId: origin, credit, batchEventsMax: batchMax } = welcome);
        interval = ms(welcome.heartbeatInterval);
        beat = setInterval(() => say({ heartbeat: {} }), interval * 0.8);
        break;
      case "credit": credit = response.credit.credit; break;
      case "ack":
        failures = 0;
        for (const seq of sent.keys()) {
          if (seq > ack.originSeq) break;
          if (!sent.get(seq).refused && !ack.shedOriginSeqs.includes(seq)) acked += 1;
          sent.delete(seq);
        }
        break;
      case "reject": {
        const slot = sent.get(reject.originSeq);
        if (!slot || slot.refused) break;
        slot.refused = true;
        // Under a new number, unless a copy under the old one may be stored: that would count twice.
        if (reject.retryable && !reject.maybeStored && slot.streams === 1) {
          later += 1;
          setTimeout(() => { later -= 1; waiting.push(slot.event); live(); }, ms(reject.retryAfter));
        } else {
          refused += 1;
          console.error(`${slot.event.actorId}: ${reject.message}`);
        }
        break;
      }
      case "drain": finish(ms(drain.reconnectAfter)); break;
      case "tokenExpiring": finish(0); break;
    }
    send();
  });
  call.on("error", () => {}); // "status" says the same.
  call.on("status", ({ code, details }) => {
    ended = true;
    live = () => {};
    clearInterval(beat);
    clearTimeout(silence);
    if (code === status.OK && reconnect === null && !sent.size) {
      console.log(`${acked} acked, ${refused} refused, ${streams} streams`);
    } else if (code === status.OK || code === status.CANCELLED || again.includes(code)) {
      const wait = code === status.OK && reconnect !== null ? reconnect : Math.random() * Math.min(2_000, 100 * 2 ** failures++);
      setTimeout(open, wait);
    } else {
      console.error(`${status[code]}: ${details}`);
      process.exitCode = 1;
    }
  });
  live = send;
  heard();
  say({ hello: { originId: origin, nextOriginSeq: frontier, producer: true, client: "example-node" } });
}

let live = () => {};
open();
