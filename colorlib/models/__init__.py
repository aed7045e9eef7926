"""The colorizers. Each builder returns a `keras.Model` from lightness (B, H, W, 1) to ab (B, H, W, 2)."""

from colorlib.models.unet import unet
from colorlib.models.vanilla import vanilla_autoencoder
from colorlib.models.vivid import bin_logits, regression_colorizer, vivid_colorizer

__all__ = ["bin_logits", "regression_colorizer", "unet", "vanilla_autoencoder", "vivid_colorizer"]
