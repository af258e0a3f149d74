"""Write a lambda for the Kafka sidecar: a function over the messages of one partition, in order.

``python -m sdk_python.serve NAME MODULE`` serves one; `sdk_python.testing` tests one without Kafka.
"""

import os as _os

# Set before gRPC is imported: with gRPC's fork handlers, some children that a lambda forks die of SIGSEGV.
_os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from ._batch import Produced
from ._errors import (
    FailedAt,
    NotCommittedError,
    PluginError,
    ProduceError,
    RefusedError,
    SdkError,
    SettingsError,
)
from ._function import partition_lambda
from ._interfaces import (
    CloseReason,
    IBatchLambda,
    IColumnsLambda,
    IContext,
    IPartitionLambda,
    IPartitionLambdaFactory,
    IPlugin,
)
from ._message import CREATE_TIME, LOG_APPEND_TIME, NO_TIMESTAMP, Message, MessageColumns
from ._record import Columns, Record

__all__ = [
    # a lambda of one function
    "partition_lambda",
    # the four interfaces
    "IPlugin",
    "IPartitionLambdaFactory",
    "IPartitionLambda",
    "IBatchLambda",
    "IColumnsLambda",
    "IContext",
    "CloseReason",
    # what a handler gets
    "Message",
    "MessageColumns",
    "NO_TIMESTAMP",
    "CREATE_TIME",
    "LOG_APPEND_TIME",
    # what `context.produce` takes and returns
    "Record",
    "Columns",
    "Produced",
    # what can go wrong
    "SdkError",
    "PluginError",
    "SettingsError",
    "RefusedError",
    "ProduceError",
    "NotCommittedError",
    "FailedAt",
]
