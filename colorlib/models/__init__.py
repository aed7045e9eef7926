"""The colorizers. Each builder returns a `keras.Model` from lightness (B, H, W, 1) to ab (B, H, W, 2), both in [-1, 1].

Called with the published size alone, a builder of a published system returns the published network.
"""
# ruff: noqa: F401  these names are for `from colorlib import models`

from colorlib.models.losses import with_lightness
from colorlib.models.pretrained import fusion_colorizer, resnet50_colorizer, vgg16_colorizer
from colorlib.models.scratch import (
    conv_autoencoder,
    face_autoencoder,
    predict,
    simple_conv_autoencoder,
    skip_autoencoder,
    unet,
    vanilla_autoencoder,
)
from colorlib.models.vivid import bin_logits, regression_colorizer, small_backbone, vivid_colorizer
