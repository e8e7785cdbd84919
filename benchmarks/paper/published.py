"""What the paper prints, as far as it is known to us: three figures.

Only the abstract and a summary of arXiv 2512.24861 could be read. Synapse-CT with 3 volumes, DSC in
percent. For AutoLaparo and PROMISE12, for 2 volumes and for distances no figure is known.
"""

from __future__ import annotations

PUBLISHED: dict[tuple[str, str], dict[str, float]] = {
    ("synapse", "3 volumes"): {
        "ofl_sam2": 82.52,
        "lora_hierarchical": 80.12,
        "retrieval": 76.38,
    },
}


def published(dataset: str, setting: str) -> dict[str, float]:
    """Method name -> DSC in percent; empty where nothing is known."""
    return PUBLISHED.get((dataset, setting), {})
