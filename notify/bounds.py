"""The bounds of notify alone. Units stand last in the names."""

# An inbox is one message to a viewer, and has to fit the smallest window a client may give its stream.
INBOX_NEWEST_MAX = 20
NOTIFICATION_BYTES_MAX = 2_048

assert INBOX_NEWEST_MAX * NOTIFICATION_BYTES_MAX < 48 * 1024, "with all else it fits a window of 65,535"
