"""FLOPs and memory of a function, estimated from its jaxpr without compiling it.

FLOPs are those of matrix products and convolutions, two for each multiply-add. Peak memory is the
largest number of bytes that are alive at a time when the operations run in program order: either
with every value stored, or with fused elementwise arithmetic, whose results are not stored. The
peak memory of the compiled program is between the two or close to them.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

__all__ = ["count_bytes", "count_flops", "estimate_peak_bytes"]

Label = TypeVar("Label", bound=Hashable)

# Operations that XLA never fuses with their neighbours: operands and results are stored.
_KERNELS = {
    "all_gather",
    "all_to_all",
    "conv_general_dilated",
    "cond",
    "dot_general",
    "gather",
    "psum",
    "reduce_scatter",
    "scan",
    "sort",
    "while",
}
_KERNEL_PREFIXES = ("scatter", "reduce_window", "select_and_", "dot_product_attention")
# Operations that read fused operands, but store their result.
_REDUCTION_PREFIXES = ("reduce_", "argmax", "argmin", "cum")
# Operations that call another function once, as if it were inlined.
_CALLS = {
    "checkpoint",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "jit",
    "pjit",
    "remat2",
    "shard_map",
}


def count_flops(
    jaxpr: Jaxpr, get_label: Callable[[str], Label], scope: str = "", times: int = 1
) -> Counter[Label]:
    """Count the FLOPs of a function by the label of the scope in which they are computed.

    A scope consists of the names from `jax.named_scope`, which Flax enters for each module,
    outermost first, with JAX's transformations around the names:
    `transpose(jvp(ViT))/blocks_0/mlp`. Of the branches of a conditional, the most expensive one
    counts. A loop whose length is not known in advance counts as one iteration.

    Args:
        jaxpr: The function.
        get_label: Function from a scope to its label.
        scope: Scope in which the function is called.
        times: Number of calls.

    Returns:
        The FLOPs by label.
    """
    flops: Counter[Label] = Counter()
    for eqn in jaxpr.eqns:
        eqn_scope = f"{scope}/{eqn.source_info.name_stack}"
        name = eqn.primitive.name
        if name in _FLOP_COUNTS:
            flops[get_label(eqn_scope)] += times * _FLOP_COUNTS[name](eqn)
        elif name == "cond":
            branches = [
                count_flops(branch, get_label, eqn_scope, times)
                for branch in _iterate_subjaxprs(eqn)
            ]
            flops.update(max(branches, key=lambda branch: sum(branch.values())))
        else:
            repeats = eqn.params["length"] if name == "scan" else 1
            for subjaxpr in _iterate_subjaxprs(eqn):
                flops.update(count_flops(subjaxpr, get_label, eqn_scope, times * repeats))
    return flops


def _count_product_flops(eqn: JaxprEqn) -> int:
    left, result = _get_shaped_arrays(eqn.invars[0], eqn.outvars[0])
    (contracted, _), _ = eqn.params["dimension_numbers"]
    return 2 * result.size * math.prod(left.shape[axis] for axis in contracted)


def _count_convolution_flops(eqn: JaxprEqn) -> int:
    kernel, result = _get_shaped_arrays(eqn.invars[1], eqn.outvars[0])
    out_channels = kernel.shape[eqn.params["dimension_numbers"].rhs_spec[0]]
    # Multiplications by the zeros of a dilated input, as in the gradient of a strided layer, are
    # not counted.
    dilation = math.prod(eqn.params["lhs_dilation"])
    return 2 * result.size * (kernel.size // out_channels) // dilation


def _get_shaped_arrays(*variables: Any) -> list[Any]:
    return [variable.aval for variable in variables]


_FLOP_COUNTS = {
    "dot_general": _count_product_flops,
    "conv_general_dilated": _count_convolution_flops,
}


def estimate_peak_bytes(jaxpr: Jaxpr, fused: bool) -> int:
    """Estimate the peak memory of a function, excluding its arguments and results.

    Args:
        jaxpr: The function.
        fused: Whether values that are computed and read by elementwise arithmetic only are not
            stored but recomputed wherever they are read, from stored values of at most twice their
            bytes.

    Returns:
        The largest number of bytes that are alive at a time.
    """
    operations: list[_Operation] = []
    results = _flatten(jaxpr, {}, operations)
    origins, last_read = _find_stored_values(jaxpr, results, operations, fused)
    freed: dict[int, list[Any]] = {}
    for value, position in last_read.items():
        freed.setdefault(position, []).append(value)
    alive = peak = 0
    for position, operation in enumerate(operations):
        alive += sum(count_bytes(v.aval) for v in operation.outputs if origins[v] == {v})
        inner = max(
            (estimate_peak_bytes(subjaxpr, fused) for subjaxpr in operation.subjaxprs), default=0
        )
        peak = max(peak, alive + inner)
        alive -= sum(count_bytes(value.aval) for value in freed.get(position, ()))
    return peak


def _find_stored_values(
    jaxpr: Jaxpr, results: list[Any], operations: list["_Operation"], fused: bool
) -> tuple[dict[Any, frozenset[Any]], dict[Any, int]]:
    """Find which values are stored, and until when.

    Returns:
        origins: The stored values that each value is computed from: only itself if it is stored,
            empty for arguments and results of the function.
        last_read: Position of the last operation that reads each stored value.
    """
    readers: dict[Any, list[str]] = {}
    for operation in operations:
        for value in operation.inputs:
            readers.setdefault(value, []).append(operation.name)

    origins: dict[Any, frozenset[Any]] = {v: frozenset() for v in (*jaxpr.invars, *results)}
    last_read: dict[Any, int] = {}
    for position, operation in enumerate(operations):
        read = frozenset().union(*(origins.get(value, frozenset()) for value in operation.inputs))
        last_read.update(dict.fromkeys(read, position))
        for value in operation.outputs:
            if value in origins:
                continue
            is_fused = fused and _is_elementwise(operation.name)
            is_fused = is_fused and not any(_is_kernel(name) for name in readers.get(value, ()))
            if is_fused and sum(count_bytes(v.aval) for v in read) <= 2 * count_bytes(value.aval):
                origins[value] = read
            else:
                origins[value] = frozenset([value])
                last_read[value] = position
    return origins, last_read


def count_bytes(tree: Any) -> int:
    """Count the bytes of all arrays, or shapes of arrays, in a pytree."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves if hasattr(leaf, "dtype"))


@dataclass(frozen=True, eq=False)
class _Value:
    """An array in the flattened function."""

    aval: Any


@dataclass(frozen=True, eq=False)
class _Operation:
    """An operation of the flattened function, with the functions it calls that are not inlined."""

    name: str
    inputs: tuple[Any, ...]
    outputs: tuple[_Value, ...]
    subjaxprs: tuple[Jaxpr, ...]


def _flatten(jaxpr: Jaxpr, arguments: Mapping[Any, Any], operations: list[_Operation]) -> list[Any]:
    """Append the operations of a function in program order, with calls inlined.

    Args:
        jaxpr: The function.
        arguments: Its arguments in the flattened function, by variable.
        operations: The list to append to.

    Returns:
        The results of the function; None for literals.
    """
    values: dict[Any, Any] = {**arguments}

    def look_up(variables: Iterable[Any]) -> list[Any]:
        return [None if isinstance(v, Literal) else values.get(v, v) for v in variables]

    for eqn in jaxpr.eqns:
        subjaxprs, inputs = tuple(_iterate_subjaxprs(eqn)), look_up(eqn.invars)
        if _depends_on_platform(eqn):
            inputs = inputs[1:]  # without the index of the branch
        if eqn.primitive.name in _CALLS or _depends_on_platform(eqn):
            called = subjaxprs[0]
            outputs = _flatten(called, dict(zip(called.invars, inputs, strict=True)), operations)
        else:
            outputs = [_Value(v.aval) for v in eqn.outvars]
            arrays = tuple(value for value in inputs if value is not None)
            operations.append(_Operation(eqn.primitive.name, arrays, tuple(outputs), subjaxprs))
        values.update(zip(eqn.outvars, outputs, strict=True))
    return look_up(jaxpr.outvars)


def _depends_on_platform(eqn: JaxprEqn) -> bool:
    """Return whether an operation is a conditional that chooses by the platform."""
    return bool(eqn.params.get("branches_platforms"))


def _iterate_subjaxprs(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """Iterate over the functions that an operation calls, on an accelerator."""
    if _depends_on_platform(eqn):
        default = eqn.params["branches_platforms"].index(None)
        yield eqn.params["branches"][default].jaxpr
        return
    for parameter in eqn.params.values():
        for value in parameter if isinstance(parameter, tuple | list) else (parameter,):
            if isinstance(value, ClosedJaxpr):
                yield value.jaxpr
            elif isinstance(value, Jaxpr):
                yield value


def _is_kernel(name: str) -> bool:
    return name in _KERNELS or name.startswith(_KERNEL_PREFIXES)


def _is_elementwise(name: str) -> bool:
    return not (_is_kernel(name) or name.startswith(_REDUCTION_PREFIXES))
