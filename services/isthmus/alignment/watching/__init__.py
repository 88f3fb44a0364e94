"""Watching collections in the background: figures, and proposals to fit again."""
