"""What the dashboards show: tables of panels and their queries. Pure.

Each query gives data on a mesh that is at rest and well, if only zeros: a counter whose label says what went
wrong gets `or vector(0)`. $__rate_interval is Grafana's: at least four scrapes.
"""

from __future__ import annotations

from dataclasses import dataclass

EACH = "{{instance}}"
Query = tuple[str, str]
"""PromQL and its legend."""


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: str
    queries: tuple[Query, ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class GrafanaBoard:
    name: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    variables: tuple[tuple[str, str], ...] = ()
    """(name, query of its values)"""


def rate(metric: str, by: str, selector: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{selector}[$__rate_interval]))"


def total(metric: str, selector: str = "") -> str:
    """A rate, 0 where the counter has no series yet."""
    return f"sum(rate({metric}{selector}[$__rate_interval])) or vector(0)"


def gauge(title: str, metric: str, unit: str = "short", description: str = "") -> Panel:
    """Of each instance."""
    return Panel(title, unit, ((metric, EACH),), description)


def one(title: str, expr: str, legend: str, unit: str = "short", description: str = "") -> Panel:
    return Panel(title, unit, ((expr, legend),), description)


def rates(title: str, metric: str, by: str = "instance", selector: str = "", unit: str = "cps") -> Panel:
    """By a label whose values are all there from the start."""
    return Panel(title, unit, ((rate(metric, by, selector), f"{{{{{by}}}}}"),))


def faults(title: str, metric: str, by: str, selector: str = "", unit: str = "cps") -> Panel:
    """By a label whose values come with what happens; nothing is 0."""
    return Panel(title, unit, ((f"{rate(metric, by, selector)} or vector(0)", f"{{{{{by}}}}}"),))


def spread(
    title: str, histogram: str, unit: str = "s", selector: str = "", by: str = "", description: str = ""
) -> Panel:
    """p50 and p99; of nothing that happened they are not a number, which is drawn as a gap. With `by`, p99 of
    each."""
    over, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    buckets = f"sum by ({over}) (rate({histogram}_bucket{selector}[$__rate_interval]))"
    queries = tuple((f"histogram_quantile({q}, {buckets})", f"p{q[2:]}{legend}") for q in ("0.50", "0.99"))
    return Panel(title, unit, queries[bool(by) :], description)


def process_row(service: str) -> tuple[str, tuple[Panel, ...]]:
    """What every service has, as the last row of its board."""
    who = f'{{service="{service}"}}'
    files = ((f"process_open_fds{who}", EACH), (f"min(process_max_fds{who})", "limit"))
    works = f"min by (dependency) (grandstand_dependency_ok{who})"
    return (
        "Processes",
        (
            rates("CPU", "process_cpu_seconds_total", selector=who, unit="percentunit"),
            gauge("Memory", f"process_resident_memory_bytes{who}", "bytes"),
            Panel("Open files and sockets", "short", files),
            spread("Event loop lag", "grandstand_event_loop_lag_seconds", selector=who),
            one(
                "Dependencies that work", works, "{{dependency}}", description="1 while round trips prove it."
            ),
            spread("Round trips", "grandstand_dependency_round_trip_seconds", selector=who, by="dependency"),
            rates("Calls that begin", "grandstand_rpc_opened_total", "method", who, "reqps"),
            faults("Calls that end, by code", "grandstand_rpc_ended_total", "code", who, "reqps"),
            gauge("Clock, ahead of JetStream's", f"grandstand_clock_offset_seconds{who}", "s"),
        ),
    )


FRESHNESS = spread(
    "Vote to screen",
    "grandstand_canary_freshness_seconds",
    description="The canary's. The objective: 99.9 % within 0.3 s.",
)
_LOG_USED, _LOG_MAX = (
    "max(grandstand_ingest_event_log_used_bytes)",
    "max(grandstand_ingest_event_log_max_bytes)",
)
_GAME_EVENTS, _GAME_VIEWERS = "grandstand_ingest_game_events_per_second", "grandstand_gateway_game_viewers"
_THIS = '{game="$game"}'

_OVERVIEW = GrafanaBoard(
    "overview",
    "Grandstand: overview",
    (
        (
            "What people see, as the canary measures it",
            (
                FRESHNESS,
                Panel(
                    "The canary's votes",
                    "cps",
                    (
                        (rate("grandstand_canary_votes_total", "outcome"), "{{outcome}}"),
                        (total("grandstand_canary_unseen_total"), "acked, not seen"),
                    ),
                ),
                one(
                    "Burn rate",
                    "grandstand_slo_burn_rate",
                    "{{objective}} {{window}}",
                    description="1: the error budget lasts exactly its month.",
                ),
                one("Open incidents", "max(grandstand_incident_open)", "open"),
            ),
        ),
        (
            "The path of a vote",
            (
                Panel(
                    "Events",
                    "cps",
                    (
                        (total("grandstand_ingest_events_received_total"), "received"),
                        (total("grandstand_ingest_events_stored_total"), "stored"),
                        (total("grandstand_aggregate_events_folded_total"), "folded"),
                    ),
                ),
                spread("Stored: publish to PubAck", "grandstand_ingest_publish_duration_seconds"),
                one("Folding is behind", "max(grandstand_aggregate_partition_lag_seconds)", "at worst", "s"),
                spread("Flush to Redis", "grandstand_aggregate_flush_duration_seconds"),
                one("Viewers", "sum(grandstand_gateway_viewers)", "viewers"),
                rates("Frames", "grandstand_gateway_frames_total", "kind"),
            ),
        ),
        (
            "What is wrong",
            (
                one("Processes that answer", 'count by (service) (up{job="grandstand"} == 1)', "{{service}}"),
                one(
                    "Dependencies that fail",
                    "count by (dependency) (grandstand_dependency_ok == 0) or vector(0)",
                    "{{dependency}}",
                ),
                Panel(
                    "Refused and shed",
                    "cps",
                    (
                        (total("grandstand_ingest_events_rejected_total"), "refused"),
                        (total("grandstand_ingest_events_shed_total"), "shed"),
                        (total("grandstand_gateway_viewers_refused_total"), "viewers refused"),
                        (total("grandstand_aggregate_dead_letters_total"), "dead letters"),
                    ),
                ),
                Panel(
                    "Overload",
                    "short",
                    (
                        ("max(grandstand_gateway_overload_level)", "gateway, of 10"),
                        ("max(grandstand_ingest_pressure_ratio) * 10", "ingest, of 10"),
                    ),
                ),
                one("Event log", f"{_LOG_USED} / {_LOG_MAX}", "used", "percentunit"),
                rates(
                    "Edge: requests by class of status",
                    "envoy_http_downstream_rq_xx",
                    "envoy_response_code_class",
                    unit="reqps",
                ),
            ),
        ),
    ),
)

_INGEST = GrafanaBoard(
    "ingest",
    "Grandstand: ingest",
    (
        (
            "Events",
            (
                gauge("Streams", "grandstand_ingest_streams"),
                rates("Received", "grandstand_ingest_events_received_total"),
                rates("Stored", "grandstand_ingest_events_stored_total"),
                faults("Refused, by reason", "grandstand_ingest_events_rejected_total", "reason"),
                faults("Shed, by kind", "grandstand_ingest_events_shed_total", "kind"),
                rates("Streams refused, by limit", "grandstand_ingest_streams_refused_total", "limit"),
            ),
        ),
        (
            "Blocks",
            (
                spread("Publish to PubAck", "grandstand_ingest_publish_duration_seconds"),
                spread("Events a block", "grandstand_ingest_block_events", "short"),
                rates("Attempts not taken in time", "grandstand_ingest_blocks_refused_total"),
                Panel(
                    "Under way",
                    "short",
                    (
                        ("sum(grandstand_ingest_in_flight)", "sent, not acked"),
                        ("sum(grandstand_ingest_waiting)", "waiting to be sent"),
                    ),
                ),
                gauge("Oldest not acked", "grandstand_ingest_oldest_unacked_seconds", "s"),
                gauge("Bytes not settled", "grandstand_ingest_unsettled_bytes", "bytes"),
            ),
        ),
        (
            "Pressure",
            (
                gauge("Pressure", "grandstand_ingest_pressure_ratio", "percentunit"),
                gauge("Credit given", "grandstand_ingest_credit_ratio", "percentunit"),
                one("Kinds shed now", "max by (kind) (grandstand_ingest_shedding)", "{{kind}}"),
                gauge("Folding is behind", "grandstand_ingest_backlog_seconds", "s"),
                Panel("Event log", "bytes", ((_LOG_USED, "used"), (_LOG_MAX, "bound"))),
                Panel(
                    "Disk of NATS",
                    "bytes",
                    (
                        ("min(grandstand_ingest_disk_free_bytes)", "free"),
                        ("min(grandstand_ingest_disk_size_bytes)", "size"),
                    ),
                    "Where it is on ingest's machine.",
                ),
            ),
        ),
        process_row("ingest"),
    ),
)

_BY_PARTITION = "by (partition) (grandstand_aggregate_partition_lag"
_AGGREGATE = GrafanaBoard(
    "aggregate",
    "Grandstand: aggregate",
    (
        (
            "Folding",
            (
                rates("Events folded", "grandstand_aggregate_events_folded_total"),
                one("Lag", f"max {_BY_PARTITION}_seconds)", "{{partition}}", "s"),
                one("Events not folded", f"sum {_BY_PARTITION}_events)", "{{partition}}"),
                gauge("Dead letters since the start", "grandstand_aggregate_dead_letters_total"),
                spread("Flush to Redis", "grandstand_aggregate_flush_duration_seconds"),
                spread("Keys a flush", "grandstand_aggregate_flush_rows", "short"),
                rates("Late flushes", "grandstand_aggregate_flushes_late_total"),
                gauge("Interval of flushes", "grandstand_aggregate_flush_interval_seconds", "s"),
            ),
        ),
        (
            "Ownership and reads",
            (
                gauge("Partitions owned", "grandstand_aggregate_partitions_owned"),
                rates("Lease changes", "grandstand_aggregate_lease_changes_total", "change"),
                spread("Takeover", "grandstand_aggregate_takeover_duration_seconds"),
                gauge("Reads that wait", "grandstand_aggregate_reads_waiting"),
                rates("Reads refused", "grandstand_aggregate_reads_refused_total"),
                one("Games", "max by (which) (grandstand_catalog_games)", "{{which}}"),
            ),
        ),
        process_row("aggregate"),
    ),
)

_GATEWAY = GrafanaBoard(
    "gateway",
    "Grandstand: gateway",
    (
        (
            "Viewers",
            (
                gauge("Viewers", "grandstand_gateway_viewers"),
                rates("Refused, by limit", "grandstand_gateway_viewers_refused_total", "limit"),
                spread("Join", "grandstand_gateway_join_duration_seconds"),
                gauge("Without room", "grandstand_gateway_viewers_stalled"),
                rates("Updates shown later", "grandstand_gateway_frames_conflated_total"),
                gauge("Personal topics", "grandstand_gateway_personal_watches"),
                rates("Guests", "grandstand_gateway_guests_total", "outcome"),
                gauge("Sends not answered", "grandstand_gateway_sends_pending"),
            ),
        ),
        (
            "Frames",
            (
                rates("Frames", "grandstand_gateway_frames_total", "kind"),
                rates(
                    "Bytes sent",
                    "grandstand_http2_sent_bytes_total",
                    selector='{service="gateway"}',
                    unit="Bps",
                ),
                gauge("Games", "grandstand_gateway_games"),
                Panel(
                    "Cohorts",
                    "short",
                    (
                        ("sum(grandstand_gateway_cohorts)", "all"),
                        ("sum(grandstand_gateway_cohorts_slowed)", "slowed"),
                    ),
                ),
                gauge("Overload level", "grandstand_gateway_overload_level"),
                gauge("CPU, as overload sees it", "grandstand_gateway_busy_ratio", "percentunit"),
                rates("Late ticks", "grandstand_gateway_ticks_late_total"),
                gauge("Connections of Envoy", 'grandstand_http2_connections{service="gateway"}'),
                faults("Ended by us", "grandstand_http2_terminations_total", "cause", '{service="gateway"}'),
            ),
        ),
        process_row("gateway"),
    ),
)

_NOTIFY = GrafanaBoard(
    "notify",
    "Grandstand: notify",
    (
        (
            "Notices",
            (
                faults("Notices, by source", "grandstand_notify_notices_total", "source"),
                rates("Announcements", "grandstand_notify_announcements_total"),
                gauge("Scheduled", "grandstand_notify_scheduled"),
                gauge("Games judged", "grandstand_notify_games_judged"),
                one("Keepers of inboxes", "sum(grandstand_notify_keeps_inboxes)", "keepers"),
                one(
                    "Silence of streams",
                    "max by (stream) (grandstand_notify_stream_silence_seconds)",
                    "{{stream}}",
                    "s",
                ),
            ),
        ),
        process_row("notify"),
    ),
)

_GAME = GrafanaBoard(
    "game",
    "Grandstand: one game",
    (
        (
            "$game",
            (
                one(
                    "Events stored",
                    f"sum({_GAME_EVENTS}{_THIS}) or vector(0)",
                    "events",
                    "cps",
                    "Only the ten hottest games are named; the others are in `other`.",
                ),
                one(
                    "Viewers",
                    f"sum({_GAME_VIEWERS}{_THIS}) or vector(0)",
                    "viewers",
                    description="Only the ten with most of them are named.",
                ),
                one(
                    "Its share of all events",
                    f"sum({_GAME_EVENTS}{_THIS}) / (sum({_GAME_EVENTS}) > 0) or vector(0)",
                    "share",
                    "percentunit",
                ),
            ),
        ),
        (
            "Beside it",
            (
                one("The hottest games", f"sum by (game) ({_GAME_EVENTS}) or vector(0)", "{{game}}", "cps"),
                one("Games with most viewers", f"sum by (game) ({_GAME_VIEWERS}) or vector(0)", "{{game}}"),
                FRESHNESS,
            ),
        ),
    ),
    variables=(("game", f"label_values({_GAME_VIEWERS}, game)"),),
)

BOARDS = (_OVERVIEW, _INGEST, _AGGREGATE, _GATEWAY, _NOTIFY, _GAME)
