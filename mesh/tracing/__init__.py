"""Spans of our own: what one is, which are kept, and where they go."""
