"""The conformance lambda in Python with one planted mistake in the SDK: each has to be caught by a case of the kit.

python -m tests.clients.python.mutated NAME
"""

import os
import sys

from sdk_python import _decoding, serve
from tests.clients.python.mutations import MUTATIONS

if __name__ == "__main__":
    # Mistakes are planted in the Python code, which reads batches only where the decoder in C does not.
    vars(_decoding)["_decode"] = None
    MUTATIONS[sys.argv[1]].plant()
    sys.exit(serve.main([os.environ["CONFORMANCE_LAMBDA"], "tests.clients.python.conformance"]))
