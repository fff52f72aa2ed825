"""A native client with nothing but the generated stubs; any language that buf generates for does the same.

    GRANDSTAND_TOKEN=$(./grandstand token --actor bob) python examples/native_stubs.py POLL OPTION [HOST:PORT]

It does not resume a broken stream: what was not acked is to be sent again, under the same identity. Nor does
it live long enough to owe heartbeats. The reference client does both (examples/native_client.py).
"""

import os
import sys

import grpc

from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceStub

poll_id, option_id, edge, *_ = [*sys.argv[1:], "127.0.0.1:8080"]
channel = grpc.insecure_channel(edge)
token = [("authorization", f"Bearer {os.environ['GRANDSTAND_TOKEN']}")]
vote = Event(origin_seq=1, game_id="demo", vote=Vote(poll_id=poll_id, option_ids=[option_id]))
requests = [PublishRequest(hello=Hello()), PublishRequest(events=EventBatch(events=[vote]))]
positions = []
for response in IngestServiceStub(channel).Publish(iter(requests), metadata=token):
    if response.HasField("reject"):
        sys.exit(response.reject.message)
    positions.extend(response.ack.positions)
watched = SubscribeRequest(game_id="demo", topics=[f"poll/{poll_id}"], positions=positions)
for message in GatewayServiceStub(channel).Subscribe(watched):
    (state,) = message.snapshot.topics  # The snapshot includes the vote.
    print({option.option_id: option.votes for option in state.tally.options})
    break
