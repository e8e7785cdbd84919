"""Every method and every ablation by its name: what it is in a line and how it is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.comparators import (
    color,
    first_mask,
    low_rank,
    prototypes,
    retrieval,
    support_memory,
    unet,
)
from benchmarks.comparators.interface import Fit
from benchmarks.comparators.ofl_sam2 import Variant
from models.config import PUBLISHED_EPOCHS, LearnerConfig, MemoryConfig
from models.errors import ModelError
from models.tracking.ablation import Ablation, Fusion

FULL = "ofl_sam2"


@dataclass(frozen=True)
class Method:
    """title: in tables; about: what it is; exactly one of fit and variant is given

    prompted: it is given a test label, each sequence's first mask, which is then not scored
    """

    title: str
    about: str
    fit: Fit | None = None
    variant: Variant | None = None
    prompted: bool = False


COMPARATORS: dict[str, Method] = {
    "sam2_first_mask": Method(
        "SAM2, first mask given", "true mask of the first test frame, then memory",
        fit=first_mask.fit, prompted=True,
    ),
    "support_memory": Method(
        "support memory", "annotated frames in memory, no learner (FS-MedSAM2's idea)",
        fit=support_memory.fit,
    ),
    "retrieval": Method(
        "retrieval + memory", "3 nearest annotated frames and recent answers (FATE-SAM2's idea)",
        fit=retrieval.fit,
    ),
    "prototypes": Method(
        "prototype prompts", "class prototypes prompt a tuned decoder (SurgicalSAM's idea)",
        fit=prototypes.fit,
    ),
    "lora_plain": Method(
        "LoRA, plain decoder", "adapters on the encoder, tuned mask decoder (SAMed's idea)",
        fit=low_rank.fit_plain,
    ),
    "lora_hierarchical": Method(
        "LoRA, hierarchical", "the same with a second, guided decoder (H-SAM's idea)",
        fit=low_rank.fit_hierarchical,
    ),
    "unet": Method("U-Net", "MONAI's, from scratch on the same labels", fit=unet.fit),
    "color": Method(
        "colour alone", "a Gaussian a class over colour, no network: the floor", fit=color.fit
    ),
}  # fmt: skip

METHODS: dict[str, Method] = {
    FULL: Method("OFL-SAM2", "the whole method", variant=Variant()),
    **COMPARATORS,
}


def _ablation(title: str, ablation: Ablation) -> Method:
    return Method(title, "", variant=Variant(ablation))


def _updates(title: str, *, online: bool = True, gamma: float | None = None) -> Method:
    ablation = Ablation(online=online, gamma=gamma, instances=False)
    return _ablation(f"{title}, names by pixel", ablation)


def _memory(support: int) -> Method:
    return Method(f"K = {support}", "fitted anew", variant=Variant(memory=MemoryConfig(support)))


def _iterations(count: int) -> Method:
    title = f"{count} iterations online"
    return Method(title, "", variant=Variant(online_iterations=count))


def _learner(title: str, config: LearnerConfig) -> Method:
    return Method(title, "fitted anew", variant=Variant(learner=config))


ABLATIONS: dict[str, Method] = {
    "no_learner": _ablation("no learner", Ablation(learner=False)),
    "no_memory": _ablation("no memory: mapping alone", Ablation(memory=False)),
    "fusion_average": _ablation("average for fusion", Ablation(fusion=Fusion.AVERAGE)),
    "fusion_sum": _ablation("sum for fusion", Ablation(fusion=Fusion.SUM)),
    "no_naming": _ablation("no naming", Ablation(naming=False)),
    "no_instances": _ablation("names by pixel, not by instance", Ablation(instances=False)),
    # What updates are worth shows where there are any: in the memory path, beside no_instances.
    "no_update": _updates("no update", online=False),
    "blind_update": Method(
        "blind update, names by pixel",
        "no gate, no guard",
        variant=Variant(Ablation(gamma=0.0, instances=False), guarded=False),
    ),
    "no_guard": Method(
        "gate without guard, names by pixel",
        "",
        variant=Variant(Ablation(instances=False), guarded=False),
    ),
    "gamma_0.5": _updates("gamma 0.5", gamma=0.5),
    "gamma_0.7": _updates("gamma 0.7", gamma=0.7),
    "gamma_0.9": _updates("gamma 0.9", gamma=0.9),
    "fusion_trained": Method(
        "fusion trained on these frames",
        "fitted anew: AdamW, at most 40 epochs, as published",
        variant=Variant(epochs=PUBLISHED_EPOCHS),
    ),
    "k_1": _memory(1),
    "k_3": _memory(3),
    "iterations_1": _iterations(1),
    "iterations_3": _iterations(3),
    "iterations_10": _iterations(10),
    "kernel_1_no_context": _learner("kernel 1, no windows", LearnerConfig(context=())),
    "kernel_3_no_context": _learner("kernel 3, no windows", LearnerConfig(kernel=3, context=())),
}
EVERYTHING: dict[str, Method] = {**METHODS, **ABLATIONS}


def chosen(methods: str, ablations: str) -> tuple[str, ...]:
    """Names out of two comma-separated lists, each of which may be "all" or "none".

    The whole method is always among them. Raises ModelError: an unknown name, a missing package.
    """
    names = [*_listed(methods, METHODS, "methods"), *_listed(ablations, ABLATIONS, "ablations")]
    if "unet" in names and find_spec("monai") is None:
        if methods != "all":
            raise ModelError("the method unet needs the package monai: pip install 'trocar[paper]'")
        names.remove("unet")
    return tuple(dict.fromkeys([FULL, *names]))


def _listed(text: str, known: dict[str, Method], what: str) -> list[str]:
    if text in ("all", "none"):
        return list(known) if text == "all" else []
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ModelError(f"expected {what} of {', '.join(known)}, got {unknown[0]!r}")
    return names
