"""Chaos: a mesh of its own under load, struck in a seeded order, and a reckoning of what was acked.

`schedule` (when is struck what) and `closings` (which polls close when), `entries` (what each client was
told), `author` (what a client sends), `scene` (the games it plays in), `stalls`, `monotone`, `floor` (what
a first look must show), `seasons` and `verdict` (what came of it) are pure; `clients` (put together by
`crew`), `watchers`, `readers`, `room`, `injector`, `forgetting`, `rebuilds`, `stage` (the mesh, each ingest
with a `link` to NATS) and `run` are the thin shells that do I/O.
"""
