import torch
from monai.engines import SupervisedTrainer

from scripts.training.gradient_clipping import ClipGradients


def test_a_step_is_limited_and_keeps_its_direction():
    network = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    batch = {"image": torch.tensor([[30.0, 40.0]]), "label": torch.tensor([[1.0]])}
    SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[batch],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=lambda output, label: (label - output).sum(),
        train_handlers=[ClipGradients(network, most=2.0)],
    ).run()
    # The gradient is (-30, -40), of norm 50.
    assert torch.allclose(network.weight.detach(), torch.tensor([[1.2, 1.6]]))
