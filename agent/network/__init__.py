"""The network of a machine: documents to one model, and that to the text of what applies it."""
