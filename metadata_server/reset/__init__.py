"""Password resets: hashed at this edge, sealed to one guest, delivered once, acknowledged."""
