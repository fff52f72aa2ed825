"""What both ends of the wire need: deltas and cursors, the bounds a client must know."""
