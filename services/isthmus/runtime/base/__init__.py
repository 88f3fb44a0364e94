"""What engines may use: errors, batching, limits, metrics, logging. Knows no gRPC."""
