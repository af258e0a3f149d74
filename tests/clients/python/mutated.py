"""The conformance lambda in Python with one planted mistake in the SDK: each has to be caught by a case of the kit.

python -m tests.clients.python.mutated NAME
"""

import os
import sys

from sdk_python import serve
from tests.clients.python.mutations import MUTATIONS

if __name__ == "__main__":
    MUTATIONS[sys.argv[1]].plant()
    sys.exit(serve.main([os.environ["CONFORMANCE_LAMBDA"], "tests.clients.python.conformance"]))
