"""The two networks and their training. The only wing that imports TensorFlow."""

import os

# TensorFlow reports the devices it does not find as errors, in every executed notebook; what really fails
# raises an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
