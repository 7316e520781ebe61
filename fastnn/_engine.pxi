# The training engine: csrc/network.h as a class. Part of _core.pyx. The twin, and the meaning of every argument, is fastnn.loop.Engine.

from cpython.buffer cimport PyBUF_WRITABLE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t
from libc.math cimport INFINITY, NAN

from time import monotonic

from .plan import Statistics

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef extern from "network.h" nogil:
    enum fnn_activation:
        FNN_LINEAR, FNN_RELU, FNN_LEAKY, FNN_TANH, FNN_SIGMOID
    enum fnn_elements:
        FNN_OWN, FNN_BYTES, FNN_OTHER
    struct fnn_network:
        pass
    struct fnn_network_plan:
        fnn_dtype dtype
        int layers
        const Py_ssize_t *sizes
        fnn_activation activation
        double slope
        const uint32_t *thresholds
        uint64_t seed
        fnn_loss_kind loss
        double margin
        fnn_map_operation update
        int slots
        double clip_value, clip_norm, max_norm, average
        const void *mean
        const void *inverse_std
        void **parameters
        void **states
        void **averages
    struct fnn_rows:
        Py_ssize_t count
        const void *x
        fnn_elements elements
        Py_ssize_t x_stride, dense_stride
        const int64_t *labels
        const void *dense
        const void *weight
        const int64_t *order
    struct fnn_updates:
        Py_ssize_t batch, micro, first, count
        const double *scalars
        const double *bias_scalars
        Py_ssize_t scalars_stride
        uint64_t step
        int measure
    struct fnn_statistics:
        double loss, weight, metric, rows, gradient_norm, weight_norm, update_ratio
    enum fnn_end:
        FNN_TIME, FNN_NOT_FINITE, FNN_STOPPED
    struct fnn_watch:
        int (*stop)(void *) noexcept
        void *context
    fnn_network *fnn_network_new(const fnn_network_plan *) noexcept
    void fnn_network_free(fnn_network *) noexcept
    size_t fnn_network_reserve(fnn_network *, Py_ssize_t, int, int) noexcept
    size_t fnn_network_bytes(const fnn_network *) noexcept
    fnn_statistics *fnn_network_statistics(fnn_network *) noexcept
    Py_ssize_t fnn_network_run(fnn_network *, const fnn_rows *, const fnn_updates *, double, const fnn_watch *, fnn_end *) noexcept
    void fnn_network_forward(fnn_network *, const fnn_rows *, uint64_t, Py_ssize_t, void *) noexcept
    int fnn_network_backward(fnn_network *, const void *, const double *, const double *, int) noexcept

cdef extern from "members.h" nogil:
    struct fnn_training:
        fnn_network *network
        fnn_rows rows
        fnn_updates updates
        Py_ssize_t an_epoch
        int64_t *order
        const int64_t *part
        int shuffled
        uint64_t seed, stream
        double *losses
        int ordered
        Py_ssize_t done, finished, begun
        fnn_end end
    struct fnn_scoring:
        const fnn_network_plan *plan
        fnn_rows rows
        void *scores
        Py_ssize_t done
        size_t failed
    void fnn_train_members(int, fnn_training *, double) noexcept
    void fnn_score_members(int, fnn_scoring *, double) noexcept

cdef enum:
    MOST_LAYERS = 256

cdef double SLICE = 0.02  # seconds between two looks for Ctrl-C

cdef dict activations = {"linear": FNN_LINEAR, "relu": FNN_RELU, "leaky_relu": FNN_LEAKY, "tanh": FNN_TANH, "sigmoid": FNN_SIGMOID}
cdef dict losses = {"softmax_cross_entropy": FNN_SOFTMAX, "l2": FNN_L2, "hinge": FNN_HINGE, None: FNN_LOSSES}
cdef dict updates_by_name = {"sgd": FNN_SGD, "momentum": FNN_MOMENTUM, "nesterov": FNN_NESTEROV, "adagrad": FNN_ADAGRAD,
                             "rmsprop": FNN_RMSPROP, "adam": FNN_ADAM}


cdef dict scalars_by_name = {"sgd": 3, "momentum": 4, "nesterov": 4, "adagrad": 4, "rmsprop": 6, "adam": 9}


cdef void *address(str name, array, dtype, tuple shape, bint write) except NULL:
    """Where the data of a C-ordered array begins; the caller keeps the array alive."""
    cdef Py_buffer view
    if not isinstance(array, ndarray) or array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise checks.fail(ValueError, "Engine", name, "be a C-ordered array", f"{checks.shape_text(shape)} {dtype}", repr(array)[:60])
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES | (PyBUF_WRITABLE if write else 0))
    cdef void *data = view.buf
    PyBuffer_Release(&view)
    return data if data != NULL else <void *>&nothing


cdef double nothing = 0.0  # stands for the data of an empty array


cdef int signalled(void *engine) noexcept with gil:
    """Whether a signal's handler raised, which is kept for when the engine has come back."""
    try:
        PyErr_CheckSignals()
        return 0
    except BaseException as error:
        (<Engine>engine).raised = error
        return 1


cdef class Engine:
    """The compiled engine, see `fastnn.loop.Engine`. One call at a time: a second thread is answered with RuntimeError."""

    cdef fnn_network *network
    cdef fnn_network_plan built  # less thresholds, states and averages
    cdef Py_ssize_t *sizes
    cdef void **parameters
    cdef object kept, plan, dtype, raised
    cdef fnn_dtype kind
    cdef Py_ssize_t inputs, outputs
    cdef bint busy
    cdef public Py_ssize_t done
    cdef public bint failure
    cdef public list losses
    cdef public Py_ssize_t begun

    def __cinit__(self, plan, parameters, states, averages):
        cdef uint32_t thresholds[MOST_LAYERS]
        cdef void *state[4 * MOST_LAYERS]
        cdef void *average[2 * MOST_LAYERS]
        cdef int layers = len(plan.sizes) - 1, k, s
        if not 1 <= layers <= MOST_LAYERS:
            raise checks.fail(ValueError, "Engine", "sizes", "have layers the engine can hold", f"1 to {MOST_LAYERS}", str(layers))
        self.sizes = <Py_ssize_t *>PyMem_Malloc((layers + 1) * sizeof(Py_ssize_t))
        self.parameters = <void **>PyMem_Malloc(2 * layers * sizeof(void *))
        if self.sizes == NULL or self.parameters == NULL:
            raise MemoryError("fastnn.Engine: no memory for the description of the network")
        self.plan, self.dtype, self.losses = plan, parameters[0].dtype, []
        self.kept = (parameters, states, averages, plan)
        self.kind = FNN_F32 if self.dtype == float32 else FNN_F64
        self.inputs, self.outputs = plan.sizes[0], plan.sizes[layers]
        for k in range(layers + 1):
            self.sizes[k] = plan.sizes[k]
        for k in range(layers):
            thresholds[k] = threshold_of("Engine", plan.keep_prob[k])
        for k in range(2 * layers):
            shape = (plan.sizes[k // 2], plan.sizes[k // 2 + 1]) if k % 2 == 0 else (plan.sizes[k // 2 + 1],)
            self.parameters[k] = address("parameters", parameters[k], self.dtype, shape, True)
            if len(states[k]) != plan.slots:
                raise checks.fail(ValueError, "Engine", "states", "have the slots of the optimizer", str(plan.slots), str(len(states[k])))
            for s in range(plan.slots):
                state[k * plan.slots + s] = address("states", states[k][s], self.dtype, shape, True)
            if averages:
                average[k] = address("averages", averages[k], self.dtype, shape, True)
        self.built.dtype, self.built.layers, self.built.sizes = self.kind, layers, self.sizes
        self.built.activation, self.built.slope = activations[plan.activation], plan.slope
        self.built.thresholds, self.built.seed = thresholds, plan.seed
        self.built.loss, self.built.margin = losses[plan.loss], plan.margin
        self.built.update, self.built.slots = updates_by_name[plan.update], plan.slots
        self.built.clip_value, self.built.clip_norm, self.built.max_norm = plan.clip_value, plan.clip_norm, plan.max_norm
        self.built.average = plan.average
        self.built.mean = self.built.inverse_std = NULL
        if plan.mean is not None:
            self.built.mean = address("mean", plan.mean, self.dtype, (plan.sizes[0],), False)
            self.built.inverse_std = address("inverse_std", plan.inverse_std, self.dtype, (plan.sizes[0],), False)
        self.built.parameters, self.built.states, self.built.averages = self.parameters, state, (average if averages else NULL)
        self.network = fnn_network_new(&self.built)
        self.built.thresholds, self.built.states, self.built.averages = NULL, NULL, NULL  # they were this call's
        if self.network == NULL:
            raise MemoryError("fastnn.Engine: no memory for the description of the network")

    def __dealloc__(self):
        fnn_network_free(self.network)
        PyMem_Free(self.sizes)
        PyMem_Free(self.parameters)

    @property
    def nbytes(self):
        """Bytes of memory held beside the arrays that were handed in."""
        return fnn_network_bytes(self.network)

    @property
    def statistics(self):
        """Of the updates since `reset`."""
        cdef fnn_statistics *s = fnn_network_statistics(self.network)
        return Statistics(s.loss, s.weight, s.metric, int(s.rows), s.gradient_norm, s.weight_norm, s.update_ratio)

    def reset(self, statistics=None):
        """Begin new statistics, or go on with those given."""
        cdef fnn_statistics *s = fnn_network_statistics(self.network)
        statistics = Statistics() if statistics is None else statistics
        s.loss, s.weight, s.metric, s.rows, s.gradient_norm, s.weight_norm, s.update_ratio = statistics

    cdef list describe(self, fnn_rows *rows, x, y, weight, order):
        """Fill in `rows`; returns the arrays that must stay alive while it is used."""
        cdef Py_ssize_t count = len(x), outputs = self.outputs, i
        cdef bint unknown = False
        if x.dtype not in (np.uint8, float32, float64):
            expected = "uint8, float32 or float64"
            raise checks.fail(TypeError, "Engine", "x", "be of a dtype that is converted on the way", expected, str(x.dtype))
        rows.elements = FNN_OWN if x.dtype == self.dtype else FNN_BYTES if x.dtype == np.uint8 else FNN_OTHER
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise checks.fail(ValueError, "Engine", "x", "have the net's inputs", f"(n, {self.inputs})", checks.shape_text(x.shape))
        x = np.ascontiguousarray(x)
        rows.count, rows.x_stride = count, x.shape[1]
        rows.x = address("x", x, x.dtype, x.shape, False)
        rows.labels, rows.dense, rows.weight, rows.order, rows.dense_stride = NULL, NULL, NULL, NULL, outputs
        kept = [x]
        if y is not None:
            y = np.ascontiguousarray(y)
            if y.ndim == 1:
                rows.labels = <const int64_t *>address("y", y, int64, (count,), False)
                for i in range(count):
                    unknown |= rows.labels[i] < 0 or rows.labels[i] >= outputs
                if count and (self.plan.loss == "l2" or unknown):
                    raise checks.fail(ValueError, "Engine", "y", "be labels of the net's outputs", f"0 .. {outputs - 1}", "others")
            else:
                if self.plan.loss == "hinge":
                    raise checks.fail(ValueError, "Engine", "y", "be labels", f"({count},)", checks.shape_text(y.shape))
                rows.dense = address("y", y, self.dtype, (count, outputs), False)
            kept.append(y)
        if weight is not None:
            weight = np.ascontiguousarray(weight)
            rows.weight = address("weight", weight, self.dtype, (count,), False)
            kept.append(weight)
        if order is not None:
            kept.append(self.put_in_order(rows, count, order))
        return kept

    cdef put_in_order(self, fnn_rows *rows, Py_ssize_t count, order):
        """Have `rows` visited in `order`; returns the array that must stay alive."""
        cdef Py_ssize_t i
        order = np.ascontiguousarray(order)
        rows.order = <const int64_t *>address("order", order, int64, order.shape, False)
        rows.count = len(order)
        for i in range(rows.count):
            if not 0 <= rows.order[i] < count:
                raise checks.fail(ValueError, "Engine", "order", "name rows", f"0 .. {count - 1}", str(rows.order[i]))
        return order

    cdef bint agrees(self, Engine other):
        """Whether rows that suit `other` suit this engine."""
        return (self.kind == other.kind and self.inputs == other.inputs and self.outputs == other.outputs
                and self.plan.loss == other.plan.loss)

    cdef list prepare(self, fnn_updates *updates, Py_ssize_t rows, batch_size, micro_batch, first, count, Py_ssize_t last, scalars,
                      bias_scalars, step, bint alone):
        """Fill in `updates` but for `measure`, `last` being the number of the last batch, and get ready to run on one thread (`alone`) or
        all; returns arrays that must stay alive."""
        scalars, bias_scalars = np.ascontiguousarray(scalars), np.ascontiguousarray(bias_scalars)
        updates.batch, updates.micro, updates.first, updates.count = batch_size, min(micro_batch, batch_size, max(1, rows)), first, count
        if updates.batch < 1 or updates.micro < 1 or updates.first < 0 or (count > 0 and last * updates.batch >= rows):
            expected = f"batches within {rows} rows"
            raise checks.fail(ValueError, "Engine", "updates", "have rows to learn from", expected, f"{first} + {count}")
        updates.scalars = <const double *>address("scalars", scalars, float64, (len(scalars), scalars_of(self.plan.update)), False)
        updates.bias_scalars = <const double *>address("bias_scalars", bias_scalars, float64, scalars.shape, False)
        if len(scalars) < count:
            raise checks.fail(ValueError, "Engine", "scalars", "have a row an update", str(count), str(len(scalars)))
        updates.scalars_stride, updates.step = scalars.shape[1], step
        self.reserve(updates.micro, updates.micro < min(updates.batch, rows), alone)
        return [scalars, bias_scalars]

    cdef reserve(self, Py_ssize_t rows, bint store, bint alone):
        cdef size_t failed
        with nogil:
            failed = fnn_network_reserve(self.network, rows, store, alone)
        if failed:
            raise out_of_memory("Trainer", failed)

    cdef enter(self):
        if self.busy:
            raise RuntimeError("fastnn.Trainer: this trainer is at work in another thread")
        self.busy = True

    def run(self, x, y, weight, order, batch_size, micro_batch, first, updates, scalars, bias_scalars, step, bint measure, double deadline):
        """See `fastnn.loop.Engine.run`."""
        cdef fnn_rows rows
        cdef fnn_updates job
        cdef fnn_watch watch
        cdef fnn_end end = FNN_TIME
        cdef Py_ssize_t done
        cdef double seconds
        self.enter()
        watch.stop, watch.context = signalled, <void *>self
        try:
            self.done, self.failure = 0, False
            kept = self.describe(&rows, x, y, weight, order)
            kept += self.prepare(&job, rows.count, batch_size, micro_batch, first, updates, first + updates - 1, scalars, bias_scalars,
                                 step, False)
            job.measure = measure
            while job.count > 0 and end == FNN_TIME:
                seconds = SLICE
                if deadline != INFINITY:
                    seconds = min(SLICE, deadline - monotonic())
                    if seconds <= 0.0:
                        break
                with nogil:
                    done = fnn_network_run(self.network, &rows, &job, seconds, &watch, &end)
                self.done += done
                job.count -= done
                job.first += done
                job.step += <uint64_t>done
                job.scalars += done * job.scalars_stride
                job.bias_scalars += done * job.scalars_stride
                if end == FNN_STOPPED:
                    error, self.raised = self.raised, None
                    raise error
                PyErr_CheckSignals()
            self.failure = end == FNN_NOT_FINITE
            return self.done
        finally:
            self.busy = False

    def step(self, x, y, scalars, bias_scalars, Py_ssize_t index, step):
        """One update from a batch that needs no conversion, statistics left as they are: its mean loss, NaN where `failure` is set.

        Row `index` of the scalars is used. None, and nothing done, for a batch that `run` has to see to.
        """
        cdef Py_buffer xs, ys, ws, bs
        cdef fnn_rows rows
        cdef fnn_updates job
        cdef fnn_watch watch
        cdef fnn_statistics kept
        cdef fnn_statistics *statistics = fnn_network_statistics(self.network)
        cdef Py_ssize_t i, width = scalars_of(self.plan.update)
        cdef int held = 0
        cdef fnn_end end = FNN_TIME
        cdef bint fits = False
        cdef double loss
        if type(x) is not ndarray or type(y) is not ndarray or self.plan.loss == "l2":
            return None
        self.enter()
        watch.stop, watch.context = signalled, <void *>self
        try:
            PyObject_GetBuffer(x, &xs, PyBUF_FORMAT | PyBUF_STRIDES)
            held = 1
            PyObject_GetBuffer(y, &ys, PyBUF_FORMAT | PyBUF_STRIDES)
            held = 2
            PyObject_GetBuffer(scalars, &ws, PyBUF_FORMAT | PyBUF_STRIDES)
            held = 3
            PyObject_GetBuffer(bias_scalars, &bs, PyBUF_FORMAT | PyBUF_STRIDES)
            held = 4
            fits = (xs.ndim == 2 and xs.shape[1] == self.inputs and xs.shape[0] > 0 and PyBuffer_IsContiguous(&xs, c'C')
                    and xs.itemsize == (4 if self.kind == FNN_F32 else 8) and xs.format[0] == (c'f' if self.kind == FNN_F32 else c'd')
                    and ys.ndim == 1 and ys.shape[0] == xs.shape[0] and ys.itemsize == 8 and PyBuffer_IsContiguous(&ys, c'C')
                    and (ys.format[0] == c'l' or ys.format[0] == c'q')
                    and ws.ndim == 2 and bs.ndim == 2 and ws.shape[1] == width and bs.shape[1] == width
                    and 0 <= index < ws.shape[0] and index < bs.shape[0] and ws.itemsize == 8 and bs.itemsize == 8
                    and PyBuffer_IsContiguous(&ws, c'C') and PyBuffer_IsContiguous(&bs, c'C'))
            if fits:
                rows.labels = <const int64_t *>ys.buf
                for i in range(ys.shape[0]):
                    if not 0 <= rows.labels[i] < self.outputs:
                        fits = False
                        break
            if not fits:
                return None
            rows.count, rows.x, rows.elements, rows.x_stride = xs.shape[0], xs.buf, FNN_OWN, xs.shape[1]
            rows.dense, rows.weight, rows.order, rows.dense_stride = NULL, NULL, NULL, 0
            job.batch = job.micro = xs.shape[0]
            job.first, job.count, job.step, job.measure, job.scalars_stride = 0, 1, step, 0, width
            job.scalars, job.bias_scalars = <const double *>ws.buf + index * width, <const double *>bs.buf + index * width
            self.reserve(job.micro, False, False)
            self.done, kept = 0, statistics[0]
            statistics.loss = statistics.weight = 0.0
            with nogil:
                self.done = fnn_network_run(self.network, &rows, &job, SLICE, &watch, &end)
            loss = statistics.loss / statistics.weight if statistics.weight > 0.0 else 0.0
            statistics[0] = kept
            if end == FNN_STOPPED:
                error, self.raised = self.raised, None
                raise error
            self.failure = end == FNN_NOT_FINITE
            return NAN if self.failure else loss
        finally:
            self.busy = False
            if held > 0:
                PyBuffer_Release(&xs)
            if held > 1:
                PyBuffer_Release(&ys)
            if held > 2:
                PyBuffer_Release(&ws)
            if held > 3:
                PyBuffer_Release(&bs)

    def forward(self, x, step, row=0):
        """See `fastnn.loop.Engine.forward`."""
        cdef fnn_rows rows
        cdef uint64_t number = step
        cdef Py_ssize_t before = row
        self.enter()
        try:
            kept = self.describe(&rows, x, None, None, None)
            self.reserve(max(1, rows.count), False, False)
            scores = empty((rows.count, self.outputs), self.dtype)
            out = address("scores", scores, self.dtype, scores.shape, True)
            with nogil:
                fnn_network_forward(self.network, &rows, number, before, out)
            self.kept = (*self.kept[:4], kept)  # backward reads x again
            return scores
        finally:
            self.busy = False

    def backward(self, dscores, scalars, bias_scalars, bint measure):
        """See `fastnn.loop.Engine.backward`."""
        cdef int finite
        self.enter()
        try:
            dscores = np.ascontiguousarray(dscores)
            gradient = address("dscores", dscores, self.dtype, (len(dscores), self.outputs), False)
            shape = (scalars_of(self.plan.update),)
            scalars, bias_scalars = np.ascontiguousarray(scalars), np.ascontiguousarray(bias_scalars)
            numbers = <const double *>address("scalars", scalars, float64, shape, False)
            bias_numbers = <const double *>address("bias_scalars", bias_scalars, float64, shape, False)
            with nogil:
                finite = fnn_network_backward(self.network, gradient, numbers, bias_numbers, measure)
            return bool(finite)
        finally:
            self.busy = False


cdef Py_ssize_t scalars_of(str update):
    return scalars_by_name[update]


def train_members(engines, jobs, double deadline):
    """Train many engines through whole epochs as one job, each on one thread.

    `jobs[i]` of engine `i` is `(x, y, weight, part, shuffle, seed, stream, an_epoch, batch_size, first, updates, scalars, bias_scalars,
    step)`: `updates` updates from number `first` of an epoch of `an_epoch` updates on, into the next epochs. An epoch visits the rows
    `part` (None: all), when `shuffle` in the order of `permutation(len(part), seed=seed, stream=stream)`; the next one has `stream + 1`.
    Every engine's `done`, `failure`, `losses` (of the epochs it finished) and `begun` (epochs, beyond the first one) tell what came of it,
    `statistics` those of the latest epoch. Ctrl-C is answered between two updates.
    """
    cdef Py_ssize_t count = len(engines), i, k, left = count
    cdef double seconds
    cdef Engine engine
    cdef fnn_training *m
    cdef fnn_training *members = <fnn_training *>PyMem_Calloc(max(1, count), sizeof(fnn_training))
    if members == NULL:
        raise MemoryError("fastnn.fit_many: no memory for the list of members")
    entered, kept = [], []
    try:
        for i in range(count):
            engine, m = engines[i], &members[i]
            engine.enter()
            entered.append(engine)
            engine.done, engine.failure, engine.losses, engine.begun = 0, False, [], 0
            x, y, weight, part, shuffle, m.seed, m.stream, m.an_epoch, batch_size, first, updates, scalars, bias_scalars, step = jobs[i]
            if i > 0 and x is jobs[0][0] and y is jobs[0][1] and weight is jobs[0][2] and engine.agrees(engines[0]):
                m.rows = members[0].rows  # checked once
            else:
                kept.append(engine.describe(&m.rows, x, y, weight, None))
            m.end = FNN_TIME
            m.network, m.shuffled, m.rows.count, m.rows.order = engine.network, shuffle, len(x), NULL
            if part is not None:
                kept.append(engine.put_in_order(&m.rows, len(x), part))
                m.part = m.rows.order
            if part is not None or shuffle:
                order = empty(m.rows.count, int64)
                m.rows.order = m.order = <int64_t *>address("order", order, int64, order.shape, True)
                kept.append(order)
            if not 0 <= first < m.an_epoch:
                raise checks.fail(ValueError, "Engine", "first", "be within the epoch", f"0 .. {m.an_epoch - 1}", str(first))
            if shuffle and m.rows.count >= 2**32:
                raise checks.fail(ValueError, "fit_many", "rows", "be fewer", "less than 2**32", str(m.rows.count))
            kept.append(engine.prepare(&m.updates, m.rows.count, batch_size, batch_size, first, updates, m.an_epoch - 1, scalars,
                                       bias_scalars, step, count > 1))
            losses = empty(1 + (first + updates) // m.an_epoch, float64)
            m.losses = <double *>address("losses", losses, float64, losses.shape, True)
            kept.append(losses)
        while left > 0:
            seconds = SLICE if deadline == INFINITY else min(SLICE, deadline - monotonic())
            if seconds <= 0.0:
                break
            with nogil:
                fnn_train_members(<int>count, members, seconds)
            left = 0
            for i in range(count):
                engine, m = engines[i], &members[i]
                engine.done, engine.begun = m.done, m.begun
                for k in range(len(engine.losses), m.finished):
                    engine.losses.append(m.losses[k])
                if m.end == FNN_NOT_FINITE:
                    engine.failure = True
                    m.updates.count = 0
                left += m.updates.count > 0
            PyErr_CheckSignals()
    finally:
        PyMem_Free(members)
        for engine in entered:
            engine.busy = False


def score_members(engines, rows):
    """The scores `(n, o)` that the network of engine `i` has for `rows[i] (n, i)` without dropout, as one job, each on one thread."""
    cdef Py_ssize_t count = len(engines), i, left = count
    cdef Engine engine
    cdef fnn_scoring *members = <fnn_scoring *>PyMem_Calloc(max(1, count), sizeof(fnn_scoring))
    if members == NULL:
        raise MemoryError("fastnn.Trainer.evaluate: no memory for the list of members")
    kept, scores = [], []
    try:
        for i in range(count):
            engine = engines[i]
            kept.append(engine.describe(&members[i].rows, rows[i], None, None, None))
            scores.append(empty((len(rows[i]), engine.outputs), engine.dtype))
            members[i].plan = &engine.built
            members[i].scores = address("scores", scores[i], engine.dtype, scores[i].shape, True)
        while left > 0:
            with nogil:
                fnn_score_members(<int>count, members, SLICE)
            left = 0
            for i in range(count):
                if members[i].failed:
                    raise out_of_memory("Trainer.evaluate", members[i].failed)
                left += members[i].done < members[i].rows.count
            PyErr_CheckSignals()
        return scores
    finally:
        PyMem_Free(members)
