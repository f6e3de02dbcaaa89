"""What would spoil a training run, found before it begins."""
