"""OFL-SAM2 and the instance head on one backbone; files of weights and of profiles."""
