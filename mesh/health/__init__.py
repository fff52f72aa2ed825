"""Whether votes are stored, folded and shown: proven by round trips, told by every process."""
