"""The bounds of hearing results. Units stand last in the names."""

ANTI_ENTROPY_S = 1.0
# What a partition's owner has stored and its message has not brought so much later counts as lost, if nothing
# was heard of the partition for RESULTS_SILENT_S: while messages come, they may be late, and the next one
# after a lost one leaves a gap.
RESULTS_LATE_S = 0.1
RESULTS_SILENT_S = 0.5
# Games that are loaded with one call, and such calls at a time.
LOAD_GAMES_MAX = 64
LOADS_MAX = 8

assert RESULTS_LATE_S < RESULTS_SILENT_S < ANTI_ENTROPY_S
