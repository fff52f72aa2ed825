"""An independent, naive count of the event stream, for audits and explanations.

One event at a time, in plain dictionaries, from the blocks' protos on. It shares no code with the fold
(aggregate), so that a fault there is not repeated here. The rules it needs are written out again; property
tests hold the two against each other (tests/mesh/recount).
"""
