"""The crowd: native bots that load a mesh, keep the demo alive, and replay recordings.

Built on the reference client. Pure: `pace` (when to send), `latencies` (percentiles in bounded
memory), `sightings` (vote to screen), `ledger` (what was acked against what was counted),
`recording` (the lines of a recorded file). Shells: `watchers` and `voters` (the streams),
`simulate`, `demo`, `replay`.
"""
