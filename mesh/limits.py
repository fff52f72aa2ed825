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
MEASURE_MAX = 1e15
CUSTOM_PAYLOAD_BYTES_MAX = 1_024
POSITIONS_MAX = 64
TOPIC_PATTERNS_MAX = 32
STANDINGS_MAX = 4
UPDATES_PER_S_MAX = 20

# What the catalog may define.
OPTIONS_MIN = 2
OPTIONS_MAX = 64
PULSES_MAX = 8
KINDS_MAX = 32
METRICS_MAX = 16
UNIT_CHARACTERS_MAX = 16
CUSTOMS_MAX = 8
CUSTOM_CONFIG_BYTES_MAX = 4_096
WEIGHT_MAX = 1_000
SEASON_MIN_S = 10.0
SEASON_MAX_S = 366 * 24 * 3600.0
BOARD_TOP_MAX = 100
BOARD_TOP_DEFAULT = 10
# What a delta may make of a board: older clients are to take the longer boards of newer servers.
DELTA_ENTRIES_MAX = 1_000
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

# Tokens. A clock may be off by the leeway; a token is checked against its bound before anything is parsed.
TOKEN_BYTES_MAX = 8 * 1024
TOKEN_LEEWAY_S = 10.0
TOKEN_KID_CHARACTERS_MAX = 128
# Tokens found good are remembered, so that a browser's every Send does not cost a signature.
TOKENS_REMEMBERED_MAX = 10_000
# One that is longer is remembered by its digest.
TOKEN_KEPT_CHARACTERS_MAX = 1_024
KEYS_MAX = 64
KEYS_DOCUMENT_BYTES_MAX = 256 * 1024
KEYS_FILE_LOOK_S = 1.0
KEYS_FETCH_S = 300.0
KEYS_FETCH_MIN_S = 60.0
KEYS_FETCH_MAX_S = 3_600.0
# After a failure, and at the earliest after the last one when a token names an unknown key.
KEYS_FETCH_AGAIN_S = 10.0
KEYS_FETCH_PATIENCE_S = 5.0
# Tokens that services show each other, and when to make the next.
MESH_TOKEN_LIFE_S = 300.0
MESH_TOKEN_RENEW_S = 60.0
PRODUCER_TOKEN_LIFE_S = 3_600.0
PRODUCER_TOKEN_RENEW_S = 600.0
GUEST_TOKEN_LIFE_S = 12 * 3600.0
GUESTS_PER_S = 200.0
GUESTS_BURST = 200

# The event stream.
PARTITIONS = 16
BLOCK_EVENTS_MAX = 4_096
BLOCK_BYTES_MAX = 512 * 1024
STREAM_BYTES_MAX = 4 * 1024**3
DEDUPE_WINDOW_S = 120.0

# Ingest.
COALESCE_S = 0.005
# A side of a Publish stream says something at least this often; one silent for three of these is gone.
PUBLISH_HEARTBEAT_S = 8.0
PUBLISH_SILENCE_S = 3 * PUBLISH_HEARTBEAT_S
# Open Publish streams of one ingest; each costs some tens of KiB.
STREAMS_MAX = 20_000
# A stream whose token expires is warned this long before.
TOKEN_WARNING_S = 30.0
# From the moment an event is received until its block must be stored; later, it is not acked.
PUBLISH_DEADLINE_S = 5.0
PUBLISH_ATTEMPT_S = 1.0
PUBLISH_IN_FLIGHT_MAX = 64
PUBLISH_IN_FLIGHT_BYTES_MAX = 16 * 1024 * 1024
# How soon a publish that the event log asked us to repeat is repeated.
PUBLISH_AGAIN_S = 0.05
# Events accepted and not yet settled, over all streams of one ingest: beyond it, ingest
# stops reading from its streams and HTTP/2 flow control pushes back on the clients.
UNSETTLED_EVENTS_MAX = 100_000
# The same in bytes of rows, as the coalescer counts them: custom events carry up to 1 KiB each.
UNSETTLED_BYTES_MAX = 64 * 1024 * 1024
# Blocks that wait for a place in flight; beyond it the pipeline takes no more.
PUBLISH_WAITING_MAX = 16_384
PUBLISH_WAITING_BYTES_MAX = 2 * UNSETTLED_BYTES_MAX
# Refusals and receipts a stream's client has not taken: beyond it, ingest reads no more from that stream.
ANSWERS_QUEUED_MAX = 4_096
VIEWER_ANSWERS_QUEUED_MAX = 4 * VIEWER_CREDIT
RECENT_VOTES_MAX = 200_000
VOTE_CHECK_S = 0.25
CATALOG_REFRESH_S = 1.0

# Admission: sustained rates and bursts, each a service argument of ingest.
# Nobody taps, votes and reacts faster than this; who catches up after a gap sends its backlog at once.
ACTOR_EVENTS_PER_S = 50.0
ACTOR_BURST_EVENTS = 200
# A crowd of 100,000 that answers within 5 s; its first two seconds come as they come.
GAME_EVENTS_PER_S = 20_000.0
GAME_BURST_EVENTS = 40_000
# Under half of what one ingest stores of full batches in a CPU second; single events are held by their cost.
INSTANCE_EVENTS_PER_S = 100_000.0
INSTANCE_BURST_EVENTS = 200_000
# Actors and games whose rate is remembered at once.
ACTOR_BUCKETS_MAX = 200_000
GAME_BUCKETS_MAX = 20_000
# Pressure is 1.0 when the event log takes this long to store a block, or aggregation is this far behind.
ACK_LATENCY_FULL_S = 1.0
BACKLOG_FULL_S = 10.0

# Aggregate.
FLUSH_INTERVAL_S = 0.025
# A flush is one step in Redis, which serves nobody else meanwhile: no more events than this in one.
FLUSH_EVENTS_MAX = 65_536
PULL_BATCH = 256
# Of one pull; the largest message a NATS server of ours takes must fit.
PULL_BYTES_MAX = 8 * 1024 * 1024
# A state log is written anew when it is this long and three times what it holds.
LOG_BYTES_MIN = 256 * 1024
PRESENCE_S = 45.0
LATENESS_S = 10
NEIGHBOURS_MAX = 25
# A pulse's panes: how many of each width, in seconds, are kept.
PULSE_PANES_KEPT = {1: 30, 10: 30, 60: 30}
# An audience is exact up to this many actors of a partition; above, a HyperLogLog of
# 2^AUDIENCE_PRECISION registers, its standard error 1.04 / sqrt(registers).
AUDIENCE_EXACT_MAX = 20_000
AUDIENCE_PRECISION = 14
AUDIENCE_RELATIVE_ERROR = 1.04 / 2 ** (AUDIENCE_PRECISION / 2)
AUDIENCE_PANE_S = 5
METRIC_RELATIVE_ERROR = 0.01
# Nearer to zero than this, a measure counts as zero: it bounds a sketch's buckets.
MEASURE_MIN = 1e-9
CUSTOM_STATE_BYTES_MAX = 256 * 1024
CUSTOM_VALUE_BYTES_MAX = 16 * 1024

# Ownership (I3): a lease lapses LEASE_S after its owner last renewed it.
LEASE_S = 2.0
LEASE_RENEW_S = 0.5
WORKER_BEAT_S = 0.25
WORKER_SILENCE_S = 1.25
PARTITION_STATUS_S = 0.5
PARTITION_NEWS_S = 0.1
PARTITION_STATUS_LIFE_S = 3.0
# How long a worker that starts waits for the others to tell that they live.
WORKER_HEARING_S = 0.5
# How often a lease that is somebody else's is tried for.
LEASE_POLL_S = 0.1
# The share of the event stream's room from which on owners write checkpoints, and how often they look.
RETENTION_FULL = 0.7
RETENTION_LOOK_S = 2.0
# How much of a checkpoint is put back in one step.
RESTORE_BYTES_MAX = 1024 * 1024
DEAD_LETTERS_BYTES_MAX = 64 * 1024 * 1024
DEAD_LETTERS_AGE_S = 7 * 24 * 3600.0
RATE_WINDOW_S = 5
FLUSH_ARGUMENTS_MAX = 4_000

# Closing (I9): the close is decided ahead of its moment, so that every ingest knows it,
# and sealed when nothing received before it can still arrive.
CLOSE_LEAD_S = 0.3
SEAL_GRACE_S = 8.0
# How far apart the clocks of the mesh's processes and of its NATS servers may be. Beyond it closings and
# seasons come late or early; what is acked is counted all the same.
CLOCK_BOUND_S = 1.0
# How often a process asks, through the catalog's bucket, how fresh its view of the catalog is. A vote is
# judged by a view no older than VIEW_FRESH_S, and acked only while the view that judged it is younger than
# the grace less the margin.
VIEW_PROBE_S = 0.5
VIEW_FRESH_S = 2.0
VIEW_MARGIN_S = 1.0
# Of an actor's standing vote or score: how many origins it replaced are remembered.
SUPERSEDED_ORIGINS_MAX = 4

# Gateway.
TICK_S = 0.05
HEARTBEAT_S = 10.0
BARRIER_S = 5.0
VIEWERS_MAX = 15_000
# Streams of one actor (tabs, devices), and of one address on one gateway: a stadium behind one NAT.
VIEWERS_PER_ACTOR_MAX = 32
VIEWERS_PER_ADDRESS_MAX = 2_000
# Viewers that were turned away are told to come back one after the other, at this rate to a full gateway
# and to a full address, and at this rate to an actor with too many streams; none later than
# VIEWER_RETRY_MAX_S.
VIEWER_RETRIES_PER_S = 500.0
ADDRESS_RETRIES_PER_S = 50.0
ACTOR_RETRIES_PER_S = 1.0
VIEWER_RETRY_MIN_S = 1.0
VIEWER_RETRY_MAX_S = 60.0
# No viewer is sent fewer updates than this, however hot its gateway runs.
RENDITION_UPDATES_PER_S_MIN = 0.5
# A gateway says of each actor and game it serves that the actor is here: at once, when a goodbye of a
# gateway left before may have come in between, and then this often. It says goodbye so long after the last
# stream closed.
PRESENCE_REPORT_S = 20.0
PRESENCE_GONE_S = 3.0
PRESENCE_AGAIN_S = 5.0
# Actors and games that a gateway reports, those included who have just left.
PRESENCES_MAX = 2 * VIEWERS_MAX
# Of the sends a gateway has under way, its own reports take no more than these.
PRESENCES_UNANSWERED_MAX = 256
SENDS_PENDING_MAX = 10_000
# Origins whose newest number a gateway remembers, so that it can tell what lies too far behind it.
SEND_ORIGINS_REMEMBERED_MAX = 60_000
GAME_LINGER_S = 10.0
ANTI_ENTROPY_S = 1.0
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
# An inbox is one message to a viewer, and has to fit the smallest window a client may give its stream.
INBOX_NEWEST_MAX = 20
NOTIFICATION_BYTES_MAX = 2_048

# Shutting down.
DRAIN_GRACE_S = 5.0
DRAIN_RECONNECT_S = 1.0
# Viewers that a draining gateway sends to another one, where the grace allows: a third of a CPU there.
DRAIN_PER_S = 2_000.0
# A viewer's stream is ended so long after it was to connect anew: by then the new one stands.
DRAIN_PATIENCE_S = 1.0
# Before the first of them comes, Envoy has asked for this gateway's health twice.
DRAIN_HEAD_START_S = 1.0

assert VIEW_FRESH_S + PUBLISH_DEADLINE_S <= SEAL_GRACE_S - VIEW_MARGIN_S, "judged in time, acked in time"
assert VIEWER_CREDIT <= VIEWER_WINDOW, "an unacked event must not fall behind its window (I2)"
assert PRODUCER_CREDIT <= PRODUCER_WINDOW, "an unacked event must not fall behind its window (I2)"
assert ORIGIN_AGE_MAX_S + PUBLISH_DEADLINE_S < ORIGIN_WINDOW_LIFE_S, "a window outlives its origin (I2)"
assert SEAL_GRACE_S > PUBLISH_DEADLINE_S + 2 * CATALOG_REFRESH_S, "a seal waits for every acked block (I9)"
assert VOTE_CHECK_S + PUBLISH_ATTEMPT_S < PUBLISH_DEADLINE_S
assert DEDUPE_WINDOW_S > 2 * PUBLISH_DEADLINE_S, "a retried block is recognised by its message id"
assert PUBLISH_ATTEMPT_S < PUBLISH_DEADLINE_S
assert PUBLISH_AGAIN_S < PUBLISH_ATTEMPT_S
assert BLOCK_BYTES_MAX <= PUBLISH_IN_FLIGHT_BYTES_MAX
assert UNSETTLED_BYTES_MAX < PUBLISH_WAITING_BYTES_MAX, "ingest stops reading before the pipeline refuses"
assert KEYS_FETCH_AGAIN_S < KEYS_FETCH_MIN_S <= KEYS_FETCH_S <= KEYS_FETCH_MAX_S
assert KEYS_FETCH_PATIENCE_S < KEYS_FETCH_AGAIN_S, "one fetch at a time"
assert MESH_TOKEN_RENEW_S + TOKEN_LEEWAY_S < MESH_TOKEN_LIFE_S, "a token shown is good for a while"
assert MESH_TOKEN_RENEW_S > TOKEN_WARNING_S, "a stream that is resumed for its token gets a new one"
assert PRODUCER_TOKEN_RENEW_S > TOKEN_WARNING_S
assert BATCH_EVENTS_MAX <= PRODUCER_CREDIT
assert BATCH_EVENTS_MAX <= BLOCK_EVENTS_MAX
assert INGEST_MESSAGE_BYTES_MAX <= BLOCK_BYTES_MAX
assert 2 * GATEWAY_MESSAGE_BYTES_MAX < INGEST_MESSAGE_BYTES_MAX, "what a gateway takes, ingest takes"
assert BLOCK_BYTES_MAX * PUBLISH_IN_FLIGHT_MAX <= UNSETTLED_BYTES_MAX, "the pipeline can be kept full"
assert ACTOR_BURST_EVENTS >= VIEWER_CREDIT, "an end client may use its credit at once"
assert ACTOR_EVENTS_PER_S <= GAME_EVENTS_PER_S <= INSTANCE_EVENTS_PER_S
assert ACTOR_BURST_EVENTS <= GAME_BURST_EVENTS <= INSTANCE_BURST_EVENTS
assert GAME_BUCKETS_MAX >= GAMES_MAX
assert ACK_LATENCY_FULL_S <= PUBLISH_ATTEMPT_S, "pressure is full before publishes are attempted again"
assert PULSE_PANES_KEPT[1] > RATE_WINDOW_S + 1
assert PULSE_PANES_KEPT[1] > LATENESS_S + 1, "a late row finds its pane"
assert PRESENCE_S % AUDIENCE_PANE_S == 0
assert LEASE_RENEW_S * 3 < LEASE_S, "a lease outlives two renewals that come late"
assert LEASE_S + LEASE_RENEW_S < 3.0, "a killed worker is replaced within 3 s"
assert 2 * (LEASE_S + LEASE_RENEW_S) <= BACKLOG_FULL_S, "a takeover alone sheds nothing"
assert WORKER_BEAT_S * 4 < WORKER_SILENCE_S
assert WORKER_SILENCE_S < LEASE_S, "who takes over knows by then that it shall"
assert PARTITION_STATUS_S * 3 < PARTITION_STATUS_LIFE_S
assert PUBLISH_SILENCE_S + 2 < 30.0, "a half-open stream is found within 30 s"
assert SEND_ORIGINS_REMEMBERED_MAX >= VIEWERS_MAX + SENDS_PENDING_MAX, "who watches or sends is remembered"
assert STANDING_LOOKUPS_PER_S * STANDING_BATCH_S >= PARTITIONS, "the widest game has room in a batch"
assert INBOX_RELOADS_PER_S * INBOX_BATCH_S >= 1
assert INBOX_NEWEST_MAX * NOTIFICATION_BYTES_MAX < 48 * 1024, "with all else it fits a window of 65,535"
assert STANDINGS_MAX < TOPIC_PATTERNS_MAX, "personal topics are named among the others"
assert TICK_S * UPDATES_PER_S_MAX <= 1.0
assert DELTA_ENTRIES_MAX >= BOARD_TOP_MAX, "every board has deltas"
assert VIEWERS_PER_ACTOR_MAX < VIEWERS_PER_ADDRESS_MAX < VIEWERS_MAX
assert ACTOR_RETRIES_PER_S < ADDRESS_RETRIES_PER_S < VIEWER_RETRIES_PER_S
assert VIEWER_RETRIES_PER_S * VIEWER_RETRY_MAX_S >= 2 * VIEWERS_MAX, "two gateways' viewers come back in turn"
assert VIEWER_RETRY_MIN_S < VIEWER_RETRY_MAX_S
assert RENDITION_UPDATES_PER_S_MIN <= 1, "of the least that can be asked for"
assert 2 * PRESENCE_REPORT_S < PRESENCE_S, "one report may be lost"
assert PRESENCE_GONE_S < PRESENCE_AGAIN_S < PRESENCE_REPORT_S, (
    "the last word of a gateway that was left is made good"
)
assert PRESENCES_MAX > VIEWERS_MAX
assert PRESENCES_UNANSWERED_MAX < PRODUCER_CREDIT
assert PRESENCES_UNANSWERED_MAX * 10 < SENDS_PENDING_MAX, "viewers' sends come first"
assert DRAIN_HEAD_START_S + DRAIN_PATIENCE_S < DRAIN_GRACE_S
