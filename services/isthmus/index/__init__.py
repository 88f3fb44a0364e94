"""The index: collections of items in a Lance store, one writer, and searchers that follow it in memory."""
