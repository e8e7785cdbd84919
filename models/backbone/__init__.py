"""The frozen SAM2 as stateless functions, and the memory bank that it reads."""
