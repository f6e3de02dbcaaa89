"""Does an exported critic judge as its checkpoint does? Measured on rows of an evaluation set."""
