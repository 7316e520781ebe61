"""Types of the compiled module. Its functions check their arguments themselves; `fastnn.ops` is the face people use."""

from typing import Any

RELU_FORWARD: int
RELU_BACKWARD: int
LEAKY_FORWARD: int
LEAKY_BACKWARD: int
TANH_FORWARD: int
TANH_BACKWARD: int
SIGMOID_FORWARD: int
SIGMOID_BACKWARD: int
ADAGRAD: int
RMSPROP: int
SOFTMAX: int
L2: int
HINGE: int

def linear_forward(
    function: str, x: Any, w: Any, b: Any, out: Any, relu: bool, drop: bool, keep_prob: Any, seed: Any, stream: Any
) -> Any: ...
def linear_backward(
    function: str, dy: Any, x: Any, w: Any, y: Any, gated: bool, dropped: bool, keep_prob: Any, need_dx: bool, out: Any
) -> tuple[Any, Any, Any]: ...
def activation(function: str, operation: int, names: tuple[str, ...], inputs: tuple[Any, ...], out: Any, slope: Any) -> Any: ...
def sgd(function: str, param: Any, grad: Any, learning_rate: Any, weight_decay: Any) -> None: ...
def momentum(
    function: str, param: Any, grad: Any, velocity: Any, learning_rate: Any, momentum: Any, nesterov: bool, weight_decay: Any
) -> None: ...
def adaptive(
    function: str, operation: int, param: Any, grad: Any, cache: Any, learning_rate: Any, decay_rate: Any, eps: Any, weight_decay: Any
) -> None: ...
def adam(
    function: str,
    param: Any,
    grad: Any,
    m: Any,
    v: Any,
    step: Any,
    learning_rate: Any,
    beta1: Any,
    beta2: Any,
    eps: Any,
    bias_correction: bool,
    weight_decay: Any,
    decoupled: bool,
) -> None: ...
def dropout(function: str, name: str, x: Any, keep_prob: Any, seed: Any, stream: Any, out: Any) -> Any: ...
def permutation(n: Any, seed: Any, stream: Any) -> Any: ...
def loss(
    function: str, kind: int, letters: str, name: str, scores: Any, target_name: str, target: Any, margin: Any, sample_weight: Any, out: Any
) -> tuple[float, Any]: ...
def isa() -> str: ...
def isas() -> dict[str, bool]: ...
def use_isa(name: str | None) -> None: ...
def set_threads(threads: int, cpus: int) -> None: ...
def threads() -> int: ...
def fma_peak(dtype: str, seconds: float) -> float: ...
def stream_bandwidth(bytes: int, seconds: float) -> float: ...
