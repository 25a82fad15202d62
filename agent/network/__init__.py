"""The network of a machine: documents to one model, the model to the text of whatever applies it."""
