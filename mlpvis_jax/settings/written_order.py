"""A ConfigDict as nested dicts, in the order in which its keys were written."""

from collections.abc import Mapping
from typing import Any


def in_written_order(values: Any) -> Any:
    """Converts a ConfigDict, and those inside of it, to dicts; references give their values.

    Transforms are applied in the order of their labels, which ConfigDict.to_dict would sort.
    """
    # There is no public way to the order: sort_keys=False does not reach the groups inside. And
    # ml_collections is not imported for it, which a machine that only lends its GPU may lack.
    fields = getattr(values, "_fields", None)
    if isinstance(fields, Mapping):
        return {key: in_written_order(values[key]) for key in fields}
    if isinstance(values, Mapping):
        return {key: in_written_order(value) for key, value in values.items()}
    return values
