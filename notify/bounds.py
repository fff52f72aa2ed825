"""The bounds of notify alone. Units stand last in the names."""

# An inbox is one message to a viewer, and has to fit the smallest window a client may give its stream.
INBOX_NEWEST_MAX = 20
NOTIFICATION_BYTES_MAX = 2_048

assert INBOX_NEWEST_MAX * NOTIFICATION_BYTES_MAX < 48 * 1024, "with all else it fits a window of 65,535"

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
# A firing that was found so long ago is judged anew.
STALE_S = 2.0
# Without a step for so long, a process was suspended.
SUSPENDED_S = 2.0
