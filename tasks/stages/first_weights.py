"""Initial weights of a training: of an encoder, or of a bundle to fine-tune."""

from dataclasses import dataclass

from tasks.core.addresses import shown_uri
from tasks.core.config.learning import ModelConfig
from tasks.core.errors import ModelError
from tasks.io import pretrained_weights
from tasks.io.outputs import bundles


@dataclass(frozen=True, slots=True)
class FirstWeights:
    """Initial weights of a training; random weights if both are None.

    Attributes:
        parent: Bundle whose network is fine-tuned.
        encoder: Content of the encoder's weight file.
    """

    parent: bundles.Bundle | None
    encoder: bytes | None

    @property
    def network(self) -> bytes | None:
        """Content of the parent's weight file."""
        return self.parent.weights[0] if self.parent else None

    @classmethod
    def read(cls, model: ModelConfig) -> "FirstWeights":
        """Return the initial weights that the parameters name.

        Raises:
            ModelError: If they cannot be read, or do not fit the network.
        """
        if model.start_from is None:
            return cls(None, pretrained_weights.read_encoder_weights(model))
        return cls(_read_parent(model.start_from, model), None)


def _read_parent(uri: str, asked: ModelConfig) -> bundles.Bundle:
    bundle = bundles.read_bundle(uri)
    found = bundle.card
    if found.members:
        raise ModelError(f"The bundle {shown_uri(uri)} is an ensemble of {len(found.members)}; start from one network.")
    if (found.architecture, found.backbone) != (asked.architecture, asked.backbone):
        raise ModelError(
            f"The bundle {shown_uri(uri)} holds a {found.architecture} on {found.backbone}, a {asked.architecture} on "
            f"{asked.backbone} was asked for. Set model.architecture and model.backbone to the bundle's."
        )
    if found.decoder_filters != asked.decoder_filters:
        raise ModelError(
            f"The decoder of the bundle {shown_uri(uri)} has {found.decoder_filters} filters, {asked.decoder_filters} "
            f"were asked for. Set model.decoder_filters to {found.decoder_filters}."
        )
    if found.intensity_rule != asked.intensity_rule:
        raise ModelError(
            f"The bundle {shown_uri(uri)} was trained with the intensity rule {found.intensity_rule}, "
            f"{asked.intensity_rule} was asked for. Set model.intensity_rule to {found.intensity_rule}."
        )
    return bundle
