"""What the server answers, whichever protocol asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from rnnapp.serving.errors import Code, ServingError, invalid
from rnnapp.serving.protocol import (
    GetModelMetadataResponse,
    GetModelStatusResponse,
    Message,
    ModelSpec,
    ReloadConfigResponse,
)
from rnnapp.serving.server import examples
from rnnapp.serving.server.versions import Model, Policy, Version
from rnnapp.serving.signatures import Arrays, Signature, named

SIGNATURES = "signature_def"  # the one kind of metadata there is


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Args:
        outputs: Arrays by name.
        spec: Which model, version and signature said it, a ModelSpec.
    """

    outputs: Arrays
    spec: Message


class Service:
    """Answers requests to one model.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    async def predict(
        self,
        spec: Message,
        read: Callable[[Signature], Arrays],
        wanted: list[str] | None = None,
        method: str = "",
    ) -> Answer:
        """Asks the model.

        Args:
            spec: Which version and signature, a ModelSpec.
            read: Makes the inputs, knowing the signature.
            wanted: Outputs by name; all if there are none.
            method: What the signature must be for; "" for anything.

        Raises:
            ServingError: If the request is wrong, or cannot be answered now.
        """
        with self.model.using(spec) as version:
            assert version.model
            signature = named(version.model.signatures, spec.signature_name)
            if method:
                examples.check_method(signature, method)
            inputs = signature.checked(read(signature))
            outputs = await version.batchers[signature.name](inputs)
            return Answer(
                signature.filtered(outputs, wanted or []), self._spec(version, signature.name)
            )

    async def infer(self, spec: Message, request: Message, method: str) -> tuple[Message, Message]:
        """Classifies examples, or regresses them.

        Args:
            spec: Which version and signature, a ModelSpec.
            request: An Input.
            method: `CLASSIFY` or `REGRESS`.

        Returns:
            A ClassificationResult or a RegressionResult, and the ModelSpec of what gave it.
        """
        answer = await self.predict(spec, lambda _: examples.inputs_of(request), method=method)
        return examples.result_of(method, answer.outputs), answer.spec

    def metadata(self, spec: Message, fields: list[str]) -> Message:
        """A version's signatures, as a GetModelMetadataResponse.

        Args:
            spec: Which version, a ModelSpec.
            fields: Kinds of metadata.
        """
        if not fields:
            raise invalid(f"`metadata_field` must name at least {SIGNATURES}. Received: nothing")
        for name in fields:
            if name != SIGNATURES:
                raise invalid(f"`metadata_field` must be {SIGNATURES}. Received: {name!r}")
        with self.model.using(spec) as version:
            assert version.model
            response = GetModelMetadataResponse(model_spec=self._spec(version))
            response.metadata[SIGNATURES].Pack(version.model.metadata)
            return response

    def status(self, spec: Message) -> Message:
        """Where versions stand, the newest first, as a GetModelStatusResponse.

        Args:
            spec: Which version, a ModelSpec; all if it names none.
        """
        self.model.check_name(spec)
        versions = sorted(self.model.versions.values(), key=lambda each: -each.number)
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            label = spec.version_label
            if label not in self.model.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            versions = [each for each in versions if each.number == self.model.labels[label]]
        elif choice == "version":
            versions = [each for each in versions if each.number == spec.version.value]
        if not versions:
            raise ServingError(
                Code.NOT_FOUND, f"Could not find any versions of model {self.model.name}"
            )
        response = GetModelStatusResponse()
        for version in versions:
            entry = response.model_version_status.add(version=version.number, state=version.state)
            entry.status.SetInParent()
            if version.error:
                entry.status.error_code = version.error.code
                entry.status.error_message = version.error.message
        return response

    async def reload(self, request: Message) -> Message:
        """Changes which versions are served and what they are labelled; never what folder.

        Args:
            request: A ReloadConfigRequest.

        Returns:
            A ReloadConfigResponse, once the versions are loaded.
        """
        configs = request.config.model_config_list.config
        if len(configs) != 1 or configs[0].name != self.model.name:
            raise invalid(f"The config must hold {self.model.name} and no other model.")
        (config,) = configs
        if config.base_path:
            raise ServingError(
                Code.PERMISSION_DENIED,
                "`base_path` must be empty: this server takes no path from a request.",
            )
        old = self.model.policy
        if config.HasField("model_version_policy"):
            self.model.policy = _policy(config.model_version_policy)
        await self.model.poll()
        missing = set(config.version_labels.values()) - set(self.model.available)
        if missing:
            self.model.policy = old
            raise ServingError(
                Code.FAILED_PRECONDITION,
                f"Labels must be of versions that are loaded. Received: {sorted(missing)}",
            )
        self.model.labels = dict(config.version_labels)
        return ReloadConfigResponse()

    def _spec(self, version: Version, signature: str = "") -> Message:
        spec = ModelSpec(name=self.model.name, signature_name=signature)
        spec.version.value = version.number
        return spec


def _policy(proto: Message) -> Policy:
    choice = proto.WhichOneof("policy_choice")
    if choice == "specific":
        if not proto.specific.versions:
            raise invalid("`specific` must name at least one version. Received: none")
        return Policy(only=tuple(proto.specific.versions))
    return Policy(latest=0 if choice == "all" else max(1, proto.latest.num_versions))


@contextlib.asynccontextmanager
async def within(seconds: float | None) -> AsyncIterator[None]:
    """A time that an answer may take.

    Args:
        seconds: How long; None for ever.

    Raises:
        ServingError: If it takes longer. What waits then never runs.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise ServingError(Code.DEADLINE_EXCEEDED, f"No answer within {seconds:.3g} s") from error
