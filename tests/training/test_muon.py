"""Muon against torch's own, which takes matrices only, and against AdamW."""

import pytest
import torch
from torch import nn

from geosr.training.muon import Muon, orthogonal
from geosr.training.schedule import optimizer


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(4)))


def learn(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    draw = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        x = torch.randn(4, 8, 6, 6, generator=draw)
        loss = (net(x) - x.roll(1, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_singular_values_come_to_about_one_and_vectors_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    turned = orthogonal(matrix)
    values = torch.linalg.svdvals(turned)
    assert values.min() > 0.5 and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ turned @ v.T  # diagonal where the vectors are the same
    assert (inner - torch.diag(inner.diag())).abs().max() < 0.05


def test_inner_weights_move_as_torchs_muon_moves_matrices():
    ours, theirs = net(), net()
    mine = Muon(ours, 1e-2, weight_decay=0.1)
    inner = [theirs[1].weight, theirs[2].weight]
    views = [nn.Parameter(p.data.view(8, -1)) for p in inner]  # the same memory
    library = torch.optim.Muon(
        views, 1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    rest = [p for p in theirs.parameters() if all(p is not q for q in inner)]
    adamw = torch.optim.AdamW(rest, 1e-2, weight_decay=0.1)
    draw = torch.Generator().manual_seed(1)
    for _ in range(3):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=draw)
            q.grad = p.grad.clone()
        for view, q in zip(views, inner, strict=True):
            view.grad = q.grad.view(8, -1)
        for each in (mine, library, adamw):
            each.step()
    for p, q, begin in zip(ours.parameters(), theirs.parameters(), net().parameters(), strict=True):
        moved = (q - begin).norm()
        assert (p - q).norm() < 0.03 * moved  # its matrices are bfloat16


def test_it_learns():
    model = net()
    losses = learn(model, optimizer("muon", model, lr=3e-3), 150)
    assert losses[-1] < 0.5 * losses[0]


def test_a_step_takes_a_closure():
    model = net()
    mine = Muon(model, 1e-3)

    def closure():
        mine.zero_grad()
        loss = model(torch.ones(1, 8, 4, 4)).square().mean()
        loss.backward()
        return loss

    assert float(mine.step(closure).detach()) > 0
