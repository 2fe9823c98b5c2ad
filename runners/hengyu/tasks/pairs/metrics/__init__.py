"""The metrics of pairs: a file each, which names its class in ``METRIC`` (`hengyu.tasks.pairs.metric`)."""
