"""Why a vote counts, or does not: what the stream, the state and the ingests know of one actor's events."""
