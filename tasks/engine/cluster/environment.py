"""Environment variables of the processes of a Ray session, without importing Ray."""

from tasks.io.pseudonyms import KEY_VARIABLE

WORKER_ENVIRONMENT = {
    # segmentation-models needs Keras 2, and Ray Train imports TensorFlow before our code runs in the worker
    "TF_USE_LEGACY_KERAS": "1",
    "SM_FRAMEWORK": "tf.keras",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "NO_ALBUMENTATIONS_UPDATE": "1",  # it asks the network for a newer version of itself at import
}
WITHHELD_FROM_WORKERS = dict.fromkeys((KEY_VARIABLE, "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"), "")
"""Secrets that workers do not need; they decode foreign files, so an exploit must not find secrets in their process.

Ray removes them before it executes a worker, so that /proc/self/environ lacks them, too; drivers keep them.
"""

START_ENVIRONMENT = {
    # Seconds that Ray waits for its control store and its node manager; 30 each by default, too few for a busy machine.
    # After the second, ray/_private/node.py looks no more than once, so that its own fixed 30 s do not matter.
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_raylet_start_wait_time_s": "120",
}

LOOPBACK_ENVIRONMENT = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Without clusters Ray takes 127.0.0.1 for its own address, and binds to it alone what else listens on all interfaces.

ray 2.60: `ray/_private/services.py:815`. It replaces `_node_ip_address="127.0.0.1"` by the machine's address
(`ray/_private/worker.py:1844`).
"""
