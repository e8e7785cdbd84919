"""Annotated frames in, a profile out."""
