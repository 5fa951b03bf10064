"""What a function costs, from its jaxpr alone: arithmetic and memory, before anything is compiled.

Arithmetic is that of matrix products and convolutions, two floating-point operations for each
multiply-add. Memory is what is alive at once when the operations run in the order written: with
every value kept as it is made, and with those that only elementwise arithmetic makes and reads
fused away. What a compiler makes of it lies between the two or near them.
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

# What XLA never fuses into its neighbours, so that operands and results lie in memory.
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
_KERNEL_FAMILIES = ("scatter", "reduce_window", "select_and_", "dot_product_attention")
# What reads fused operands, but writes its result.
_REDUCTIONS = ("reduce_", "argmax", "argmin", "cum")
# What runs another function once, as if it were written out in its place.
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
    jaxpr: Jaxpr, label: Callable[[str], Label], scope: str = "", times: int = 1
) -> Counter[Label]:
    """Operations of a function by the label of the scope they are done in.

    A scope is what `jax.named_scope`, and so Flax, calls the place, outermost first, with JAX's
    transformations around the names: `transpose(jvp(ViT))/blocks_0/mlp`. Of branches the dearest
    one counts; a loop whose length nobody knows before it runs counts once.
    """
    found: Counter[Label] = Counter()
    for eqn in jaxpr.eqns:
        here = f"{scope}/{eqn.source_info.name_stack}"
        name = eqn.primitive.name
        if name in _ARITHMETIC:
            found[label(here)] += times * _ARITHMETIC[name](eqn)
        elif name == "cond":
            branches = [count_flops(branch, label, here, times) for branch in _bodies(eqn)]
            found.update(max(branches, key=lambda branch: sum(branch.values())))
        else:
            repeats = eqn.params["length"] if name == "scan" else 1
            for body in _bodies(eqn):
                found.update(count_flops(body, label, here, times * repeats))
    return found


def _of_product(eqn: JaxprEqn) -> int:
    left, result = _arrays(eqn.invars[0], eqn.outvars[0])
    (contracted, _), _ = eqn.params["dimension_numbers"]
    return 2 * result.size * math.prod(left.shape[axis] for axis in contracted)


def _of_convolution(eqn: JaxprEqn) -> int:
    kernel, result = _arrays(eqn.invars[1], eqn.outvars[0])
    outputs = kernel.shape[eqn.params["dimension_numbers"].rhs_spec[0]]
    # The zeros between the values of a dilated image, as in a strided layer's gradient, are free.
    zeros = math.prod(eqn.params["lhs_dilation"])
    return 2 * result.size * (kernel.size // outputs) // zeros


def _arrays(*variables: Any) -> list[Any]:
    return [variable.aval for variable in variables]


_ARITHMETIC = {"dot_general": _of_product, "conv_general_dilated": _of_convolution}


def estimate_peak_bytes(jaxpr: Jaxpr, fused: bool) -> int:
    """The most bytes that are alive at once, beside the function's arguments and its results.

    Args:
        jaxpr: of the function.
        fused: whether what only elementwise arithmetic makes and reads takes no memory, but is made
            again wherever it is read, from origins of at most twice its bytes.
    """
    operations: list[_Operation] = []
    results = _flatten(jaxpr, {}, operations)
    readers: dict[Any, list[str]] = {}
    for operation in operations:
        for value in operation.reads:
            readers.setdefault(value, []).append(operation.name)

    origins: dict[Any, frozenset[Any]] = {v: frozenset() for v in (*jaxpr.invars, *results)}
    last_read: dict[Any, int] = {}
    for place, operation in enumerate(operations):
        read = frozenset().union(*(origins.get(value, frozenset()) for value in operation.reads))
        last_read.update(dict.fromkeys(read, place))
        for value in operation.makes:
            if value in origins:
                continue
            fuses = fused and _is_elementwise(operation.name)
            fuses = fuses and not any(_is_kernel(name) for name in readers.get(value, ()))
            if fuses and sum(count_bytes(v.aval) for v in read) <= 2 * count_bytes(value.aval):
                origins[value] = read
            else:
                origins[value] = frozenset([value])
                last_read[value] = place

    dying: dict[int, list[Any]] = {}
    for value, place in last_read.items():
        dying.setdefault(place, []).append(value)
    alive = peak = 0
    for place, operation in enumerate(operations):
        alive += sum(count_bytes(v.aval) for v in operation.makes if origins[v] == {v})
        inside = max((estimate_peak_bytes(body, fused) for body in operation.bodies), default=0)
        peak = max(peak, alive + inside)
        alive -= sum(count_bytes(value.aval) for value in dying.get(place, ()))
    return peak


def count_bytes(tree: Any) -> int:
    """Bytes of all arrays, or shapes of arrays, in a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves if hasattr(leaf, "dtype"))


@dataclass(frozen=True, eq=False)
class _Value:
    """An array, somewhere in the flattened function."""

    aval: Any


@dataclass(frozen=True, eq=False)
class _Operation:
    name: str
    reads: tuple[Any, ...]
    makes: tuple[_Value, ...]
    bodies: tuple[Jaxpr, ...]


def _flatten(jaxpr: Jaxpr, known: Mapping[Any, Any], into: list[_Operation]) -> list[Any]:
    """Add all operations in their order, those of called functions in their place.

    `known` are the arguments; returned are the results. A constant is None.
    """
    values: dict[Any, Any] = {**known}

    def read(variables: Iterable[Any]) -> list[Any]:
        return [None if isinstance(v, Literal) else values.get(v, v) for v in variables]

    for eqn in jaxpr.eqns:
        bodies, arguments = tuple(_bodies(eqn)), read(eqn.invars)
        if eqn.primitive.name in _CALLS:
            called = bodies[0]
            made = _flatten(called, dict(zip(called.invars, arguments, strict=True)), into)
        else:
            made = [_Value(v.aval) for v in eqn.outvars]
            reads = tuple(value for value in arguments if value is not None)
            into.append(_Operation(eqn.primitive.name, reads, tuple(made), bodies))
        values.update(zip(eqn.outvars, made, strict=True))
    return read(jaxpr.outvars)


def _bodies(eqn: JaxprEqn) -> Iterator[Jaxpr]:
    """The functions that an operation calls."""
    for parameter in eqn.params.values():
        for value in parameter if isinstance(parameter, tuple | list) else (parameter,):
            if isinstance(value, ClosedJaxpr):
                yield value.jaxpr
            elif isinstance(value, Jaxpr):
                yield value


def _is_kernel(name: str) -> bool:
    return name in _KERNELS or name.startswith(_KERNEL_FAMILIES)


def _is_elementwise(name: str) -> bool:
    return not (_is_kernel(name) or name.startswith(_REDUCTIONS))
