"""How long something lasts: a number of epochs, of steps, or of training examples."""

import math
import re
from fractions import Fraction
from typing import Any, Self

UNITS = ("epochs", "steps", "examples")
_FORM = re.compile(r"\s*([-+\w.]+?)\s*(?:(epoch|step|example)s?)?\s*", re.ASCII)
_NONE = "a duration such as '50 epochs', '500 steps' or '2_250_000 examples'"


class Duration(str):
    """A text such as "50 epochs", "500 steps" or "2250000 examples".

    It can be made from other ways to write the same: "1_000 steps", "1e3 steps"; a number alone is
    one of epochs. Steps and examples are whole; an epoch can be cut. JSON holds it as it is.

    Raises:
      ValueError: a text or a number that is none; the message says what is wrong.
    """

    def __new__(cls, value: Any) -> Self:
        number, unit = value, "epoch"
        if isinstance(value, str):
            match = _FORM.fullmatch(value) if len(value) < 100 else None
            number, unit = (match[1], match[2] or unit) if match else ("", unit)
        try:
            number = math.nan if isinstance(number, bool) else float(number)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(_NONE)
        if unit != "epoch" and not number.is_integer():
            raise ValueError(f"a whole number of {unit}s")
        written = str(int(number)) if number.is_integer() else repr(number)
        return super().__new__(cls, f"{written} {unit if number == 1 else f'{unit}s'}")

    @property
    def number(self) -> Fraction:
        """Gives the number of epochs, steps or examples."""
        return Fraction(self.split()[0])

    @property
    def unit(self) -> str:
        """Gives the unit, one of UNITS."""
        return self.split()[1].removesuffix("s") + "s"

    def times(self, factor: int) -> "Duration":
        """Makes the duration of so many of these."""
        return Duration(f"{float(factor * self.number)!r} {self.unit}")

    def steps(self, num_examples: int, batch_size: int) -> Fraction:
        """Counts the steps of it, of which the last may be a part.

        Args:
          num_examples: of an epoch, each of which is taken once.
          batch_size: of every step but the last one of an epoch, which takes what is left.
        """
        if self.unit == "steps":
            return self.number
        steps_per_epoch = -(-num_examples // batch_size)
        if self.unit == "epochs":
            return self.number * steps_per_epoch
        epochs, rest = divmod(self.number, max(num_examples, 1))
        return epochs * steps_per_epoch + rest / batch_size
