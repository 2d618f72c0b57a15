"""Checks at the end of a flow: it completes only if every input was used."""

from tasks.core.addresses import shown_uri
from tasks.core.errors import IncompleteError, InternalError
from tasks.core.handles import DatasetHandle, EvaluationHandle, ReviewHandle, SegmentationHandle
from tasks.core.plural import counted


def require_complete(
    *,
    dataset: DatasetHandle | None = None,
    evaluation: EvaluationHandle | None = None,
    segmentation: SegmentationHandle | None = None,
    review: ReviewHandle | None = None,
) -> None:
    """Raise unless every input of these outputs was used; a scan rejected by an earlier run does not count again.

    Raises:
        InternalError: If every scan of the run failed with the same bug.
        IncompleteError: If inputs could not be used; the message has their number and where they are listed, and its
            result is the handle that the flow would have returned.
    """
    if segmentation and segmentation.common_bug:
        n_failed = counted(segmentation.n_new_failures, "scan")
        raise InternalError(
            f"All of {n_failed} that were due ended alike: {segmentation.common_bug} The scans are not the cause. Run "
            "`lesions doctor`, and search the log for the reference; the next run tries all of them again."
        )
    lost: list[str] = []
    if dataset and dataset.n_failed:
        lost.append(
            f"{counted(dataset.n_failed, 'input')} rejected, listed in {shown_uri(dataset.uri)}/failures.parquet"
        )
    if evaluation and evaluation.n_failed:
        n_failed = counted(evaluation.n_failed, "slice")
        lost.append(f"{n_failed} could not be scored, listed in {shown_uri(evaluation.uri)}/metrics.json")
    if segmentation and segmentation.n_new_failures:
        n_failed = counted(segmentation.n_new_failures, "scan")
        lost.append(f"{n_failed} newly failed, listed in {shown_uri(segmentation.uri)}/scans.parquet")
    if review and review.n_new_refusals:
        n_refused = (
            f"{counted(review.n_new_refusals, 'verdict, correction or package', 'verdicts, corrections or packages')}"
        )
        lost.append(f"{n_refused} newly refused, listed in the tables of {shown_uri(review.uri)}/review")
    if lost:
        sentence = f"Everything good is published, but the run is incomplete: {'; '.join(lost)}."
        raise IncompleteError(sentence, result=evaluation or segmentation or dataset or review)


def require_enough(dataset: DatasetHandle, *, max_failed_fraction: float) -> None:
    """Raise if a preparation rejected more slices than allowed.

    Raises:
        IncompleteError: If the rejected fraction is above the limit.
    """
    n_all = dataset.n_slices + dataset.n_failed
    if dataset.n_failed > max_failed_fraction * n_all:
        raise IncompleteError(
            f"{dataset.n_failed} of {n_all} slices were rejected ({dataset.n_failed / n_all:.1%}), more than "
            f"preparation.max_failed_fraction {max_failed_fraction:.1%}; the dataset is published, training was "
            f"not started. They are listed in {shown_uri(dataset.uri)}/failures.parquet.",
            result=dataset,
        )
