"""The TOML configuration: what may be written, how it is read, and what is said when it is wrong.

Everything others need is re-exported here. A configuration comes from `load_config` (a file) or
`parse_config` (a text); both return a frozen `Config` or raise one `ConfigError` with every problem.
"""

from daemon.config.loading import load_config, parse_config
from daemon.config.models import (
    Config,
    DaemonConfig,
    DatabaseConfig,
    LimitsConfig,
    PlanningConfig,
    RetryRule,
    RoutesConfig,
    SandboxConfig,
    WebConfig,
    WorkspaceConfig,
)
from daemon.config.platforms import PLATFORM_KINDS, AccountConfig, PlatformConfig, TwilioConfig
from daemon.config.privacy import PrivacyConfig
from daemon.config.problems import ConfigError, ConfigProblem
from daemon.config.reload import RESTART_ONLY, changed_keys, keep_restart_only, restart_needed
from daemon.config.rules import EVERY, NO_HOURS, CapConfig, RulesConfig
from daemon.config.secrets import Secret

__all__ = [
    "EVERY",
    "NO_HOURS",
    "PLATFORM_KINDS",
    "RESTART_ONLY",
    "AccountConfig",
    "CapConfig",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "DaemonConfig",
    "DatabaseConfig",
    "LimitsConfig",
    "PlanningConfig",
    "PlatformConfig",
    "PrivacyConfig",
    "RetryRule",
    "RoutesConfig",
    "RulesConfig",
    "SandboxConfig",
    "Secret",
    "TwilioConfig",
    "WebConfig",
    "WorkspaceConfig",
    "changed_keys",
    "keep_restart_only",
    "load_config",
    "parse_config",
    "restart_needed",
]
