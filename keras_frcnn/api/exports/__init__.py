"""Detectors that were exported, which answer as the Keras model does within the tolerances of the export."""
