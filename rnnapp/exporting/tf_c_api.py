"""A SavedModel run through TensorFlow's C API: the loader of TensorFlow Serving, without Python's.

The shared libraries are those of the installed wheel. What Python adds to a SavedModel on loading
(its function layer, its variables as objects) is not there, so that a graph that only Python can
run is found out.
"""

from __future__ import annotations

import ctypes
import importlib.util
from contextlib import ExitStack
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

_LIBRARIES = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")
_STRING = 7
_DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 10: np.bool_, 19: np.float16}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_STRING_SIZE = 24  # of a TF_TString


class _Output(ctypes.Structure):
    _fields_ = [("operation", c_void_p), ("index", c_int)]


class _Buffer(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p)]


# Name: result type, argument types.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "TF_NewStatus": (c_void_p, []),
    "TF_DeleteStatus": (None, [c_void_p]),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewBuffer": (POINTER(_Buffer), []),
    "TF_DeleteBuffer": (None, [POINTER(_Buffer)]),
    "TF_NewGraph": (c_void_p, []),
    "TF_DeleteGraph": (None, [c_void_p]),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_DeleteSessionOptions": (None, [c_void_p]),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        [
            c_void_p,
            c_void_p,
            c_char_p,
            POINTER(c_char_p),
            c_int,
            c_void_p,
            POINTER(_Buffer),
            c_void_p,
        ],
    ),
    "TF_CloseSession": (None, [c_void_p, c_void_p]),
    "TF_DeleteSession": (None, [c_void_p, c_void_p]),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_SessionRun": (
        None,
        [
            c_void_p,
            c_void_p,
            POINTER(_Output),
            POINTER(c_void_p),
            c_int,
            POINTER(_Output),
            POINTER(c_void_p),
            c_int,
            POINTER(c_void_p),
            c_int,
            c_void_p,
            c_void_p,
        ],
    ),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_DeleteTensor": (None, [c_void_p]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_TensorByteSize": (c_size_t, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_StringGetDataPointer": (c_void_p, [c_void_p]),
    "TF_StringGetSize": (c_size_t, [c_void_p]),
    "TF_StringInit": (None, [c_void_p]),
    "TF_StringCopy": (None, [c_void_p, c_char_p, c_size_t]),
}


class CApiError(RuntimeError):
    """TensorFlow refuses a SavedModel or a call, for the reason in the message."""


def missing() -> str | None:
    """Why the C API cannot be called on this machine; None if it can."""
    absent = [name for name in _LIBRARIES if not (_folder() / name).is_file()]
    return f"this TensorFlow has no {absent[0]}" if absent else None


def _folder() -> Path:
    """Where the installed TensorFlow keeps its libraries."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise ImportError("TensorFlow must be installed: its wheel holds the C API.")
    return Path(spec.origin).parent


def _library() -> Any:
    """The C API, each function with its types."""
    libraries = [ctypes.CDLL(str(_folder() / name)) for name in _LIBRARIES]
    functions = {}
    for name, (result, arguments) in _FUNCTIONS.items():
        library = next(lib for lib in libraries if hasattr(lib, name))
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
        functions[name] = function
    return type("CApi", (), {name: staticmethod(f) for name, f in functions.items()})


def _freed(stack: ExitStack, pointer: Any, delete: Any) -> Any:
    """`pointer`, which the stack will delete."""
    stack.callback(delete, pointer)
    return pointer


class CApiSession:
    """A loaded SavedModel, which `close` frees.

    Args:
        folder: The SavedModel.

    Raises:
        CApiError: If TensorFlow refuses it, with TensorFlow's reason.
    """

    def __init__(self, folder: Path) -> None:
        api = self._api = _library()
        with ExitStack() as owned, ExitStack() as borrowed:
            self._status = _freed(owned, api.TF_NewStatus(), api.TF_DeleteStatus)
            self._graph = _freed(owned, api.TF_NewGraph(), api.TF_DeleteGraph)
            options = _freed(borrowed, api.TF_NewSessionOptions(), api.TF_DeleteSessionOptions)
            buffer = _freed(borrowed, api.TF_NewBuffer(), api.TF_DeleteBuffer)
            tags = (c_char_p * 1)(b"serve")
            self._session = api.TF_LoadSessionFromSavedModel(
                options, None, str(folder).encode(), tags, 1, self._graph, buffer, self._status
            )
            self._check()
            owned.callback(api.TF_DeleteSession, self._session, self._status)
            owned.callback(api.TF_CloseSession, self._session, self._status)
            self.meta_graph = ctypes.string_at(buffer.contents.data, buffer.contents.length)
            self._owned = owned.pop_all()

    def run(self, feeds: dict[str, np.ndarray], fetches: list[str]) -> list[np.ndarray]:
        """Runs the graph.

        Args:
            feeds: Values by tensor name (`operation:index`).
            fetches: Tensor names.

        Returns:
            The values of `fetches`; strings as objects of bytes.

        Raises:
            CApiError: If TensorFlow fails, with TensorFlow's reason, or the session is closed.
        """
        if self._session is None:
            raise CApiError("The session must be open: it was closed. Load the SavedModel again.")
        inputs = (_Output * len(feeds))(*map(self._output, feeds))
        outputs = (_Output * len(fetches))(*map(self._output, fetches))
        values, results = (c_void_p * len(feeds))(), (c_void_p * len(fetches))()
        try:
            for place, value in enumerate(feeds.values()):
                values[place] = self._to_tensor(value)
            self._api.TF_SessionRun(
                self._session,
                None,
                inputs,
                values,
                len(feeds),
                outputs,
                results,
                len(fetches),
                None,
                0,
                None,
                self._status,
            )
            self._check()
            return [self._to_array(tensor) for tensor in results]
        finally:
            for tensor in (*values, *results):
                if tensor:
                    self._api.TF_DeleteTensor(tensor)

    def close(self) -> None:
        """Frees the session and the graph; a second time does nothing."""
        self._session = None
        self._owned.close()

    def _check(self) -> None:
        if self._api.TF_GetCode(self._status):
            raise CApiError(self._api.TF_Message(self._status).decode(errors="replace"))

    def _output(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        pointer = self._api.TF_GraphOperationByName(self._graph, operation.encode())
        if not pointer:
            raise CApiError(f"The graph has no operation {operation!r}.")
        return _Output(pointer, int(index or 0))

    def _to_tensor(self, value: np.ndarray) -> int:
        value = np.ascontiguousarray(value)
        shape = (c_int64 * value.ndim)(*value.shape)
        if value.dtype.kind in "OSU":
            return self._to_string_tensor(value, shape)
        tensor = self._api.TF_AllocateTensor(_CODES[value.dtype], shape, value.ndim, value.nbytes)
        ctypes.memmove(self._api.TF_TensorData(tensor), value.ctypes.data, value.nbytes)
        return tensor

    def _to_string_tensor(self, value: np.ndarray, shape: Any) -> int:
        tensor = self._api.TF_AllocateTensor(_STRING, shape, value.ndim, _STRING_SIZE * value.size)
        data = self._api.TF_TensorData(tensor)
        for i, item in enumerate(value.ravel().tolist()):
            text = item if isinstance(item, bytes) else str(item).encode()
            self._api.TF_StringInit(data + _STRING_SIZE * i)
            self._api.TF_StringCopy(data + _STRING_SIZE * i, text, len(text))
        return tensor

    def _to_array(self, tensor: int | None) -> np.ndarray:
        api = self._api
        shape = tuple(api.TF_Dim(tensor, i) for i in range(api.TF_NumDims(tensor)))
        data, kind = api.TF_TensorData(tensor), api.TF_TensorType(tensor)
        if kind == _STRING:
            places = [data + _STRING_SIZE * i for i in range(int(np.prod(shape, dtype=int)))]
            texts = [
                ctypes.string_at(api.TF_StringGetDataPointer(p), api.TF_StringGetSize(p))
                for p in places
            ]
            return np.array(texts, dtype=object).reshape(shape)
        content = ctypes.string_at(data, api.TF_TensorByteSize(tensor))
        return np.frombuffer(content, _DTYPES[kind]).reshape(shape).copy()
