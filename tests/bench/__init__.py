"""What is measured, as opposed to asserted. `make bench` runs all of it in one go."""
