"""Step evaluate: predicts a split, scores it on the source grid, and publishes the report."""

import logging
import time
from collections.abc import Sequence
from functools import partial

from tasks.core.errors import ConfigError
from tasks.core.handles import EvaluationHandle
from tasks.core.rows import CaseRow
from tasks.core.schemas import DatasetCard, ModelCard
from tasks.core.step_inputs import EvaluateRequest
from tasks.core.throughput import ReportProgress, StageSums, StepProgress
from tasks.engine.inference.bundle_model import LoadModel, load_predictor
from tasks.engine.inference.chunks import PredictionSpec
from tasks.engine.inference.stream import PredictionStream
from tasks.io.outputs import bundles, datasets, evaluations
from tasks.io.outputs.ownership import claim
from tasks.stages.earlier_evaluation import read_comparable, splits_of
from tasks.stages.evaluation_report import build_report, draw_report
from tasks.stages.patient_scores import ShardScore, add_up, views
from tasks.stages.score_slices import load_shard, score_shard

logger = logging.getLogger(__name__)


def evaluate(
    request: EvaluateRequest,
    report_progress: ReportProgress = lambda _: None,
    *,
    load_model: LoadModel = load_predictor,
) -> EvaluationHandle:
    """Score a bundle and publish metrics, figures and report.

    Args:
        request: Input of the step.
        report_progress: Called with the progress after every few shards.
        load_model: Function that loads the model of a bundle in an actor.

    Raises:
        ConfigError: If dataset and bundle do not fit each other, or the earlier evaluation is of other patients.
        ModelError: If the bundle is damaged or fails its self-test.
    """
    card, dataset = bundles.read_card(request.model_uri), datasets.read_card(request.dataset_uri)
    if card.input_size_px != dataset.size_px:
        raise ConfigError(
            f"The model takes {card.input_size_px} px, the dataset holds {dataset.size_px} px. "
            f"Prepare it with preparation.size_px {card.input_size_px}."
        )
    splits = splits_of(request)
    cases = [case for case in datasets.read_cases(request.dataset_uri) if case.split in splits]
    earlier = read_comparable(request, cases)
    datasets.require_whole(request.dataset_uri, dataset, splits)
    claim(request.report_uri, "evaluation")
    shards = _score_shards(request, card, dataset, cases, load_model=load_model, report_progress=report_progress)
    patients = add_up(shards)
    failures = sorted((failure for shard in shards for failure in shard.failures), key=lambda failure: failure.uri)
    for where in {failure.where for failure in failures if failure.where}:
        logger.error("evaluate: a mask triggered a bug, %s", where)
    report = build_report(request, card, dataset, patients, failures, earlier=earlier)
    curves = bundles.read_curves(request.model_uri, card)
    page, pictures = draw_report(report, card, dataset, patients, curves=curves)
    for warning in report.warnings:
        logger.warning("evaluate: %s", warning)
    evaluations.publish(request.report_uri, report, page=page, pictures=pictures)
    if report.comparison:
        logger.info("evaluate: %s", report.comparison.sentence())
    logger.info("evaluate: %d patients, %d slices, %d failed", report.n_patients, report.n_slices, report.n_failed)
    return EvaluationHandle(uri=request.report_uri, fingerprint=card.digest, n_failed=report.n_failed)


def _score_shards(
    request: EvaluateRequest,
    card: ModelCard,
    dataset: DatasetCard,
    cases: Sequence[CaseRow],
    *,
    load_model: LoadModel,
    report_progress: ReportProgress,
) -> list[ShardScore]:
    """Return the scores of each shard; held-out patients are scored by their network."""
    uris = [uri for split in splits_of(request) for uri in datasets.list_shards(request.dataset_uri, split)]
    shards: list[ShardScore] = []
    sums, started, n_slices = StageSums(), time.monotonic(), sum(case.n_slices for case in cases)
    for view in views(card, {case.patient_id for case in cases}):
        spec = PredictionSpec(
            load=partial(load_shard, view, card.intensity_rule),
            load_model=partial(load_model, request.model_uri, "float32", view.by.member),
            finish=partial(
                score_shard,
                view=view,
                z_smoothing=card.z_smoothing,
                mask_rule=dataset.preparation.mask_rule,
                case_sizes={case.case_id: case.n_source_slices for case in cases},
            ),
            chunk_slices=1,
        )
        for rows in PredictionStream(spec, sums).rows(uris):
            shards += rows
            report_progress(StepProgress(n_slices, n_done=sums.n_slices, seconds=time.monotonic() - started))
    return shards
