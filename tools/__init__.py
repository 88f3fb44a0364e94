"""Programs for the people who work on Isthmus; not part of the distribution."""
