"""Everything that the doctor looks for, by the kind of file."""

from __future__ import annotations

from rnnapp.exporting.doctor import (
    keras_checks,
    keras_masks,
    saved_model_checks,
    tflite_fixes,
    tflite_operators,
    tflite_tensors,
    tflite_variables,
)
from rnnapp.exporting.doctor.findings import Check
from rnnapp.exporting.doctor.keras_file import KerasFile
from rnnapp.exporting.doctor.saved_model_file import SavedModelFile
from rnnapp.exporting.doctor.tflite_file import TFLiteFile

# A new check is a function that yields a `Fault` for each place, and one entry here. Fixes run in
# this order.
CHECKS: dict[type, tuple[Check, ...]] = {
    KerasFile: (
        Check("missing-weights", "error", keras_checks.missing_weights),
        Check("non-finite-weights", "error", keras_checks.non_finite_weights),
        Check("code-inside", "error", keras_checks.code_inside),
        Check("unknown-objects", "error", keras_checks.unknown_objects),
        Check("lost-mask", "error", keras_masks.lost),
        Check("left-padding", "error", keras_masks.left_padding),
        Check("open-time-distributed", "error", keras_checks.open_time_distributed),
        Check("kept-state", "warning", keras_checks.stateful, keras_checks.without_state),
        Check("always-training", "warning", keras_checks.always_training),
        Check("long-unrolled", "warning", keras_checks.long_unrolled),
        Check("odd-inputs", "warning", keras_checks.inputs_of_odd_types),
    ),
    SavedModelFile: (
        Check("missing-weights", "error", saved_model_checks.missing_weights),
        Check("non-finite-weights", "error", saved_model_checks.non_finite_weights),
        Check("cudnn-only", "error", saved_model_checks.cudnn_only),
        Check("python-functions", "error", saved_model_checks.python_functions),
        Check("left-padding", "error", saved_model_checks.left_padding),
        Check("loops-only", "warning", saved_model_checks.loops_only),
        Check("kept-state", "warning", saved_model_checks.kept_state),
        Check("random-operators", "warning", saved_model_checks.random_operators),
        Check("batchless-outputs", "warning", saved_model_checks.batchless_outputs),
    ),
    TFLiteFile: (
        Check("missing-weights", "error", tflite_tensors.missing_weights),
        Check("non-finite-weights", "error", tflite_tensors.non_finite_weights),
        Check("flex-operators", "error", tflite_operators.flex),
        Check("custom-operators", "error", tflite_operators.custom),
        Check("unknown-operators", "error", tflite_operators.unknown),
        Check("hidden-state", "error", tflite_variables.hidden_state),
        Check(
            "mediapipe-subgraphs",
            "error",
            tflite_operators.refused_by_mediapipe,
            runtimes=("mediapipe",),
        ),
        Check(
            "unused-operators", "warning", tflite_operators.unused, tflite_operators.without_unused
        ),
        Check("kept-state", "warning", tflite_variables.kept_state),
        Check(
            "open-shapes", "warning", tflite_tensors.open_shapes, tflite_tensors.with_static_shapes
        ),
        Check("odd-inputs", "warning", tflite_tensors.odd_inputs),
        Check(
            "browser-types",
            "warning",
            tflite_tensors.refused_by_browsers,
            tflite_fixes.with_float_ports,
            runtimes=("chromium",),
        ),
        Check(
            "state-scales",
            "warning",
            tflite_tensors.differing_states,
            tflite_fixes.with_equal_scales,
        ),
        Check(
            "too-new-operators", "warning", tflite_operators.too_new, runtimes=("tflite_runtime",)
        ),
        Check(
            "micro-operators",
            "warning",
            tflite_operators.unknown_to_micro,
            runtimes=("tflite_micro",),
        ),
        Check("random-operators", "warning", tflite_operators.random),
        Check("long-unrolled", "warning", tflite_operators.long_unrolled),
    ),
}
