"""The host's side: serves instance metadata to guests and a control plane to operators."""
