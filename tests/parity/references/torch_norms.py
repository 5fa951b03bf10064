"""The normalisations of PyTorch's networks, made comparable with ours."""

from torch import nn


def as_after_training(model):
    """Let no norm have scale one or shift zero, nor the averages it starts with."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def without_correction(model):
    """Let batch norms average the biased variance, as Flax's do; PyTorch corrects it (Bessel)."""

    def remember(module, inputs):
        module.before = module.running_var.clone()

    def correct(module, inputs, output):
        if module.training:
            values = output.numel() / output.shape[1]
            decayed = (1 - module.momentum) * module.before
            # Not in place: the gradient still asks for what was there.
            module.running_var = decayed + (module.running_var - decayed) * (values - 1) / values

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(remember)
            module.register_forward_hook(correct)
    return model
