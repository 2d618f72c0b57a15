"""Segmentation run: its input, all that decides its masks, and its records in the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.core.digests import digest
from tasks.core.drift import DriftScorer
from tasks.core.errors import NOT_SCAN_CODES, DataError
from tasks.core.flags import FlagLimits
from tasks.core.mask_version import mask_version_of
from tasks.core.model_input import ModelInput
from tasks.core.postprocess import area_on_grid
from tasks.core.quality import QualityModel
from tasks.core.rows import ScanRow, ScanStatus
from tasks.core.schemas import ModelCard
from tasks.core.step_inputs import SegmentRequest
from tasks.io import ledger, storage
from tasks.io.formats.writers import writers_asked
from tasks.io.pseudonyms import Seal
from tasks.io.scan_sources import ScanSource
from tasks.io.versions import code_version


@dataclass(frozen=True, slots=True)
class Run:
    """Settings of a segmentation run: operating point, output, and key of hashed ids."""

    request: SegmentRequest
    threshold: float
    min_lesion_px: int
    min_lesion_mm3: float | None
    model_input: ModelInput
    model_digest: str
    code_version: str
    seal: Seal | None = None
    drift: DriftScorer | None = None
    quality: QualityModel | None = None
    flag_limits: FlagLimits = field(default_factory=FlagLimits)
    z_smoothing: bool = False
    test_time_flips: bool = False
    n_predictions: int = 1

    @classmethod
    def of(cls, request: SegmentRequest, card: ModelCard) -> "Run":
        """Return the run of a request, with the bundle's operating point unless the request sets its own.

        Raises:
            ConfigError: If ids are to be hashed and there is no key.
        """
        asked = request.segmentation
        threshold = card.threshold if asked.threshold is None else asked.threshold
        flips = card.test_time_flips if asked.test_time_flips is None else asked.test_time_flips
        return cls(
            request,
            threshold=threshold,
            min_lesion_px=card.min_lesion_px if asked.min_lesion_px is None else asked.min_lesion_px,
            min_lesion_mm3=asked.min_lesion_mm3,
            model_input=ModelInput(card.input_size_px, card.hu, card.intensity_rule),
            model_digest=card.digest,
            code_version=code_version(),
            seal=Seal.from_environment() if asked.hash_ids else None,
            drift=DriftScorer.of(card.appearance),
            quality=QualityModel.of(card.quality, threshold),
            flag_limits=card.flag_limits,
            z_smoothing=card.z_smoothing,
            test_time_flips=flips,
            n_predictions=card.model_copy(update={"test_time_flips": flips}).n_predictions,
        )

    @property
    def params_digest(self) -> str:
        """Digest of the parameters that decide a mask."""
        asked = self.request.segmentation
        at_model_size = {"min_lesion_px_of": "model"} if self._has_area_of_model and self.min_lesion_px else {}
        return digest(
            **at_model_size,
            threshold=self.threshold,
            min_lesion_px=self.min_lesion_px,
            min_lesion_mm3=self.min_lesion_mm3,
            test_time_flips=self.test_time_flips,
            precision=asked.precision,
            writers=[writer.name for writer in writers_asked(asked)],
        )

    @property
    def _has_area_of_model(self) -> bool:
        """Whether the minimum lesion size is the bundle's, in pixels at the model's size."""
        return self.request.segmentation.min_lesion_px is None

    def min_lesion_area(self, shape: tuple[int, int]) -> float:
        """Return the area below which lesions are removed, pixels of a slice of this height and width."""
        if self._has_area_of_model:
            return area_on_grid(self.min_lesion_px, self.model_input.size_px, shape)
        return self.min_lesion_px

    def row(self, scan: ScanSource, status: ScanStatus, **found: Any) -> ScanRow:  # Any: further fields of ScanRow
        """Return the row of a scan in this run."""
        return ScanRow(
            scan_id=scan.scan_id,
            source_uri=scan.uri,
            source_fingerprint=scan.fingerprint,
            status=status,
            model_digest=self.model_digest,
            params_digest=self.params_digest,
            mask_version=mask_version_of(scan.kind),
            code_version=self.code_version,
            **found,
        )

    def record(self, row: ScanRow) -> ScanRow:
        """Write a row to the ledger; its mask must be published before."""
        ledger.record(self.request.output_uri, row, self.request.run_id)
        return row

    def record_all(self, rows: Sequence[ScanRow]) -> list[ScanRow]:
        """Write many rows to the ledger, in parallel."""
        return storage.map_in_parallel(self.record, rows)

    def recall(self, scans: Sequence[ScanSource]) -> dict[int, ScanRow]:
        """Return the rows of scans this run already recorded, by index: a worker may have died just after."""
        ids = [scan.scan_id for scan in scans]
        found = ledger.recorded(self.request.output_uri, self.request.run_id, ids)
        return {index: found[scan_id] for index, scan_id in enumerate(ids) if scan_id in found}

    def refusal(self, scan: ScanSource, refusal: DataError) -> ScanRow:
        """Return the row of a scan that is rejected, or of what no chest CT could be."""
        status: ScanStatus = "not_a_scan" if refusal.code in NOT_SCAN_CODES else "failed"
        return self.row(
            scan,
            status,
            error_code=refusal.code,
            error=refusal.sentence,
            where=refusal.where,
            warnings=list(scan.warnings),
        )

    def give_up(self, scan: ScanSource, bug: DataError | None) -> ScanRow:
        """Reject a scan whose workers keep dying, or that triggers a bug in a stage."""
        sentence = "The worker process died several times, with this scan alone. Check its size and format."
        return self.record(self.refusal(scan, bug or DataError("worker_died", sentence)))
