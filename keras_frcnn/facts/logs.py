"""What TensorFlow itself writes to standard error."""

import os


def quiet_tensorflow() -> None:
    """Hide TensorFlow's own notes and warnings; call it before TensorFlow is imported.

    Without an NVIDIA driver, this also hides lines of its level "error": the first one says on every machine without a
    GPU that there is none.  Errors that stop a command are exceptions, which this does not hide.
    """
    has_driver = os.path.exists("/proc/driver/nvidia") or os.path.exists("/dev/dxg")  # the second one in WSL
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_driver else "3")
