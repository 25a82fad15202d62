"""The `linklocal` command. It talks to the control plane and imports nothing of the server's."""
