"""Put the services together: the whole mesh in one process."""
