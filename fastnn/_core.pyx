"""The compiled face of csrc: check every array and number of a call, release the GIL, call, turn a return code into an exception.

Checks here are the fast road: what passes is used in place, through the buffer protocol. Whatever does not pass is handed to
`fastnn.checks`, which raises the sentence, so that a wrong argument is answered in the same words as by the NumPy twin. Nothing is
written before all checks of a call are done.

Arrays the kernels cannot step through (misaligned data, strides that are no whole number of elements, operands of an elementwise
kernel in unlike orders) are copied, the call is made on the copies, and results are copied back.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.math cimport floor, isfinite, pow, sqrt

import numpy as np

from . import checks

cdef extern from "fastnn.h" nogil:
    enum fnn_dtype:
        FNN_F32, FNN_F64
    enum fnn_map_operation "fnn_map":
        FNN_RELU_FORWARD, FNN_RELU_BACKWARD, FNN_LEAKY_FORWARD, FNN_LEAKY_BACKWARD, FNN_TANH_FORWARD, FNN_TANH_BACKWARD
        FNN_SIGMOID_FORWARD, FNN_SIGMOID_BACKWARD, FNN_SGD, FNN_MOMENTUM, FNN_NESTEROV, FNN_ADAGRAD, FNN_RMSPROP, FNN_ADAM
    enum fnn_loss_kind "fnn_loss":
        FNN_SOFTMAX, FNN_L2, FNN_HINGE, FNN_LOSSES
    struct fnn_dropout_state "fnn_dropout":
        uint64_t seed
        uint64_t stream
        uint32_t threshold
    struct fnn_matrix:
        void *data
        Py_ssize_t rows, columns, row_stride, column_stride
    struct fnn_vector:
        void *data
        Py_ssize_t stride
    struct fnn_target:
        const int64_t *labels
        fnn_matrix dense
    void fnn_map(fnn_map_operation, fnn_dtype, Py_ssize_t, void **, const double *) noexcept
    void fnn_dropout(fnn_dtype, const fnn_matrix *, const fnn_matrix *, const fnn_dropout_state *) noexcept
    void fnn_permutation(Py_ssize_t, uint64_t, uint64_t, int64_t *) noexcept
    size_t fnn_linear_forward(fnn_dtype, const fnn_matrix *, const fnn_matrix *, fnn_vector, int, const fnn_dropout_state *,
                              const fnn_matrix *) noexcept
    size_t fnn_linear_backward(fnn_dtype, const fnn_matrix *, const fnn_matrix *, const fnn_matrix *, const fnn_matrix *, double,
                               const fnn_matrix *, const fnn_matrix *, fnn_vector) noexcept
    size_t fnn_loss(fnn_loss_kind, fnn_dtype, const fnn_matrix *, const fnn_target *, fnn_vector, double, const fnn_matrix *,
                    double *) noexcept
    const char *fnn_isa() noexcept
    int fnn_use_isa(const char *) noexcept
    const char *fnn_isa_name(int) noexcept
    int fnn_isa_usable(int) noexcept
    void fnn_set_threads(int, int) noexcept
    int fnn_threads() noexcept
    double fnn_fma_peak(fnn_dtype, double, int) noexcept
    double fnn_stream_bandwidth(size_t, double) noexcept

cdef object ndarray = np.ndarray
cdef object empty = np.empty
cdef object empty_like = np.empty_like
cdef object float32 = np.dtype(np.float32)
cdef object float64 = np.dtype(np.float64)
cdef object int64 = np.dtype(np.int64)

RELU_FORWARD, RELU_BACKWARD, LEAKY_FORWARD, LEAKY_BACKWARD = FNN_RELU_FORWARD, FNN_RELU_BACKWARD, FNN_LEAKY_FORWARD, FNN_LEAKY_BACKWARD
TANH_FORWARD, TANH_BACKWARD = FNN_TANH_FORWARD, FNN_TANH_BACKWARD
SIGMOID_FORWARD, SIGMOID_BACKWARD = FNN_SIGMOID_FORWARD, FNN_SIGMOID_BACKWARD
ADAGRAD, RMSPROP = FNN_ADAGRAD, FNN_RMSPROP
SOFTMAX, L2, HINGE = FNN_SOFTMAX, FNN_L2, FNN_HINGE

include "_arrays.pxi"
include "_engine.pxi"
include "_statistics.pxi"

# ---------------------------------------------------------------------------------------------------------------------------------
# Calls. `function` is the public name that errors carry.

def linear_forward(str function, x, w, b, out, bint relu, bint drop, keep_prob, seed, stream):
    """`out (n, o) = x (n, i) @ w (i, o) + b (o,)`, then ReLU, then dropout, as the flags say."""
    cdef Call call
    cdef fnn_matrix mx, mw, my
    cdef fnn_vector bias
    cdef fnn_dropout_state dropout
    cdef fnn_dropout_state *dropping = NULL
    cdef size_t failed
    cdef int bias_at = -1
    call.count = 0
    try:
        take(&call, function, "x", x, "ni", ANY, ANY, False)
        take(&call, function, "w", w, "io", call.buffers[0].shape[1], ANY, False)
        if b is not None:
            bias_at = call.count
            take(&call, function, "b", b, "o", call.buffers[1].shape[1], ANY, False)
        if out is not None:
            take(&call, function, "out", out, "no", call.buffers[0].shape[0], call.buffers[1].shape[1], True)
            names, arrays = (("x", "w", "out"), (x, w, out)) if b is None else (("x", "w", "b", "out"), (x, w, b, out))
            check_overlap(&call, function, names, arrays, False)
        if drop:
            dropout.threshold = threshold_of(function, keep_prob)
            dropout.seed = word(function, "seed", seed)
            dropout.stream = word(function, "stream", stream)
            dropping = &dropout
        if call.awkward:
            result = linear_forward(function, copy_of(x), copy_of(w), copy_of(b), None, relu, drop, keep_prob, seed, stream)
            if out is None:
                return result
            out[...] = result
            return out
        if out is None:
            out = empty((call.buffers[0].shape[0], call.buffers[1].shape[1]), numpy_dtype(&call))
            take(&call, function, "out", out, "no", ANY, ANY, True)
        mx, mw, my = matrix(&call.buffers[0]), matrix(&call.buffers[1]), matrix(&call.buffers[call.count - 1])
        bias.data, bias.stride = NULL, 0
        if bias_at >= 0:
            bias = vector(&call.buffers[bias_at])
        with nogil:
            failed = fnn_linear_forward(<fnn_dtype>call.dtype, &mx, &mw, bias, relu, dropping, &my)
        if failed:
            raise out_of_memory(function, failed)
        return out
    finally:
        release(&call)


def linear_backward(str function, dy, x, w, y, bint gated, bint dropped, keep_prob, bint need_dx, out):
    """`dz = dy`, or when gated `dy` (times the scale of dropout) where `y` passes; `dx = dz @ w.T`, `dw = x.T @ dz`, `db = dz.sum(0)`."""
    cdef Call call
    cdef fnn_matrix mdy, mx, mw, mgate, mdx, mdw
    cdef fnn_vector vdb
    cdef double scale = 1.0
    cdef Py_ssize_t n, i, o
    cdef size_t failed
    cdef int first_output
    call.count = 0
    try:
        take(&call, function, "dy", dy, "no", ANY, ANY, False)
        n, o = call.buffers[0].shape[0], call.buffers[0].shape[1]
        take(&call, function, "x", x, "ni", n, ANY, False)
        i = call.buffers[1].shape[1]
        take(&call, function, "w", w, "io", i, o, False)
        if gated:
            take(&call, function, "y", y, "no", n, o, False)
        first_output = call.count
        if out is None:
            dx = dw = db = None
        else:
            if not isinstance(out, (tuple, list)) or len(out) != 3:
                expected = "(dx, dw, db), each an array or None"
                raise checks.fail(TypeError, function, "out", "be a tuple of three", expected, type(out).__name__)
            dx, dw, db = out
            if not need_dx:
                dx = None
            names = ["dy", "x", "w"] + (["y"] if gated else [])
            values = [dy, x, w] + ([y] if gated else [])
            if dx is not None:
                take(&call, function, "dx", dx, "ni", n, i, True)
            if dw is not None:
                take(&call, function, "dw", dw, "io", i, o, True)
            if db is not None:
                take(&call, function, "db", db, "o", o, ANY, True)
            for name, value in (("dx", dx), ("dw", dw), ("db", db)):
                if value is not None:
                    names.append(name)
                    values.append(value)
            check_overlap(&call, function, tuple(names), tuple(values), False)
        if dropped:
            scale = 65536.0 / threshold_of(function, keep_prob)
        if call.awkward:
            results = linear_backward(function, copy_of(dy), copy_of(x), copy_of(w), copy_of(y), gated, dropped, keep_prob, need_dx, None)
            final = []
            for target, result in zip((dx, dw, db), results):
                if target is not None:
                    target[...] = result
                final.append(result if target is None else target)
            return tuple(final)
        # Buffers are taken in the order dx, dw, db again, given or new, so that positions are plain.
        while call.count > first_output:
            call.count -= 1
            PyBuffer_Release(&call.buffers[call.count])
        if need_dx and dx is None:
            dx = empty((n, i), numpy_dtype(&call))
        if dw is None:
            dw = empty((i, o), numpy_dtype(&call))
        if db is None:
            db = empty((o,), numpy_dtype(&call))
        take(&call, function, "dw", dw, "io", i, o, True)
        take(&call, function, "db", db, "o", o, ANY, True)
        mdx = no_matrix()
        if need_dx:
            take(&call, function, "dx", dx, "ni", n, i, True)
            mdx = matrix(&call.buffers[first_output + 2])
        mdy, mx, mw = matrix(&call.buffers[0]), matrix(&call.buffers[1]), matrix(&call.buffers[2])
        mgate = matrix(&call.buffers[3]) if gated else no_matrix()
        mdw, vdb = matrix(&call.buffers[first_output]), vector(&call.buffers[first_output + 1])
        with nogil:
            failed = fnn_linear_backward(<fnn_dtype>call.dtype, &mdy, &mx, &mw, &mgate if gated else NULL, scale, &mdx, &mdw, vdb)
        if failed:
            raise out_of_memory(function, failed)
        return dx, dw, db
    finally:
        release(&call)


cdef int run_map(Call *call, int operation, const double *scalars) except -1:
    """Run an elementwise kernel in place on flat arrays; returns 0 when their orders differ and they must be copied first."""
    cdef void *arrays[ARRAYS]
    cdef bint rows = True, columns = True
    cdef int index
    cdef Py_ssize_t n = call.buffers[0].len // call.buffers[0].itemsize
    if call.awkward:
        return 0
    for index in range(call.count):
        rows = rows and PyBuffer_IsContiguous(&call.buffers[index], c"C")
        columns = columns and PyBuffer_IsContiguous(&call.buffers[index], c"F")
        arrays[index] = call.buffers[index].buf
    if not rows and not columns:
        return 0
    with nogil:
        fnn_map(<fnn_map_operation>operation, <fnn_dtype>call.dtype, n, arrays, scalars)
    return 1


def activation(str function, int operation, tuple names, tuple inputs, out, slope):
    """`out = f(*inputs)` elementwise; `slope` is None for activations without one. `out` may be exactly an input."""
    cdef Call call
    cdef double scalar = 0.0
    cdef int index
    call.count = 0
    try:
        for index in range(len(inputs)):
            take(&call, function, names[index], inputs[index], None, ANY, ANY, False)
        if out is not None:
            take(&call, function, "out", out, None, ANY, ANY, True)
            check_overlap(&call, function, names + ("out",), inputs + (out,), True)
        if slope is not None:
            scalar = rate(function, "slope", slope)
        result = out
        if out is None:
            result = empty_like(inputs[0], subok=False)
            take(&call, function, "out", result, None, ANY, ANY, True)
        if run_map(&call, operation, &scalar):
            return result
        result = activation(function, operation, names, tuple([copy_of(value) for value in inputs]), None, slope)
        if out is None:
            return result
        out[...] = result
        return out
    finally:
        release(&call)


cdef int take_parameters(Call *call, str function, tuple names, tuple arrays) except -1:
    """Hold (param, grad, state...) of an update; all but grad are written, and none may overlap another."""
    cdef int index
    for index in range(len(arrays)):
        take(call, function, names[index], arrays[index], None, ANY, ANY, index != 1)
    return check_overlap(call, function, names, arrays, False)


cdef int run_update(Call *call, int operation, tuple arrays, const double *scalars) except -1:
    """Run an optimizer's kernel on arrays that `take_parameters` holds; awkward ones through copies."""
    cdef Call copied
    cdef int index
    if run_map(call, operation, scalars):
        return 0
    copies = tuple([copy_of(value) for value in arrays])
    copied.count = 0
    try:
        for index in range(len(copies)):
            take(&copied, "", "", copies[index], None, ANY, ANY, True)
        run_map(&copied, operation, scalars)
    finally:
        release(&copied)
    for index in range(len(arrays)):
        if index != 1:
            arrays[index][...] = copies[index]
    return 0


def sgd(str function, param, grad, learning_rate, weight_decay, l1):
    cdef Call call
    cdef double scalars[3]
    arrays = (param, grad)
    call.count = 0
    try:
        take_parameters(&call, function, ("param", "grad"), arrays)
        scalars[2] = rate(function, "learning_rate", learning_rate)
        scalars[0], scalars[1] = rate(function, "weight_decay", weight_decay), rate(function, "l1", l1)
        run_update(&call, FNN_SGD, arrays, scalars)
    finally:
        release(&call)


def momentum(str function, param, grad, velocity, learning_rate, momentum, bint nesterov, weight_decay, l1):
    cdef Call call
    cdef double scalars[4]
    arrays = (param, grad, velocity)
    call.count = 0
    try:
        take_parameters(&call, function, ("param", "grad", "velocity"), arrays)
        scalars[2] = rate(function, "learning_rate", learning_rate)
        scalars[3] = fraction(function, "momentum", momentum, False)
        scalars[0], scalars[1] = rate(function, "weight_decay", weight_decay), rate(function, "l1", l1)
        run_update(&call, FNN_NESTEROV if nesterov else FNN_MOMENTUM, arrays, scalars)
    finally:
        release(&call)


def adaptive(str function, int operation, param, grad, cache, learning_rate, decay_rate, eps, weight_decay, l1):
    """ADAGRAD, which has no decay rate, or RMSPROP."""
    cdef Call call
    cdef double scalars[6]
    arrays = (param, grad, cache)
    call.count = 0
    try:
        take_parameters(&call, function, ("param", "grad", "cache"), arrays)
        scalars[2] = rate(function, "learning_rate", learning_rate)
        if operation == FNN_RMSPROP:
            scalars[4] = fraction(function, "decay_rate", decay_rate, False)
            scalars[5] = 1.0 - scalars[4]
        scalars[3] = rate(function, "eps", eps)
        scalars[0], scalars[1] = rate(function, "weight_decay", weight_decay), rate(function, "l1", l1)
        run_update(&call, operation, arrays, scalars)
    finally:
        release(&call)


def adam(str function, param, grad, m, v, step, learning_rate, beta1, beta2, eps, bint bias_correction, weight_decay, bint decoupled, l1):
    cdef Call call
    cdef double scalars[9]
    cdef double lr, b1, b2, decay, root = 1.0, time
    arrays = (param, grad, m, v)
    call.count = 0
    try:
        take_parameters(&call, function, ("param", "grad", "m", "v"), arrays)
        time = <double>checks.integer(function, "step", step, 1, 9007199254740992)
        lr = rate(function, "learning_rate", learning_rate)
        b1 = fraction(function, "beta1", beta1, True)
        b2 = fraction(function, "beta2", beta2, True)
        scalars[3] = rate(function, "eps", eps)
        decay = rate(function, "weight_decay", weight_decay)
        scalars[1] = rate(function, "l1", l1)
        scalars[2] = lr
        if bias_correction:
            root = sqrt(1.0 - pow(b2, time))
            scalars[2] = lr * root / (1.0 - pow(b1, time))
        scalars[3] *= root
        scalars[4], scalars[5], scalars[6], scalars[7] = b1, 1.0 - b1, b2, 1.0 - b2
        scalars[0] = 0.0 if decoupled else decay
        scalars[8] = 1.0 - lr * decay if decoupled else 1.0
        run_update(&call, FNN_ADAM, arrays, scalars)
    finally:
        release(&call)


def dropout(str function, str name, x, keep_prob, seed, stream, out):
    """Inverted dropout of `x`, any shape; `out` may be exactly `x`."""
    cdef Call call
    cdef fnn_dropout_state state
    cdef fnn_matrix mx, my
    cdef int index
    call.count = 0
    try:
        take(&call, function, name, x, None, ANY, ANY, False)
        if out is not None:
            take(&call, function, "out", out, None, ANY, ANY, True)
            check_overlap(&call, function, (name, "out"), (x, out), True)
        state.threshold = threshold_of(function, keep_prob)
        state.seed = word(function, "seed", seed)
        state.stream = word(function, "stream", stream)
        result = out
        if out is None:
            result = empty_like(x, subok=False)
            take(&call, function, "out", result, None, ANY, ANY, True)
        for index in range(2):
            call.awkward = call.awkward or (call.buffers[index].ndim > 2 and not PyBuffer_IsContiguous(&call.buffers[index], c"C"))
        if call.awkward:
            plain = copy_of(x)
            dropout(function, name, plain, keep_prob, seed, stream, plain)
            if out is None:
                return plain
            out[...] = plain
            return out
        mx, my = matrix(&call.buffers[0]), matrix(&call.buffers[1])
        with nogil:
            fnn_dropout(<fnn_dtype>call.dtype, &mx, &my, &state)
        return result
    finally:
        release(&call)


def permutation(n, seed, stream):
    """`order (n,)` int64: a permutation of 0..n-1."""
    cdef Py_ssize_t count = checks.integer("permutation", "n", n, 0, 4294967295)
    cdef uint64_t key = word("permutation", "seed", seed), counter = word("permutation", "stream", stream)
    cdef Py_buffer buffer
    order = empty(count, np.int64)
    PyObject_GetBuffer(order, &buffer, PyBUF_STRIDES)
    with nogil:
        fnn_permutation(count, key, counter, <int64_t *>buffer.buf)
    PyBuffer_Release(&buffer)
    return order


cdef object plain_labels(str function, str name, object labels, Py_ssize_t n, Py_ssize_t c):
    """Labels as a contiguous int64 array whose values were checked; the caller's own array where it is one already."""
    cdef Py_buffer buffer
    cdef const int64_t *label
    cdef Py_ssize_t index
    cdef bint good = False
    if type(labels) is ndarray:
        if labels.dtype is int64:
            PyObject_GetBuffer(labels, &buffer, PyBUF_STRIDES)
            good = buffer.ndim == 1 and buffer.shape[0] == n and PyBuffer_IsContiguous(&buffer, c"C") and not is_awkward(&buffer)
            if good:
                label = <const int64_t *>buffer.buf
                for index in range(n):
                    good = good and 0 <= label[index] < c
            PyBuffer_Release(&buffer)
    return labels if good else checks.labels(function, name, labels, n, c)




cdef int check_weights(str function, object weight, const Py_buffer *buffer, int dtype, Py_ssize_t n) except -1:
    cdef Py_ssize_t index
    cdef double value
    cdef char *at = <char *>buffer.buf
    for index in range(n):
        value = (<float *>at)[0] if dtype == FNN_F32 else (<double *>at)[0]
        if not (isfinite(value) and value >= 0.0):
            checks.weights(function, "sample_weight", weight, n, float32 if dtype == FNN_F32 else float64)
        at += buffer.strides[0]
    return 0


def loss(str function, int kind, str letters, str name, scores, str target_name, target, margin, sample_weight, out):
    """`(loss, gradient)` of `scores`; the target is int labels, or dense for L2 and for softmax over probabilities."""
    cdef Call call
    cdef Py_buffer label_buffer
    cdef fnn_matrix mscores, mgradient
    cdef fnn_target goal
    cdef fnn_vector weight
    cdef double value = 0.0, margin_value = 0.0
    cdef size_t failed
    cdef Py_ssize_t n, c
    cdef bint dense, holds_labels = False
    cdef int weight_at = -1
    call.count = 0
    goal.labels = NULL
    goal.dense = no_matrix()
    weight.data, weight.stride = NULL, 0
    try:
        take(&call, function, name, scores, letters, ANY, ANY, False)
        n, c = call.buffers[0].shape[0], call.buffers[0].shape[1]
        names, values = (name,), (scores,)
        if c == 0 and kind != FNN_L2:
            raise checks.fail(ValueError, function, name, "have at least one column", "shape (n, c)",
                              f"{checks.shape_text(scores.shape)} {scores.dtype}")
        dense = kind == FNN_L2 or (kind == FNN_SOFTMAX and isinstance(target, ndarray) and target.dtype.kind == "f")
        if dense:
            take(&call, function, target_name, target, letters, n, c, False)
            names, values = names + (target_name,), values + (target,)
        else:
            labels = plain_labels(function, target_name, target, n, c)
        if sample_weight is not None:
            weight_at = call.count
            take(&call, function, "sample_weight", sample_weight, "n", n, ANY, False)
            if not call.awkward:
                check_weights(function, sample_weight, &call.buffers[weight_at], call.dtype, n)
            else:
                checks.weights(function, "sample_weight", sample_weight, n, numpy_dtype(&call))
            names, values = names + ("sample_weight",), values + (sample_weight,)
        if out is not None:
            take(&call, function, "out", out, letters, n, c, True)
            check_overlap(&call, function, names + ("out",), values + (out,), True)
            if not dense:
                checks.disjoint(function, "out", out, {target_name: target})
        if kind == FNN_HINGE:
            margin_value = rate(function, "margin", margin)
        if call.awkward:
            value, result = loss(function, kind, letters, name, copy_of(scores), target_name, copy_of(target), margin,
                                 copy_of(sample_weight), None)
            if out is None:
                return value, result
            out[...] = result
            return value, out
        gradient = out
        if out is None:
            gradient = empty((n, c), numpy_dtype(&call))
            take(&call, function, "out", gradient, letters, ANY, ANY, True)
        if dense:
            goal.dense = matrix(&call.buffers[1])
        else:
            PyObject_GetBuffer(labels, &label_buffer, PyBUF_STRIDES)
            holds_labels = True
            goal.labels = <const int64_t *>label_buffer.buf
        if weight_at >= 0:
            weight = vector(&call.buffers[weight_at])
        mscores, mgradient = matrix(&call.buffers[0]), matrix(&call.buffers[call.count - 1])
        with nogil:
            failed = fnn_loss(<fnn_loss_kind>kind, <fnn_dtype>call.dtype, &mscores, &goal, weight, margin_value, &mgradient, &value)
        if failed:
            raise out_of_memory(function, failed)
        return value, gradient
    finally:
        if holds_labels:
            PyBuffer_Release(&label_buffer)
        release(&call)


# ---------------------------------------------------------------------------------------------------------------------------------
# The machine

def isa():
    """Name of the instruction set in use."""
    return fnn_isa().decode()


def isas():
    """`{name: whether this CPU runs it}` for the instruction sets of this build, best first."""
    found, index = {}, 0
    while fnn_isa_name(index) != NULL:
        found[fnn_isa_name(index).decode()] = bool(fnn_isa_usable(index))
        index += 1
    return found


def use_isa(name):
    """Switch kernels, to the best this CPU runs for None; at import, and in tests and benchmarks while no kernel runs."""
    cdef bytes encoded = b"" if name is None else name.encode()
    if fnn_use_isa(NULL if name is None else <const char *>encoded) != 0:
        usable = ", ".join([known for known, works in isas().items() if works])
        raise ValueError(f"fastnn: instruction set must be one that this build has and this CPU runs ({usable}), got {name!r}")


def set_threads(int threads, int cpus):
    """Threads a kernel may use, the caller's included, and the processors there are for them."""
    fnn_set_threads(threads, cpus)


def threads():
    """Threads a kernel may use."""
    return fnn_threads()


use_isa(None)


def fma_peak(str dtype, double seconds, int threads=1):
    """flop/s of so many threads that do independent multiply-adds in registers at once, best of `seconds`."""
    cdef double flops
    cdef fnn_dtype kind = FNN_F32 if dtype == "float32" else FNN_F64
    with nogil:
        flops = fnn_fma_peak(kind, seconds, max(1, threads))
    return flops


def stream_bandwidth(size_t bytes, double seconds):
    """byte/s of the triad a = b + s * c over three arrays of `bytes` each on all threads, best of `seconds`."""
    cdef double rate
    with nogil:
        rate = fnn_stream_bandwidth(bytes, seconds)
    if rate < 0:
        raise MemoryError(f"fastnn.stream_bandwidth: no memory for three arrays of {bytes} bytes")
    return rate
