"""Live sessions: sources, pictures, badges, recordings."""
