"""Chaos: a mesh of its own under load, struck in a seeded order, and a reckoning of what was acked.

`schedule` (when is struck what), `entries` (what each client was told), `author` (what a client
sends), `scene` (the games it plays in), `stalls` and `verdict` (what came of it) are pure;
`clients` (put together by `crew`), `watchers`, `readers`, `striker`, `stage` (the mesh) and `run` are
the thin shells that do I/O.
"""
