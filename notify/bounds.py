"""The bounds of notify alone. Units stand last in the names."""

# An inbox is one message to a viewer, and has to fit the smallest window a client may give its stream.
INBOX_NEWEST_MAX = 20
NOTIFICATION_BYTES_MAX = 2_048

assert INBOX_NEWEST_MAX * NOTIFICATION_BYTES_MAX < 48 * 1024, "with all else it fits a window of 65,535"

# The keeper.
CANCELLED_KNOWN_MAX = 100_000
PUT_TOGETHER_MAX = 1_000
LEASE_MS = 3_000
LEASE_RENEW_S = 1.0
# How old a message may be that is pushed while what came before it is caught up with.
PUSH_AGE_S = 30.0
# A scrub walks all there is in this time, and no slower than so many a second.
SCRUB_ROUND_S = 600.0
SCRUB_PER_S_MIN = 100.0
SCRUB_PAUSE_S = 5.0
PURGES_PER_S_MAX = 50.0
FIRED_SEEN_MAX = 100_000
# How long the marker of an actor that left a segment is kept.
SEGMENT_MARKER_S = 7 * 86_400.0

assert LEASE_RENEW_S * 2 < LEASE_MS / 1000, "a lease outlives a renewal that comes late"
