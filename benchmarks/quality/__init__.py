"""How good the masks and names are."""
