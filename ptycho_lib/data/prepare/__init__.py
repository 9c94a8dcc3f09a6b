"""From a measurement as it comes to training and test files of the dataset contract."""
