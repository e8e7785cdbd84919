"""Who may watch what, and is it healthy? Settings, sessions, HTTP and the command line."""
