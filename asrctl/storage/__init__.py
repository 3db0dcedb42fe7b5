"""The workspace: artifacts by ID, files and folders that appear whole or not at all, locks, digests."""
