"""What a practitioner would train instead: a U-Net from scratch on the same few labels.

MONAI's residual U-Net (1.6 million parameters), flips, scaling and light at random. It does not use
the backbone. Needs the package monai (`pip install 'trocar[paper]'`). Sources: Ronneberger et al.
(2015); MONAI (Cardoso et al. 2022).
"""

from __future__ import annotations

from benchmarks.comparators.dense import DensePredictor, Training, dense_loss, seeded, train
from benchmarks.comparators.interface import FitSettings, Predictor
from models.errors import ModelError
from models.fitting.annotated import AnnotatedFrames
from models.method.checkpoint import LoadedWeights
from models.types import ClassSpec

STEPS = 200
CHANNELS = (16, 32, 64, 128, 256)


def fit(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    settings: FitSettings,
) -> Predictor:
    """Raises ModelError where monai is not installed."""
    try:
        from monai.networks.nets.unet import UNet
    except ImportError as error:
        message = "the method unet needs the package monai: pip install 'trocar[paper]'"
        raise ModelError(message) from error
    backbone = weights.model.backbone
    network = seeded(
        settings,
        lambda: UNet(
            spatial_dims=2,
            in_channels=3,
            out_channels=len(classes),
            channels=CHANNELS,
            strides=(2,) * (len(CHANNELS) - 1),
            num_res_units=2,
            norm="batch",
        ),
    )
    training = Training(settings.steps(STEPS))
    train(
        network,
        lambda image, label: dense_loss(network(backbone.normalize(image)), label),
        frames,
        training,
        settings.seed,
    )
    return DensePredictor(network, backbone, [spec.class_id for spec in classes])
