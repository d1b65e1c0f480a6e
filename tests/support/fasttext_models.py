"""fastText model files written by hand: a softmax over words, without n-grams. The library can only read them."""

import struct


def write_model(path, words_by_label):
    """A model file whose label is the one to which most of a text's words belong.

    words_by_label: words by label, without the prefix `__label__`. A text without known words has equal probabilities.
    Format 12 of facebookresearch/fastText v0.9.2: header, arguments, dictionary, input matrix, output matrix.
    """
    labels = list(words_by_label)
    words = [(word, labels.index(label)) for label in labels for word in words_by_label[label]]
    dimension, softmax, supervised = len(labels), 3, 3
    file = struct.pack("<ii", 793712314, 12)
    file += struct.pack("<12id", dimension, 5, 1, 1, 5, 1, softmax, supervised, 0, 0, 0, 100, 1e-4)
    file += struct.pack("<iiiqq", len(words) + len(labels), len(words), len(labels), 1_000, -1)
    for word, _ in words:
        file += word.encode() + b"\0" + struct.pack("<qb", 10, 0)
    for label in labels:
        file += b"__label__" + label.encode() + b"\0" + struct.pack("<qb", 10, 1)
    rows = [[8.0 if column == label else 0.0 for column in range(dimension)] for _, label in words]
    nodes = [[1.0 if column == label else 0.0 for column in range(dimension)] for label in range(dimension)]
    for matrix in (rows, nodes):
        file += struct.pack("<?qq", False, len(matrix), dimension)
        file += b"".join(struct.pack(f"<{dimension}f", *row) for row in matrix)
    path.write_bytes(file)
    return path
