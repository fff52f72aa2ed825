"""The bounds that both ends of the wire must know, with the relations between them asserted.

Units stand last in the names. A bound that a client can meet is told to it, in Welcome
or in the message of the error that names it.
"""

# What a client may name.
ID_CHARACTERS_MAX = 64
# An actor's id is the platform's own text; see grandstand.wire.actors.
ACTOR_ID_BYTES_MAX = 128
# What others see of an actor; see grandstand.wire.names.
NAME_CHARACTERS_MAX = 64
NAME_BYTES_MAX = 128
TEXT_CHARACTERS_MAX = 200
CLIENT_NAME_CHARACTERS_MAX = 64

# What a client may send.
INGEST_MESSAGE_BYTES_MAX = 256 * 1024
GATEWAY_MESSAGE_BYTES_MAX = 16 * 1024
BATCH_EVENTS_MAX = 1_000
POINTS_MAX = 2**53
REACTION_COUNT_MAX = 100
MEASURE_MAX = 1e15
CUSTOM_PAYLOAD_BYTES_MAX = 1_024
POSITIONS_MAX = 64
TOPIC_PATTERNS_MAX = 32
STANDINGS_MAX = 4
UPDATES_PER_S_MAX = 20

# What a viewer may be shown.
CUSTOM_VALUE_BYTES_MAX = 16 * 1024
BOARD_TOP_MAX = 100
# What a delta may make of a board: older clients are to take the longer boards of newer servers.
DELTA_ENTRIES_MAX = 1_000

# Origins (I2): how many sequence numbers may be unacked, and how many the window remembers.
VIEWER_CREDIT = 64
PRODUCER_CREDIT = 4_096
VIEWER_WINDOW = 64
PRODUCER_WINDOW = 4_096
ORIGIN_AGE_MAX_S = 24 * 3600
ORIGIN_CLOCK_SKEW_MAX_S = 300

# A token is checked against its bound before anything is parsed.
TOKEN_BYTES_MAX = 8 * 1024

# What a Position may name.
PARTITIONS = 16

# A side of a Publish stream says something at least this often; one silent for three of these is gone.
PUBLISH_HEARTBEAT_S = 8.0
PUBLISH_SILENCE_S = 3 * PUBLISH_HEARTBEAT_S

assert VIEWER_CREDIT <= VIEWER_WINDOW, "an unacked event must not fall behind its window (I2)"
assert PRODUCER_CREDIT <= PRODUCER_WINDOW, "an unacked event must not fall behind its window (I2)"
assert BATCH_EVENTS_MAX <= PRODUCER_CREDIT
assert 2 * GATEWAY_MESSAGE_BYTES_MAX < INGEST_MESSAGE_BYTES_MAX, "what a gateway takes, ingest takes"
assert PUBLISH_SILENCE_S + 2 < 30.0, "a half-open stream is found within 30 s"
assert STANDINGS_MAX < TOPIC_PATTERNS_MAX, "personal topics are named among the others"
assert DELTA_ENTRIES_MAX >= BOARD_TOP_MAX, "every board has deltas"
