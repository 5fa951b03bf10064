"""Adaptation of the normalisation layers of PyTorch networks for comparisons."""

from torch import nn


def randomise_norms(model):
    """Set the parameters and statistics of all norms to random values, as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def use_biased_variance(model):
    """Let batch norms average the biased variance as in Flax, without Bessel's correction."""

    def store_variance(module, inputs):
        module.previous_var = module.running_var.clone()

    def replace_variance(module, inputs, output):
        if module.training:
            n = output.numel() / output.shape[1]
            decayed = (1 - module.momentum) * module.previous_var
            # Not in place, since the backward pass still needs the old tensor.
            module.running_var = decayed + (module.running_var - decayed) * (n - 1) / n

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(store_variance)
            module.register_forward_hook(replace_variance)
    return model
