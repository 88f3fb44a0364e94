"""Measures in the background what search structures find, on what people really ask."""
