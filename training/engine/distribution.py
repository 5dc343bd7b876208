"""Training on several devices and machines: the strategy, and how data is divided among its replicas.

A replica is one copy of the model, on one device.  A process is one machine of a cluster; the chief is the first one.
"""

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
from keras_frcnn.facts.files import parse_json
from keras_frcnn.facts.structures import Batch

Item = tuple[int, bool]  # an image: its index in the data set, and whether it is flipped

_JOBS = ("chief", "worker")  # of a cluster; the machines of both train


def connect_machines() -> tf.distribute.Strategy | None:
    """Connect to the other machines of TF_CONFIG; None if there are no others.

    TensorFlow allows this only before it runs its first operation.  Raises InputError if TF_CONFIG has another form.
    """
    if "TF_CONFIG" not in os.environ:
        return None
    try:
        count = _machines(parse_json(os.environ["TF_CONFIG"]))
    except ValueError as error:
        form = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'
        raise InputError("TF_CONFIG", f"cannot be read ({error})", f"set it to {form}, or unset it") from error
    return tf.distribute.MultiWorkerMirroredStrategy() if count > 1 else None


def _machines(config: Any) -> int:
    """The number of machines that the value of TF_CONFIG names; raises ValueError if it has another form."""
    if not isinstance(config, dict) or not isinstance(config.get("cluster", {}), dict):
        raise ValueError("it and its cluster must be objects")
    cluster = config.get("cluster", {})
    for job, addresses in cluster.items():
        if job not in _JOBS or not isinstance(addresses, list) or not all(isinstance(one, str) for one in addresses):
            raise ValueError(f"cluster.{job} must be chief or worker, with a list of addresses")
    if len(cluster.get("chief", ())) > 1:
        raise ValueError("cluster.chief must be one address")
    count = sum(map(len, cluster.values()))
    task = config.get("task")
    if count > 1:
        if not isinstance(task, dict) or task.get("type") not in list(cluster):
            raise ValueError("task.type must be that of this machine in the cluster")
        index, last = task.get("index"), len(cluster[task["type"]]) - 1
        if not str(index).isdecimal() or int(str(index)) > last:
            raise ValueError(f"task.index must be a whole number from 0 to {last}, not {index!r}")
    return count


def local_strategy() -> tf.distribute.Strategy:
    """The strategy for all GPUs of this machine, or for its one device."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Whether this process is the one that writes files and prints.  Call it in the scope of the strategy."""
    return tf.distribute.get_strategy().extended.should_checkpoint


def progress_bar(show: bool | None = None, **options: Any) -> tqdm:
    """A progress bar.  It is not shown if the environment variable TQDM_DISABLE is set.

    `show`: whether to show it; None: if this process is the chief, which needs the scope of the strategy.
    """
    hidden = not (is_chief() if show is None else show) or bool(os.environ.get("TQDM_DISABLE"))
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
    if resolver is None:
        return 1
    cluster = resolver.cluster_spec()
    return max(1, sum(cluster.num_tasks(job) for job in cluster.jobs if job in _JOBS))


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
