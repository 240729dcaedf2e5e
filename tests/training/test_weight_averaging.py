import torch
from ignite.engine import Engine

from scripts.training.weight_averaging import AveragedNetwork, UpdateAverage


def step(network, value):
    with torch.no_grad():
        network.weight.fill_(value)


def test_average_of_the_steps():
    network = torch.nn.Linear(1, 1, bias=False)
    average = AveragedNetwork(network, decay=0.75)
    for value in (1.0, 5.0, 9.0):
        step(network, value)
        average.update()
    # The first step is taken as it is: 1, then 0.75 * 1 + 0.25 * 5 = 2, then 0.75 * 2 + 0.25 * 9.
    assert average.network.weight.item() == 3.75
    assert network.weight.item() == 9.0


def test_without_decay_it_is_the_network():
    network = torch.nn.Linear(1, 1, bias=False)
    average = AveragedNetwork(network, decay=0.0)
    for value in (1.0, 5.0):
        step(network, value)
        average.update()
        assert average.network.weight.item() == value


def test_handler_updates_after_every_iteration():
    network = torch.nn.Linear(1, 1, bias=False)
    average = AveragedNetwork(network, decay=0.5)
    engine = Engine(lambda engine, value: step(network, value))
    UpdateAverage(average).attach(engine)
    engine.run([2.0, 4.0], max_epochs=1)
    assert average.network.weight.item() == 3.0
