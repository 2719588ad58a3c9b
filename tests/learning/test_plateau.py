"""The plateau and early-stopping rules on written-out losses."""

import math

from mlpvis_jax.learning import plateau as rules


def test_the_rate_is_cut_after_patience_and_the_wait_begins_anew():
    plateau = rules.ReduceOnPlateau(1.0, factor=0.5, patience=2, min_delta=0.1)
    rates = []
    for loss in (5.0, 4.95, 4.91, 4.0, 4.0, 4.0, 4.0, 4.0, math.nan):
        plateau.update(loss)
        rates.append(plateau.learning_rate)
    # 4.95 and 4.91 are lower, but by less than min_delta.
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_training_stops_after_patience_without_a_lower_loss():
    stopping = rules.EarlyStopping(patience=2)
    improved, stops = [], []
    for epoch, loss in enumerate((3.0, 2.0, 2.0, 1.99, 5.0, 1.99), 1):
        improved.append(stopping.update(epoch, loss))
        stops.append(stopping.should_stop)
    assert improved == [True, True, False, True, False, False]
    assert stops == [False, False, False, False, False, True]
    assert stopping.best_epoch == 4


def test_the_first_epoch_is_the_best_until_a_loss_is_a_number():
    stopping = rules.EarlyStopping(patience=5)
    assert [stopping.update(epoch, loss) for epoch, loss in ((1, math.nan), (2, math.nan))] == [
        True,
        False,
    ]
    assert stopping.best_epoch == 1
    assert stopping.update(3, 7.0)
    assert stopping.best_epoch == 3


def test_a_rule_without_patience_never_acts():
    plateau = rules.ReduceOnPlateau(1.0, factor=0.5, patience=None, min_delta=0.0)
    stopping = rules.EarlyStopping(patience=None)
    for epoch in range(1, 40):
        plateau.update(3.0)
        assert stopping.update(epoch, 3.0) == (epoch == 1)
    assert plateau.learning_rate == 1.0 and not stopping.should_stop
