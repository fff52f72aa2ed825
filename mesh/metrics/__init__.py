"""What a process measures of itself, and how Prometheus reads it.

    cores count in plain integers ──▶ registry reads them at a scrape ──▶ exposition ──▶ admin: GET /metrics
    blocks, flushes and calls fill histograms ─┘                          declarations: every name, once

A core knows none of this: it keeps integers, lists and mesh.metrics.histogram, which is pure. Each service
has a module `collectors` that names what is read. docs/metrics.md is made from mesh.metrics.declarations.
"""
