"""gRPC plumbing that every service shares. Knows gRPC, knows no maths."""
