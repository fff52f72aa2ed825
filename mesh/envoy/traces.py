"""Envoy's own spans, and who decides what is traced.

At the edge Envoy does, by `trace_share`: a client's W3C context is taken away before it is looked at, so
nobody can have everything traced, nor put spans into somebody else's trace. Its `traceparent` goes on under
another name, CLIENT_CONTEXT: the service that checks the token follows it for roles that may force a trace,
and links to it for others. Rejected: having Envoy tell the roles apart; it decides what it traces before it
has looked at a token.

On the mesh listener a context that comes along is followed, sampled or not, and without one the share
decides. A span for each try upstream tells retries. The response to a traced Send names its trace in
`traceresponse`, so that a browser knows by which id to ask for it.
"""

from __future__ import annotations

from typing import Any

from mesh.envoy.config import EnvoyConfig
from mesh.envoy.contract import Listener
from mesh.http2.call import CLIENT_CONTEXT

TRACE_RESPONSE = "traceresponse"
"""As the W3C drafts it, but for the id of the span, which Envoy does not tell: version, trace, nothing."""
_CONTEXT = ("traceparent", "tracestate", "baggage")
_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_SAMPLERS = "envoy.tracers.opentelemetry.samplers"
_MILLION = 1_000_000


def trace_response(config: EnvoyConfig) -> list[dict[str, Any]]:
    """Headers to add to a response; none without a collector."""
    if config.otlp is None:
        return []
    header = {"key": TRACE_RESPONSE, "value": "00-%TRACE_ID%--"}
    return [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]


def without_trace_context() -> dict[str, Any]:
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                {"remove": CLIENT_CONTEXT},
                {
                    "append": {
                        "header": {"key": CLIENT_CONTEXT, "value": "%REQ(traceparent)%"},
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }
                },
                *({"remove": name} for name in _CONTEXT),
            ],
        },
    }


def tracing(config: EnvoyConfig, listener: Listener) -> dict[str, Any]:
    """Fields of a connection manager; none without a collector."""
    if config.otlp is None:
        return {}
    ratio = _sampler(
        "trace_id_ratio_based",
        "TraceIdRatioBased",
        {
            "sampling_percentage": {
                "numerator": round(config.trace_share * _MILLION),
                "denominator": "MILLION",
            }
        },
    )
    by_parent = _sampler("parent_based", "ParentBased", {"wrapped_sampler": ratio})
    return {
        "tracing": {
            "spawn_upstream_span": True,
            "provider": {
                "name": "envoy.tracers.opentelemetry",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                    "service_name": f"envoy-{listener}",
                    "grpc_service": {"envoy_grpc": {"cluster_name": "otlp"}, "timeout": "1s"},
                    "sampler": ratio if listener == "edge" else by_parent,
                },
            },
        },
        # Envoy keeps a decision of its own in x-request-id. Without that header it would trace nothing, and
        # mark every context it passes on as not sampled.
        "request_id_extension": {
            "typed_config": {
                "@type": f"{_EXTENSIONS}.request_id.uuid.v3.UuidRequestIdConfig",
                "use_request_id_for_trace_sampling": False,
            }
        },
    }


def _sampler(name: str, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    config = f"{_EXTENSIONS}.tracers.opentelemetry.samplers.v3.{kind}SamplerConfig"
    return {"name": f"{_SAMPLERS}.{name}", "typed_config": {"@type": config, **fields}}
