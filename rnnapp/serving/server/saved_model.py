"""A SavedModel in memory: its signatures, and calls of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rnnapp.serving.errors import Code, ServingError
from rnnapp.serving.protocol import Message, SignatureDefMap
from rnnapp.serving.signatures import Arrays, Signature, TensorSpec
from rnnapp.serving.tensors import STRING, dtype_of

_CODES = {code.value: code for code in Code}
MAX_REASON = 500  # characters
_INTERNAL = "__saved_model"  # what TensorFlow's loader calls its own signatures


class SavedModel:
    """A SavedModel that TensorFlow has loaded. It is code: whoever wrote it may do anything.

    Args:
        folder: The version's folder.

    Attributes:
        signatures: What it offers, by name.
        metadata: The same as a message.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        self._model = tf.saved_model.load(str(folder))  # its functions die with it
        self._tensor, self._error = tf.convert_to_tensor, tf.errors.OpError
        file = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.metadata: Message = SignatureDefMap()
        for name, definition in file.meta_graphs[0].signature_def.items():
            if not name.startswith(_INTERNAL):
                own = self.metadata.signature_def[name]
                own.ParseFromString(definition.SerializeToString())
        self.signatures = {
            name: Signature.of(name, self.metadata.signature_def[name])
            for name in sorted(self.metadata.signature_def)
        }

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        """Calls a signature.

        Args:
            signature: Its name.
            inputs: What it takes.

        Raises:
            ServingError: If TensorFlow refuses them.
        """
        try:
            tensors = {name: self._tensor(array) for name, array in inputs.items()}
            outputs = self._model.signatures[signature](**tensors)
            return {name: np.asarray(tensor.numpy()) for name, tensor in outputs.items()}
        except self._error as error:
            code = _CODES.get(error.error_code, Code.INTERNAL)
            raise ServingError(code, _reason(error.message)) from error

    def warm_up(self, timesteps: int) -> None:
        """Calls each signature once, since TensorFlow makes ready at the first call.

        Args:
            timesteps: The length of sequences that may be of any.
        """
        for name, signature in self.signatures.items():
            blank = {key: _blank(spec, timesteps) for key, spec in signature.inputs.items()}
            try:
                self.run(name, blank)
            except ServingError as error:  # examples must be real ones, for example
                if error.code is not Code.INVALID_ARGUMENT:
                    raise


def _blank(spec: TensorSpec, timesteps: int) -> np.ndarray:
    sizes = spec.shape or ()
    shape = [size if size >= 0 else (timesteps if axis else 1) for axis, size in enumerate(sizes)]
    dtype = dtype_of(spec.dtype)
    return np.full(shape, b"" if dtype == STRING else 0, dtype)


def _reason(message: str) -> str:
    """What went wrong: the line before the one that names the graph's node, after stack traces."""
    told = message.partition("[[{{")[0].strip().splitlines()
    return told[-1].strip()[:MAX_REASON] if told else "TensorFlow gave no reason"
