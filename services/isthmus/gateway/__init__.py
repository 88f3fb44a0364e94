"""The public door: limits, the embedding cache, and the orchestration of the services behind it."""
