"""On how many devices and machines a run goes: the strategy, and what is spread over its replicas."""

import json
import os

import tensorflow as tf
from tqdm import tqdm

from keras_frcnn.data.order import Share
from keras_frcnn.data.pipeline import evaluation_batches
from keras_frcnn.facts.errors import InputError
from training.engine.interruption import stop_if_asked


def make_strategy() -> tf.distribute.Strategy:
    """Several machines where TF_CONFIG names them, all GPUs where there are some, else one device.

    Raises InputError where TF_CONFIG cannot be read.
    """
    if "TF_CONFIG" in os.environ:
        try:
            workers = json.loads(os.environ["TF_CONFIG"]).get("cluster", {}).get("worker", [])
        except (ValueError, AttributeError) as error:
            mend = 'give {"cluster": {"worker": ["host:port"]}, "task": {"type": "worker", "index": 0}}, or unset it'
            raise InputError("TF_CONFIG", f"cannot be read ({error})", mend) from error
        if len(workers) > 1:
            return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief() -> bool:
    """Whether this process is the one that writes."""
    return tf.distribute.get_strategy().extended.should_checkpoint


def progress_bar(**options) -> tqdm:
    """A bar that the chief shows, and nobody where tqdm's own environment variable TQDM_DISABLE is set."""
    hidden = not is_chief() or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(mininterval=1.0, dynamic_ncols=True, disable=hidden, **options)


def wait_for_all():
    """Return when every process has come here."""
    strategy = tf.distribute.get_strategy()
    if number_of_processes() > 1:
        meet = tf.function(
            lambda: tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1))
        )
        strategy.run(meet)


def number_of_processes() -> int:
    resolver = tf.distribute.get_strategy().cluster_resolver
    return 1 if resolver is None else max(1, resolver.cluster_spec().num_tasks("worker"))


def spread(make_batches):
    """The data set that `make_batches(share)` gives for each input pipeline, dealt to the replicas."""
    strategy = tf.distribute.get_strategy()

    def one_pipeline(context):
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        return make_batches(Share(context.input_pipeline_id, context.num_input_pipelines, replicas))

    return strategy.distribute_datasets_from_function(one_pipeline)


def map_pictures(function, dataset, image_config, items, title: str, **stored):
    """Call `function(batch)` on each picture of `items`, (example index, flip or not), by itself, spread over replicas.

    Yields (item, batch, result) of those that this process took; `stored` goes to `evaluation_batches`.
    """
    items = list(items)
    if not items:
        return
    strategy = tf.distribute.get_strategy()
    # Every replica takes as many: the last picture once more where they do not come out even.
    rounds = -(-len(items) // strategy.num_replicas_in_sync)
    padded = items + items[-1:] * (rounds * strategy.num_replicas_in_sync - len(items))
    mine = []

    def one_pipeline(share):
        each = rounds * share.replicas
        mine.extend(range(share.pipeline * each, (share.pipeline + 1) * each))
        return evaluation_batches(dataset, image_config, items=[padded[place] for place in mine], **stored)

    batches = spread(one_pipeline)

    @tf.function(input_signature=[batches.element_spec])
    def run(batch):
        return strategy.run(function, args=(batch,))

    with progress_bar(total=len(items), desc=title, unit="image") as bar:
        places = iter(mine)
        for batch in batches:
            stop_if_asked()
            result = run(batch)
            for one_batch, one_result in zip(_of_replicas(batch), _of_replicas(result), strict=True):
                place = next(places)
                if place < len(items):
                    yield items[place], one_batch, one_result
            bar.update(min(strategy.num_replicas_in_sync, len(items) - bar.n))


def _of_replicas(values) -> list:
    """A structure of values of replicas as a list of structures, one for each local replica."""
    local = [tf.distribute.get_strategy().experimental_local_results(value) for value in tf.nest.flatten(values)]
    return [tf.nest.pack_sequence_as(values, flat) for flat in zip(*local, strict=True)]
