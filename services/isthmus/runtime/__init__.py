"""Manners every service shares: errors, batching, limits, logging, and the gRPC plumbing."""
