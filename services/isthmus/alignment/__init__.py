"""The alignment service: keeps aligners, fits them, applies them, judges them."""
