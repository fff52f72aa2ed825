"""The catalog as a process sees it: the watch of its bucket, and how fresh that view is."""
