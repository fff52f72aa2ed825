"""The bounds of the gateway alone, with their relations to others asserted. Units stand last in the names."""

from grandstand.wire import bounds as wire_bounds
from mesh import limits
from mesh.stream_limits import StreamBounds

# Guests' tokens.
GUEST_TOKEN_LIFE_S = 12 * 3600.0
# How many a gateway makes, in all and for one address; see gateway.guest_limits.
GUESTS_PER_S = 200.0
GUESTS_BURST = 4_000
GUESTS_RESERVED = 2_000
GUESTS_FEW = 20
GUESTS_PER_ADDRESS_PER_S = 10.0
GUESTS_PER_ADDRESS_BURST = 2_000
GUEST_ADDRESSES_MAX = 20_000
GUEST_RETRY_MAX_S = 60.0

# Viewers' streams.
TICK_S = 0.05
HEARTBEAT_S = 10.0
# Streams of one actor (tabs, devices), and of one address on one gateway: a stadium behind one NAT.
VIEWERS_PER_ACTOR_MAX = 32
VIEWERS_PER_ADDRESS_MAX = 2_000
# Viewers that were turned away are told to come back one after the other, at this rate to a full gateway.
VIEWER_RETRIES_PER_S = 500.0
VIEWER_BOUNDS = StreamBounds(
    what="viewers",
    where="gateway",
    total_max=limits.VIEWERS_MAX,
    per_actor_max=VIEWERS_PER_ACTOR_MAX,
    per_address_max=VIEWERS_PER_ADDRESS_MAX,
    total_retries_per_s=VIEWER_RETRIES_PER_S,
)
# No viewer is sent fewer updates than this, however hot its gateway runs.
RENDITION_UPDATES_PER_S_MIN = 0.5
# A gateway says of each actor and game it serves that the actor is here: at once, when a goodbye of a
# gateway left before may have come in between, and then this often. It says goodbye so long after the last
# stream closed.
PRESENCE_REPORT_S = 20.0
PRESENCE_GONE_S = 3.0
PRESENCE_AGAIN_S = 5.0
# Actors and games that a gateway reports, those included who have just left.
PRESENCES_MAX = 2 * limits.VIEWERS_MAX
# Of the sends a gateway has under way, its own reports take no more than these.
PRESENCES_UNANSWERED_MAX = 256
# Origins whose newest number a gateway remembers, so that it can tell what lies too far behind it.
SEND_ORIGINS_REMEMBERED_MAX = 60_000
GAME_LINGER_S = 10.0
ANTI_ENTROPY_S = 1.0
# Ticks that are due within it go together.
TICK_SLOT_S = 0.002
ANNOUNCEMENTS_QUEUED_MAX = 16
# Personal topics. An actor's own place on a board is looked up at most this often, and a gateway looks up so
# many in all (a place in a game of N partitions takes N): what is more waits its turn.
STANDING_S = 1.0
STANDING_LOOKUPS_PER_S = 2_000.0
STANDING_BATCH_S = 0.05
# Inboxes are loaded in batches: new ones as they come, and those known again in turn.
INBOX_LINGER_S = 10.0
INBOXES_LINGERING_MAX = 5_000
INBOX_BATCH_S = 0.05
INBOX_BATCH_NEW_MAX = 256
INBOX_RELOADS_PER_S = 500.0
# One that somebody waits for, having seen more of it elsewhere, is loaded again after this.
INBOX_WANTED_S = 0.25
# Crowds are loaded like inboxes. A gateway holds those of its games, and of its viewers' segments.
CROWD_BATCH_NEW_MAX = 64
CROWDS_LINGERING_MAX = 256
# Inboxes that are recreated between two looks at what else there is to do: some milliseconds' worth.
INBOXES_AT_ONCE = 32
# A game's notice that is older is not announced any more: it is in inboxes.
ANNOUNCED_WITHIN_S = 60.0
ANNOUNCED_REMEMBERED_MAX = 1_024

# Viewers that a draining gateway sends to another one, where the grace allows: a third of a CPU there.
DRAIN_PER_S = 2_000.0
# A viewer's stream is ended so long after it was to connect again: by then the new one stands.
DRAIN_PATIENCE_S = 1.0
# Before the first of them comes, Envoy has asked for this gateway's health twice.
DRAIN_HEAD_START_S = 1.0

assert GUESTS_PER_ADDRESS_BURST + GUESTS_RESERVED <= GUESTS_BURST, "a stadium that comes is let in at once"
assert GUESTS_FEW < GUESTS_PER_ADDRESS_BURST
assert SEND_ORIGINS_REMEMBERED_MAX >= limits.VIEWERS_MAX + limits.SENDS_PENDING_MAX, (
    "who watches or sends is remembered"
)
assert STANDING_LOOKUPS_PER_S * STANDING_BATCH_S >= wire_bounds.PARTITIONS, (
    "the widest game has room in a batch"
)
assert INBOX_RELOADS_PER_S * INBOX_BATCH_S >= 1
assert INBOX_BATCH_S < INBOX_WANTED_S < ANTI_ENTROPY_S
assert TICK_SLOT_S * 10 <= TICK_S
assert TICK_S * wire_bounds.UPDATES_PER_S_MAX <= 1.0
assert VIEWERS_PER_ACTOR_MAX < VIEWERS_PER_ADDRESS_MAX < limits.VIEWERS_MAX
assert VIEWER_RETRIES_PER_S * limits.STREAM_RETRY_MAX_S >= 2 * limits.VIEWERS_MAX, (
    "two gateways' viewers come back in turn"
)
assert RENDITION_UPDATES_PER_S_MIN <= 1, "of the least that can be asked for"
assert 2 * PRESENCE_REPORT_S < limits.PRESENCE_S, "one report may be lost"
assert PRESENCE_GONE_S < PRESENCE_AGAIN_S < PRESENCE_REPORT_S, "a first report that was shed is made good"
assert PRESENCES_MAX > limits.VIEWERS_MAX
assert PRESENCES_UNANSWERED_MAX < wire_bounds.PRODUCER_CREDIT
assert PRESENCES_UNANSWERED_MAX * 10 < limits.SENDS_PENDING_MAX, "viewers' sends come first"
assert DRAIN_HEAD_START_S + DRAIN_PATIENCE_S < limits.DRAIN_GRACE_S
