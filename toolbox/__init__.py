"""What people run: the command line, a whole mesh on one machine, load, and chaos."""
