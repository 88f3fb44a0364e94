"""The text encoder: a service that maps texts to raw embeddings."""
