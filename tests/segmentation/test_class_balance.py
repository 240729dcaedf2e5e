import pytest
from ignite.engine import Engine

from scripts.segmentation.class_balance import FadeClassBalance
from scripts.segmentation.loss import LocatedDiceCELoss


def test_balance_falls_epoch_by_epoch():
    loss, balances = LocatedDiceCELoss(class_balance=0.9), []
    engine = Engine(lambda engine, batch: balances.append(loss.class_balance))
    FadeClassBalance(loss, 0.5, 4).attach(engine)
    engine.run([0], max_epochs=6)
    assert balances == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.5])
