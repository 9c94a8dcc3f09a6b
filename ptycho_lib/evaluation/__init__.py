"""From predicted patches to an object, and from objects to numbers. Knows no network."""
