"""Settings that name an environment variable instead of a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """A setting ``{ env = "NAME" }``, whose variable is read when the target is opened.

    Attributes:
        variable: The name of the environment variable.
        where: The file and the setting, for error messages.
        secret: Whether the value is a secret.
    """

    variable: str
    where: str
    secret: bool

    def __str__(self) -> str:
        return f"${self.variable}"

    def resolve(self, environ: Mapping[str, str]) -> str | Secret:
        """Return the value of the variable.

        Raises:
            ConfigurationError: The variable is not set.
        """
        found = environ.get(self.variable, "").strip()
        if not found:
            raise ConfigurationError(
                f"{self.where}: the environment variable {self.variable} is not set. "
                "Set it, then run the command again"
            )
        return Secret(found) if self.secret else found
