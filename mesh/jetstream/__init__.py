"""The event log: publishing to NATS JetStream and pulling from it."""
