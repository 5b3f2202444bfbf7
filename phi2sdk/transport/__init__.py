"""The HTTP stack: one transport, its events, its failures, and previews of requests."""
