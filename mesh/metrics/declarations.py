"""Every metric, once: its name, type, unit, labels and meaning. docs/metrics.md is made from this table.

Names follow prometheus.io/docs/practices/naming: `grandstand_<part>_<what>_<unit>`; a counter is exposed
with `_total` behind. Metrics whose part is a service are that service's, the others are of each process. A
label takes its values from a small set that clients cannot extend: partitions, methods, codes, reasons. Only
`game` names what operators choose, within mesh.metrics.hottest's bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SERVICES = ("ingest", "aggregate", "gateway", "notify")
PROCESSES = (*SERVICES, "canary")
_ENGINE = ("ingest", "gateway")
"""Those that serve by mesh.http2."""


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Declaration:
    name: str
    """As in OpenMetrics: of a family, so without _total and _info."""
    kind: MetricType
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    """Base units: seconds, bytes, ratio; "" for a number of things."""
    of: tuple[str, ...] = SERVICES
    """Whose it is."""

    @property
    def exposed(self) -> str:
        """The name that a query uses."""
        suffix = {MetricType.COUNTER: "_total", MetricType.INFO: "_info"}.get(self.kind, "")
        return self.name + suffix


_UNITS = ("seconds", "bytes", "ratio")
_PARTS = {
    **{part: (part,) for part in (*PROCESSES, "up")},
    "http2": _ENGINE,
    # The canary judges for all.
    **dict.fromkeys(("slo", "incident", "incidents"), ("canary",)),
}


def _declare(
    kind: MetricType, name: str, text: str, labels: tuple[str, ...], of: tuple[str, ...] = ()
) -> Declaration:
    of = of or _PARTS.get(name.partition("_")[0], SERVICES)
    unit = next((unit for unit in _UNITS if name.endswith(f"_{unit}")), "")
    return Declaration(f"grandstand_{name}", kind, text, labels, unit, of)


def _counter(name: str, text: str, *labels: str) -> Declaration:
    return _declare(MetricType.COUNTER, name, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Declaration:
    return _declare(MetricType.GAUGE, name, text, labels)


def _histogram(name: str, text: str, *labels: str) -> Declaration:
    return _declare(MetricType.HISTOGRAM, name, text, labels)


# Of each service: its calls.

RPC_OPENED = _counter("rpc_opened", "Calls that began.", "method")
RPC_ENDED = _counter("rpc_ended", "Calls that ended, by gRPC status code.", "method", "code")
RPC_SECONDS = _histogram(
    "rpc_duration_seconds", "From the call's headers to its end; a stream's life.", "method"
)

HTTP2_CONNECTIONS = _gauge("http2_connections", "Open connections of our own HTTP/2 engine.")
HTTP2_STREAMS = _gauge("http2_streams", "Open streams, that is calls, of our own HTTP/2 engine.")
HTTP2_RECEIVED = _counter("http2_received_bytes", "Bytes read from connections.")
HTTP2_SENT = _counter("http2_sent_bytes", "Bytes written to connections.")
HTTP2_TERMINATIONS = _counter(
    "http2_terminations",
    "Connections, streams and calls that the engine ended or refused.",
    "scope",
    "code",
    "cause",
)

# Of each service: its dependencies.

DEPENDENCY_OK = _gauge("dependency_ok", "1 while round trips prove the dependency, else 0.", "dependency")
DEPENDENCY_SECONDS = _histogram(
    "dependency_round_trip_seconds",
    "Round trips that prove a dependency, also those that fail.",
    "dependency",
)
DEPENDENCY_FAILURES = _counter(
    "dependency_failures", "Round trips that failed or took too long.", "dependency"
)
CLOCK_OFFSET = _gauge("clock_offset_seconds", "How far the process's clock is ahead of JetStream's.")
CATALOG_DEFINITIONS = _gauge("catalog_definitions", "Games, polls and boards that this process knows.")
CATALOG_GAMES = _gauge("catalog_games", "Games that this process knows: live ones, and all.", "which")
CATALOG_CHANGES = _counter("catalog_changes", "Definitions that came, changed or went.")
CATALOG_AGE = _gauge(
    "catalog_age_seconds", "Age of the last moment at which the view of the catalog was complete."
)
NATS_MESSAGES = _counter("nats_messages", "Messages on the NATS connection.", "direction")
NATS_BYTES = _counter("nats_payload_bytes", "Bytes of messages on the NATS connection.", "direction")
NATS_RECONNECTS = _counter("nats_reconnects", "Times that the NATS connection was recreated.")

# Of each process: itself.


def _own(kind: MetricType, name: str, text: str, *labels: str) -> Declaration:
    return _declare(kind, name, text, labels, PROCESSES)


BUILD = _own(MetricType.INFO, "build", "Which release runs, and on which Python.")
READY = _own(
    MetricType.GAUGE, "ready", "1 while gRPC health says SERVING, else 0; canary: while it measures."
)
LOOP_LAG = _own(
    MetricType.HISTOGRAM, "event_loop_lag_seconds", "How late a timer of the event loop fires, every 0.1 s."
)
GC_PAUSE = _own(
    MetricType.HISTOGRAM, "gc_pause_seconds", "What one run of the garbage collector takes.", "generation"
)
SCRAPE_FAILURES = _own(
    MetricType.COUNTER, "scrape_failures", "Metrics that could not be read at a scrape.", "metric"
)
ADMIN_CUT_OFF = _own(
    MetricType.COUNTER, "admin_cut_off", "Connections of the admin port whose client did not read."
)

PROCESS = tuple(
    Declaration(f"process_{name}", kind, text, unit=unit, of=PROCESSES)
    for name, kind, text, unit in (
        ("virtual_memory_bytes", MetricType.GAUGE, "Virtual memory.", "bytes"),
        ("resident_memory_bytes", MetricType.GAUGE, "Resident memory.", "bytes"),
        ("start_time_seconds", MetricType.GAUGE, "When the process began, Unix seconds.", "seconds"),
        ("cpu_seconds", MetricType.COUNTER, "CPU time, user and system.", "seconds"),
        ("open_fds", MetricType.GAUGE, "Open files and sockets.", ""),
        ("max_fds", MetricType.GAUGE, "How many files and sockets may be open.", ""),
    )
)
COLLECTIONS = tuple(
    Declaration(f"python_gc_{name}", MetricType.COUNTER, text, ("generation",), of=PROCESSES)
    for name, text in (
        ("objects_collected", "Objects that the garbage collector freed."),
        ("objects_uncollectable", "Objects that it could not free."),
        ("collections", "Runs of the garbage collector."),
    )
)

# ingest

INGEST_STREAMS = _gauge("ingest_streams", "Open Publish streams.")
INGEST_STREAMS_REFUSED = _counter("ingest_streams_refused", "Publish streams refused by a limit.", "limit")
INGEST_EVENTS = _counter(
    "ingest_events_received", "Events that came on Publish streams, whatever became of them."
)
INGEST_STORED = _counter("ingest_events_stored", "Events whose block JetStream has acknowledged.")
INGEST_STORED_BYTES = _counter("ingest_stored_bytes", "Their bytes, as estimated while a block fills.")
INGEST_SHED = _counter("ingest_events_shed", "Events that were shed under pressure.", "kind")
INGEST_REJECTED = _counter(
    "ingest_events_rejected", "Events that were refused, by the error's name.", "reason"
)
INGEST_GAME_RATE = _gauge(
    "ingest_game_events_per_second", "Stored events of the hottest games, over 10 s.", "game"
)
INGEST_BLOCKS = _counter("ingest_blocks_stored", "Blocks that JetStream has acknowledged.")
INGEST_ATTEMPTS_FAILED = _counter(
    "ingest_blocks_refused", "Attempts at which JetStream did not take a block in time."
)
INGEST_PUBLISH = _histogram("ingest_publish_duration_seconds", "From a block's publish to its PubAck.")
INGEST_BLOCK_EVENTS = _histogram("ingest_block_events", "Events in a stored block.")
INGEST_IN_FLIGHT = _gauge("ingest_in_flight", "Blocks that were sent and are not acknowledged.")
INGEST_IN_FLIGHT_BYTES = _gauge("ingest_in_flight_bytes", "Their bytes.")
INGEST_WAITING = _gauge("ingest_waiting", "Blocks that wait to be sent.")
INGEST_OLDEST = _gauge("ingest_oldest_unacked_seconds", "Age of the oldest block that is not acknowledged.")
INGEST_UNSETTLED = _gauge("ingest_unsettled_events", "Events that are taken and not yet acked or refused.")
INGEST_UNSETTLED_BYTES = _gauge("ingest_unsettled_bytes", "Their bytes.")
INGEST_PRESSURE = _gauge("ingest_pressure_ratio", "The pressure level: 0 at ease, 1 at the bound.")
INGEST_SHEDDING = _gauge("ingest_shedding", "1 while events of this kind are shed.", "kind")
INGEST_CREDIT = _gauge("ingest_credit_ratio", "The share of its credit that a client is given now.")
INGEST_BACKLOG = _gauge(
    "ingest_backlog_seconds", "How far aggregation is behind, in the worst partition heard of."
)
INGEST_LOG_USED = _gauge("ingest_event_log_used_bytes", "Size of the event stream.")
INGEST_LOG_MAX = _gauge("ingest_event_log_max_bytes", "What it may hold; 0: without bound.")
INGEST_DISK_FREE = _gauge(
    "ingest_disk_free_bytes", "Free on the disk of NATS, where that is this machine's (--nats-store)."
)
INGEST_DISK_SIZE = _gauge("ingest_disk_size_bytes", "Size of that disk.")

# aggregate

AGGREGATE_PARTITIONS = _gauge("aggregate_partitions_owned", "Partitions that this process folds.")
AGGREGATE_LAG_SECONDS = _gauge(
    "aggregate_partition_lag_seconds", "Age of the oldest block that is not folded.", "partition"
)
AGGREGATE_LAG_BLOCKS = _gauge("aggregate_partition_lag_blocks", "Blocks that are not folded.", "partition")
AGGREGATE_LAG_EVENTS = _gauge(
    "aggregate_partition_lag_events",
    "Events in them, estimated by the blocks that were folded last.",
    "partition",
)
AGGREGATE_APPLIED = _gauge(
    "aggregate_partition_applied", "The sequence up to which a partition is folded.", "partition"
)
AGGREGATE_EVENTS = _counter("aggregate_events_folded", "Events that were flushed with their fold.")
AGGREGATE_BLOCKS = _counter("aggregate_blocks_folded", "Blocks that were flushed with their fold.")
AGGREGATE_FLUSH = _histogram("aggregate_flush_duration_seconds", "The atomic write of a flush to Redis.")
AGGREGATE_FLUSH_ROWS = _histogram("aggregate_flush_rows", "Keys that a flush writes.")
AGGREGATE_LATE = _counter(
    "aggregate_flushes_late", "Flushes stored more than half an interval after they were due."
)
AGGREGATE_INTERVAL = _gauge(
    "aggregate_flush_interval_seconds",
    "The longest interval between flushes of a partition; wider while it is late.",
)
AGGREGATE_LEASES = _counter(
    "aggregate_lease_changes", "Leases that were acquired, released or lost.", "change"
)
AGGREGATE_TAKEOVER = _histogram(
    "aggregate_takeover_duration_seconds", "From a lease until its partition is folded on."
)
AGGREGATE_DEAD_LETTERS = _counter("aggregate_dead_letters", "Blocks and sections that were set aside.")
AGGREGATE_READS_WAITING = _gauge(
    "aggregate_reads_waiting", "Reads that wait for a position or a rebuilt partition."
)
AGGREGATE_READS_REFUSED = _counter("aggregate_reads_refused", "Reads that found no place to wait.")

# gateway

GATEWAY_VIEWERS = _gauge("gateway_viewers", "Open subscriptions.")
GATEWAY_VIEWERS_REFUSED = _counter(
    "gateway_viewers_refused", "Subscriptions refused by a limit or overload.", "limit"
)
GATEWAY_GAME_VIEWERS = _gauge("gateway_game_viewers", "Viewers of the games with most of them.", "game")
GATEWAY_STALLED = _gauge("gateway_viewers_stalled", "Viewers whose window was closed when something was due.")
GATEWAY_GAMES = _gauge("gateway_games", "Games that are fed here.")
GATEWAY_COHORTS = _gauge("gateway_cohorts", "Groups of viewers with identical subscriptions.")
GATEWAY_RENDITIONED = _gauge("gateway_cohorts_slowed", "Cohorts that get fewer updates than they asked for.")
GATEWAY_RENDITIONS = _counter("gateway_renditions", "Changes of a cohort's rate.")
GATEWAY_FRAMES = _counter("gateway_frames", "Frames sent to viewers.", "kind")
GATEWAY_CONFLATED = _counter(
    "gateway_frames_conflated", "Updates that found a viewer without room: it is shown them later."
)
GATEWAY_TICKS = _counter("gateway_ticks", "Ticks of cohorts.")
GATEWAY_TICKS_LATE = _counter("gateway_ticks_late", "Turns of the tick wheel more than one tick late.")
GATEWAY_OVERLOAD = _gauge("gateway_overload_level", "0: as asked for; 10: new viewers are refused.")
GATEWAY_BUSY = _gauge("gateway_busy_ratio", "The share of one CPU that overload control observed.")
GATEWAY_JOIN = _histogram(
    "gateway_join_duration_seconds", "From a Subscribe call's headers to the viewer's seat."
)
GATEWAY_SENDS = _gauge("gateway_sends_pending", "Events that were sent on to ingest and are not answered.")
GATEWAY_GUESTS = _counter("gateway_guests", "Guests who asked for a token.", "outcome")
GATEWAY_PERSONAL = _gauge("gateway_personal_watches", "Viewers with personal topics.")

# notify

NOTIFY_NOTICES = _counter("notify_notices", "Notices that were stored, by the way they came.", "source")
NOTIFY_SCHEDULED = _gauge("notify_scheduled", "Schedules that are not over, as far as is known here.")
NOTIFY_GAMES = _gauge("notify_games_judged", "Games whose rules this process judges.")
NOTIFY_ANNOUNCED = _counter("notify_announcements", "Openings and closings that viewers were told of.")
NOTIFY_KEEPS = _gauge("notify_keeps_inboxes", "1 in the process that keeps the inboxes.")
NOTIFY_APPLIED = _gauge(
    "notify_stream_applied", "The sequence up to which the keeper has applied a stream.", "stream"
)
NOTIFY_HEARD = _gauge("notify_stream_silence_seconds", "How long ago the keeper heard of a stream.", "stream")

# canary

CANARY_FRESHNESS = _histogram(
    "canary_freshness_seconds", "From a vote's sending to the frame that shows it; a bucket ends at 0.3."
)
CANARY_VOTES = _counter(
    "canary_votes", "The canary's votes: acked, refused, or unanswered within 10 s.", "outcome"
)
CANARY_UNSEEN = _counter("canary_unseen", "Acked votes that no frame showed within 10 s.")
SLO_BURN_RATE = _gauge(
    "slo_burn_rate",
    "How many times faster than sustainable the error budget was spent over the window.",
    "objective",
    "window",
)
INCIDENT_OPEN = _gauge("incident_open", "1 while an incident lasts, else 0.")
INCIDENTS = _counter("incidents", "Incidents detected since the start, by what stopped.", "kind")

# Where `up` collects them.

UP = _gauge("up", "1 if the process answered the scrape of `up`, else 0; with labels service and instance.")

TABLE: tuple[Declaration, ...] = (
    *(each for each in list(globals().values()) if isinstance(each, Declaration)),
    *PROCESS,
    *COLLECTIONS,
)


def of_service(service: str) -> tuple[Declaration, ...]:
    return tuple(each for each in TABLE if service in each.of)


assert len({each.name for each in TABLE}) == len(TABLE), "a metric is declared twice"
