"""Model card as Markdown: what a bundle is for, what it was made of and how well it does; its JSON twin is model.json.

Source of the sections: Mitchell et al., Model cards for model reporting, FAT* 2019, doi:10.1145/3287560.3287596.
"""

from typing import Final

from tasks.core.metrics import METRICS
from tasks.core.numbers import MIN_PATIENTS, count, interval, number, score, shown_interval
from tasks.core.pages.markdown import as_code, escaped, facts, table
from tasks.core.pages.metric_words import label
from tasks.core.pages.source_table import SPREAD_NOTE, source_table
from tasks.core.plural import counted
from tasks.core.quality import COVERAGE
from tasks.core.schemas import ModelCard

INTENDED_USE: Final = (
    (
        "For research: outlines and volume of lung lesions in chest CT, as in the training data; by default COVID-19 "
        "pneumonia (ground glass, consolidation)."
    ),
    "A person with training in chest CT looks at the masks before anything depends on them.",
)
LIMITS: Final = (
    "Not a medical device, and not for diagnosis or treatment.",
    "No other organ, modality or plane; no nodules, effusions or emphysema, which it was not trained on.",
    (
        "Scans unlike the training data (scanner, reconstruction, patients) may have worse masks. Of a segmentation, "
        "`drift_score` and the flag “out of domain” warn of them; they do not find all."
    ),
    "The reference masks are the drawings of few experts; two experts differ from each other, too.",
)
KNOWN_FAILURES: Final = (
    "Pale ground glass, hardly brighter than lung, is missed or drawn too small.",
    "Large consolidations are missed in part, most of all in scans from a source that was not trained on.",
    "Errors lie at outlines: a mask may be right about the place of a lesion and wrong about its edge.",
    "Lesions of a few pixels are uncertain: part of those found is false.",
)
"""What models of this kind fail at; the figures are in infra/docs/accuracy.md."""


def model_card_markdown(card: ModelCard) -> str:
    """Return the model card of a bundle as Markdown."""
    sections = (
        _head(card),
        ["## Intended use", "", *_list(INTENDED_USE), "", "## Limits", "", *_list(LIMITS)],
        ["## Data", "", *_data(card)],
        ["## Training", "", *_training(card)],
        ["## Operating point", "", *_operating_point(card)],
        ["## Validation", "", *_validation(card)],
        ["## Expected quality", "", *_quality(card)],
        ["## Known failures", "", *_failures(card)],
        [
            "## Versions",
            "",
            *table(("software", "version"), [("this code", as_code(card.code_version)), *_libraries(card)]),
        ],
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _head(card: ModelCard) -> list[str]:
    return [
        "# Model card",
        "",
        "Generated with the bundle; the same figures for machines are in `model.json`.",
        "",
        *facts(
            [
                ("model", as_code(card.digest[:12]) if card.files.keys() >= set(card.weights_files) else "–"),
                ("network", f"{card.architecture} with encoder {escaped(card.backbone)}, {_networks(card)}"),
                (
                    "input",
                    f"axial slices of {card.input_size_px} px, intensity rule {as_code(card.intensity_rule)}",
                ),
                ("output", f"probability per pixel: {', '.join(card.outputs)}"),
                ("trained at", card.trained_at.strftime("%Y-%m-%d %H:%M UTC")),
                ("fine-tuned from", as_code(card.parent_digest[:12]) if card.parent_digest else "–"),
            ],
        ),
    ]


def _networks(card: ModelCard) -> str:
    return f"{counted(len(card.weights_files), 'network')} averaged" if card.members else "one network"


def _data(card: ModelCard) -> list[str]:
    by_split = ", ".join(f"{split} {count(n)}" for split, n in card.n_slices_by_split.items())
    lines = [f"Dataset {as_code(card.dataset_fingerprint[:12])} at {as_code(card.dataset_uri)}."]
    if by_split:
        lines.append(f"Slices by split: {by_split}. Masks and sources are described in the dataset's own card.")
    if card.sources:
        return [*lines, "", *source_table(card.sources), "", SPREAD_NOTE]
    return [*lines, "Its sources are not recorded in this bundle."]


def _training(card: ModelCard) -> list[str]:
    training = card.training
    folds = f"cross-validation with {training.folds} folds, " if card.members else ""
    kept = "the last epoch was kept" if card.members else f"epoch {card.best_epoch} was kept, by validation Dice"
    augmentations = [name for name, value in card.augment.model_dump().items() if value]
    return _list(
        (
            f"Loss {as_code(training.loss)}, batches of {counted(training.batch_size, 'slice')}, {folds}{kept}.",
            (
                f"Initial weights of the encoder: {_start(card)}. Seed {training.seed}, "
                f"learning rate {training.learning_rate:g} "
                f"({as_code(training.schedule)})."
            ),
            f"Random augmentation: {', '.join(as_code(name) for name in augmentations) or 'none'}.",
            f"Per-slice statistics in the encoder's BatchNorm: weight {card.slice_statistics:g}.",
        )
    )


def _start(card: ModelCard) -> str:
    if card.parent_digest:
        return f"those of the bundle {as_code(card.parent_digest[:12])}"
    return card.model.encoder_weights if card.model.encoder_weights in {"imagenet", "none"} else "a file of weights"


def _operating_point(card: ModelCard) -> list[str]:
    smallest = (
        f"Predicted lesions below {card.min_lesion_px} px in a slice, at the model's size, are removed."
        if card.min_lesion_px > 1
        else "Lesions of all sizes are kept."
    )
    facts = [
        f"Threshold {score(card.threshold)}: {escaped(card.threshold_choice)}.",
        f"Rule: {as_code(card.operating_point)}."
        if card.operating_point
        else "Rule: none; it was set, or is the default.",
        smallest,
        f"Smoothing along z: {_yes(card.z_smoothing)}. Test-time flips: {_yes(card.test_time_flips)}.",
    ]
    curve = [
        (
            *(score(point[name]) for name in ("threshold", "dice", "precision", "recall")),
            number(point["false_lesions"]),
        )
        for point in card.operating_curve
    ]
    if not curve:
        return _list(facts)
    header = ("threshold", "Dice", "precision", "recall", "false lesions per scan")
    return [*_list(facts), "", "Means over the validation patients at other thresholds:", "", *table(header, curve)]


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _validation(card: ModelCard) -> list[str]:
    """Return the means over validation patients; of an earlier bundle, what its last epochs gave."""
    patients = "held-out patients" if card.members else "validation patients"
    if not card.validation_mean:
        found = [
            (as_code(name), score(value))
            for name, value in card.validation.items()
            if not name.endswith(("_tp", "_fp", "_fn", "_tn"))
        ]
        return [f"Of the kept epoch, over the {patients}:", "", *table(("figure", "value"), found)]
    n_patients = sum(next(iter(card.validation_mean.values()))[name] for name in ("n_defined", "n_undefined"))
    rows = [
        (
            label(name),
            count(of["n_defined"]),
            score(of["mean"]),
            interval(shown_interval(of["ci95"], of["n_defined"])),
            interval(shown_interval(of["t_ci95"], of["n_defined"])),
            score(of["median"]),
        )
        for name, of in card.validation_mean.items()
        if name in METRICS
    ]
    header = ("metric", "patients", "mean", "95 % interval, bootstrap", "95 % interval, Student's t", "median")
    return [
        (
            f"Means over {n_patients} {patients}, per pixel at the model's size, at the operating point. It was chosen "
            "on these patients, so new patients may score lower; an evaluation on test patients says by how much."
        ),
        "",
        *table(header, rows),
        "",
        (
            f"Fewer than {MIN_PATIENTS} patients are too few for an interval. A ratio without a denominator is "
            "undefined and left out."
        ),
    ]


def _quality(card: ModelCard) -> list[str]:
    nearest = min(card.quality, key=lambda each: abs(each.threshold - card.threshold), default=None)
    if nearest is None:
        return ["Not calibrated: too few validation patients with lesions. Segmentations show no expected Dice."]
    return [
        (
            "A segmentation shows the Dice to be expected of each mask (`quality`), with an interval that holds for "
            f"{COVERAGE:.0%} of the slices. Calibrated on {counted(nearest.n_slices, 'slice')} of "
            f"{counted(nearest.n_patients, 'patient')} that the network was not trained on, at "
            f"{counted(len(card.quality), 'threshold')}."
        ),
    ]


def _failures(card: ModelCard) -> list[str]:
    own = [f"**{escaped(warning)}**" for warning in card.warnings]
    return [
        "Of models of this kind on public scans; this bundle may have others:",
        "",
        *_list(KNOWN_FAILURES),
        "",
        "Warnings of this bundle:" if own else "This bundle has no warnings of its own.",
        *(["", *_list(own)] if own else []),
    ]


def _libraries(card: ModelCard) -> list[tuple[str, str]]:
    return [(escaped(name), escaped(version)) for name, version in card.versions.items()]


def _list(sentences: tuple[str, ...] | list[str]) -> list[str]:
    return [f"- {sentence}" for sentence in sentences]
