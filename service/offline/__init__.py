"""Processing recordings and volumes."""
