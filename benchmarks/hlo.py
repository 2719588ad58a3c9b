"""What a compiled program launches, counted in its text.

The text is XLA's after all its passes: an instruction of the entry computation, of a loop or of a
branch is a kernel, or a copy, that the device begins by itself; what stands in a fused computation
is part of the fusion's kernel. Loops whose number of iterations the compiler knows count as often;
in a dispatch the one loop whose number is a value is the loop over steps.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

# What is an address, a name or a value of the compiler, and no work of a device.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "domain"),
    *("add-dependency", "opt-barrier", "partition-id", "replica-id"),
}
_CALLS = {"while": ("body", "condition"), "call": ("to_apply",), "async-start": ("calls",)}
_COPIES = {"copy", "copy-start", "transpose"}
_COLLECTIVES = {
    *("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all"),
    *("ragged-all-to-all", "collective-broadcast"),
}
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"\s*([a-z][a-z0-9\-]*)\(")
_ARRAY = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction of a compiled program.

    Attributes:
      opcode: such as "fusion".
      result: its type as text, such as "f32[256,64]{1,0}".
      rest: operands and attributes, as text.
    """

    opcode: str
    result: str
    rest: str

    def names(self, attribute: str) -> list[str]:
        """Finds the computations that an attribute names, such as "body"."""
        found = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%?[\w.\-]+)", self.rest)
        return re.findall(r"[\w.\-]+", found[1]) if found else []

    @property
    def is_scalar(self) -> bool:
        """Tells whether the result is a single number."""
        arrays = _ARRAY.findall(self.result)
        return len(arrays) == 1 and set(arrays[0][1]) <= set("1,")

    @property
    def result_bytes(self) -> int:
        """Bytes of the result, of all its arrays together, without padding."""
        arrays = _ARRAY.findall(self.result)
        if self.opcode == "copy-start":
            arrays = arrays[:1]  # where to, where from, and the compiler's own
        return sum(
            math.prod(int(size) for size in sizes.split(",") if size) * _bits(kind) // 8
            for kind, sizes in arrays
        )


@dataclasses.dataclass
class Launches:
    """What a device begins, by kind.

    Attributes:
      kernels: by opcode.
      scalars: operations on single numbers outside of fusions, which a TPU's scalar unit does.
      reductions: kernels that sum, or reduce otherwise.
      copies: copies and transposes, those that are a fusion of nothing else included.
      copied_bytes: of the results of these.
      largest_copy: bytes of the largest one.
      collectives: between devices, by opcode.
      collective_bytes: of their results.
    """

    kernels: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    scalars: int = 0
    reductions: int = 0
    copies: int = 0
    copied_bytes: int = 0
    largest_copy: int = 0
    collectives: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    collective_bytes: int = 0

    @property
    def total(self) -> int:
        """Counts all kernels."""
        return self.kernels.total()


def count_launches(text: str) -> tuple[Launches, Launches]:
    """Counts what a program launches.

    Args:
      text: of a compiled program, as `jax.stages.Compiled.as_text` gives it.

    Returns:
      What is launched once, and what is launched in every iteration of the loops whose number of
      iterations is a value.
    """
    computations, entry = read_computations(text)
    once, repeated = Launches(), Launches()
    for instruction, times, is_repeated in _launched(computations, entry):
        _add(repeated if is_repeated else once, instruction, times, computations)
    return once, repeated


def read_computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Reads the computations of a program by name; returns them and the name of the entry."""
    computations: dict[str, list[Instruction]] = {}
    entry = ""
    current: list[Instruction] = []
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = computations[header[2]] = []
            entry = header[2] if header[1] else entry
        elif found := _INSTRUCTION.match(line):
            result, rest = _split_type(found[2])
            if opcode := _OPCODE.match(rest):
                current.append(Instruction(opcode[1], result, rest))
    return computations, entry


def _launched(
    computations: Mapping[str, Sequence[Instruction]],
    name: str,
    times: int = 1,
    is_repeated: bool = False,
) -> Iterator[tuple[Instruction, int, bool]]:
    for one in computations[name]:
        if one.opcode in _FREE or one.opcode.endswith(("-done", "-update")):
            continue
        inner, again, repeated = _inner(one), times, is_repeated
        if one.opcode == "while":
            trips = _TRIPS.search(one.rest)
            again, repeated = times * int(trips[1] if trips else 1), is_repeated or not trips
        if not inner or one.opcode == "async-start":
            is_wrapper = inner and any(_is_work(computations, called) for called in inner)
            if not is_wrapper:
                yield one, times, is_repeated
        for called in inner:
            yield from _launched(computations, called, again, repeated)


def _is_work(computations: Mapping[str, Sequence[Instruction]], name: str) -> bool:
    return any(one.opcode not in _FREE for one in computations[name])


def _inner(instruction: Instruction) -> list[str]:
    if instruction.opcode == "conditional":
        two = ("true_computation", "false_computation")
        names = [name for attribute in two for name in instruction.names(attribute)]
        return names or instruction.names("branch_computations")
    attributes = _CALLS.get(instruction.opcode, ())
    return [name for attribute in attributes for name in instruction.names(attribute)]


def _add(
    launches: Launches,
    one: Instruction,
    times: int,
    computations: Mapping[str, Sequence[Instruction]],
) -> None:
    opcode = one.opcode.removesuffix("-start")
    if one.is_scalar and opcode not in {"fusion", "custom-call", *_COLLECTIVES}:
        launches.scalars += times
        return
    launches.kernels[opcode] += times
    parts = {opcode}
    if opcode == "fusion":
        fused = (part for name in one.names("calls") for part in computations[name])
        parts = {part.opcode for part in fused} - _FREE - {"reshape"}
    if "reduce" in parts:
        launches.reductions += times
    if parts and parts <= _COPIES:
        launches.copies += times
        launches.copied_bytes += times * one.result_bytes
        launches.largest_copy = max(launches.largest_copy, one.result_bytes)
    if opcode in _COLLECTIVES:
        launches.collectives[opcode] += times
        launches.collective_bytes += times * one.result_bytes


def _split_type(text: str) -> tuple[str, str]:
    """Parts the type of an instruction's result from what follows it."""
    if not text.startswith("("):
        result, _, rest = text.partition(" ")
        return result, rest
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if not depth:
            return text[: place + 1], text[place + 1 :]
    raise ValueError(f"A type without an end: {text[:80]}")


def _bits(kind: str) -> int:
    if kind == "pred":
        return 8
    number = re.search(r"\d+", kind)  # bf16, f8e4m3fn, u32; a token has none
    return int(number[0]) if number else 0
