"""Hosting a service on Ray Serve. Only `application` imports Ray."""
