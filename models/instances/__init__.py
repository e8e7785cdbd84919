"""The instance head, and what turns its votes into tracked, labelled instruments."""
