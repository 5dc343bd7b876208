"""RoI pooling: bilinear samples on a 2n x 2n grid, then 2x2 max pooling to n x n (Girshick 2015, 2.1).

`tf.image.crop_and_resize` samples corner to corner of the grid between the first and the last cell.  The transform
here is the aligned one: cell (i, j) stands at the middle of its stride x stride pixels, and samples at the middles of
the bins.  `roi_pool_by_gather` is the same written with gathers alone, for runtimes without `crop_and_resize`.
"""

import tensorflow as tf


def crop(features, boxes, image_sizes, crop_size: int, stride: int):
    """Sample `features` (B, h, w, c) at the bin middles of `boxes` (B, R, 4): (B, R, crop_size, crop_size, c) float32.

    boxes in pixels; image_sizes (B, 2) in pixels, so that samples beyond an image's last cell repeat that cell, as in
    RoIAlign, and never read padding.
    """
    # One cell before, two behind: a box inside its image samples within [-0.5, cells + 0.5].
    padded = _repeat_border(tf.cast(features, tf.float32), image_sizes // stride, before=1, behind=2)
    top_left, bottom_right = boxes[..., :2] / stride, boxes[..., 2:] / stride
    half_bin = 0.5 * (bottom_right - top_left) / crop_size
    # Continuous coordinate y is at grid position y - 0.5; the border adds 1.
    return _sample(padded, top_left + half_bin - 0.5 + 1.0, bottom_right - half_bin - 0.5 + 1.0, crop_size)


def _sample(grid, first, last, crop_size: int):
    """Bilinear samples of `grid` (B, h, w, c) at a square of positions from `first` to `last`, both (B, R, 2).

    The gradient for the grid is the transposed interpolation, as two matrix products.  TensorFlow's own on the CPU adds
    from several threads without a lock: it loses some of the sums, and gives other gradients each time.
    """

    @tf.custom_gradient
    def sample(grid):
        batch, count = tf.shape(first)[0], tf.shape(first)[1]
        height, width = tf.shape(grid)[1], tf.shape(grid)[2]
        extent = tf.cast([height - 1, width - 1], tf.float32)
        crops = tf.image.crop_and_resize(
            grid,
            tf.reshape(tf.concat([first / extent, last / extent], axis=-1), [-1, 4]),
            tf.repeat(tf.range(batch), count),
            [crop_size, crop_size],
        )

        def gradient(upstream):
            rows = _interpolation(first[..., 0], last[..., 0], crop_size, height)
            columns = _interpolation(first[..., 1], last[..., 1], crop_size, width)
            along_rows = tf.matmul(columns[:, :, None], upstream, transpose_a=True)  # (B, R, crop_size, w, c)
            return tf.einsum("brih,briwc->bhwc", rows, along_rows)

        return tf.reshape(crops, [batch, count, crop_size, crop_size, grid.shape[-1]]), gradient

    return sample(grid)


def _interpolation(first, last, count: int, cells):
    """Weights (B, R, count, cells) of linear interpolation at `count` positions from `first` to `last`, both (B, R)."""
    positions = first[..., None] + (last - first)[..., None] * tf.linspace(0.0, 1.0, count)
    return tf.nn.relu(1.0 - tf.abs(positions[..., None] - tf.range(tf.cast(cells, tf.float32))))


def roi_pool(features, boxes, image_sizes, pool_size: int, stride: int):
    """(B, h, w, c) features, (B, R, 4) boxes in pixels -> (B, R, pool_size, pool_size, c) float32."""
    crops = crop(features, boxes, image_sizes, 2 * pool_size, stride)
    shape = tf.shape(crops)
    flat = tf.reshape(crops, [-1, 2 * pool_size, 2 * pool_size, features.shape[-1]])
    pooled = tf.nn.max_pool2d(flat, 2, 2, "VALID")
    return tf.reshape(pooled, [shape[0], shape[1], pool_size, pool_size, features.shape[-1]])


def roi_pool_by_gather(features, boxes, image_sizes, pool_size: int, stride: int):
    """What `roi_pool` gives, up to rounding, from operations that TFLite has; arguments and result are the same.

    Each of a bin's 2x2 samples is taken for all bins at once, one after another, and the maximum kept: four corners of
    a quarter of the samples are in memory, not of all.
    """
    features = tf.cast(features, tf.float32)
    height, width, channels = tf.shape(features)[1], tf.shape(features)[2], features.shape[-1]
    cells = tf.maximum(image_sizes // stride, 1)
    flat = tf.reshape(features, [-1, height * width, channels])
    rows, columns = (
        _neighbours(boxes[..., axis], boxes[..., 2 + axis], cells[:, axis], 2 * pool_size, stride) for axis in (0, 1)
    )

    def lerp(a, b, weight):
        return a + (b - a) * weight[..., None]

    def sample(i, j, offset):
        """Bilinear samples (B, R, pool_size, pool_size, c) at row i and column j of each bin's 2x2."""
        top, bottom, down = (value[:, :, i::2, None] for value in rows)
        left, right, along = (value[:, :, None, j::2] for value in columns)

        def at(row, column):
            return tf.gather(flat, row * width + column + offset, axis=1, batch_dims=1)

        return lerp(lerp(at(top, left), at(top, right), along), lerp(at(bottom, left), at(bottom, right), along), down)

    pooled = sample(0, 0, 0)
    for i, j in ((0, 1), (1, 0), (1, 1)):
        pooled = tf.maximum(pooled, sample(i, j, _zero_known_after(pooled)))
    return pooled


def _zero_known_after(x):
    """0, but not before `x` (B, R, n, n, c) is computed.

    TFLite hands arithmetic to a delegate in parts as large as can be, and does all gathers that wait for nothing before
    the first part: without this, those of all samples would be in memory together.
    """
    return tf.cast(tf.reduce_any(x[:1, :1, 0, 0, :1] < -float("inf")), tf.int32)


def _neighbours(low, high, cells, count: int, stride: int):
    """The cells on both sides of the middles of `count` bins from `low` to `high` pixels, both (B, R), on one axis.

    cells (B,) are the image's own.  Gives, each (B, R, count): the cell before and the cell behind, int32, and how far
    from the one to the other the middle lies, 0 to 1; a middle beyond the last cell's is put on it.
    """
    fractions = tf.constant([(k + 0.5) / count for k in range(count)], tf.float32)
    positions = (low[..., None] + (high - low)[..., None] * fractions) / stride - 0.5
    last = tf.cast(cells - 1, tf.float32)[:, None, None]
    positions = tf.minimum(tf.maximum(positions, 0.0), last)
    before = tf.floor(positions)
    behind = tf.minimum(before + 1.0, last)
    return tf.cast(before, tf.int32), tf.cast(behind, tf.int32), positions - before


def _repeat_border(features, cells, before: int, behind: int):
    """Widen (B, h, w, c) by cells that repeat the border of each image's own extent, `cells` (B, 2)."""

    def widen(x, limit, axis):
        indices = tf.maximum(tf.range(-before, tf.shape(x)[axis] + behind), 0)
        indices = tf.minimum(indices[None], limit[:, None] - 1)
        return tf.gather(x, indices, axis=axis, batch_dims=1)

    cells = tf.maximum(cells, 1)
    return widen(widen(features, cells[:, 0], 1), cells[:, 1], 2)
