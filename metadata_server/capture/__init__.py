"""A real metadata service, read from inside its guest, as an instance of the configuration."""
