"""From the bytes a cloud serves to parts, and from parts to one cloud-config. Pure."""
