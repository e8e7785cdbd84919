"""How long a step takes, and what bounds it."""
