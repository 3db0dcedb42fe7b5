"""What each command does: a frozen request in, an artifact and a frozen result out. Nothing here prints or parses."""
