"""What one HTTP/2 connection may hold, send and ask for, with the relations asserted.

The message bound and the bound on streams are arguments of the server: they differ between services.
"""

from __future__ import annotations

# What we grant. A stream's window is what a paused call may leave with us; one connection carries
# thousands of streams, so it is sent WINDOW_UPDATE on receipt, and its window bounds only what is in flight.
STREAM_WINDOW_BYTES = 32 * 1024
CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024
# All that the streams of one connection have sent and their handlers have not taken.
BUFFERED_BYTES_MAX = 64 * 1024 * 1024

# What we send.
FRAME_BYTES_MAX = 16_384
SEND_BUFFER_BYTES_MAX = 64 * 1024
# Waiting of one call, whatever its handler thinks of `is_writable`; beyond it the call is ended.
SEND_WAITING_BYTES_MAX = 16 * 1024 * 1024
# Read from a socket in one turn of the loop: thousands of messages, then the others have their turn. A new
# call costs a hundred times what a message does, so while calls come as much is read as some fifty of them
# have, by those before. Without any, twice as much each time. With 64 KiB a viewer saw nothing new before
# 97 % of 10,000 that came over ten connections were served, with 4 KiB 30 to 37 %, for the same CPU. Not
# 4 KiB for all: these are seven of Send, which are then relayed seven at a time (1.4 times the CPU).
READ_BYTES = 64 * 1024
READ_BYTES_OPENING = 4 * 1024
CALLS_PER_READ = 50
# Handed to the transport in one turn of the loop; and what the transport may hold before we stop reading.
# A frame for each of 15,000 viewers is to be one write.
FLUSH_BYTES_MAX = 4 * 1024 * 1024
TRANSPORT_HIGH_BYTES = 1024 * 1024
TRANSPORT_LOW_BYTES = 256 * 1024

# Request headers. What is over the first bounds costs the call; what is over the second costs the
# connection, as it need not be read to the end then. An Envoy in front lets 60 KiB and 100 fields through:
# no client of it may cost the others their calls.
HEADER_LIST_BYTES_MAX = 16 * 1024
HEADER_FIELDS_MAX = 64
HEADER_LIST_BYTES_HARD = 80 * 1024
HEADER_BLOCK_BYTES_HARD = 72 * 1024
CONTINUATIONS_MAX = 32
# What fields and whole blocks were found to say is remembered: the fields that many send alike, which are
# short, and the blocks of who calls again and again, a browser's with its token about a thousand bytes.
FIELD_BYTES_REMEMBERED = 128
FIELDS_REMEMBERED = 4_096
BLOCK_BYTES_REMEMBERED = 2 * 1024
BLOCKS_REMEMBERED = 4_096
BLOCKS_NOTICED = 16_384
# Of a grpc-message, and of the same text within grpc-status-details-bin: clients refuse trailers of 8 KiB.
TRAILERS_BYTES_MAX = 8 * 1024
STATUS_MESSAGE_BYTES_MAX = 4 * 1024
DETAILS_MESSAGE_BYTES_MAX = 2 * 1024
RETRY_AFTER_S_MAX = 24 * 3600.0

# Frames that cost us and say nothing: PING, SETTINGS, PRIORITY, unknown ones, DATA without data.
# A connection that exceeds the rate after the burst is told ENHANCE_YOUR_CALM.
IDLE_FRAMES_PER_S = 200.0
IDLE_FRAMES_BURST = 2_000.0
# A SETTINGS frame touches every stream.
SETTINGS_COST = 20.0
# WINDOW_UPDATE: besides this rate, one for this many bytes of DATA that we sent. Most clients send one for
# half a window; some send two for each DATA frame.
WINDOW_UPDATES_PER_S = 2_000.0
WINDOW_UPDATES_BURST = 20_000
WINDOW_UPDATE_DATA_BYTES = 64
# Frames on closed streams that are ignored, beyond those that each stream explains (mesh.http2.calls).
LATE_FRAMES_SPARE = 1_000
# Streams reset by the client within YOUNG_STREAM_S of their opening, or by us for what the client did.
# One Envoy speaks for thousands of clients: a crowd that comes and leaves at once must fit.
RESETS_PER_S = 1_000.0
RESETS_BURST = 5_000.0
YOUNG_STREAM_S = 1.0
# Streams that we reset: what the client sent before it knew is ignored.
RESET_STREAMS_REMEMBERED = 4_096

# Liveness.
LOOK_S = 1.0
# A connection that said nothing is asked, and one that does not answer is closed.
KEEPALIVE_S = 13.0
KEEPALIVE_PATIENCE_S = 13.0
# From the connection's start to the end of the client's preface and SETTINGS.
PREFACE_PATIENCE_S = 10.0
# A connection without a call for as long is asked to go; its client opens another when it has one.
IDLE_CONNECTION_S = 600.0
# For what is still to be written on a connection that we close.
LINGER_S = 2.0
# How long a call may be open without an answer and without the end of its request.
REQUEST_PATIENCE_S = 5.0
# How long a refusal waits for the client's first DATA; how long the answer to a request that is no gRPC
# waits for the request's end, and then for the windows to take its content, if that is no more than this.
REFUSAL_PATIENCE_S = 0.02
REPLY_DELAY_S = 0.5
REPLY_PATIENCE_S = 5.0
REPLY_WAITING_BYTES_MAX = 64
# From the first GOAWAY, which names no stream, to the second, if the client does not answer our PING.
GOAWAY_PATIENCE_S = 2.0
CONNECTIONS_MAX = 10_000
# TLS: from a connection's start to the end of its handshake, and how many may be at that.
HANDSHAKE_PATIENCE_S = 10.0
HANDSHAKES_MAX = 256
# Stream ids end at 2^31 - 1; a connection that comes near is asked to go.
LAST_STREAM_ID = 2**31 - 1
STREAM_ID_DRAIN = LAST_STREAM_ID - 2**17

assert STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES
assert FRAME_BYTES_MAX <= STREAM_WINDOW_BYTES // 2, "WINDOW_UPDATE is sent before the window is used up"
assert CONNECTION_WINDOW_BYTES >= 65_535, "a window begins there and can only be widened"
assert SEND_BUFFER_BYTES_MAX < SEND_WAITING_BYTES_MAX
assert TRANSPORT_LOW_BYTES < TRANSPORT_HIGH_BYTES <= FLUSH_BYTES_MAX
assert HEADER_LIST_BYTES_MAX < HEADER_BLOCK_BYTES_HARD <= HEADER_LIST_BYTES_HARD
assert STATUS_MESSAGE_BYTES_MAX + (DETAILS_MESSAGE_BYTES_MAX + 128) * 4 // 3 + 512 <= TRAILERS_BYTES_MAX, (
    "with RetryInfo, the other fields and 32 bytes for each, trailers are taken by every client"
)
assert BLOCK_BYTES_REMEMBERED * BLOCKS_REMEMBERED <= 8 * 1024 * 1024
assert IDLE_CONNECTION_S > KEEPALIVE_S
assert CONTINUATIONS_MAX * FRAME_BYTES_MAX > HEADER_BLOCK_BYTES_HARD
assert KEEPALIVE_S + KEEPALIVE_PATIENCE_S + 2 * LOOK_S < 30.0, "a half-open connection is found within 30 s"
