"""Sealing at rest: envelope encryption of texts and addresses, for workspaces that ask for it."""
