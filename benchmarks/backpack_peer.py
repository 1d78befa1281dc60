"""BackPACK's exact Hessian diagonal; imported only where torch and BackPACK are installed."""

import warnings
from collections.abc import Callable, Sequence
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


def _prepared(parts: Sequence[torch.nn.Module], inputs: np.ndarray, labels: Any) -> Callable[[], None]:
    """What puts the diagonal on the parameters of the parts; run once."""
    model = extend(torch.nn.Sequential(*parts))
    entropy = extend(torch.nn.CrossEntropyLoss())
    given, targets = torch.from_numpy(inputs), torch.from_numpy(np.array(labels)).long()

    def run() -> None:
        model.zero_grad()
        with backpack(DiagHessian()):
            entropy(model(given), targets).backward()

    run()
    return run


def _convolutional(parameters: networks.Block, X: Any, labels: Any) -> Contender | str:
    """Channels stand first in torch: kernels, images and rows of the head are arranged, and the answer back again."""
    if jax.default_backend() != "cpu":
        return "BackPACK is measured on the CPU only"
    torch.set_num_threads(1)
    numbers = {name: np.array(value) for name, value in parameters.items()}
    channels = [numbers[name].shape[3] for name in ("kernel1", "kernel2")]
    side, classes = X.shape[1] // 4, numbers["head"].shape[1]
    first = torch.nn.Conv2d(1, channels[0], 3, 2, 1)
    second = torch.nn.Conv2d(channels[0], channels[1], 3, 2, 1)
    head = torch.nn.Linear(side * side * channels[1], classes)
    with torch.no_grad():
        for part, kernel in ((first, "kernel1"), (second, "kernel2")):
            part.weight.copy_(torch.from_numpy(numbers[kernel].transpose(3, 2, 0, 1).copy()))
        rows = numbers["head"].reshape(side, side, channels[1], classes).transpose(3, 2, 0, 1)
        head.weight.copy_(torch.from_numpy(rows.reshape(classes, -1).copy()))
        for part, shift in ((first, "shift1"), (second, "shift2"), (head, "shift3")):
            part.bias.copy_(torch.from_numpy(numbers[shift]))
    parts = [first, torch.nn.Tanh(), second, torch.nn.Tanh(), torch.nn.Flatten(), head]
    run = _prepared(parts, np.array(X).transpose(0, 3, 1, 2).copy(), labels)
    rows = head.weight.diag_h.numpy().reshape(classes, channels[1], side, side)
    result = {
        "kernel1": first.weight.diag_h.numpy().transpose(2, 3, 1, 0).copy(),
        "kernel2": second.weight.diag_h.numpy().transpose(2, 3, 1, 0).copy(),
        "head": rows.transpose(2, 3, 1, 0).reshape(-1, classes).copy(),
        "shift1": first.bias.diag_h.numpy().copy(),
        "shift2": second.bias.diag_h.numpy().copy(),
        "shift3": head.bias.diag_h.numpy().copy(),
    }
    return Contender("BackPACK", run, result=result)


def diagonal(case: Case, arguments: tuple[Any, ...]) -> Contender | str:
    """The plain networks as a `Sequential`; BackPACK's second-order extensions refuse branching graphs."""
    if case.function is networks.convolutional_loss:
        return _convolutional(*arguments)
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
    run = _prepared(parts[:-1], np.array(X), labels)
    linears = [part for part in parts if isinstance(part, torch.nn.Linear)]
    result = [(part.weight.diag_h.numpy().copy(), part.bias.diag_h.numpy().copy()) for part in linears]
    return Contender("BackPACK", run, result=result)
