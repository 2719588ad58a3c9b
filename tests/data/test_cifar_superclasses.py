"""CIFAR-100's superclasses: twenty of five classes each; and none of other classes."""

import collections

from mlpvis_jax.data.cifar_superclasses import SUPERCLASSES, superclasses_of


def test_each_class_has_one():
    names = [name for some in SUPERCLASSES.values() for name in some.split()]
    assert len(names) == len(set(names)) == 100
    found = superclasses_of(sorted(names))
    assert set(collections.Counter(found).values()) == {5} and len(set(found)) == 20
    assert superclasses_of(["whale", "apple"]) == ("aquatic_mammals", "fruit_and_vegetables")


def test_other_classes_have_none():
    assert superclasses_of(["whale", "zebra"]) is None
