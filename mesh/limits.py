"""The bounds that several services share, with the relations between them asserted.

Units stand last in the names. What one service alone needs is in its `bounds`; what clients must know is in
grandstand.wire.bounds.
"""

from grandstand.wire import bounds as wire_bounds

# What an operator or a service may send.
CONTROL_MESSAGE_BYTES_MAX = 256 * 1024

# What the catalog may define.
SEASON_MIN_S = 10.0
OPEN_FOR_MIN_S = 1.0
# Games that live; and all that the catalog holds, also those that have ended and are kept.
GAMES_MAX = 50_000
# Without an idle_for of its own, a game in which nothing happened for so long is ended.
IDLE_FOR_DEFAULT_S = 30 * 24 * 3600.0
GAMES_KEPT_MAX = 250_000

# Tokens. A clock may be off by the leeway.
TOKEN_LEEWAY_S = 10.0
# From a token's issue to its end.
TOKEN_LIFE_MAX_S = 366 * 86_400.0
# What is revoked at once: actors, token ids, and everything issued before a time.
REVOCATIONS_MAX = 10_000
# How far a process's clock may differ from the event log's before it is not ready (mesh.health.clock).
CLOCK_OFFSET_MAX_S = 2.0
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
KEYS_FETCH_AGAIN_S = 4.0
KEYS_FETCH_PATIENCE_S = 3.0
# From a key's publication at a URL until a token of it is taken by the edge and by the service behind it.
KEYS_KNOWN_WITHIN_S = 10.0
# Tokens that services show each other, and when to make the next.
MESH_TOKEN_LIFE_S = 300.0
MESH_TOKEN_RENEW_S = 60.0
PRODUCER_TOKEN_LIFE_S = 3_600.0
PRODUCER_TOKEN_RENEW_S = 600.0

# New origins of one owner, at once and a minute, that an instance issues, and owners it remembers.
ORIGINS_PER_ACTOR = 60
ORIGINS_PER_PRODUCER = 2_000
ORIGIN_OWNERS_MAX = 100_000
# Origins whose tags were found good and need not be computed again.
ORIGINS_FOUND_GOOD_MAX = 50_000

# The event stream.
BLOCK_EVENTS_MAX = 4_096
BLOCK_BYTES_MAX = 512 * 1024
STREAM_BYTES_MAX = 4 * 1024**3
DEDUPE_WINDOW_S = 120.0

# Publishing.
# From the moment an event is received until its block must be stored; later, it is not acked.
PUBLISH_DEADLINE_S = 5.0
PUBLISH_ATTEMPT_S = 1.0
PUBLISH_IN_FLIGHT_MAX = 64
PUBLISH_IN_FLIGHT_BYTES_MAX = 16 * 1024 * 1024
# How soon a publish that the event log asked us to repeat is repeated.
PUBLISH_AGAIN_S = 0.05
# Of events that ingest accepted and has not settled, in bytes of rows, as the coalescer counts them.
UNSETTLED_BYTES_MAX = 64 * 1024 * 1024
# Blocks that wait for a place in flight; beyond it the pipeline takes no more.
PUBLISH_WAITING_MAX = 16_384
PUBLISH_WAITING_BYTES_MAX = 2 * UNSETTLED_BYTES_MAX
CATALOG_REFRESH_S = 1.0

# Games whose rate is remembered at once.
GAME_BUCKETS_MAX = 65_536
# Pressure is 1.0 when aggregation is this far behind.
BACKLOG_FULL_S = 10.0

# What is folded.
PRESENCE_S = 45.0
# A pulse's panes: how many of each width, in seconds, are kept.
PULSE_PANES_KEPT = {1: 30, 10: 30, 60: 30}
# An audience's HyperLogLog has 2^AUDIENCE_PRECISION registers; its standard error is 1.04 / sqrt(registers).
AUDIENCE_PRECISION = 14
AUDIENCE_RELATIVE_ERROR = 1.04 / 2 ** (AUDIENCE_PRECISION / 2)
AUDIENCE_PANE_S = 5
METRIC_RELATIVE_ERROR = 0.01

# Ownership (I3): a lease lapses LEASE_S after its owner last renewed it.
LEASE_S = 2.0
LEASE_RENEW_S = 0.5
PARTITION_STATUS_LIFE_S = 3.0
# A partition's owner looks every SWEEP_LOOK_S at a part of the keys of its state, whether each is there and
# as it was written: at all in SWEEP_LOOKS looks, or in more if that were over SWEEP_KEYS_MAX in one look.
SWEEP_LOOK_S = 1.0
SWEEP_LOOKS = 3
SWEEP_KEYS_MAX = 1_024
# The share of the event stream's room from which on owners write checkpoints.
RETENTION_FULL = 0.7
RATE_WINDOW_S = 5

# Closing (I9): the close is decided ahead of its moment, so that every ingest knows it,
# and sealed when nothing received before it can still arrive.
CLOSE_LEAD_S = 0.3
SEAL_GRACE_S = 8.0
# How often a process asks, through the catalog's bucket, how fresh its view of the catalog is. A vote is
# judged by a view no older than VIEW_FRESH_S, and acked only while the view that judged it is younger than
# the grace less ingest's margin.
VIEW_PROBE_S = 0.5
VIEW_FRESH_S = 2.0
# Of an actor's standing vote or score: how many origins it replaced are remembered.
SUPERSEDED_ORIGINS_MAX = 4

# Streams by actor and address. Those that were refused are told to come back one after the other, at this
# rate to a full address, and at this rate to an actor with too many; none later than STREAM_RETRY_MAX_S.
ADDRESS_RETRIES_PER_S = 50.0
ACTOR_RETRIES_PER_S = 1.0
STREAM_RETRY_MIN_S = 1.0
STREAM_RETRY_MAX_S = 60.0

# Gateway.
BARRIER_S = 5.0
VIEWERS_MAX = 15_000
SENDS_PENDING_MAX = 10_000

# Shutting down.
DRAIN_GRACE_S = 5.0

assert GAMES_MAX < GAMES_KEPT_MAX
assert ACTOR_RETRIES_PER_S < ADDRESS_RETRIES_PER_S
assert STREAM_RETRY_MIN_S < STREAM_RETRY_MAX_S
assert SEAL_GRACE_S > PUBLISH_DEADLINE_S + 2 * CATALOG_REFRESH_S, "a seal waits for every acked block (I9)"
assert DEDUPE_WINDOW_S > 2 * PUBLISH_DEADLINE_S, "a retried block is recognised by its message id"
assert PUBLISH_ATTEMPT_S < PUBLISH_DEADLINE_S
assert PUBLISH_AGAIN_S < PUBLISH_ATTEMPT_S
assert BLOCK_BYTES_MAX <= PUBLISH_IN_FLIGHT_BYTES_MAX
assert UNSETTLED_BYTES_MAX < PUBLISH_WAITING_BYTES_MAX, "ingest stops reading before the pipeline refuses"
assert KEYS_FETCH_AGAIN_S < KEYS_FETCH_MIN_S <= KEYS_FETCH_S <= KEYS_FETCH_MAX_S
assert KEYS_FETCH_PATIENCE_S < KEYS_FETCH_AGAIN_S, "one fetch at a time"
assert ORIGINS_PER_ACTOR < ORIGINS_PER_PRODUCER
assert CLOCK_OFFSET_MAX_S < TOKEN_LEEWAY_S, "a clock is reported before good tokens are refused by it"
assert MESH_TOKEN_RENEW_S + TOKEN_LEEWAY_S < MESH_TOKEN_LIFE_S, "a token shown is good for a while"
assert wire_bounds.BATCH_EVENTS_MAX <= BLOCK_EVENTS_MAX
assert wire_bounds.INGEST_MESSAGE_BYTES_MAX <= BLOCK_BYTES_MAX
assert BLOCK_BYTES_MAX * PUBLISH_IN_FLIGHT_MAX <= UNSETTLED_BYTES_MAX, "the pipeline can be kept full"
assert GAME_BUCKETS_MAX >= GAMES_MAX
assert PULSE_PANES_KEPT[1] > RATE_WINDOW_S + 1
assert PRESENCE_S % AUDIENCE_PANE_S == 0
assert LEASE_RENEW_S * 3 < LEASE_S, "a lease outlives two renewals that come late"
assert LEASE_S + LEASE_RENEW_S < 3.0, "a killed worker is replaced within 3 s"
assert 2 * (LEASE_S + LEASE_RENEW_S) <= BACKLOG_FULL_S, "a takeover alone sheds nothing"

# What an ingest or a gateway remembers of refused events, for who explains it: 24 MiB at most, 8 MiB usually.
REFUSED_ACTORS_MAX = 4_096
REFUSALS_PER_ACTOR = 8
REFUSED_TEXT_MAX = 128
REFUSED_BODY_MAX = 256
REFUSED_MESSAGE_MAX = 300
