"""Set before TensorFlow, Albumentations or Matplotlib is imported by any test."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version
os.environ["MPLBACKEND"] = "agg"
