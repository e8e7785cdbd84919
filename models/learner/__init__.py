"""OFL-SAM2's few-shot learner: mapping network, adaptive fusion, gated updates."""
