"""What tests share: phantoms on disk, one Ray session, one Prefect server, one small trained bundle."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.core.config.augmentation import AugmentConfig
from tasks.core.config.compute import ComputeConfig
from tasks.core.config.learning import ModelConfig, TrainingConfig
from tasks.core.config.preparation import Fractions, PreparationConfig
from tasks.engine.cluster.environment import WORKER_ENVIRONMENT
from tests import emulators
from tests.phantoms import PATIENT_ID_PATTERN, write_phantoms

os.environ.update(WORKER_ENVIRONMENT)  # before any test module imports TensorFlow or albumentations
os.environ.update(emulators.AT_IMPORT)
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # as commands have it

OF_TENSORFLOW = re.compile(r"^pytestmark = .*\bmark\.tf\b", re.MULTILINE)
SIZE_PX = 64
PREPARATION = PreparationConfig(
    size_px=SIZE_PX, patient_id_pattern=PATIENT_ID_PATTERN, fractions=Fractions(val=0.2, test=0.3)
)
MODEL = ModelConfig(backbone="resnet18", encoder_weights="none")
TRAINING = TrainingConfig(epochs=2, batch_size=8)
IN_FOLDS = TRAINING.model_copy(update={"folds": 2})
NO_CHANGE = AugmentConfig.model_validate(dict.fromkeys(AugmentConfig.model_fields, 0))
MILD = NO_CHANGE.model_copy(
    update={
        "horizontal_flip": 0.5,
        "vertical_flip": 0.5,
        "rotate_degrees": 5,
        "zoom": 0.05,
        "shift": 0.05,
        "brightness": 0.2,
        "contrast": 0.2,
    }
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden files be written anew, which a commit that says why then holds."""
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files alone in which every test loads TensorFlow where none is asked for: importing them loads it."""
    is_asked = not config.option.markexpr.startswith("not tf")
    if is_asked or collection_path.suffix != ".py" or not OF_TENSORFLOW.search(collection_path.read_text()):
        return None
    return True


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real CT slices; tests that need them are skipped where they are absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LESIONS_TEST_DATA", default))
    if not folder.exists():
        pytest.skip("the real CT slices are not on this machine")
    return folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled slices of five phantom patients, larger than the model's input."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, n_patients=5, n_slices=8, size_px=96)
    return folder


@pytest.fixture(scope="session")
def new_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slices of one more phantom patient, as new scans."""
    folder = tmp_path_factory.mktemp("new-scans")
    write_phantoms(folder, n_patients=1, n_slices=6, size_px=96, first_patient=50)
    return folder / "frames"


@pytest.fixture(scope="session")
def object_stores() -> Iterator[dict[str, int]]:
    """A GCS and an S3 store on loopback, over HTTP, found through the environment; their ports."""
    with ExitStack() as stack:
        ports = {scheme: stack.enter_context(emulators.serving(scheme)) for scheme in emulators.SCHEMES}
        changed = stack.enter_context(pytest.MonkeyPatch.context())
        for scheme, port in ports.items():
            for name, value in emulators.environment(scheme, port).items():
                changed.setenv(name, value)
        yield ports


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray session for all tests, started as the flows start theirs."""
    from tasks.engine.cluster.session import session

    with session(ComputeConfig(), n_reserved_cpus=2):
        yield


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Prefect's temporary server, once."""
    from prefect.testing.utilities import prefect_test_harness

    from tasks.runtime.local_server import without_heartbeats

    with prefect_test_harness(server_startup_timeout=120), without_heartbeats():
        yield


@dataclass(frozen=True, slots=True)
class Trained:
    """A dataset and the bundle trained on it."""

    dataset_uri: str
    model_uri: str


@pytest.fixture(scope="session")
def dataset_uri(
    ray_session: None, prefect_server: None, phantoms: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The phantoms as a dataset, prepared through the real flow."""
    from flows.prepare_dataset import prepare_dataset

    uri = str(tmp_path_factory.mktemp("prepared") / "dataset")
    prepare_dataset(str(phantoms), uri, preparation=PREPARATION)
    return uri


@pytest.fixture(scope="session")
def trained(dataset_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A dataset, and the bundle of a network that learned for a few steps in this process."""
    from tests.engine.learned_bundle import publish_learned_bundle

    return Trained(dataset_uri, publish_learned_bundle(tmp_path_factory.mktemp("learned"), dataset_uri))


@pytest.fixture(scope="session")
def bright_bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bundle of a stand-in for a model, which `tests.engine.bright_bundle` takes through the real steps."""
    from tests.engine.bright_bundle import publish_bright_bundle

    return publish_bright_bundle(tmp_path_factory.mktemp("bright"))
