"""The logs of a process: one line an event, in one form and time zone, without secrets, and bounded."""
