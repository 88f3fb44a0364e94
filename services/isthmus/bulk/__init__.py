"""Bulk indexing: sources in blocks, encoders beside the data, files of rows for the index writer."""
