"""Saving checkpoints, finding and verifying them, and the model card that each carries."""
