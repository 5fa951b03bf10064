"""Import and export of weights in the layouts of PyTorch's libraries: pure renaming, no torch.

`importing` makes a checkpoint of a file (`import_weights`) and `exporting` a file of a checkpoint
(`export_weights`). `resnet`, `vit` and `transformers` are a layout each: `from_torch(tensors)`
makes variables of a file's tensors and `to_torch` the reverse, to the bit; dtypes stay as they are.
`layouts` tells which layout a file has, `networks` what network it is, `bands` gives it other bands
and `positions` another grid of patches.

Variables are those of a run: `{"params": {"backbone": ..., "head" or "decoder": ...},
"batch_stats": {"backbone": ...}}`.
"""
