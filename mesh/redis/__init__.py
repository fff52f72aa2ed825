"""The state and results in Redis: where everything lies, and the scripts that read and write it."""
