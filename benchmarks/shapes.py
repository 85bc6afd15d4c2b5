"""The shapes of the batches: examples, and elements or classes of each."""

Shape = tuple[int, int]

SMALL = (128, 16)
ELEMENTS = ((4096, 256), (16384, 1024))
CLASSES = ((65536, 10), (8192, 1000), (1024, 32768))
# Those of 8 million elements and more, where the memory is what counts.
LARGE = ((16384, 1024), (8192, 1000), (1024, 32768))
# Several times the largest caches, as the benchmark STREAM asks for: in place of a
# large shape, 1 GiB or about 2 of all inputs.
FROM_MEMORY = {
    (16384, 1024): (131072, 1024),
    (8192, 1000): (262144, 1000),
    (1024, 32768): (8192, 32768),
}
# One for each loss.
BFLOAT16 = ((4096, 256), (8192, 1000))
# Of the plot of time against the batch.
WIDTH = 256
BATCHES = (16, 128, 1024, 8192, 65536)
# Of examples that are long: images, and the logits of a vocabulary.
IMAGES, VOCABULARY = (256, 224 * 224), (512, 50257)
