"""The bounds of aggregate alone, with their relations to others asserted. Units stand last in the names."""

from grandstand.wire import bounds as wire_bounds
from mesh import limits

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
SEASON_MAX_S = 366 * 24 * 3600.0
BOARD_TOP_DEFAULT = 10
OPEN_FOR_MAX_S = 24 * 3600.0
LISTED_MAX = 32
RULES_MAX = 16
RULE_AT_MOST_EVERY_MAX_S = 24 * 3600.0
RULE_HOLD_MAX_S = 600.0
RULE_FIRST_MAX = 100
RULE_TIMES_MIN = 2
RULE_TIMES_MAX = 100
RULE_TEXT_CHARACTERS_MAX = 500
RETAIN_FOR_MAX_S = 366 * 24 * 3600.0
RETAIN_FOR_DEFAULT_S = 24 * 3600.0
IDLE_FOR_MIN_S = 3600.0
IDLE_FOR_MAX_S = 366 * 24 * 3600.0

# No origin that could reach an ended game is left when it is forgotten.
FORGET_AFTER_S = 25 * 3600.0
TOMBSTONES_AGE_S = FORGET_AFTER_S + 24 * 3600.0
TOMBSTONES_BYTES_MAX = 64 * 1024 * 1024

# Reads that wait for what is not folded yet, and how much later one that was refused is to come at least.
READS_WAITING_MAX = 2_000
READS_WAITING_PER_ADDRESS_MAX = 200
READ_RETRY_S = 1.0
# Calls under way at Redis for all who read; folding has its own.
READ_CALLS_MAX = 32

# How long an origin's anti-replay window is kept (I2), and what a partition's windows may take: half a
# million viewers' origins. Over ORIGINS_BYTES_HIGH it is announced which leave, ORIGINS_NOTICE_S before.
ORIGIN_WINDOW_LIFE_S = 25 * 3600
ORIGINS_BYTES_MAX = 16 * 1024 * 1024
ORIGINS_BYTES_HIGH = ORIGINS_BYTES_MAX * 3 // 4
ORIGINS_BYTES_KEPT = ORIGINS_BYTES_MAX // 2
ORIGINS_NOTICE_S = 60

# Folding.
FLUSH_INTERVAL_S = 0.025
FLUSH_INTERVAL_MAX_S = 0.1
FLUSH_BEAT_S = 0.005
# A flush is one step in Redis, which serves nobody else meanwhile: no more events than this in one.
FLUSH_EVENTS_MAX = 65_536
# A state log is rewritten when it is this long and three times what it holds.
LOG_BYTES_MIN = 256 * 1024
LATENESS_S = 10
NEIGHBOURS_MAX = 25
# An audience is exact up to this many actors of a partition; above, a HyperLogLog of
# 2^AUDIENCE_PRECISION registers, its standard error 1.04 / sqrt(registers).
AUDIENCE_EXACT_MAX = 20_000
# Of the places in which one actor watches at once, the newest are remembered.
SOURCES_MAX = 4
# Nearer to zero than this, a measure counts as zero: it bounds a sketch's buckets.
MEASURE_MIN = 1e-9
CUSTOM_STATE_BYTES_MAX = 256 * 1024

# Ownership (I3).
WORKER_BEAT_S = 0.25
WORKER_SILENCE_S = 1.25
PARTITION_STATUS_S = 0.5
PARTITION_NEWS_S = 0.1
# How long a worker that starts waits for the others to tell that they live.
WORKER_HEARING_S = 0.5
# How often a lease that is somebody else's is tried for.
LEASE_POLL_S = 0.1
# How often a partition's owner proves that Redis takes its writes and the event stream answers, how long an
# answer may take, and how old the newest proof may be.
LOOK_S = limits.SWEEP_LOOK_S
LOOK_WITHIN_S = 1.5
PROVEN_S = 3.0
# How often owners look how full the event stream is.
RETENTION_LOOK_S = 2.0
# Of SupportService: calls under way, and how long one reads the stream: less than Envoy gives a unary call.
EXPLAINS_MAX = 4
EXPLAIN_S = 8.0
# How much of a checkpoint is put back in one step.
RESTORE_BYTES_MAX = 1024 * 1024
DEAD_LETTERS_BYTES_MAX = 64 * 1024 * 1024
DEAD_LETTERS_AGE_S = 7 * 24 * 3600.0
FLUSH_ARGUMENTS_MAX = 4_000

# How far apart the clocks of the mesh's processes and of its NATS servers may be. Beyond it closings and
# seasons come late or early; what is acked is counted all the same.
CLOCK_BOUND_S = 1.0

assert wire_bounds.ORIGIN_AGE_MAX_S + limits.PUBLISH_DEADLINE_S < ORIGIN_WINDOW_LIFE_S, (
    "a window outlives its origin (I2)"
)
assert wire_bounds.ORIGIN_AGE_MAX_S + limits.PUBLISH_DEADLINE_S + limits.SEAL_GRACE_S < FORGET_AFTER_S, (
    "no old origin reaches a new game of the same id"
)
assert ORIGINS_BYTES_KEPT < ORIGINS_BYTES_HIGH < ORIGINS_BYTES_MAX
assert ORIGINS_NOTICE_S > 2 * (limits.PUBLISH_DEADLINE_S + limits.DRAIN_GRACE_S), "their streams end before"
assert limits.PULSE_PANES_KEPT[1] > LATENESS_S + 1, "a late row finds its pane"
assert READS_WAITING_PER_ADDRESS_MAX * 4 < READS_WAITING_MAX, "one address leaves room for others"
assert WORKER_BEAT_S * 4 < WORKER_SILENCE_S
assert WORKER_SILENCE_S < limits.LEASE_S, "who takes over knows by then that it shall"
assert LOOK_S + LOOK_WITHIN_S < PROVEN_S, "one look may be lost"
assert 2 * limits.SWEEP_KEYS_MAX < 7_900, "Lua unpacks at most some 8,000 values"
assert PARTITION_STATUS_S * 3 < limits.PARTITION_STATUS_LIFE_S
