"""The config file: its sections (`model`) and how it is read (`load`)."""

from sidecar.config.address import Endpoint, dial, parse_endpoint
from sidecar.config.lambdas import CheckpointConfig, FrameConfig, LambdaConfig, WindowConfig
from sidecar.config.load import ClientSettings, ConfigError, client_settings, load
from sidecar.config.mistakes import Mistake
from sidecar.config.model import Config, OperateConfig, ServerConfig, TlsConfig, describe
from sidecar.config.units import parse_duration, parse_size

__all__ = [
    "load",
    "Config",
    "ConfigError",
    "Mistake",
    "describe",
    "ServerConfig",
    "TlsConfig",
    "OperateConfig",
    "LambdaConfig",
    "CheckpointConfig",
    "WindowConfig",
    "FrameConfig",
    "Endpoint",
    "parse_endpoint",
    "dial",
    "ClientSettings",
    "client_settings",
    "parse_duration",
    "parse_size",
]
