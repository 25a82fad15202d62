"""Where a machine learns who it is: detection without a socket, and one reader per cloud."""
