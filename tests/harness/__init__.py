"""What several tests need: real processes, real servers, loads, and the shared data."""
