"""The bounds of ingest alone, with their relations to others asserted. Units stand last in the names."""

from grandstand.wire import bounds as wire_bounds
from mesh import limits

COALESCE_S = 0.005
# As often as a partition is flushed (aggregate.bounds.FLUSH_INTERVAL_S).
COALESCE_FEW_S = 0.025
# Open Publish streams of one ingest; each costs some tens of KiB.
STREAMS_MAX = 20_000
# Of one actor (devices, tabs), of one producer, and of one address: a stadium behind one NAT.
STREAMS_PER_ACTOR_MAX = 8
STREAMS_PER_PRODUCER_MAX = 1_000
STREAMS_PER_ADDRESS_MAX = 2_000
# Streams that were refused are told to come back one after the other, at this rate to a full ingest.
STREAM_RETRIES_PER_S = 500.0
# Events accepted and not yet settled, over all streams of one ingest: beyond it, ingest
# stops reading from its streams and HTTP/2 flow control pushes back on the clients.
UNSETTLED_EVENTS_MAX = 100_000
# Refusals and receipts a stream's client has not taken: beyond it, ingest reads no more from that stream.
ANSWERS_QUEUED_MAX = 4_096
VIEWER_ANSWERS_QUEUED_MAX = 4 * wire_bounds.VIEWER_CREDIT
RECENT_VOTES_MAX = 200_000
# At least so long a vote is remembered, and at most twice as long.
RECENT_VOTES_S = 30.0
VOTE_CHECK_S = 0.25

# Admission: sustained rates and bursts, each a service argument of ingest.
# Nobody taps, votes and reacts faster than this; who catches up after a gap sends its backlog at once.
ACTOR_EVENTS_PER_S = 50.0
ACTOR_BURST_EVENTS = 200
# What an actor may send in all games: as much as in this many.
ACTOR_GAMES = 4
# A game server that speaks for the crowds of two full games.
PRODUCER_EVENTS_PER_S = 50_000.0
PRODUCER_BURST_EVENTS = 100_000
# A crowd of 100,000 that answers within 5 s; its first two seconds come as they come.
GAME_EVENTS_PER_S = 20_000.0
GAME_BURST_EVENTS = 40_000
# Under half of what one ingest stores of full batches in a CPU second; single events are held by their cost.
INSTANCE_EVENTS_PER_S = 100_000.0
INSTANCE_BURST_EVENTS = 200_000
# Actors in games, actors and producers whose rate is remembered at once.
ACTOR_BUCKETS_MAX = 200_000
PRODUCER_BUCKETS_MAX = 10_000
# One that sent nothing for so long gives its place to a newcomer.
BUCKET_IDLE_S = 60.0
# Pressure is 1.0 when the event log takes this long to store a block.
ACK_LATENCY_FULL_S = 1.0

# A PubAck counts while it came within the seal's grace less this after the anchor of the view that judged
# (I9).
VIEW_MARGIN_S = 1.0

# Streams whose origin is over, and that are asked to resume, each second: they come back one after the other.
ORIGINS_REPLACED_PER_LOOK = 1_000
# A client that was asked to finish its stream, and does not, is ended so much later.
FINISH_PATIENCE_S = 10.0

# Between two questions to a catalog that does not answer.
ASK_AGAIN_S = 0.05

# When a client of a draining ingest is to connect again.
DRAIN_RECONNECT_S = 1.0

assert limits.VIEW_FRESH_S + limits.PUBLISH_DEADLINE_S <= limits.SEAL_GRACE_S - VIEW_MARGIN_S, (
    "judged in time, acked in time"
)
assert VOTE_CHECK_S + limits.PUBLISH_ATTEMPT_S < limits.PUBLISH_DEADLINE_S
assert RECENT_VOTES_S > limits.BACKLOG_FULL_S, "the owner has a vote before it is forgotten"
assert STREAMS_PER_ACTOR_MAX < STREAMS_PER_PRODUCER_MAX <= STREAMS_PER_ADDRESS_MAX < STREAMS_MAX
assert STREAMS_MAX / ORIGINS_REPLACED_PER_LOOK + FINISH_PATIENCE_S < 45, "before an origin leaves"
assert STREAM_RETRIES_PER_S * limits.STREAM_RETRY_MAX_S > STREAMS_MAX, "they come back in turn"
assert ACTOR_BURST_EVENTS >= wire_bounds.VIEWER_CREDIT, "an end client may use its credit at once"
assert ACTOR_GAMES * ACTOR_EVENTS_PER_S <= GAME_EVENTS_PER_S <= PRODUCER_EVENTS_PER_S
assert PRODUCER_EVENTS_PER_S <= INSTANCE_EVENTS_PER_S / 2, "one producer leaves room for others"
assert ACTOR_GAMES * ACTOR_BURST_EVENTS <= GAME_BURST_EVENTS <= PRODUCER_BURST_EVENTS
assert PRODUCER_BURST_EVENTS <= INSTANCE_BURST_EVENTS / 2
assert ACK_LATENCY_FULL_S <= limits.PUBLISH_ATTEMPT_S, "pressure is full before publishes are attempted again"
