"""Data sets on disk, each as annotated sequences."""
