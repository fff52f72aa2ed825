"""Every bound of the system, in one place, with the relations between them asserted.

Units stand last in the names. A bound that a client can meet is told to it, in Welcome
or in the message of the error that names it.
"""

# What a client may name.
ID_CHARACTERS_MAX = 64
TEXT_CHARACTERS_MAX = 200
CLIENT_NAME_CHARACTERS_MAX = 64

# What a client may send.
INGEST_MESSAGE_BYTES_MAX = 256 * 1024
GATEWAY_MESSAGE_BYTES_MAX = 16 * 1024
CONTROL_MESSAGE_BYTES_MAX = 256 * 1024
BATCH_EVENTS_MAX = 1_000
POINTS_MAX = 2**53
REACTION_COUNT_MAX = 100
POSITIONS_MAX = 64
TOPIC_PATTERNS_MAX = 32
UPDATES_PER_S_MAX = 20

# What the catalog may define.
OPTIONS_MIN = 2
OPTIONS_MAX = 64
PULSES_MAX = 8
KINDS_MAX = 32
BOARD_TOP_MAX = 100
BOARD_TOP_DEFAULT = 10
OPEN_FOR_MIN_S = 1.0
OPEN_FOR_MAX_S = 24 * 3600.0
GAMES_MAX = 10_000
LISTED_MAX = 32

# Origins (I2): how many sequence numbers may be unacked, and how many the window remembers.
VIEWER_CREDIT = 64
PRODUCER_CREDIT = 4_096
VIEWER_WINDOW = 64
PRODUCER_WINDOW = 4_096
ORIGIN_AGE_MAX_S = 24 * 3600
ORIGIN_WINDOW_LIFE_S = 25 * 3600
ORIGIN_CLOCK_SKEW_MAX_S = 300

# The event stream.
PARTITIONS = 16
BLOCK_EVENTS_MAX = 4_096
BLOCK_BYTES_MAX = 512 * 1024
STREAM_BYTES_MAX = 4 * 1024**3
DEDUPE_WINDOW_S = 120.0

# Ingest.
COALESCE_S = 0.005
# From the moment an event is received until its block must be stored; later, it is not acked.
PUBLISH_DEADLINE_S = 5.0
PUBLISH_ATTEMPT_S = 1.0
PUBLISH_IN_FLIGHT_MAX = 64
# Events accepted and not yet settled, over all streams of one ingest: beyond it, ingest
# stops reading from its streams and HTTP/2 flow control pushes back on the clients.
UNSETTLED_EVENTS_MAX = 100_000
# Refusals and receipts a stream's client has not taken: beyond it, ingest reads no more from that stream.
ANSWERS_QUEUED_MAX = 4_096
RECENT_VOTES_MAX = 200_000
VOTE_CHECK_S = 0.5
CATALOG_REFRESH_S = 1.0

# Aggregate.
FLUSH_INTERVAL_S = 0.025
PULL_BATCH = 256
PANES_KEPT = 60
RATE_WINDOW_S = 5
FLUSH_ARGUMENTS_MAX = 4_000

# Closing (I9): the close is decided ahead of its moment, so that every ingest knows it,
# and sealed when nothing received before it can still arrive.
CLOSE_LEAD_S = 0.3
SEAL_GRACE_S = 8.0

# Gateway.
TICK_S = 0.05
HEARTBEAT_S = 10.0
BARRIER_S = 5.0
VIEWERS_MAX = 15_000
SENDS_PENDING_MAX = 10_000
GAME_LINGER_S = 10.0
ANTI_ENTROPY_S = 1.0
ANNOUNCEMENTS_QUEUED_MAX = 16

# Shutting down.
DRAIN_GRACE_S = 5.0
DRAIN_RECONNECT_S = 1.0

assert VIEWER_CREDIT <= VIEWER_WINDOW, "an unacked event must not fall behind its window (I2)"
assert PRODUCER_CREDIT <= PRODUCER_WINDOW, "an unacked event must not fall behind its window (I2)"
assert ORIGIN_AGE_MAX_S + PUBLISH_DEADLINE_S < ORIGIN_WINDOW_LIFE_S, "a window outlives its origin (I2)"
assert SEAL_GRACE_S > PUBLISH_DEADLINE_S + 2 * CATALOG_REFRESH_S, "a seal waits for every acked block (I9)"
assert VOTE_CHECK_S + PUBLISH_ATTEMPT_S < PUBLISH_DEADLINE_S
assert DEDUPE_WINDOW_S > 2 * PUBLISH_DEADLINE_S, "a retried block is recognised by its message id"
assert PUBLISH_ATTEMPT_S < PUBLISH_DEADLINE_S
assert BATCH_EVENTS_MAX <= PRODUCER_CREDIT
assert BATCH_EVENTS_MAX <= BLOCK_EVENTS_MAX
assert INGEST_MESSAGE_BYTES_MAX <= BLOCK_BYTES_MAX
assert 2 * GATEWAY_MESSAGE_BYTES_MAX < INGEST_MESSAGE_BYTES_MAX, "what a gateway takes, ingest takes"
assert PANES_KEPT > RATE_WINDOW_S
assert TICK_S * UPDATES_PER_S_MAX <= 1.0
