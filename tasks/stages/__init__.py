"""What is done to one scan or one shard of slices: no Ray, no TensorFlow, no Prefect."""
