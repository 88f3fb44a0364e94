"""What `isthmus index` reads: folders of images, parquet, TSV and JSONL of texts, npz of vectors."""
