"""What is wrong with a model's file, wherever it comes from: reasons, remedies and mended copies.

Each check is a function of a file that was read, and an entry in `checks.CHECKS`.
"""

from __future__ import annotations

from rnnapp.exporting.doctor.diagnosis import diagnose, fix
from rnnapp.exporting.doctor.findings import Finding

__all__ = ["Finding", "diagnose", "fix"]
