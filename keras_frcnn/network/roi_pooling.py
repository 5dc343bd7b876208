"""RoI pooling: bilinear samples on a 2n x 2n grid, then 2x2 max pooling to n x n (Girshick 2015, section 2.1).

Samples are aligned as in RoIAlign: the value of a feature cell belongs to the centre of its stride x stride pixels,
and each sample is taken at the centre of its bin.  `tf.image.crop_and_resize` instead samples from corner to corner,
so its boxes are shifted here.  `roi_pool_by_products` computes the same for runtimes without `crop_and_resize`.

Axes: B images, h w feature cells, c channels, R boxes.  Boxes are in pixels, in the order y0, x0, y1, x1.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_frcnn.facts.structures import Tensor

GROUP = 8  # boxes that `roi_pool_by_products` pools at a time: their samples along x fit into a cache


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
    first, last = _ends(boxes, crop_size, stride)
    return _sample(padded, first + 1.0, last + 1.0, crop_size)  # the added border shifts positions by 1


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
            rows = _weights(_positions(first[..., 0], last[..., 0], crop_size), height)
            columns = _weights(_positions(first[..., 1], last[..., 1], crop_size), width)
            along_rows = tf.matmul(columns[:, :, None], upstream, transpose_a=True)  # (B, R, crop_size, w, c)
            return tf.einsum("brih,briwc->bhwc", rows, along_rows)

        return tf.reshape(crops, [batch, count, crop_size, crop_size, grid.shape[-1]]), gradient

    return sample(grid)


def _ends(boxes: Tensor, crop_size: int, stride: int) -> tuple[Tensor, Tensor]:
    """The first and the last sample of each box, both (B, R, 2) as y, x.  The first cell is at 0."""
    top_left, bottom_right = boxes[..., :2] / stride, boxes[..., 2:] / stride
    half_bin = 0.5 * (bottom_right - top_left) / crop_size
    return top_left + half_bin - 0.5, bottom_right - half_bin - 0.5


def _positions(first: Tensor, last: Tensor, count: int) -> Tensor:
    """Positions (B, R, count), evenly spaced from `first` to `last`, both (B, R)."""
    return first[..., None] + (last - first)[..., None] * tf.linspace(0.0, 1.0, count)


def _weights(positions: Tensor, cells: Tensor) -> Tensor:
    """The weights of linear interpolation between the cells at 0, 1, ..., for each position: (..., cells)."""
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


def roi_pool_by_products(features: Tensor, boxes: Tensor, image_sizes: Tensor, pool_size: int, stride: int) -> Tensor:
    """Compute `roi_pool` by matrix products, which TFLite has and computes fast.

    Arguments and result are those of `roi_pool`, up to rounding.  Features are multiplied by the weights of linear
    interpolation, first along x for all boxes together, then along y for each box.  The first product needs much
    memory, so a graph that knows the number of boxes pools them in groups, one after another.
    """
    cells = tf.maximum(image_sizes // stride, 1)
    features = tf.transpose(_without_padding(tf.cast(features, tf.float32), cells), [0, 2, 1, 3])
    count = boxes.shape[1]
    groups = [boxes] if count is None else [boxes[:, at : at + GROUP] for at in range(0, max(count, 1), GROUP)]
    pooled = [_pool_by_products(features, group, cells, pool_size, stride) for group in groups]
    return tf.concat(pooled, axis=1)


def _pool_by_products(by_column: Tensor, boxes: Tensor, cells: Tensor, pool_size: int, stride: int) -> Tensor:
    """`roi_pool_by_products` of one group, from features (B, w, h, c) without padding; `cells` (B, 2) is their size."""
    batch, width, height, channels = (tf.shape(by_column)[axis] for axis in range(4))
    count, samples = tf.shape(boxes)[1], 2 * pool_size
    first, last = _ends(boxes, samples, stride)
    last_cells = tf.cast(cells - 1, tf.float32)[:, None, None]  # (B, 1, 1, 2)

    def along(axis: int, length: Tensor) -> Tensor:
        positions = _positions(first[..., axis], last[..., axis], samples)
        return _weights(tf.clip_by_value(positions, 0.0, last_cells[..., axis]), length)

    rows, columns = along(0, height), along(1, width)
    flat = tf.reshape(by_column, [batch, width, height * channels])
    along_x = tf.matmul(tf.reshape(columns, [batch, count * samples, width]), flat)
    along_x = tf.reshape(along_x, [batch * count, samples, height, channels])
    crops = tf.matmul(tf.reshape(rows, [batch * count, 1, samples, height]), along_x)  # x before y
    pooled = tf.nn.max_pool2d(crops, 2, 2, "VALID")
    by_box = [batch, count, pool_size, pool_size, by_column.shape[-1]]
    return tf.reshape(tf.transpose(pooled, [0, 2, 1, 3]), by_box)


def _without_padding(features: Tensor, cells: Tensor) -> Tensor:
    """Features (B, h, w, c) with zeros behind the last `cells` (B, 2) of each image: 0 times NaN would be NaN."""
    rows, columns = (tf.sequence_mask(cells[:, axis], tf.shape(features)[1 + axis]) for axis in (0, 1))
    return tf.where((rows[:, :, None] & columns[:, None])[..., None], features, 0.0)


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
