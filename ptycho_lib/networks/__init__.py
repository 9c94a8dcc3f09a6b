"""The two networks and their training. The only wing that imports TensorFlow."""
