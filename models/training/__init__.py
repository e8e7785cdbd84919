"""Making the embedded weights; the service never imports this."""
