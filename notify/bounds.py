"""The bounds of notify alone. Units stand last in the names."""

# A list of actors.
ACTORS_MAX = 100_000
ACTORS_PER_MESSAGE_MAX = 10_000
# Lists that an instance takes at once, a message and a part of each held; how long one may be silent, and
# last in all.
LISTS_MAX = 16
LIST_SILENCE_S = 10.0
LIST_LASTS_S = 120.0

# Schedules that are not over. An instance holds the next moment of each.
SCHEDULED_MAX = 100_000
# Occurrences that an instance publishes at once.
DUE_AT_ONCE = 32
# After so long one that could not be published is tried again.
DUE_AGAIN_S = 1.0

# Callers of TailNotices at an instance, and what waits for each.
TAILS_MAX = 64
TAIL_WAITING_MAX = 256

# Lists of an inbox.
INBOX_PAGE_DEFAULT = 20
INBOX_PAGE_MAX = 100
ACKNOWLEDGED_MAX = 100
# Of a guest's notices that were read one by one. Anybody may become a guest, so each leaves little behind.
GUEST_MARKS_MAX = 32

# Segments.
SEGMENT_CHANGES_MAX = 1_000
SEGMENT_WRITES_AT_ONCE = 32
SEGMENTS_PAGE_DEFAULT = 100
SEGMENTS_PAGE_MAX = 500
SEGMENT_ACTORS_PAGE_MAX = 1_000

# How often a change is tried that loses against others.
CHANGES_TRIED_MAX = 8

# The keeper.
CANCELLED_KNOWN_MAX = 100_000
PUT_TOGETHER_MAX = 64
# A message of more bytes is a list's part, which others do not wait for: a few at a time, this many at most.
LARGE_BYTES = 4 * 1024
LARGE_TOGETHER_MAX = 2
LARGE_WAITING_MAX = 1_024
LEASE_MS = 3_000
LEASE_RENEW_S = 1.0
# A keeper that applied nothing for so long, and heard nothing, gives its lease up.
STUCK_S = 15.0
# From when something was applied until the next is: a lone notice waits for nobody, and many share a turn.
TURN_S = 0.01
# How old a message may be that is pushed while what came before it is caught up with.
PUSH_AGE_S = 30.0
# A scrub walks all there is in this time, and no slower than this many a second.
SCRUB_ROUND_S = 600.0
SCRUB_PER_S_MIN = 100.0
SCRUB_PAUSE_S = 5.0
PURGES_PER_S_MAX = 50.0
FIRED_SEEN_MAX = 100_000
# How long the marker of an actor that left a segment is kept.
SEGMENT_MARKER_S = 7 * 86_400.0

assert LEASE_RENEW_S * 2 < LEASE_MS / 1000, "a lease outlives a renewal that comes late"

# Rules.
# How long a process listens for others before it judges its first game: their reports come each second.
HEARING_S = 1.2
# Between a change of results and the look at it; what changes meanwhile costs nothing more.
BATCH_S = 0.02
# Games whose last firings are read with one consumer.
LOAD_GAMES_MAX = 64
LOAD_AGAIN_S = 0.5
# Firings that are published at once.
FIRING_MAX = 32
FIRE_AGAIN_S = 0.5
# A firing that was found so long ago is judged again.
STALE_S = 2.0
# Without a step for so long, a process was suspended.
SUSPENDED_S = 2.0
