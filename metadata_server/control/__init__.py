"""The operators' listener: authentication, and one file per dialect over the same engine."""
