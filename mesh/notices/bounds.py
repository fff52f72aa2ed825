"""The bounds of notices and inboxes. Units stand last in the names."""

from __future__ import annotations

# A notice.
KEY_CHARACTERS_MAX = 128
CODE_CHARACTERS_MAX = 64
TITLE_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 1_000
DATA_BYTES_MAX = 1_024
SAID_BYTES_MAX = 2_048
"""Title, text and data together."""
COLLAPSE_KEY_CHARACTERS_MAX = 64
EXPIRES_AFTER_MIN_S = 60
EXPIRES_AFTER_S = 7 * 86_400
EXPIRES_AFTER_MAX_S = 90 * 86_400
KEPT_AFTER_EXPIRY_S = 30 * 86_400
"""How much longer the stream holds a notice, so that its key is known."""

# A list of actors.
PART_ACTORS_MAX = 500

# What a reader wants.
MUTES_MAX = 64
READ_MARKS_MAX = 1_000
SEGMENTS_PER_ACTOR_MAX = 64
"""Of one in more, the newest count."""

# What an inbox and a crowd hold: the newest; the oldest goes.
INBOX_OWN_MAX = 200
CROWD_MAX = 200
# What a viewer is shown: one message, which has to fit the smallest window a client may give its stream.
INBOX_NEWEST_MAX = 20
NOTIFICATION_BYTES_MAX = SAID_BYTES_MAX + 352

# The streams.
NOTICES_BYTES_MAX = 1024**3
GAME_BYTES_MAX = NOTICES_BYTES_MAX // 16
"""Of it, what the notices and firings of one game may take."""
READERS_BYTES_MAX = 512 * 1024**2
SEGMENTS_BYTES_MAX = 256 * 1024**2
NOTICES_AGE_MAX_S = 500 * 86_400
READERS_AGE_MAX_S = 500 * 86_400
READER_BYTES_MAX = 32 * 1024
"""A Reader with all its marks and mutes."""
STORED_BYTES_MAX = 128 * 1024
"""A message of NOTICES: a notice, and a part of a list of the longest actor ids."""

assert INBOX_NEWEST_MAX * NOTIFICATION_BYTES_MAX < 48 * 1024, "with all else it fits a window of 65,535"
assert SAID_BYTES_MAX + 1_024 + PART_ACTORS_MAX * 131 < STORED_BYTES_MAX
assert READ_MARKS_MAX * 10 + MUTES_MAX * 140 + 512 < READER_BYTES_MAX
assert EXPIRES_AFTER_MIN_S < EXPIRES_AFTER_S < EXPIRES_AFTER_MAX_S
