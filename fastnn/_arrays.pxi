# Part of _core.pyx: the checks of arrays and numbers, and the views the kernels get of them.

# ---------------------------------------------------------------------------------------------------------------------------------
# Arrays of a call

cdef enum:
    ARRAYS = 8  # the most a call takes
    ANY = -1  # a free axis

cdef struct Call:
    int count
    int dtype  # of the first array: FNN_F32 or FNN_F64
    bint awkward  # some array has to be copied before the kernels can use it
    Py_buffer buffers[ARRAYS]
    bint writes[ARRAYS]


cdef void release(Call *call) noexcept:
    cdef int index
    for index in range(call.count):
        PyBuffer_Release(&call.buffers[index])
    call.count = 0


cdef object shape_of(str letters, Py_ssize_t d0, Py_ssize_t d1):
    wanted = (d0, d1)[:len(letters)]
    return tuple([letter if size == ANY else size for letter, size in zip(letters, wanted)])


cdef int dtype_of(const Py_buffer *buffer) noexcept:
    """FNN_F32, FNN_F64, or -1 for anything else, foreign byte order included."""
    cdef const char *code = buffer.format
    if code == NULL:
        return -1
    if code[0] == c"<" or code[0] == c"=" or code[0] == c"@":
        code += 1
    if code[0] == 0 or code[1] != 0:
        return -1
    if code[0] == c"f":
        return FNN_F32
    return FNN_F64 if code[0] == c"d" else -1


cdef bint overlaps_itself(const Py_buffer *buffer) noexcept:
    """Cheap sufficient test for one and two axes; anything else goes the slow way."""
    cdef Py_ssize_t near, far, inner
    if buffer.len == 0 or PyBuffer_IsContiguous(buffer, c"A"):
        return False
    if buffer.ndim == 1:
        return abs(buffer.strides[0]) < buffer.itemsize
    if buffer.ndim != 2:
        return True
    near, far, inner = abs(buffer.strides[1]), abs(buffer.strides[0]), buffer.shape[1]
    if near > far:
        near, far, inner = far, near, buffer.shape[0]
    return near < buffer.itemsize or far < near * (inner - 1) + buffer.itemsize


cdef bint is_awkward(const Py_buffer *buffer) noexcept:
    cdef Py_ssize_t axis
    if (<size_t>buffer.buf) % <size_t>buffer.itemsize != 0:
        return True
    for axis in range(buffer.ndim):
        if buffer.strides[axis] % buffer.itemsize != 0:
            return True
    return False


cdef int take(Call *call, str function, str name, object value, str letters, Py_ssize_t d0, Py_ssize_t d1, bint write) except -1:
    """Hold `value`'s buffer as the call's next array. `letters` names its axes ("ni"), None takes any shape like the first array's
    (or any at all for the first); d0, d1 are the sizes wanted, ANY where free."""
    cdef Py_buffer *buffer = &call.buffers[call.count]
    cdef int dtype, axis
    cdef bint held = False, good
    if isinstance(value, ndarray):
        try:
            PyObject_GetBuffer(value, buffer, PyBUF_FORMAT | PyBUF_STRIDES)
            held = True
        except (ValueError, TypeError, BufferError):
            held = False
    good = held and (type(value) is ndarray or not isinstance(value, np.ma.MaskedArray))
    if good:
        dtype = dtype_of(buffer)
        good = dtype >= 0 and (call.count == 0 or dtype == call.dtype)
    if good:
        if letters is not None:
            good = buffer.ndim == len(letters)
            good = good and (d0 == ANY or buffer.shape[0] == d0)
            good = good and (buffer.ndim < 2 or d1 == ANY or buffer.shape[1] == d1)
        elif call.count > 0:
            good = buffer.ndim == call.buffers[0].ndim
            if good:
                for axis in range(buffer.ndim):
                    good = good and buffer.shape[axis] == call.buffers[0].shape[axis]
    if good and write:
        good = not buffer.readonly and not overlaps_itself(buffer)
    if not good:
        if held:
            PyBuffer_Release(buffer)
        if letters is not None:
            shape = shape_of(letters, d0, d1)
        elif call.count > 0:
            shape = tuple([call.buffers[0].shape[axis] for axis in range(call.buffers[0].ndim)])
        else:
            shape = None
        checks.floats(function, name, value, shape, dtype=None if call.count == 0 else numpy_dtype(call), write=write)
        # Only an array that overlaps itself by the cheap test but not by the thorough one comes here.
        PyObject_GetBuffer(value, buffer, PyBUF_FORMAT | PyBUF_STRIDES)
        dtype = dtype_of(buffer)
    if call.count == 0:
        call.dtype = dtype
        call.awkward = False
    call.awkward = call.awkward or is_awkward(buffer)
    call.writes[call.count] = write
    call.count += 1
    return 0


cdef object numpy_dtype(Call *call):
    return float32 if call.dtype == FNN_F32 else float64


cdef void extent(const Py_buffer *buffer, char **low, char **high) noexcept:
    cdef Py_ssize_t axis, reach
    low[0] = high[0] = <char *>buffer.buf
    if buffer.len == 0:
        return
    for axis in range(buffer.ndim):
        reach = buffer.strides[axis] * (buffer.shape[axis] - 1)
        if reach < 0:
            low[0] += reach
        else:
            high[0] += reach
    high[0] += buffer.itemsize


cdef bint same_view(const Py_buffer *a, const Py_buffer *b) noexcept:
    cdef Py_ssize_t axis
    if a.buf != b.buf or a.ndim != b.ndim:
        return False
    for axis in range(a.ndim):
        if a.shape[axis] != b.shape[axis] or a.strides[axis] != b.strides[axis]:
            return False
    return True


cdef int check_overlap(Call *call, str function, tuple names, tuple values, bint allow_same) except -1:
    """Raise when a written array shares memory with another one. Each pair is looked at once, from the later written one."""
    cdef int a, b
    cdef char *low_a
    cdef char *high_a
    cdef char *low_b
    cdef char *high_b
    for a in range(1, call.count):
        for b in range(a):
            if not call.writes[a] and not call.writes[b]:
                continue
            if allow_same and same_view(&call.buffers[a], &call.buffers[b]):
                continue
            extent(&call.buffers[a], &low_a, &high_a)
            extent(&call.buffers[b], &low_b, &high_b)
            if low_a < high_b and low_b < high_a:
                checks.disjoint(function, names[a], values[a], {names[b]: values[b]}, allow_same=allow_same)
    return 0


cdef fnn_matrix matrix(const Py_buffer *buffer) noexcept:
    """Two axes as they are; one axis as a row; none as one element; more, if C-contiguous, as rows over the last axis."""
    cdef fnn_matrix m
    cdef Py_ssize_t axis
    m.data = buffer.buf
    m.rows = m.columns = m.row_stride = m.column_stride = 1
    if buffer.ndim > 0:
        m.columns = buffer.shape[buffer.ndim - 1]
        m.column_stride = buffer.strides[buffer.ndim - 1] // buffer.itemsize
    for axis in range(buffer.ndim - 1):
        m.rows *= buffer.shape[axis]
    if buffer.ndim > 1:
        m.row_stride = buffer.strides[buffer.ndim - 2] // buffer.itemsize
    return m


cdef fnn_matrix no_matrix() noexcept:
    cdef fnn_matrix m
    m.data = NULL
    m.rows = m.columns = m.row_stride = m.column_stride = 0
    return m


cdef fnn_vector vector(const Py_buffer *buffer) noexcept:
    cdef fnn_vector v
    v.data = buffer.buf
    v.stride = buffer.strides[0] // buffer.itemsize
    return v


cdef object copy_of(object value):
    """A plain C-ordered copy; None and non-arrays as they are."""
    return np.array(value, order="C", copy=True, subok=False) if isinstance(value, ndarray) else value


cdef object out_of_memory(str function, size_t size):
    return MemoryError(f"fastnn.{function}: no memory for {size} bytes of workspace")


# ---------------------------------------------------------------------------------------------------------------------------------
# Numbers of a call

cdef double number(str function, str name, object value, double low, double high, bint open_low, bint open_high) except? -1.0:
    cdef double result
    if type(value) is float:
        result = <double>value
        above, below = low < result or (low == result and not open_low), result < high or (result == high and not open_high)
        if isfinite(result) and above and below:
            return result
    return checks.number(function, name, value, low, high, open_low=open_low, open_high=open_high)


cdef double rate(str function, str name, object value) except? -1.0:
    return number(function, name, value, 0.0, float("inf"), False, False)


cdef double fraction(str function, str name, object value, bint open_high) except? -1.0:
    return number(function, name, value, 0.0, 1.0, False, open_high)


cdef uint64_t word(str function, str name, object value) except? 0:
    return checks.integer(function, name, value, 0, 18446744073709551615)


cdef uint32_t threshold_of(str function, object keep_prob) except 0:
    cdef double threshold = floor(number(function, "keep_prob", keep_prob, 0.0, 1.0, True, False) * 65536.0 + 0.5)
    return <uint32_t>threshold if threshold > 1.0 else 1
