"""The image encoder: a service that maps images to raw embeddings."""
