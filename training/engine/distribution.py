"""Training on several devices and machines: the strategy, and how data is divided among its replicas.

A replica is one copy of the model, on one device.  A process is one machine of a cluster; the chief is the first one.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from keras_frcnn.data.example import Dataset
from keras_frcnn.data.stream.order import Share
from keras_frcnn.data.stream.pipeline import evaluation_batches
from keras_frcnn.facts.config import ImageConfig
from keras_frcnn.facts.errors import InputError
from keras_frcnn.facts.structures import Batch

Item = tuple[int, bool]  # an image: its index in the data set, and whether it is flipped


def make_strategy() -> tf.distribute.Strategy:
    """The strategy for several machines if TF_CONFIG names them, else for the devices of this one.

    Raises InputError if TF_CONFIG cannot be read.
    """
    return connect_machines() or local_strategy()


def connect_machines() -> tf.distribute.Strategy | None:
    """Connect to the other machines of TF_CONFIG; None if there are no others.

    TensorFlow allows this only before it runs its first operation.  Raises InputError if TF_CONFIG cannot be read.
    """
    if "TF_CONFIG" in os.environ:
        try:
            workers = json.loads(os.environ["TF_CONFIG"]).get("cluster", {}).get("worker", [])
        except (ValueError, AttributeError) as error:
            form = '{"cluster": {"worker": ["host:port"]}, "task": {"type": "worker", "index": 0}}'
            raise InputError("TF_CONFIG", f"cannot be read ({error})", f"set it to {form}, or unset it") from error
        if len(workers) > 1:
            return tf.distribute.MultiWorkerMirroredStrategy()
    return None


def local_strategy() -> tf.distribute.Strategy:
    """The strategy for all GPUs of this machine, or for its one device."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Whether this process is the one that writes files and prints."""
    return tf.distribute.get_strategy().extended.should_checkpoint


def progress_bar(**options: Any) -> tqdm:
    """A progress bar.  Only the chief shows it, and not if the environment variable TQDM_DISABLE is set."""
    hidden = not is_chief() or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(mininterval=1.0, dynamic_ncols=True, disable=hidden, **options)


def wait_for_all() -> None:
    """Wait until every process has called this function."""
    strategy = tf.distribute.get_strategy()
    if number_of_processes() > 1:
        meet = tf.function(
            lambda: tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1))
        )
        strategy.run(meet)


def number_of_processes() -> int:
    """The number of machines."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    return 1 if resolver is None else max(1, resolver.cluster_spec().num_tasks("worker"))


def spread(make_batches: Callable[[Share], tf.data.Dataset]) -> tf.distribute.DistributedDataset:
    """Distribute a data set over the replicas; `make_batches` gives the share of each input pipeline."""
    strategy = tf.distribute.get_strategy()

    def one_pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        return make_batches(Share(context.input_pipeline_id, context.num_input_pipelines, replicas))

    return strategy.distribute_datasets_from_function(one_pipeline)


def map_images(
    function: Callable[[Batch], Any],
    dataset: Dataset,
    image_config: ImageConfig,
    items: Iterable[Item],
    title: str,
    **stored: Any,
) -> Iterator[tuple[Item, Batch, Any]]:
    """Call `function` on a batch of one for each of `items`, divided among the replicas, with a progress bar.

    `stored` is passed to `evaluation_batches`.  Yields (item, batch, result) for the items of this process.
    """
    items = list(items)
    if not items:
        return
    strategy = tf.distribute.get_strategy()
    # Every replica must get the same number of images: repeat the last one as often as needed.
    rounds = -(-len(items) // strategy.num_replicas_in_sync)
    padded = items + items[-1:] * (rounds * strategy.num_replicas_in_sync - len(items))
    mine: list[int] = []  # places in `padded` of the images of this process

    def one_pipeline(share: Share) -> tf.data.Dataset:
        each = rounds * share.replicas
        mine.extend(range(share.pipeline * each, (share.pipeline + 1) * each))
        return evaluation_batches(dataset, image_config, items=[padded[place] for place in mine], **stored)

    batches = spread(one_pipeline)

    @tf.function(input_signature=[batches.element_spec])
    def run(batch: Batch) -> Any:
        return strategy.run(function, args=(batch,))

    with progress_bar(total=len(items), desc=title, unit="image") as bar:
        places = iter(mine)
        for batch in batches:
            result = run(batch)
            for one_batch, one_result in zip(_of_replicas(batch), _of_replicas(result), strict=True):
                place = next(places)
                if place < len(items):
                    yield items[place], one_batch, one_result
            bar.update(min(strategy.num_replicas_in_sync, len(items) - bar.n))


def _of_replicas(values: Any) -> list:
    """A nested structure of replicas' values as a list of structures, one for each local replica."""
    local = [tf.distribute.get_strategy().experimental_local_results(value) for value in tf.nest.flatten(values)]
    return [tf.nest.pack_sequence_as(values, flat) for flat in zip(*local, strict=True)]
