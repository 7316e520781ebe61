"""fastnn trains multilayer perceptrons on a CPU as fast as the CPU allows: NumPy arrays in, compiled C11 kernels inside."""
