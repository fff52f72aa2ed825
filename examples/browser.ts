// A browser (or node 18) with nothing but the generated stubs and @connectrpc/connect-web. It does not
// resume a broken stream; @grandstand/client (clients/typescript) does, under the same identity.
import { createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { GatewayService } from "@grandstand/client/gen/grandstand/gateway/v1/gateway_pb";

// The token is your platform's, for the one who is signed in; without one, IssueGuest gives a guest's.
export async function voteAndWatch(pollId: string, optionId: string, token = ""): Promise<void> {
  const gateway = createClient(GatewayService, createGrpcWebTransport({ baseUrl: "http://localhost:8080" }));
  token ||= (await gateway.issueGuest({})).token;
  const headers = { authorization: `Bearer ${token}` };
  const { originId } = await gateway.issueOrigin({}, { headers }); // this token's alone
  const vote = { case: "vote" as const, value: { pollId, optionIds: [optionId] } };
  const event = { originId, originSeq: 1n, gameId: "demo", body: vote };
  const { positions } = await gateway.send({ event }, { headers });
  for await (const { message } of gateway.subscribe({ gameId: "demo", topics: [`poll/${pollId}`], positions })) {
    if (message.case !== "snapshot" && message.case !== "update") continue;
    for (const { value } of message.value.topics) {
      if (value.case === "tally") console.log(value.value.options.map((o) => `${o.optionId}: ${o.votes}`).join(", "));
    }
  }
}
