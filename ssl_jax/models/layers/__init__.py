"""Layers and operations that the networks share.

`convolution` convolves (`Convolution`) and `pooling` takes maxima of windows, both in a form of
their own on CPUs, for which `shifts` moves pixels. `attention` computes softmax attention,
`activations` GELU, `norm` makes normalisation layers, `patches` converts images to patches and back
and holds their position embeddings, and `stochastic` drops activations and residual branches.
"""
