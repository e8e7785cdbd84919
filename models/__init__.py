"""What is in this frame? OFL-SAM2: a frozen SAM2 with an online few-shot learner."""
