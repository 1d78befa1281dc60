"""BackPACK's exact Hessian diagonal; imported only where torch and BackPACK are installed."""

import warnings
from typing import Any

import jax
import numpy as np
import torch
from backpack import backpack, extend
from backpack.extensions import DiagHessian

from benchmarks import networks
from benchmarks.cases import Case
from benchmarks.timing import Contender

# The inputs need no gradient, and torch says so at each run.
warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)


def diagonal(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """The plain networks as a `Sequential`; BackPACK's second-order extensions refuse branching graphs."""
    if case.function is not networks.plain_loss:
        return "BackPACK refuses residual layers for DiagHessian"
    if jax.default_backend() != "cpu":
        return "BackPACK is measured on the CPU only"
    torch.set_num_threads(1)
    layers, X, labels = arguments
    parts: list[torch.nn.Module] = []
    for W, b in layers:
        linear = torch.nn.Linear(W.shape[1], W.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.array(W)))
            linear.bias.copy_(torch.from_numpy(np.array(b)))
        parts += [linear, torch.nn.Tanh()]
    model = extend(torch.nn.Sequential(*parts[:-1]))
    entropy = extend(torch.nn.CrossEntropyLoss())
    inputs = torch.from_numpy(np.array(X))
    targets = torch.from_numpy(np.array(labels)).long()

    def run() -> None:
        model.zero_grad()
        with backpack(DiagHessian()):
            entropy(model(inputs), targets).backward()

    run()
    linears = [part for part in parts if isinstance(part, torch.nn.Linear)]
    result = [(part.weight.diag_h.numpy().copy(), part.bias.diag_h.numpy().copy()) for part in linears]
    return Contender("BackPACK", run, result=result)
