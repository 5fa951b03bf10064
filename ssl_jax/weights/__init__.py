"""Import and export of weights in the layouts of PyTorch libraries, without torch.

`importing` converts a file to a checkpoint (`import_weights`), and `exporting` a checkpoint to a
file (`export_weights`). `resnet`, `vit` and `transformers` implement one layout each:
`from_torch(tensors)` converts a state dict to variables, and `to_torch` is its exact inverse. Both
rename and transpose tensors, without changing their values or dtypes. `layouts` detects the layout
of a file, `networks` describes its network, `bands` adapts its weights to other bands, and
`positions` resizes its position embeddings to another grid of patches. `choices` lists what the
command line can choose from.

Variables are those of a run: `{"params": {"backbone": ..., "head" or "decoder": ...},
"batch_stats": {"backbone": ...}}`.
"""
