"""The VMA oracle: random mmap calls in the model and on the live kernel, compared after each."""
