"""The extensions of ``native/``, each of which may be absent: without them all works, and costs more.

``KAFKA_SIDECAR_NATIVE=0`` switches them off.
"""

import os
from typing import TYPE_CHECKING, Final

SWITCH: Final = "KAFKA_SIDECAR_NATIVE"
"""An environment variable, the same that the sidecar reads; ``0``: use no extension."""

IS_ON: Final = os.environ.get(SWITCH) != "0"

if TYPE_CHECKING:
    from . import _quick as producing
elif IS_ON:
    try:
        from . import _quick as producing
    except ImportError:  # no compiler was there, or it is not built for this interpreter
        from . import _plain as producing
else:
    from . import _plain as producing

__all__ = ["IS_ON", "SWITCH", "producing"]
