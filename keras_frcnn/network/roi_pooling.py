"""RoI pooling: bilinear samples on a 2n x 2n grid, then 2x2 max pooling to n x n (Girshick 2015, section 2.1).

Samples are aligned as in RoIAlign: the value of a feature cell belongs to the centre of its stride x stride pixels,
and each sample is taken at the centre of its bin.  `tf.image.crop_and_resize` instead samples from corner to corner,
so its boxes are shifted here.  `roi_pool_by_gather` computes the same with gathers only, for runtimes without
`crop_and_resize`.

Axes: B images, h w feature cells, c channels, R boxes.  Boxes are in pixels, in the order y0, x0, y1, x1.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_frcnn.facts.structures import Tensor


def crop(features: Tensor, boxes: Tensor, image_sizes: Tensor, crop_size: int, stride: int) -> Tensor:
    """Sample features bilinearly at the centres of crop_size x crop_size bins in each box.

    Samples beyond an image's first or last cell repeat that cell, as in RoIAlign.  Padding is never read.

    Args:
        features: (B, h, w, c).
        boxes: (B, R, 4) in pixels, inside their images.
        image_sizes: (B, 2) int32, height and width of each image in pixels.
        crop_size: Bins along each side of a box.
        stride: Pixels along each side of a feature cell.

    Returns:
        (B, R, crop_size, crop_size, c) float32.
    """
    # A box inside its image has samples in [-0.5, cells + 0.5]: one cell is added before, two behind.
    padded = _repeat_border(tf.cast(features, tf.float32), image_sizes // stride, before=1, behind=2)
    top_left, bottom_right = boxes[..., :2] / stride, boxes[..., 2:] / stride
    half_bin = 0.5 * (bottom_right - top_left) / crop_size
    # The continuous coordinate y is at grid position y - 0.5; the added border shifts it by 1.
    return _sample(padded, top_left + half_bin - 0.5 + 1.0, bottom_right - half_bin - 0.5 + 1.0, crop_size)


def _sample(grid: Tensor, first: Tensor, last: Tensor, crop_size: int) -> Tensor:
    """Sample `grid` (B, h, w, c) bilinearly at crop_size x crop_size positions from `first` to `last`, both (B, R, 2).

    The gradient of the grid is the transposed interpolation, computed as two matrix products.  TensorFlow's own CPU
    gradient adds from several threads without a lock: it loses some terms and differs from call to call.
    """

    @tf.custom_gradient
    def sample(grid: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        batch, count = tf.shape(first)[0], tf.shape(first)[1]
        height, width = tf.shape(grid)[1], tf.shape(grid)[2]
        extent = tf.cast([height - 1, width - 1], tf.float32)
        crops = tf.image.crop_and_resize(
            grid,
            tf.reshape(tf.concat([first / extent, last / extent], axis=-1), [-1, 4]),
            tf.repeat(tf.range(batch), count),
            [crop_size, crop_size],
        )

        def gradient(upstream: Tensor) -> Tensor:
            rows = _interpolation(first[..., 0], last[..., 0], crop_size, height)
            columns = _interpolation(first[..., 1], last[..., 1], crop_size, width)
            along_rows = tf.matmul(columns[:, :, None], upstream, transpose_a=True)  # (B, R, crop_size, w, c)
            return tf.einsum("brih,briwc->bhwc", rows, along_rows)

        return tf.reshape(crops, [batch, count, crop_size, crop_size, grid.shape[-1]]), gradient

    return sample(grid)


def _interpolation(first: Tensor, last: Tensor, count: int, cells: Tensor) -> Tensor:
    """Return the weights of linear interpolation, (B, R, count, cells).

    The `count` positions are evenly spaced from `first` to `last`, both (B, R).
    """
    positions = first[..., None] + (last - first)[..., None] * tf.linspace(0.0, 1.0, count)
    return tf.nn.relu(1.0 - tf.abs(positions[..., None] - tf.range(tf.cast(cells, tf.float32))))


def roi_pool(features: Tensor, boxes: Tensor, image_sizes: Tensor, pool_size: int, stride: int) -> Tensor:
    """Pool the features of each box to pool_size x pool_size cells, each the maximum of 2x2 samples.

    Args:
        features: (B, h, w, c).
        boxes: (B, R, 4) in pixels, inside their images.
        image_sizes: (B, 2) int32, height and width of each image in pixels.
        pool_size: Cells along each side of the result.
        stride: Pixels along each side of a feature cell.

    Returns:
        (B, R, pool_size, pool_size, c) float32.
    """
    crops = crop(features, boxes, image_sizes, 2 * pool_size, stride)
    shape = tf.shape(crops)
    flat = tf.reshape(crops, [-1, 2 * pool_size, 2 * pool_size, features.shape[-1]])
    pooled = tf.nn.max_pool2d(flat, 2, 2, "VALID")
    return tf.reshape(pooled, [shape[0], shape[1], pool_size, pool_size, features.shape[-1]])


def roi_pool_by_gather(features: Tensor, boxes: Tensor, image_sizes: Tensor, pool_size: int, stride: int) -> Tensor:
    """Compute `roi_pool` with operations that TFLite supports.

    Arguments and result are those of `roi_pool`, up to rounding.  To save memory, the four samples of a bin are taken
    one after another, each for all bins at once, and only their maximum is kept.
    """
    features = tf.cast(features, tf.float32)
    height, width, channels = tf.shape(features)[1], tf.shape(features)[2], features.shape[-1]
    cells = tf.maximum(image_sizes // stride, 1)
    flat = tf.reshape(features, [-1, height * width, channels])
    rows, columns = (
        _neighbours(boxes[..., axis], boxes[..., 2 + axis], cells[:, axis], 2 * pool_size, stride) for axis in (0, 1)
    )

    def lerp(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        return a + (b - a) * weight[..., None]

    def sample(i: int, j: int, offset: int | Tensor) -> Tensor:
        """Return samples (B, R, pool_size, pool_size, c) at row i and column j of the 2x2 samples of each bin."""
        top, bottom, down = (value[:, :, i::2, None] for value in rows)
        left, right, along = (value[:, :, None, j::2] for value in columns)

        def at(row: Tensor, column: Tensor) -> Tensor:
            return tf.gather(flat, row * width + column + offset, axis=1, batch_dims=1)

        return lerp(lerp(at(top, left), at(top, right), along), lerp(at(bottom, left), at(bottom, right), along), down)

    pooled = sample(0, 0, 0)
    for i, j in ((0, 1), (1, 0), (1, 1)):
        pooled = tf.maximum(pooled, sample(i, j, _zero_known_after(pooled)))
    return pooled


def _zero_known_after(x: Tensor) -> Tensor:
    """Return 0 (int32), but only after `x` (B, R, n, n, c) is computed.

    TFLite gives arithmetic to a delegate in parts that are as large as possible.  It runs all gathers without
    dependencies before the first part, so the gathers of all four samples would be in memory at the same time.
    """
    return tf.cast(tf.reduce_any(x[:1, :1, 0, 0, :1] < -float("inf")), tf.int32)


def _neighbours(low: Tensor, high: Tensor, cells: Tensor, count: int, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Find the two cells next to the centre of each bin, along one axis.

    Args:
        low: (B, R) pixels, where the first of `count` bins starts.
        high: (B, R) pixels, where the last bin ends.
        cells: (B,) int32, the number of cells of each image.
        count: The number of bins.
        stride: Pixels along a cell.

    Returns:
        The cell before and the cell behind, both (B, R, count) int32, and the position between them, (B, R, count)
        float32 in [0, 1].  A centre before the first cell's or behind the last cell's is moved to that cell's centre.
    """
    fractions = tf.constant([(k + 0.5) / count for k in range(count)], tf.float32)
    positions = (low[..., None] + (high - low)[..., None] * fractions) / stride - 0.5
    last = tf.cast(cells - 1, tf.float32)[:, None, None]
    positions = tf.minimum(tf.maximum(positions, 0.0), last)
    before = tf.floor(positions)
    behind = tf.minimum(before + 1.0, last)
    return tf.cast(before, tf.int32), tf.cast(behind, tf.int32), positions - before


def _repeat_border(features: Tensor, cells: Tensor, before: int, behind: int) -> Tensor:
    """Add `before` and `behind` cells to features (B, h, w, c) that repeat the border of each image.

    `cells` (B, 2) is the height and width of each image in cells.  Padding is overwritten with the image's last cell.
    """

    def widen(x: Tensor, limit: Tensor, axis: int) -> Tensor:
        indices = tf.maximum(tf.range(-before, tf.shape(x)[axis] + behind), 0)
        indices = tf.minimum(indices[None], limit[:, None] - 1)
        return tf.gather(x, indices, axis=axis, batch_dims=1)

    cells = tf.maximum(cells, 1)
    return widen(widen(features, cells[:, 0], 1), cells[:, 1], 2)
