"""Stages: the processing of one scan or one shard of slices, without Ray, TensorFlow or Prefect."""
