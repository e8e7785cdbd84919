"""The REST interface, the pages, and running the server."""
