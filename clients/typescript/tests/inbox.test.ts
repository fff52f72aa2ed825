import { create } from "@bufbuild/protobuf";
import { createRouterTransport } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { AcknowledgeNoticesResponseSchema, ListInboxResponseSchema, NotifyService } from "../src/gen/grandstand/notify/v1/notify_pb.js";
import { bearer, connect } from "../src/index.js";

test("an inbox is read and acknowledged with the token of somebody who acts", async () => {
  const calls: unknown[] = [];
  const transport = createRouterTransport(
    ({ service }) => {
      service(NotifyService, {
        listInbox: (request, context) => {
          calls.push([request.after, context.requestHeader.get("authorization")]);
          return create(ListInboxResponseSchema, { unread: 2n, cursor: "c2" });
        },
        acknowledgeNotices: ({ notificationIds, upTo }) => {
          calls.push([notificationIds, upTo]);
          return create(AcknowledgeNoticesResponseSchema, { unread: upTo ? 0n : 1n });
        },
        setPreferences: ({ preferences }) => {
          calls.push(preferences?.mutes.map(({ code }) => code));
          return { preferences };
        },
      });
    },
    { transport: { interceptors: [bearer((acts) => (acts ? "ann's" : undefined))] } },
  );
  const { inbox } = connect(transport);
  expect(await inbox.list({ after: "c1" })).toMatchObject({ unread: 2n, cursor: "c2" });
  expect(await inbox.acknowledge(["a", "b"])).toBe(1n);
  expect(await inbox.acknowledgeUpTo("c2")).toBe(0n);
  await inbox.setPreferences({ mutes: [{ code: "lead" }] });
  expect(calls).toEqual([["c1", "Bearer ann's"], [["a", "b"], ""], [[], "c2"], ["lead"]]);
});
