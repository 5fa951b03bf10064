"""Weights as PyTorch's libraries name and lay them out, and as ours do: pure renaming, no torch.

A module for each layout. `from_torch(tensors)` makes variables of a file's tensors and `to_torch`
the reverse, to the bit; dtypes stay as they are. `layouts` tells which layout a file has, `bands`
gives it other bands and `positions` another grid of patches.

Variables are those of a run: `{"params": {"backbone": ..., "head" or "decoder": ...},
"batch_stats": {"backbone": ...}}`.
"""
