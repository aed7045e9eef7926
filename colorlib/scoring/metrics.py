"""Metrics that Keras lacks, watched while training. What is reported comes from `scores`."""

import keras
from keras import ops

from colorlib import color


@keras.saving.register_keras_serializable("colorlib")
class AbDistance(keras.metrics.MeanMetricWrapper):
    """The mean distance between true and predicted ab (..., 2) in [-1, 1], in Lab units."""

    def __init__(self, name="ab_distance", **kwargs):
        super().__init__(lambda t, p: color.AB_SCALE * ops.norm(t - p, axis=-1), name=name, **kwargs)

    def get_config(self):
        """Name and dtype."""
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("colorlib")
class ChromaRatio(keras.metrics.Metric):
    """The mean predicted chroma by the mean true chroma: 0 for grey, 1 where as colorful as the truth."""

    def __init__(self, name="chroma_ratio", **kwargs):
        super().__init__(name=name, **kwargs)
        self.predicted = self.add_weight(initializer="zeros", name="predicted")
        self.true = self.add_weight(initializer="zeros", name="true")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of ab (..., 2)."""
        self.predicted.assign_add(ops.sum(ops.norm(y_pred, axis=-1)))
        self.true.assign_add(ops.sum(ops.norm(y_true, axis=-1)))

    def result(self):
        """The ratio so far; 0 where nothing has color."""
        return ops.divide_no_nan(self.predicted, self.true)
