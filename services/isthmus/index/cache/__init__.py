"""Files of FAISS structures beside the store: quicker to load than to build, worth nothing, refused when damaged."""
